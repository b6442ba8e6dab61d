"""Answers after the first one: the rest after a cut, the ranges of helpers, the same once more.

Their bytes become a part of a number only where the store says of them what it said of the first. What can differ is in
the tables of ``tests/faulty_store.py``; the judge is numpy.
"""

import random
from collections.abc import Callable, Iterator, Mapping

import flask
import numpy as np
import pytest
from werkzeug.test import TestResponse

from active_storage.errors import ActiveStorageError, EncodedObject, ObjectChanged, StoreError, StoreProtocolError
from active_storage.model.etag import ETag
from active_storage.model.origins import Origin
from active_storage.model.ranges import ByteRange
from active_storage.model.spec import ReductionSpec
from handler.engine.executor import Fetchers
from handler.kernels.sizes import Sizes
from handler.kernels.walk import Walk
from handler.scope import Scope
from handler.stores.fake import FakeSource
from handler.stores.source import ObjectFacts, Source, Stream, ask_again
from handler.stores.store_request import StoreRequest
from handler.stores.store_source import FallbackSource, StoreSource
from handler.stores.transport import Transport
from tests.faulty_store import (
    CUT,
    CUTS,
    DIFFERENCES,
    ETAG,
    FAULTS,
    LARGE_BYTES,
    NUMBERS,
    OBJECT,
    OBJECT_BYTES,
    RANGE,
    RANGE_HEADER,
    Behaviour,
    Call,
    Difference,
    Fault,
    FaultyStore,
    answer_well,
    cuts_off,
    first,
    holds,
    make_large,
    plain,
    read_headers,
    says,
    send,
    service,
    spoils,
)
from tests.helpers import BLOCK_BYTES, Prompt, ask, make_engine, read_error, reduce_source, small_sizes

SUM = ReductionSpec("sum", "float32")
SUM_KEY = "/sum/float32/bucket/key"

# Faults that wait for something take their time, and say nothing about the bytes.
HASTY_FAULTS = [fault for fault in FAULTS if fault.behave and not fault.settings]

FIXED_RANGE = {
    "Range": RANGE_HEADER,
    "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;range, Signature=0",
}


@pytest.fixture
def transport(store: FaultyStore) -> Iterator[Transport]:
    with service(store) as (_, transport):
        yield transport


SIZES = Sizes()

# So small that the object has more than enough parts for fetchers.
SMALL = small_sizes(BLOCK_BYTES // 16, BLOCK_BYTES // 4)
assert 4 * SMALL.task_bytes < OBJECT_BYTES


def source_at(store: FaultyStore, transport: Transport) -> Source:
    return StoreSource(transport, StoreRequest.unsigned(Origin.parse(store.url), "/bucket/key"), Scope.after(60))


def reduce(source: Source, fetchers: Fetchers | None = None, sizes: Sizes = SMALL) -> tuple[str, bytes]:
    """The code of the error, if there is one, and the sum of the object."""
    try:
        return "", reduce_source(SUM, source, make_engine(fetchers, sizes)).result.data
    except ActiveStorageError as error:
        return error.code, b""


def is_right(response: TestResponse, expected: bytes) -> bool:
    """Whether it is the right number, having checked that it is an error if not."""
    if response.status_code == 200:
        assert response.data == expected
    else:
        assert read_error(response)["Code"]
    return response.status_code == 200


def test_the_objects_are_as_large_as_they_are_said_to_be() -> None:
    """A block or a part of another size would leave the tests with cuts that mean nothing."""
    assert 2 * BLOCK_BYTES < OBJECT_BYTES < 3 * BLOCK_BYTES
    assert BLOCK_BYTES < len(RANGE) < 2 * BLOCK_BYTES
    assert {0, BLOCK_BYTES, len(RANGE) - 1} < set(CUTS) < set(range(len(RANGE)))
    assert [cut for cut in CUTS if cut > BLOCK_BYTES and cut % BLOCK_BYTES and cut % 4]
    parts = Walk.of(SUM, (LARGE_BYTES // 4,), SIZES).cut()
    assert len(parts) > SIZES.fewest_tasks
    assert len(parts[-1]) < len(parts[0])
    assert len(np.unique(NUMBERS)) == len(NUMBERS)


# What is compared


def facts_of(etag: str | None = '"1"', total: int = 8, **headers: str) -> ObjectFacts:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ObjectFacts(206, 0, 4, total, ETag.from_header(etag), named)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (facts_of(), ObjectFacts(200, 4, 8, 8, ETag("1"), {"content-type": "text/plain"})),
        (facts_of(content_encoding="aws-chunked"), facts_of(content_encoding=" identity ,")),
        (facts_of(content_encoding="aws-chunked,gzip"), facts_of(content_encoding="X-Gzip")),
        (facts_of(last_modified="then"), facts_of()),
        (facts_of(None, last_modified="then"), facts_of(None, last_modified="then")),
        (facts_of(x_amz_server_side_encryption="AES256"), facts_of(x_amz_checksum_crc32="AAAAAA==")),
    ],
)
def test_answers_of_one_object_may_differ_in_what_does_not_decide_its_bytes(
    one: ObjectFacts, other: ObjectFacts
) -> None:
    one.ensure_same(other)
    other.ensure_same(one)


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        (facts_of(), facts_of('"2"'), ObjectChanged),
        (facts_of(), facts_of('W/"1"'), ObjectChanged),
        (facts_of(), facts_of(None), ObjectChanged),
        (facts_of(), facts_of(total=12), ObjectChanged),
        (facts_of(x_amz_version_id="1"), facts_of(x_amz_version_id="2"), ObjectChanged),
        (facts_of(x_amz_version_id="null"), facts_of(), ObjectChanged),
        (facts_of(last_modified="then"), facts_of(last_modified="now"), ObjectChanged),
        (facts_of(None, last_modified="then"), facts_of(None, last_modified="now"), ObjectChanged),
        (facts_of(), facts_of(content_encoding="gzip"), StoreProtocolError),
        (facts_of(content_encoding="gzip"), facts_of(content_encoding="gzip, gzip"), StoreProtocolError),
        (facts_of(content_encoding="gzip, br"), facts_of(content_encoding="br, gzip"), StoreProtocolError),
        (facts_of(), facts_of(x_amz_meta_x_amz_key="k"), StoreProtocolError),
        (facts_of(), facts_of(x_ms_meta_encryptiondata="{}"), StoreProtocolError),
        (facts_of(x_goog_generation="1"), facts_of(x_goog_generation="2"), ObjectChanged),
        (facts_of(x_ms_version_id="1"), facts_of(), ObjectChanged),
        (facts_of(x_goog_stored_content_encoding="identity"), facts_of(x_goog_stored_content_encoding="gzip"),
         StoreProtocolError),
        (facts_of(x_amz_server_side_encryption_customer_key_md5="1"),
         facts_of(x_amz_server_side_encryption_customer_key_md5="2"), StoreProtocolError),
        (facts_of(), facts_of(x_goog_encryption_key_sha256="2"), StoreProtocolError),
        (facts_of(), facts_of(x_ms_encryption_key_sha256="2"), StoreProtocolError),
        (facts_of(x_amz_meta_x_amz_iv="1"), facts_of(x_amz_meta_x_amz_iv="2"), StoreProtocolError),
    ],
)  # fmt: skip
def test_answers_that_differ_in_what_decides_their_bytes_are_not_put_together(
    one: ObjectFacts, other: ObjectFacts, error: type[ActiveStorageError]
) -> None:
    for facts, later in ((one, other), (other, one)):
        with pytest.raises(error):
            facts.ensure_same(later)


@pytest.mark.parametrize(
    ("etag", "is_strong"),
    [
        ('"1"', True),
        ('""', False),
        ('"a,b"', True),
        ("d41d8cd98f00b204e9800998ecf8427e-2", True),
        (None, False),
        ("", False),
        ('W/"1"', False),
        ('w/"1"', False),
        ("W/1", False),
        ('"1", "2"', False),
        ("1, 2", False),
        ("*", False),
    ],
)
def test_an_etag_is_a_condition_only_where_it_names_one_object(etag: str | None, is_strong: bool) -> None:
    request = StoreRequest(Origin("http", "store", 80), "/bucket/key", {})
    assert request.pinned_to(facts_of(etag)).headers == ({"if-match": etag} if is_strong else {})


@pytest.mark.parametrize("status", [304, 412, 416])
def test_an_answer_that_says_that_a_condition_does_not_hold_is_of_another_object(status: int) -> None:
    def refuse() -> Stream:
        raise StoreError(status, "Code", "message")

    with pytest.raises(ObjectChanged):
        ask_again(refuse, facts_of())


def test_an_answer_of_another_object_is_closed() -> None:
    source = FakeSource(OBJECT, etag='"2"')
    with pytest.raises(ObjectChanged):
        source.open(ByteRange(0, 3), expected=facts_of(total=OBJECT_BYTES))
    assert source.open_streams == 0


def test_an_encoding_is_expected_once_only() -> None:
    """What was compressed twice and is decompressed once is still compressed, and would be read as numbers."""
    facts_of(content_encoding="X-GZIP").ensure_plain("gzip")
    for text in ("gzip, gzip", "gzip, br", "br"):
        with pytest.raises(EncodedObject):
            facts_of(content_encoding=text).ensure_plain("gzip")


# The rest after a cut


@pytest.mark.parametrize("fault", HASTY_FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize(
    ("headers", "numbers"),
    [({}, NUMBERS), ({"Range": RANGE_HEADER}, NUMBERS[RANGE.start // 4 : RANGE.stop // 4])],
    ids=["whole", "range"],
)
def test_a_fault_of_a_later_answer_is_never_a_part_of_a_number(
    store: FaultyStore, app: flask.Flask, fault: Fault, headers: dict[str, str], numbers: np.ndarray
) -> None:
    """The table of ``test_faults.py`` is about first answers."""
    assert fault.behave
    store.order(first(cuts_off(BLOCK_BYTES + CUT), fault.behave))
    is_right(ask(app, SUM_KEY, headers=headers), np.float32(numbers.sum(dtype=np.float64)).tobytes())


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_what_is_asked_for_once_more_is_compared_as_well(
    store: FaultyStore, app: flask.Flask, difference: Difference
) -> None:
    """Where the range is signed, what was read is skipped in a second answer to the same request."""
    store.order(first(cuts_off(CUT), spoils(difference.change)))
    response = ask(app, SUM_KEY, headers=FIXED_RANGE)
    expected = np.float32(NUMBERS[RANGE.start // 4 : RANGE.stop // 4].sum(dtype=np.float64)).tobytes()
    assert is_right(response, expected) is (difference.code == "")


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_an_object_is_not_sent_on_in_two_forms(store: FaultyStore, app: flask.Flask, difference: Difference) -> None:
    store.order(first(cuts_off(BLOCK_BYTES + CUT), spoils(difference.change)))
    if difference.code:
        with pytest.raises(ConnectionResetError):
            ask(app, "/obj/bucket/key")
    else:
        assert ask(app, "/obj/bucket/key").data == OBJECT


def test_an_answer_with_other_facts_is_refused_though_nothing_of_the_first_was_read(
    store: FaultyStore, app: flask.Flask
) -> None:
    """The reduction was planned by the first answer's facts: how large the object is, and that it is plain."""
    store.order(first(cuts_off(0, etag=None), holds(OBJECT[:-4], etag=None)))
    assert read_error(ask(app, SUM_KEY))["Code"] == "ObjectChanged"


def test_a_part_by_its_number_is_the_same_part_again(store: FaultyStore, app: flask.Flask) -> None:
    """To a part's number any range is an answer; the rest must come from the one that was begun."""

    def part(begin: int) -> Behaviour:
        end = begin + OBJECT_BYTES // 2
        headers = {"ETag": ETAG, "Content-Range": f"bytes {begin}-{end - 1}/{OBJECT_BYTES}"}

        def behave(call: Call) -> None:
            answer = plain("206 Partial Content", OBJECT[begin:end], headers)
            if call.number == 1:
                call.send(answer.head + answer.body[:CUT])
                call.reset()
            send(call, answer)

        return behave

    for begin, is_same in ((0, True), (4, False)):
        store.order(first(part(0), part(begin)))
        response = ask(app, f"{SUM_KEY}?partNumber=1")
        expected = np.float32(NUMBERS[: OBJECT_BYTES // 8].sum(dtype=np.float64)).tobytes()
        assert is_right(response, expected) is is_same


def test_an_object_that_came_to_be_the_one_that_the_caller_has_was_replaced(
    store: FaultyStore, app: flask.Flask
) -> None:
    """The rest is asked for with the caller's ``If-None-Match``, to which 304 says that it holds no longer."""
    etag = ask(app, SUM_KEY).headers["ETag"]
    store.order(first(cuts_off(CUT, etag='"new"'), says(plain("304 Not Modified"))))
    response = ask(app, SUM_KEY, headers={"If-None-Match": etag})
    assert (response.status_code, read_error(response)["Code"]) == (503, "ObjectChanged")


# The ranges of helpers


def helps(behave: Behaviour, data: bytes = OBJECT) -> Behaviour:
    """Answers the request's own stream well, and helpers so."""
    return lambda call: behave(call) if call.header("range") else send(call, answer_well(call, data))


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_what_a_helper_gets_is_compared(store: FaultyStore, transport: Transport, difference: Difference) -> None:
    """An object that was replaced is read over, once; what contradicts the stream's answer is left to the stream."""
    store.order(helps(spoils(difference.change)))
    changed = ("ObjectChanged", b"")
    expected = changed if difference.code == "ObjectChanged" else reduce(FakeSource(OBJECT))
    assert reduce(source_at(store, transport), Prompt()) == expected
    assert any(b"range:" in head.lower() for head in store.heads)


@pytest.mark.parametrize("fault", HASTY_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_a_helper_meets_is_never_a_part_of_a_number(
    store: FaultyStore, transport: Transport, fault: Fault
) -> None:
    assert fault.behave
    store.order(helps(fault.behave))
    code, data = reduce(source_at(store, transport), Prompt())
    assert (code, data) in {("ObjectChanged", b""), reduce(FakeSource(OBJECT))}


def test_helpers_ask_for_the_same_object_only(store: FaultyStore, transport: Transport) -> None:
    """A store that has another one refuses, so that its bytes are not even sent."""
    reduce_source(SUM, source_at(store, transport), make_engine(Prompt(), SMALL))
    conditions = [read_headers(head).get("if-match") for head in store.heads]
    assert conditions[0] is None
    assert set(conditions[1:]) == {ETAG}


def test_helpers_leave_the_condition_of_the_caller_as_it_is(store: FaultyStore, transport: Transport) -> None:
    """A signature may cover it."""
    request = StoreRequest(Origin.parse(store.url), "/bucket/key", {"host": "store", "if-match": "*"})
    reduce_source(SUM, StoreSource(transport, request, Scope.after(60)), make_engine(Prompt(), SMALL))
    assert len(store.heads) > 1
    assert [head.lower().count(b"if-match:") for head in store.heads] == [1] * len(store.heads)
    assert {read_headers(head)["if-match"] for head in store.heads} == {"*"}


def test_helpers_read_the_name_that_the_object_was_found_under(store: FaultyStore, transport: Transport) -> None:
    """An object that has come under the first name since is another one."""

    def behave(call: Call) -> None:
        is_first = call.head.startswith(b"GET /bucket/first ")
        send(call, plain("404 Not Found") if is_first else answer_well(call))

    store.order(behave)
    origin, scope = Origin.parse(store.url), Scope.after(60)
    requests = [StoreRequest.unsigned(origin, f"/bucket/{name}") for name in ("first", "second")]
    sources = [StoreSource(transport, request, scope) for request in requests]
    reduce_source(SUM, FallbackSource(*sources), make_engine(Prompt(), SMALL))
    targets = [head.split(b" ")[1] for head in store.heads]
    assert targets == [b"/bucket/first", *[b"/bucket/second"] * (len(targets) - 1)]
    assert len(targets) > 2


LARGE_DIFFERENCES = [
    difference
    for difference in DIFFERENCES
    if difference.name in ("nothing", "gzip-of-right-length", "encrypted-key-v2", "other-etag", "shifted")
]


@pytest.mark.parametrize("cut", [None, CUT, BLOCK_BYTES, SIZES.task_bytes, SIZES.task_bytes + CUT])
@pytest.mark.parametrize("difference", LARGE_DIFFERENCES, ids=lambda difference: difference.name)
def test_a_large_object_is_read_right_or_not_at_all(
    store: FaultyStore, transport: Transport, difference: Difference, cut: int | None
) -> None:
    """Of the sizes that there are: the request's own stream breaks off, and helpers read its last parts."""
    large = make_large()

    def behave(call: Call) -> None:
        answer = answer_well(call, large)
        if call.number > 1:
            difference.change(answer)
        if call.number == 1 and cut is not None:
            call.send(answer.head + answer.body[:cut])
            call.reset()
        send(call, answer)

    store.order(behave)
    expected = np.float32(np.frombuffer(large, "<f4").sum(dtype=np.float64))
    code, data = reduce(source_at(store, transport), Prompt())
    if cut is not None:
        assert code == difference.code
    # Otherwise only helpers meet what contradicts the stream's answer, and the stream does without them.
    assert code or data == expected.tobytes()
    assert len(store.heads) > 1


# All of it at once


def misbehave(random_: random.Random, changes: Mapping[int, Callable[..., None] | None], cuts: list[int]) -> Behaviour:
    """Cuts the first answers off, and spoils each as the number of the request has it."""

    def behave(call: Call) -> None:
        answer = answer_well(call)
        if change := changes.get(call.number):
            change(answer)
        if call.number <= len(cuts):
            call.send(answer.head + answer.body[: cuts[call.number - 1]])
            call.reset()
        call.send(answer.head)
        # In two pieces, wherever the second begins.
        place = random_.randrange(len(answer.body) + 1)
        call.send(answer.body[:place])
        call.send(answer.body[place:])

    return behave


@pytest.mark.parametrize("seed", range(60))
def test_whatever_later_answers_say_the_number_is_right_or_there_is_none(
    store: FaultyStore, app: flask.Flask, seed: int
) -> None:
    drawn = random.Random(seed)  # not a secret
    start = drawn.randrange(0, OBJECT_BYTES // 8) * 4
    stop = start + drawn.choice([4, BLOCK_BYTES, BLOCK_BYTES + 4, drawn.randrange(1, OBJECT_BYTES // 8) * 4])
    headers = drawn.choice([{}, {"Range": f"bytes={start}-{stop - 1}"}, FIXED_RANGE])
    asked = NUMBERS if not headers else NUMBERS[start // 4 : stop // 4]
    if headers is FIXED_RANGE:
        asked = NUMBERS[RANGE.start // 4 : RANGE.stop // 4]
    cuts = [drawn.choice([0, 1, 3, 4, drawn.randrange(asked.nbytes)]) for _ in range(drawn.choice([1, 1, 2]))]
    chosen = {number: drawn.choice(DIFFERENCES) for number in range(2, 5) if drawn.random() < 0.6}
    store.order(misbehave(drawn, {number: each.change for number, each in chosen.items()}, cuts))
    expected = np.float32(asked.sum(dtype=np.float64)).tobytes()
    was_right = is_right(ask(app, SUM_KEY, headers=headers), expected)
    if not any(difference.code for difference in chosen.values()):
        assert was_right


@pytest.mark.parametrize("seed", range(40))
def test_whatever_helpers_meet_the_number_is_right_or_there_is_none(
    store: FaultyStore, transport: Transport, seed: int
) -> None:
    drawn = random.Random(seed)  # not a secret
    changes = {number: drawn.choice(DIFFERENCES).change for number in range(2, 12) if drawn.random() < 0.4}
    cuts = [drawn.randrange(OBJECT_BYTES)] if drawn.random() < 0.5 else []
    store.order(misbehave(drawn, changes, cuts))
    code, data = reduce(source_at(store, transport), Fetchers(always=True))
    assert code or data == reduce(FakeSource(OBJECT))[1]

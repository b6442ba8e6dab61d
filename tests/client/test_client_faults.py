"""The client before a service that is down, full, old, or breaks off; where its secret goes; and how it shows itself.

The service is a function of the tests: it answers one request after another, over a real connection on loopback.
"""

import json
import logging
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import cbor2
import numpy as np
import pytest
from numpy import ma  # noqa: TID251  # it is what the client returns

from active_storage import Client, Plan, Result, between, nearest
from active_storage.algebra import ARITHMETIC_VERSION
from active_storage.client.arguments import ObjectArguments, QuestionArguments
from active_storage.client.client import Client as ClientClass
from active_storage.client.failures import (
    BadReply,
    IncompleteReply,
    InsecureService,
    ServiceTooOld,
    ServiceUnreachable,
)
from active_storage.client.groups import Group, Variable
from active_storage.client.items import SectionResult
from active_storage.client.objects import build_spec
from active_storage.client.questions import build_members, find_container
from active_storage.client.results import ResultForm
from active_storage.errors import (
    ActiveStorageError,
    ArrayChanged,
    InvalidArgument,
    ObjectChanged,
    PlanOutdated,
    SlowDown,
    StoreError,
    UndecodableData,
    UnknownReducer,
    WrongRegion,
)
from active_storage.grammar.arrays import ARRAY_PARAMETERS, GROUP_VALUES
from active_storage.grammar.parameters import PARAMETERS
from active_storage.grammar.reductions import format_segment
from active_storage.grammar.targets import DISCOVERY_PATH
from active_storage.model.reducers import ARRAY_REDUCERS, REDUCERS
from tests.client.conftest import NUMBERS
from tests.client.signed_store import KEYS, Served, SignedStore, Wsgi

URL = "s3://bucket/a.zarr"
NOON = np.datetime64("2000-01-01T12:00:00", "ns")

DOCUMENT = {
    "active_storage_version": "v1",
    "s3_endpoint": "http://store.example.org",
    "available_reducers": list(REDUCERS),
    "container_reducers": list(ARRAY_REDUCERS),
    "container_parameters": [*ARRAY_PARAMETERS, GROUP_VALUES],
}

HEADER = {
    "type": "header",
    "version": ARITHMETIC_VERSION,
    "plan": "digest",
    "sections": [0, 3],
    "of": 3,
    "reducer": "sum",
    "dtype": "float64",
    "cells": [2],
    "dims": ["lat"],
    "labels": {},
    "units": "K",
    "partial": {
        "reducer": "sum",
        "dtype": "float64",
        "sum_dtype": None,
        "ddof": 0,
        "is_weighted": False,
        "edges": None,
    },
    "packing": None,
}

RESULT = {
    "type": "result",
    "bytes": np.array([3.0, 4.0]).tobytes(),
    "dtype": "float64",
    "shape": [2],
    "count": [3, 0],
    "dims": ["lat"],
    "labels": {"lat": [-10, 10]},
    "units": "K",
    "missing_chunks": 1,
    "requests": 2,
    "bytes_read": 2048,
}

PLAN = {
    "digest": "digest",
    "sections": 3,
    "chunks": 12,
    "shape": [4, 2],
    "dims": ["time", None],
    "dtype": "float64",
    "chunk_shape": [1, 2],
    "stored_bytes": None,
    "decoded_bytes": 1536,
    "requests": 12,
    "memory_bytes": None,
    "etags": ['"etag"'],
}

Answer = tuple[int, dict[str, str], bytes]


def section(number: int) -> dict[str, Any]:
    """The partial sum of 1 and of 2 in the two cells."""

    def write(values: Any) -> dict[str, Any]:
        array = np.asarray(values)
        return {"dtype": array.dtype.name, "shape": list(array.shape), "bytes": array.tobytes()}

    state = {"total": write([1.0, 2.0]), "error": write([0.0, 0.0])}
    piece = {"cells": [[0, 2, None]], "count": write(np.array([1, 1])), "state": state}
    return {"type": "section", "section": number, "pieces": [piece], "missing_chunks": 0, "bytes_read": 16}


def items(*members: Mapping[str, Any]) -> Answer:
    return 200, {"Content-Type": "application/cbor-seq"}, b"".join(map(cbor2.dumps, members))


def fault(status: int, code: str, message: str, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": "wrong", "caused_by": [message], "code": code}}).encode()
    return status, headers, body


class Script:
    """A service that gives one answer after another; the discovery document is always there."""

    def __init__(self, *answers: Answer, document: Mapping[str, Any] | None = None) -> None:
        self.answers = list(answers)
        self.document = DOCUMENT if document is None else document
        self.asked: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == DISCOVERY_PATH:
            answer: Answer = (200, {}, json.dumps(self.document).encode())
        else:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            self.asked.append(cbor2.loads(environ["wsgi.input"].read(length)) if length else {})
            answer = self.answers.pop(0)
        status, headers, body = answer
        start_response(
            f"{status} status",
            [*headers.items(), *([] if "Content-Length" in headers else [("Content-Length", str(len(body)))])],
        )
        return [body]


@pytest.fixture
def ask(serve: Callable[..., Served]) -> Iterator[Callable[..., Any]]:
    """Makes a client of a service with a script; ``pauses`` gets the seconds that it waits."""
    with ExitStack() as stack:

        def make(script: Wsgi, **options: Any) -> Any:
            served = serve(script)
            keys = {"key": KEYS.access_key, "secret": KEYS.secret_key}
            client = stack.enter_context(Client(served.endpoint, **{**keys, **options}))
            client.pauses = []  # type: ignore[attr-defined]
            client._connections._sleep = client.pauses.append  # type: ignore[attr-defined]
            return client

        yield make


def cut(answer: Answer, end: int = 1) -> Answer:
    """The same answer, whose connection closes before the last bytes."""
    status, headers, body = answer
    return status, {**headers, "Content-Length": str(len(body))}, body[:-end]


END = {"type": "end"}
WHOLE = items(HEADER, RESULT, END)


def test_a_result_has_its_facts_and_is_masked_where_it_means_nothing(ask: Callable[..., Any]) -> None:
    result = ask(Script(WHOLE)).mean(URL, "tas", axis="time")
    assert ma.getmaskarray(result.values).tolist() == [False, True]
    assert (result.values[0], result.counts.tolist(), result.units) == (3.0, [3, 0], "K")
    assert (result.dims, result.labels, result.requests, result.missing_chunks) == (("lat",), {"lat": [-10, 10]}, 2, 1)
    # A sum of nothing is 0.
    assert not ma.isMaskedArray(ask(Script(WHOLE)).sum(URL, "tas").values)
    assert np.array_equal(np.asarray(result), [3, np.nan], equal_nan=True)
    assert np.asarray(result, "f4").dtype == "f4"


# Full, down, broken


def test_a_full_service_is_asked_again_after_as_long_as_it_says(ask: Callable[..., Any]) -> None:
    client = ask(
        Script(fault(503, "SlowDown", "full", **{"Retry-After": "7"}), fault(503, "ObjectChanged", "x"), WHOLE)
    )
    assert client.sum(URL, "tas").shape == (2,)
    assert client.pauses == [7.0, 0.5]


def test_a_service_that_stays_full_is_slow_down(ask: Callable[..., Any]) -> None:
    script = Script(*[fault(503, "SlowDown", "full", **{"Retry-After": "2"})] * 3)
    with pytest.raises(SlowDown) as caught:
        ask(script, retries=2).sum(URL, "tas")
    assert (caught.value.retry_after_seconds, script.answers) == (2, [])
    # Nobody waits for an hour.
    with pytest.raises(SlowDown):
        ask(Script(fault(503, "SlowDown", "full", **{"Retry-After": "3600"}))).sum(URL, "tas")


def test_a_service_that_is_down_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{free.getsockname()[1]}", anon=True, retries=1)
        client._connections._sleep = lambda seconds: None
        with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:\d+ does not answer"):
            client.sum(URL, "tas")


def test_a_silent_service_is_asked_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", anon=True, timeout=0.05)
        with pytest.raises(ServiceUnreachable, match=r"sent nothing for 0\.05 s"):
            client.sum(URL, "tas")


@pytest.mark.parametrize("broken", [items(HEADER), items(HEADER, RESULT), cut(WHOLE), cut(WHOLE, 40)])
def test_half_a_reply_is_never_a_result(ask: Callable[..., Any], broken: Answer) -> None:
    with pytest.raises(IncompleteReply):
        ask(Script(broken), retries=0).sum(URL, "tas")


def test_a_short_reply_that_breaks_is_asked_for_again(ask: Callable[..., Any]) -> None:
    script = Script(cut(items({**HEADER, "of": 1}, RESULT)), WHOLE)
    assert ask(script).sum(URL, "tas").values.tolist() == [3.0, 4.0]
    assert [each["answer"] for each in script.asked] == ["progress", "progress"]


def test_a_long_reply_that_breaks_is_resumed_by_sections(ask: Callable[..., Any]) -> None:
    """Each break costs the sections that had not come; no section is asked for or joined twice."""
    script = Script(
        items(HEADER, {"type": "progress", "sections": 1, "of": 3}),
        items(HEADER, section(0), section(1)),
        items({**HEADER, "sections": [2, 3]}, {"type": "progress", "sections": 0, "of": 1}, section(2), END),
        (200, {}, cbor2.dumps(PLAN)),
    )
    seen: list[tuple[int, int]] = []
    result = ask(script).sum(URL, "tas", progress=lambda *done: seen.append(done))
    assert (result.values.tolist(), result.counts.tolist(), result.units) == ([3.0, 6.0], [3, 3], "K")
    assert [each.get("sections") for each in script.asked] == [None, None, [2, 3], None]
    assert (script.asked[2]["plan"], script.asked[3]["reducer"]) == ("digest", "sum")
    assert seen == [(1, 3), (1, 3), (2, 3), (3, 3)]


def test_sections_of_a_broken_reply_whose_array_has_changed_are_refused(ask: Callable[..., Any]) -> None:
    broken = items(HEADER, section(0), section(1), section(2))
    script = Script(broken, (200, {}, cbor2.dumps({**PLAN, "digest": "another"})))
    with pytest.raises(PlanOutdated):
        list(ask(script).partials("sum", URL, "tas"))
    with pytest.raises(PlanOutdated, match="new one"):
        list(ask(Script(fault(409, "PlanOutdated", "ask for a new one"))).partials("sum", URL, "tas"))


def test_an_error_within_a_reply_has_its_class(ask: Callable[..., Any]) -> None:
    error = {"type": "error", "status": 409, "error": {"message": "array 'tas' changed, twice", "code": "ArrayChanged"}}
    script = Script(items(HEADER, error))
    with pytest.raises(ArrayChanged, match="changed, twice"):
        ask(script).sum(URL, "tas")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (fault(400, "UndecodableData", "zlib: is damaged"), UndecodableData),
        (fault(400, "NoSuchKey", "NoSuchKey: none"), StoreError),
        (fault(400, "InvalidArgument", "axis: is wrong"), InvalidArgument),
        ((502, {}, b"<html>a gateway</html>"), ServiceUnreachable),
        ((404, {"Content-Type": "text/html"}, b"<html>a gateway</html>"), BadReply),
        ((500, {}, b"[" * 5000), BadReply),
        ((200, {"Content-Type": "text/html; charset=utf-8"}, b"{<html>a portal</html>"), BadReply),
        ((200, {}, b"\xff"), BadReply),
        (items({"type": "header"}, END), BadReply),
        (items(RESULT | {"shape": [5]}, END), BadReply),
        (items(END), BadReply),
    ],
)
def test_errors_and_nonsense_have_classes(ask: Callable[..., Any], answer: Answer, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ask(Script(answer), retries=0).sum(URL, "tas")


def test_partials_of_another_arithmetic_are_not_joined(ask: Callable[..., Any]) -> None:
    script = Script(items({**HEADER, "version": ARITHMETIC_VERSION + 1}, section(0), END))
    with pytest.raises(ServiceTooOld, match="arithmetic"):
        list(ask(script).partials("sum", URL, "tas"))


def test_partials_can_be_pickled_and_those_of_several_plans_are_not_joined(ask: Callable[..., Any]) -> None:
    reply, other = (items({**HEADER, "plan": plan}, *map(section, range(3)), END) for plan in ("digest", "other"))
    first, second = (list(ask(Script(each)).partials("sum", URL, "tas")) for each in (reply, other))
    sent: list[SectionResult] = pickle.loads(pickle.dumps(first))  # noqa: S301  # our own
    assert Client.join(reversed(sent)).values.tolist() == [3.0, 6.0]
    with pytest.raises(InvalidArgument, match="several plans"):
        Client.join([*first[:2], second[2]])
    with pytest.raises(InvalidArgument, match="is empty, and a result is joined of at least one section"):
        Client.join([])


# Versions


@pytest.mark.parametrize("document", [{}, {"active_storage_version": "v9"}, {"hello": 1}])
def test_another_server_is_no_service(ask: Callable[..., Any], document: dict[str, Any]) -> None:
    with pytest.raises(ServiceTooOld, match="is no active storage"):
        ask(Script(document=document or {"a": 1})).sum(URL, "tas")


def test_a_plain_store_is_no_service(ask: Callable[..., Any]) -> None:
    with pytest.raises(ServiceTooOld, match="is no active storage"):
        ask(SignedStore({})).sum(URL, "tas")


def test_a_service_that_is_too_old_is_told_before_it_is_asked(ask: Callable[..., Any]) -> None:
    old = {name: value for name, value in DOCUMENT.items() if not name.startswith("container")}
    with pytest.raises(ServiceTooOld, match="plain objects only"):
        ask(Script(document=old)).sum(URL, "tas")
    known = {"container_reducers": ["sum"], "container_parameters": ["axis"]}
    client = ask(Script(document=DOCUMENT | known))
    with pytest.raises(ServiceTooOld, match="the reducer kurtosis"):
        client.kurtosis(URL, "tas")
    with pytest.raises(ServiceTooOld, match="does not know group"):
        client.sum(URL, "tas", group="time.month")
    client = ask(Script(document=DOCUMENT | {"container_parameters": list(ARRAY_PARAMETERS)}))
    numbers: Any
    for numbers in (("time", [1, 2]), {"dims": ["time"], "values": [1, 2]}):
        with pytest.raises(ServiceTooOld, match=r"does not know group\.values"):
            client.sum(URL, "tas", group=numbers)
    with pytest.raises(UnknownReducer, match="did you mean 'sum'"):
        client.reduce("summ", URL, "tas")


# The secret


@pytest.mark.parametrize("url", ["http://reduce.example.org", "http://10.0.0.1:8000", "http://127.example.org"])
def test_the_secret_is_not_sent_over_http_to_another_machine(url: str) -> None:
    with pytest.raises(InsecureService, match="insecure=True"):
        Client(url, key="key", secret="secret")
    with pytest.raises(InsecureService):
        Client(url)
    Client(url, anon=True).close()
    Client(url, insecure=True).close()


@pytest.mark.parametrize(
    "url", ["https://reduce.example.org", "http://localhost:8000", "http://[::1]", "http://127.1.2.3"]
)
def test_the_secret_may_go_over_https_and_to_this_machine(url: str) -> None:
    Client(url, key="key", secret="secret").close()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"key": "key"}, "key"),
        ({"token": "token"}, "key"),
        ({"key": "key", "secret": "secret", "anon": True}, "anon"),
        ({"key": "key", "secret": "secret", "profile": "lab"}, "profile"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Client("http://localhost:8000", **options)
    assert caught.value.field == field


def test_a_url_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Client("https://user:hidden-word@reduce.example.org")
    assert "hidden-word" not in str(caught.value)


def test_no_repr_error_or_log_has_the_secret(
    ask: Callable[..., Any], caplog: pytest.LogCaptureFixture, proxy: Served
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    for answer in (WHOLE, cut(WHOLE), fault(401, "AccessDenied", "AccessDenied: no"), (500, {}, b"")):
        client = ask(Script(answer), retries=0)
        shown.append(repr(client) + repr(client._keys) + repr(vars(client)))
        try:
            shown.append(repr(client.sum(URL, "tas")))
        except ActiveStorageError as error:
            shown.append(repr(error) + str(error.__context__) + str(error.__cause__))
    with Client(proxy.endpoint, key=KEYS.access_key, secret=KEYS.secret_key) as client:
        client.sum("bucket", "key", dtype="float32")
    assert KEYS.secret_key not in "".join(shown) + caplog.text


def test_a_plain_object_is_asked_for_with_a_signature_and_no_secret(proxy: Served) -> None:
    with Client(proxy.endpoint, key=KEYS.access_key, secret=KEYS.secret_key, token="token") as client:
        with pytest.raises(StoreError):
            client.sum("bucket", "none", dtype="float32")
        result = client.sum("bucket", "key", dtype="float32")
    assert (result.values, result.counts, result.etag is not None) == (NUMBERS.sum(), 10, True)
    [_, seen] = proxy.requests
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256")
    assert KEYS.secret_key not in repr(seen)


@pytest.mark.parametrize("key", ["a b", "ä/ключ", "a//b", "a/../b", "..", "100%", "%2F", "a+b?c=d#e", "/a"])
def test_keys_reach_the_store_as_they_are(
    make_proxy: Callable[..., Served], serve: Callable[..., Served], key: str
) -> None:
    proxy = make_proxy(serve(SignedStore({f"/bucket/{key}": NUMBERS.tobytes()})))
    with Client(proxy.endpoint, key=KEYS.access_key, secret=KEYS.secret_key) as client:
        assert client.max("bucket", key, dtype="<f4", selection=[slice(None, None, 2)]).values == 9


def test_redirects_are_not_followed(ask: Callable[..., Any], plain: Served) -> None:
    with pytest.raises(BadReply, match="status 307 came that is not of the service"):
        ask(Script((307, {"Location": plain.endpoint}, b""))).sum(URL, "tas")
    assert plain.recorder.seen == []


# Arguments


def test_the_arguments_are_the_parameters_of_the_service() -> None:
    of_the_store = {"container", "concat", "interface_type"}
    assert QuestionArguments.__optional_keys__ - of_the_store == ARRAY_PARAMETERS.keys() - {"var"}
    assert ObjectArguments.__optional_keys__ == PARAMETERS.keys()


def test_wrong_names_of_arguments_suggest_near_ones(ask: Callable[..., Any]) -> None:
    client = ask(Script())
    with pytest.raises(TypeError, match=r"no argument 'axes' \(did you mean 'axis'"):
        client.sum(URL, "tas", axes="time")
    with pytest.raises(TypeError, match="missing_value"):
        client.sum("bucket", "key", dtype="f4", mising_value=1)
    with pytest.raises(InvalidArgument, match="dtype: is required"):
        client.sum("bucket", "key")
    with pytest.raises(InvalidArgument, match="an array has its own"):
        client.sum(URL, "tas", dtype="f4")


def test_members_are_those_of_the_interface() -> None:
    members = build_members(
        "s3://bucket/a b/store.zarr",
        "g/tas",
        {
            "axis": np.int64(0),
            "where": {
                "lat": slice(-30, np.float32(30)),
                "lon": between(350, 10, cyclic=True),
                "level": 500,
                "height": nearest(-2, cyclic=True),
                "time": slice("2000-01", np.datetime64("2009-12-31")),
                "day": "2001",
                "x": slice(None),
            },
            "selection": {"time": slice(0, 12), "y": -1},
            "group": "time.month",
            "weights": ("lat", np.ones(2)),
            "missing_value": np.float32(1),
            "skipna": None,
        },
        "http://store.example.org",
    )
    assert members == {
        "store": {"type": "zarr", "url": "http://store.example.org/bucket/a%20b/store.zarr", "array": "g/tas"},
        "axis": [0],
        "selection": {
            "time": {"index": [0, 12, None], "from": "2000-01", "to": "2009-12-31"},
            "y": {"index": [-1, None, None]},
            "lat": {"from": -30, "to": 30},
            "lon": {"from": 350, "to": 10, "cyclic": True},
            "level": {"nearest": 500},
            "height": {"nearest": -2, "cyclic": True},
            "day": {"from": "2001", "to": "2001"},
            "x": {"index": [None, None, None]},
        },
        "group": {"time": "month"},
        "weights": {"dims": ["lat"], "values": [1.0, 1.0]},
        "missing": {"missing_value": 1.0},
    }


@pytest.mark.parametrize(
    ("argument", "member"),
    [
        ({"weights": "cos:lat"}, {"weights": {"cos": "lat"}}),
        ({"weights": "area"}, {"weights": {"array": "area"}}),
        ({"weights": {"array": "area"}}, {"weights": {"array": "area"}}),
        ({"group": "time:30D"}, {"group": {"time": "30D"}}),
        ({"group": "region"}, {"group": "region"}),
        ({"group": {"a.b": "month"}}, {"group": {"a.b": "month"}}),
        ({"group": ("time", [1, 0, 1])}, {"group": {"dims": ["time"], "values": [1, 0, 1]}}),
        ({"group": (0, np.array([0.5, np.nan]))}, {"group": {"dims": [0], "values": [0.5, None]}}),
        ({"group": (np.int64(-1), (2**63, 0))}, {"group": {"dims": [-1], "values": [2**63, 0]}}),
        ({"group": (["a", "b"], [[1]])}, {"group": {"dims": ["a", "b"], "values": [[1]]}}),
        ({"group": {"dims": ["t"], "values": np.arange(2)}}, {"group": {"dims": ["t"], "values": [0, 1]}}),
        ({"axis": ("lat", "lon")}, {"axis": ["lat", "lon"]}),
        ({"selection": [slice(0, 2), 3]}, {"selection": [[0, 2, None], [3, 4, None]]}),
        ({"where": {"t": NOON}}, {"selection": {"t": {"nearest": "2000-01-01T12:00:00"}}}),
        ({"edges": np.arange(3)}, {"edges": [0, 1, 2]}),
    ],
)
def test_an_argument_becomes_a_member(argument: Any, member: dict[str, Any]) -> None:
    members = build_members("https://store.example.org/bucket/f.nc", "tas", argument, "")
    assert {name: value for name, value in members.items() if name != "store"} == member


@pytest.mark.parametrize(
    ("argument", "field"),
    [
        ({"where": {"lat": slice(0, 10, 2)}}, "where"),
        ({"where": {"lat": [1, 2]}}, "where"),
        ({"selection": {"time": "2000"}}, "selection"),
        ({"group": ("time", ["a", "b"])}, "group"),
        ({"group": ("time", np.array(["2000-01"], "M8[D]"))}, "group"),
        ({"group": ("time", [True, False])}, "group"),
    ],
)
def test_an_argument_of_a_wrong_form(argument: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build_members(URL, "tas", argument, "http://store.example.org")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("url", "container"),
    [
        ("s3://b/a.zarr", "zarr"),
        ("s3://b/a.ZARR/group/", "zarr"),
        ("s3://b/a.nc", "netcdf"),
        ("https://s/b/a.nc4?versionId=1", "netcdf"),
        ("s3://b/a.h5", "netcdf"),
        ("s3://b/refs.json", "kerchunk"),
        ("s3://b/refs.parquet", "kerchunk"),
    ],
)
def test_the_end_of_a_url_tells_the_container(url: str, container: str) -> None:
    assert find_container(url) == container


def test_a_url_that_tells_no_container_needs_one() -> None:
    with pytest.raises(InvalidArgument, match="container"):
        build_members("s3://b/data", "tas", {}, "http://store.example.org")
    members = build_members(["s3://b/data"], "tas", {"container": "hdf5", "concat": "time"}, "http://s")
    assert members["store"] == {"type": "hdf5", "urls": ["http://s/b/data"], "array": "tas", "concat": "time"}
    wrong: Any
    for wrong in ("s3://bucket", "file:///a.nc", []):
        with pytest.raises(InvalidArgument, match="store"):
            build_members(wrong, "tas", {"container": "netcdf"}, "http://s")


# What is shown


def test_a_result_is_like_an_array() -> None:
    result = Result(np.float64(2.5), np.int64(4), units="K")
    assert (float(result), int(result), bool(result), result.shape, result.size) == (2.5, 2, True, (), 1)
    assert repr(result) == "<Result float64>\n2.5\nunits: K\nelements: 4"
    many = Result(np.arange(3), np.ones(3, int), dims=("<lat>",), requests=2, bytes_read=2048)
    assert (len(many), list(many), many[1], many.ndim, many.dtype.kind) == (3, [0, 1, 2], 1, 1, "i")
    assert np.mean(many) == 1
    shown = many._repr_html_()
    assert "2.0 KiB in 2 requests" in shown
    assert "&lt;lat&gt;: 3" in shown
    assert "<lat>" not in shown


def test_a_plan_is_shown(ask: Callable[..., Any]) -> None:
    plan = ask(Script((200, {}, cbor2.dumps(PLAN)))).plan(URL, "tas")
    assert isinstance(plan, Plan)
    assert (plan.shape, plan.dims, plan.etags) == ((4, 2), ("time", None), ('"etag"',))
    for shown in (repr(plan), plan._repr_html_()):
        for part in ("time: 4, dim_1: 2", "1.5 KiB", "unknown before it is read", "digest"):
            assert part in shown
    assert plan.result is None
    form = {"dtype": "float64", "shape": [2], "dims": [None], "labels": {}, "units": "K"}
    named = ask(Script((200, {}, cbor2.dumps({**PLAN, "result": form})))).plan(URL, "tas", reducer="mean")
    assert named.result == ResultForm("float64", (2,), (None,), {}, "K")
    with pytest.raises(BadReply, match="has no chunks"):
        ask(Script((200, {}, cbor2.dumps({name: value for name, value in PLAN.items() if name != "chunks"})))).plan(URL)


def test_a_group_is_shown() -> None:
    group = Group({}, (Variable("tas", ("time", None), (4, 2), "int16", (2, 2), {}),), {"name": "<texts>"}, 1, 100)
    shown = group._repr_html_()
    assert "<th>tas</th><td>(time: 4, ?: 2) int16, chunks of (2, 2)</td>" in shown
    assert "<th>name</th><td>cannot be read: &lt;texts&gt;</td>" in shown


def test_a_method_is_documented() -> None:
    client = Client("http://localhost:8000", anon=True)
    assert client.mean.__name__ == "mean"
    assert (client.mean.__doc__ or "").startswith("The mean.")
    assert ClientClass.mean.__doc__ == client.mean.__doc__


def test_counts_that_a_header_cannot_hold_are_asked_for(proxy: Served) -> None:
    with Client(proxy.endpoint, key=KEYS.access_key, secret=KEYS.secret_key) as client:
        result = client.sum("bucket", "key", dtype="uint8", shape=40, axis=(), missing_value=0)
        assert result.counts.tolist() == [int(each != 0) for each in NUMBERS.tobytes()]


# Plain objects


def sums(dtype: str = "float32", etag: str = "one", shape: tuple[int, ...] = (400,), **headers: str) -> Answer:
    """A result of the direct proxy, with more cells than the header can have counts."""
    facts = {"dtype": dtype, "shape": json.dumps(shape), **headers}
    named = {f"x-activestorage-{'count-total' if name == 'total' else name}": facts[name] for name in facts}
    return 200, {**named, "ETag": f'"{etag}-0123"'}, np.ones(shape, dtype).tobytes()


def test_counts_without_missing_data_follow_from_their_total(ask: Callable[..., Any]) -> None:
    script = Script(sums(total="1200"))
    result = ask(script).sum("bucket", "key", dtype="f4", shape=(400, 5), selection=[slice(None), slice(0, 3)], axis=1)
    assert (result.counts.shape, set(result.counts.tolist()), len(script.asked)) == ((400,), {3}, 1)


def test_counts_of_missing_data_are_of_the_same_object(ask: Callable[..., Any]) -> None:
    arguments = {"dtype": "f4", "shape": (400, 5), "axis": 1, "valid_min": 0, "ddof": 1}
    client = ask(Script(sums(total="400"), sums("int64", total="400")))
    assert set(client.var("bucket", "key", **arguments).counts.tolist()) == {1}
    client = ask(Script(sums(total="400"), sums("int64", "two", total="400")))
    with pytest.raises(ObjectChanged):
        client.var("bucket", "key", **arguments)
    with pytest.raises(BadReply):
        ask(Script((200, {}, b""))).sum("bucket", "key", dtype="f4")


def test_a_bucket_in_another_region_is_signed_for_once_more(ask: Callable[..., Any]) -> None:
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>another region</Message></Error>"
    wrong: Answer = (400, {"x-activestorage-bucket-region": "eu-west-2"}, body)
    answer = sums(shape=(), count="[1]")
    client = ask(Script(wrong, answer, answer, wrong))
    assert [client.sum("bucket", "key", dtype="f4").values for _ in range(2)] == [1, 1]
    with pytest.raises(WrongRegion) as caught:
        client.sum("bucket", "key", dtype="f4")
    assert caught.value.region == "eu-west-2"


def test_arguments_of_an_object_become_a_spec() -> None:
    spec = build_spec(
        "histogram",
        ">i2",
        {
            "shape": 20,
            "axis": np.int64(0),
            "filters": ["shuffle:2", {"id": "crc32c"}],
            "compression": {"id": "zlib", "level": 9},
            "edges": np.array([0, 1, 2]),
            "missing_values": [np.int16(-1), -2],
            "byte_order": None,
        },
    )
    assert format_segment(spec) == (
        "int16;byte_order=big;shape=20;axis=0;compression=zlib;filters=shuffle:2,crc32c;missing_values=-2,-1;edges=0,1,2"
    )
    assert build_spec("sum", np.float32, {"filters": "shuffle:4"}).byte_order == "little"
    with pytest.raises(InvalidArgument, match="big-endian"):
        build_spec("sum", ">f4", {"byte_order": "little"})


def test_nothing_is_sent_for_a_bucket_or_a_key_without_a_name(ask: Callable[..., Any]) -> None:
    script = Script()
    for bucket, key in (("", "key"), ("bucket", "")):
        with pytest.raises(InvalidArgument, match="is empty"):
            ask(script).sum(bucket, key, dtype="f4")
    assert script.asked == []


def test_partials_of_packed_data_become_values(ask: Callable[..., Any]) -> None:
    number = {"dtype": "float64", "shape": [], "bytes": np.float64(0.5).tobytes()}
    header = {**HEADER, "of": 1, "sections": [0, 1], "packing": {"scale": number, "offset": None, "dtype": "float64"}}
    parts = ask(Script(items(header, section(0), END))).partials("sum", URL, "tas")
    assert Client.join(parts).values.tolist() == [0.5, 1.0]


def test_a_caller_who_stops_closes_the_connection(ask: Callable[..., Any]) -> None:
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    client = ask(Script(items(HEADER, {"type": "progress", "sections": 1, "of": 3}), WHOLE))
    with pytest.raises(KeyboardInterrupt):
        client.sum(URL, "tas", progress=stop)
    assert client.sum(URL, "tas").shape == (2,)


@pytest.mark.parametrize(
    "broken",
    [
        items(HEADER, section(1), END),
        items(HEADER, section(0), END),
        items(HEADER, {"type": "section", "section": 0}, END),
        items(HEADER, {"section": 0}),
        items(END),
        (200, {}, b"\xff"),
    ],
)
def test_sections_that_do_not_fit_are_refused(ask: Callable[..., Any], broken: Answer) -> None:
    with pytest.raises(BadReply):
        list(ask(Script(broken)).partials("sum", URL, "tas"))

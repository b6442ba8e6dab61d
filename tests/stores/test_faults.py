"""A store that does wrong: each fault is one clear error, or the right number, and never another number.

The table is ``FAULTS`` in ``tests/faulty_store.py``; the application is the real one, with its real transport.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import flask
import pytest
from werkzeug.test import TestResponse

from active_storage.errors import CallerGone
from handler.stores.transport import Transport
from tests import faults_page
from tests.faulty_store import (
    CUT,
    CUTS,
    ETAG,
    FAULTS,
    NUMBERS,
    OBJECT,
    RANGE,
    RANGE_HEADER,
    RANGE_SUM,
    WHOLE_SUM,
    Answer,
    Call,
    Fault,
    FaultyStore,
    HangUp,
    adds,
    cuts_off,
    first,
    plain,
    read_headers,
    says,
    service,
    well,
)
from tests.helpers import BLOCK_BYTES, ask, check_no_secret, read_error

KEY = "/sum/float32/bucket/key"

# Secrets that must not come back: of a form that S3's can have, and unlike anything else in a request.
ACCESS_KEY = "AKIACANARYCANARY7777"
SIGNATURE = "c0ffee00" * 8
TOKEN = "FwoGZXIvYXdzEJr//CaNaRy+" * 8 + "=="
CANARIES = (ACCESS_KEY, SIGNATURE, TOKEN, quote(TOKEN, safe=""))

SIGNED = {
    "Authorization": (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20261123/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={SIGNATURE}"
    ),
    "x-amz-date": "20261123T060000Z",
    "x-amz-security-token": TOKEN,
}
PRESIGNED = (
    f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={ACCESS_KEY}%2F20261123%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20261123T060000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
    f"&X-Amz-Security-Token={quote(TOKEN, safe='')}&X-Amz-Signature={SIGNATURE}"
)


@dataclass(frozen=True)
class Ask:
    """How the service is asked: for all or for a range, and by whom."""

    name: str
    is_ranged: bool
    query: str = ""
    signature: Mapping[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {**(self.signature or {}), **({"Range": RANGE_HEADER} if self.is_ranged else {})}

    @property
    def result(self) -> bytes:
        return RANGE_SUM if self.is_ranged else WHOLE_SUM


ASKS = (
    Ask("whole", False),
    Ask("range", True),
    Ask("whole-presigned", False, query=PRESIGNED),
    Ask("range-signed", True, signature=SIGNED),
)


@contextlib.contextmanager
def faulty(fault: Fault) -> Iterator[tuple[FaultyStore, flask.Flask, Transport]]:
    with FaultyStore(fault.behave, fault.listens) as store, service(store, **fault.settings) as (app, transport):
        yield store, app, transport


def check_nothing_held(transport: Transport) -> None:
    """Every connection is back in its pool, and nothing is watched any more."""
    pools = transport._adapter.poolmanager.pools
    for key in pools.keys():  # noqa: SIM118  # no mapping: it cannot be iterated over
        pool = pools[key].pool
        assert pool is not None
        assert pool.qsize() == pool.maxsize
    assert transport._watchdog._watches == set()


def shown(response: TestResponse) -> str:
    return f"{response.headers}{response.data.decode('latin-1')}"


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) - before == set()


# The table


# A fault that takes its time is met by two of the four only.
CASES = [
    pytest.param(fault, asked, id=f"{fault.name}-{asked.name}")
    for fault in FAULTS
    for asked in (ASKS[2:] if fault.settings else ASKS)
]


@pytest.mark.parametrize(("fault", "asked"), CASES)
def test_a_fault_is_a_clear_error_or_no_matter(
    fault: Fault, asked: Ask, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Exactly this status, code and number of tries; nothing stays held, and nothing secret is said anywhere."""
    caplog.set_level("DEBUG")
    outcome = fault.outcome(asked.is_ranged)
    with faulty(fault) as (store, app, transport):
        response = ask(app, KEY + asked.query, headers=asked.headers)
        assert (response.status_code, store.tries) == (outcome.status, outcome.tries), response.data
        if outcome.status == 200:
            assert response.data == asked.result
        else:
            assert read_error(response)["Code"] == outcome.code
        check_nothing_held(transport)
        if fault.listens:
            store.order(well)
            again = ask(app, KEY + asked.query, headers=asked.headers)
            assert (again.status_code, again.data, store.tries) == (200, asked.result, 1)
    check_no_secret(shown(response), CANARIES)
    check_no_secret(capfd.readouterr().err, CANARIES)
    check_no_secret(caplog.text, CANARIES)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_object_itself_is_whole_or_visibly_not(fault: Fault) -> None:
    """``/obj/`` cannot take its status back, so that a body which breaks off must end in a broken connection."""
    with faulty(fault) as (_, app, transport):
        try:
            response = ask(app, "/obj/bucket/key")
        except ConnectionResetError:
            assert fault.whole.status != 200 or fault.whole.tries > 1
        else:
            if response.status_code == 200:
                assert response.headers["Content-Length"] == str(len(response.data))
                is_encoded = fault.whole.code in ("UnsupportedContentEncoding", "ClientSideEncrypted")
                assert fault.whole.status == 200 or is_encoded
                assert response.data == OBJECT or fault.name == "gzip"
            else:
                assert read_error(response)["Code"] == fault.whole.code
        check_nothing_held(transport)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_head_is_never_a_guess(fault: Fault) -> None:
    """HEAD has no body that could contradict its headers: what they say must be right, or an error."""
    with faulty(fault) as (_, app, transport):
        response = ask(app, "/count/float32/bucket/key", "HEAD")
        assert response.data == b""
        if response.status_code == 200 and fault.name != "promises-an-exabyte":
            assert response.headers["x-activestorage-count-total"] == str(len(NUMBERS))
        check_nothing_held(transport)


def test_the_page_says_what_happens() -> None:
    """``make faults`` writes it; nobody else does."""
    assert faults_page.PAGE.read_text(encoding="utf-8") == faults_page.write_page()


# Where a connection goes


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", [KEY, "/obj/bucket/key", "/readyz"])
def test_an_origin_that_is_not_allowed_sees_no_connection(store: FaultyStore, target: str, method: str) -> None:
    with service(store, allowed_origins="https://*.example.org,http://127.0.0.1:1") as (app, _):
        response = ask(app, target, method)
    assert response.status_code == 403
    assert method == "HEAD" or read_error(response)["Code"] == "OriginNotAllowed"
    assert store.connections == 0


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_redirect_is_not_followed_wherever_it_leads(status: str, is_allowed: bool) -> None:
    """Not even to an allowed origin: the signature is for the store that was asked."""
    with (
        FaultyStore(well) as other,
        FaultyStore(says(plain(status, b"", {"Location": f"{other.url}/bucket/key"}))) as store,
    ):
        allowed = f"{store.url},{other.url}" if is_allowed else store.url
        with service(store, allowed_origins=allowed) as (app, _):
            assert read_error(ask(app, KEY))["Code"] == "StoreProtocolError"
        assert (store.tries, other.connections) == (1, 0)


# What is asked for again


def test_the_rest_is_asked_for_under_the_same_etag(store: FaultyStore, app: flask.Flask) -> None:
    store.order(first(cuts_off(CUT)))
    assert ask(app, KEY).data == WHOLE_SUM
    begun, resumed = (read_headers(head) for head in store.heads)
    assert begun.keys().isdisjoint({"range", "if-match"})
    assert (resumed["range"], resumed["if-match"]) == (f"bytes={CUT}-{len(OBJECT) - 1}", ETAG)


def test_the_rest_of_a_range_ends_where_the_range_does(store: FaultyStore, app: flask.Flask) -> None:
    store.order(first(cuts_off(CUT)))
    assert ask(app, KEY, headers={"Range": RANGE_HEADER}).data == RANGE_SUM
    assert [read_headers(head)["range"] for head in store.heads] == [
        RANGE_HEADER,
        f"bytes={RANGE.start + CUT}-{RANGE.stop - 1}",
    ]


def test_a_condition_of_the_callers_is_not_sent_twice(store: FaultyStore, app: flask.Flask) -> None:
    """Two ``If-Match`` lines are one list: either of the two objects would do."""
    etag = ask(app, KEY).headers["ETag"]
    store.order(first(cuts_off(CUT)))
    assert ask(app, KEY, headers={"If-Match": etag}).data == WHOLE_SUM
    assert [head.lower().count(b"if-match:") for head in store.heads] == [1, 1]
    assert {read_headers(head)["if-match"] for head in store.heads} == {ETAG}


@pytest.mark.parametrize("after", CUTS)
def test_where_the_range_is_signed_the_same_is_asked_for_and_skipped(
    store: FaultyStore, app: flask.Flask, after: int
) -> None:
    """Another range would break the signature, so that what was had is read once more and dropped."""
    store.order(first(cuts_off(after)))
    headers = {"Range": RANGE_HEADER, "Authorization": SIGNED["Authorization"].replace("host;", "host;range;")}
    response = ask(app, KEY, headers={**SIGNED, **headers})
    assert response.data == RANGE_SUM
    assert [read_headers(head)["range"] for head in store.heads] == [RANGE_HEADER, RANGE_HEADER]


def test_what_is_skipped_is_of_the_same_object(store: FaultyStore, app: flask.Flask) -> None:
    store.order(first(cuts_off(CUT), adds({"ETag": '"other"'})))
    headers = {"Range": RANGE_HEADER, "Authorization": SIGNED["Authorization"].replace("host;", "host;range;")}
    assert read_error(ask(app, KEY, headers={**SIGNED, **headers}))["Code"] == "ObjectChanged"


def test_not_modified_is_passed_on_to_who_asked_for_it(store: FaultyStore, app: flask.Flask) -> None:
    etag = ask(app, KEY).headers["ETag"]
    store.order(says(Answer("304 Not Modified", {"ETag": ETAG})))
    response = ask(app, KEY, headers={"If-None-Match": etag})
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)
    assert read_headers(store.heads[0])["if-none-match"] == ETAG


# The object itself


@pytest.mark.parametrize("after", [*CUTS, len(OBJECT) - 1])
def test_an_object_that_breaks_off_once_is_sent_whole(store: FaultyStore, app: flask.Flask, after: int) -> None:
    store.order(first(cuts_off(after)))
    assert ask(app, "/obj/bucket/key").data == OBJECT


def test_an_object_of_which_nothing_comes_is_an_error(store: FaultyStore, app: flask.Flask) -> None:
    store.order(cuts_off(0, etag=None))
    response = ask(app, "/obj/bucket/key")
    assert (response.status_code, read_error(response)["Code"]) == (502, "StoreCutOff")


@pytest.mark.parametrize("after", [cut for cut in CUTS if cut])
def test_an_object_that_breaks_off_is_never_complete(store: FaultyStore, app: flask.Flask, after: int) -> None:
    """The server is told of a broken connection, and closes its own before the last byte."""
    store.order(cuts_off(after, etag=None))
    with pytest.raises(ConnectionResetError):
        ask(app, "/obj/bucket/key")


def test_a_caller_that_goes_away_leaves_nothing_behind(store: FaultyStore) -> None:
    with service(store) as (app, transport):
        response = app.test_client().open("/", environ_overrides={"RAW_URI": "/obj/bucket/key"})
        assert next(response.iter_encoded())
        response.close()
        check_nothing_held(transport)
        assert ask(app, KEY).data == WHOLE_SUM


def on_socket(connection: socket.socket) -> dict[str, Any]:
    """What gunicorn says of where a caller is."""
    return {"gunicorn.socket": connection}


def test_a_caller_who_hangs_up_is_read_for_no_longer(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store sees its connection closed; the log says how far it came. The caller is looked after at every block."""
    monkeypatch.setattr("handler.app._HANG_UP_SECONDS", 0)
    here, there = socket.socketpair()
    body = bytes(64 * BLOCK_BYTES)
    was_cut: list[bool] = []

    def behave(call: Call) -> None:
        call.send(plain("200 OK", body, {"ETag": ETAG}).head + body[: 2 * BLOCK_BYTES])
        there.close()
        try:
            call.send(body[2 * BLOCK_BYTES :])
        except HangUp:
            was_cut.append(True)
            raise

    with here, FaultyStore(behave) as store, service(store) as (app, transport):
        response = ask(app, KEY, **on_socket(here))
        assert response.status_code == CallerGone.status
        check_nothing_held(transport)
        assert store.tries == 1
    assert was_cut == [True]
    line = json.loads(capfd.readouterr().err)
    assert line["outcome"] == CallerGone.code
    assert line["bytes_read"] < len(body)


def test_a_caller_who_waits_is_answered_whatever_else_it_has_sent(store: FaultyStore, app: flask.Flask) -> None:
    """A next request that came early is no end."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"GET / HTTP/1.1\r\n")
        assert ask(app, KEY, **on_socket(here)).data == WHOLE_SUM

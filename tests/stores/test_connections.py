"""How an exchange ends: closing one neither waits nor fails, and a connection with bytes left on it is not used again.

What a store sends after an answer would be taken for the next one, which may be another caller's (request smuggling, or
"response splitting"; RFC 9112, section 11).
"""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import flask
import numpy as np
import pytest

from active_storage.errors import StoreError, StoreProtocolError
from active_storage.model.origins import Origin, OriginPattern
from handler.scope import Scope
from handler.stores.addresses import read_address
from handler.stores.store_request import StoreRequest
from handler.stores.transport import Transport, TransportLimits
from handler.stores.watchdog import Watchdog
from handler.stores.wire import Response, WireAdapter
from tests.faulty_store import (
    ETAG,
    Answer,
    Behaviour,
    Call,
    FaultyStore,
    answer_well,
    first,
    floods,
    plain,
    refusal,
    says,
    send,
    sends,
    service,
)
from tests.helpers import ask

KEY = "/sum/float32/bucket/key"
EIGHT = np.array([1, 2], "<f4").tobytes()
SUM_OF_EIGHT = np.float32(3).tobytes()

# An answer that nobody asked for, with another number.
STRAY = plain("200 OK", np.float32(1e6).tobytes(), {"ETag": ETAG})
STRAY_BYTES = STRAY.head + STRAY.body

LIMITS = TransportLimits(connect_seconds=5, read_seconds=60, tries=1, connections=1)
REFUSAL = refusal("404 Not Found", "NoSuchKey", "The specified key does not exist.")


def holds_eight(call: Call) -> None:
    send(call, answer_well(call, EIGHT))


def adds_stray(answer: Answer) -> Behaviour:
    """That answer, and in the same segment another one."""
    return lambda call: call.send(answer.head + answer.body + STRAY_BYTES)


def _well_and_stray(call: Call) -> None:
    answer = answer_well(call, EIGHT)
    body = b"" if call.head.startswith(b"HEAD ") else answer.body
    call.send(answer.head + body + STRAY_BYTES)


def _heads_with_body(call: Call) -> None:
    answer = answer_well(call, EIGHT)
    call.send(answer.head + answer.body)


def _hints_before_the_head(call: Call) -> None:
    call.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    holds_eight(call)


@dataclass(frozen=True)
class Ending:
    """A row of the table: what a store sends, and what the caller sees.

    Attributes:
        name: What tests call it.
        behave: What the store does with the first request.
        status: The reply's.
        method: The request's.
        is_conditional: The request has ``If-None-Match``.
        is_kept: The connection is used again.
    """

    name: str
    behave: Behaviour
    status: int
    method: str = "GET"
    is_conditional: bool = False
    is_kept: bool = False


NOT_MODIFIED = "304 Not Modified"

# fmt: off
ENDINGS = (
    Ending("well", holds_eight, 200, is_kept=True),
    Ending("head", holds_eight, 200, "HEAD", is_kept=True),
    Ending("refusal", says(REFUSAL), 404, is_kept=True),
    Ending("refused-head", says(REFUSAL), 404, "HEAD", is_kept=True),
    Ending("not-modified", says(Answer(NOT_MODIFIED, {"ETag": ETAG})), 304, is_conditional=True, is_kept=True),
    # RFC 9112, section 6.3: these have no body, whatever their headers say.
    Ending("not-modified-in-chunks", says(Answer(NOT_MODIFIED, {"ETag": ETAG, "Transfer-Encoding": "chunked"})), 304,
           is_conditional=True),
    Ending("not-modified-with-chunks",
           says(Answer(NOT_MODIFIED, {"ETag": ETAG, "Transfer-Encoding": "chunked"}, b"0\r\n\r\n")), 304,
           is_conditional=True),
    Ending("not-modified-with-length", says(Answer(NOT_MODIFIED, {"ETag": ETAG, "Content-Length": "5"})), 304,
           is_conditional=True),
    Ending("not-modified-with-body", says(plain(NOT_MODIFIED, STRAY_BYTES, {"ETag": ETAG})), 304, is_conditional=True),
    Ending("not-modified-and-stray", adds_stray(Answer(NOT_MODIFIED, {"ETag": ETAG})), 304, is_conditional=True),
    Ending("no-content-in-chunks", says(Answer("204 No Content", {"Transfer-Encoding": "chunked"})), 502),
    Ending("head-in-chunks", says(Answer("200 OK", {"ETag": ETAG, "Transfer-Encoding": "chunked"})), 502, "HEAD"),
    Ending("refused-head-in-chunks", says(Answer("404 Not Found", {"Transfer-Encoding": "chunked"})), 404, "HEAD"),
    Ending("head-with-body", _heads_with_body, 200, "HEAD"),
    Ending("head-and-stray", _well_and_stray, 200, "HEAD"),
    Ending("refused-head-with-body", lambda call: call.send(REFUSAL.head + REFUSAL.body), 404, "HEAD"),
    Ending("hints-before-the-head", _hints_before_the_head, 502, "HEAD"),
    Ending("hints", _hints_before_the_head, 502),
    Ending("well-and-stray", _well_and_stray, 200),
    Ending("refusal-and-stray", adds_stray(REFUSAL), 404),
    Ending("empty-refusal-and-stray", adds_stray(plain("404 Not Found")), 404),
    Ending("redirect-and-stray", adds_stray(plain("307 Temporary Redirect")), 502),
    # RFC 9112, section 6.1: two lengths, of which others on the way may believe the second.
    Ending("refusal-with-two-lengths",
           says(Answer("404 Not Found", {"Transfer-Encoding": "chunked", "Content-Length": "5"}, b"0\r\n\r\n")), 404),
    Ending("refusal-in-another-coding",
           says(Answer("404 Not Found", {"Transfer-Encoding": "gzip, chunked", "Content-Length": "0"})), 404),
    Ending("refusal-of-a-thousand-digits",
           lambda call: call.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n"), 404),
)
# fmt: on


@pytest.fixture
def app(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[flask.Flask]:
    """The application, which waits for a store's words no longer than a moment."""
    monkeypatch.setattr("handler.stores.exchange._MAX_ERROR_SECONDS", 0.2)
    with service(store) as (app, _):
        yield app


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_an_exchange_ends_with_its_answer_and_leaves_none_for_the_next(
    store: FaultyStore, app: flask.Flask, ending: Ending
) -> None:
    """Nothing that a store sends or leaves out in the end makes a good answer a bad one, or the next one another."""
    store.order(holds_eight)
    headers = {"If-None-Match": ask(app, KEY).headers["ETag"]} if ending.is_conditional else {}
    store.order(first(ending.behave, holds_eight))
    begun = store.connections
    assert ask(app, KEY, ending.method, headers).status_code == ending.status
    used = store.connections
    assert ask(app, KEY).data == SUM_OF_EIGHT
    assert (store.connections == used) is ending.is_kept
    assert used - begun <= 1


def test_what_comes_while_a_connection_rests_is_not_the_next_answer(store: FaultyStore, app: flask.Flask) -> None:
    calls: list[Call] = []

    def behave(call: Call) -> None:
        calls.append(call)
        holds_eight(call)

    store.order(behave)
    assert ask(app, KEY).data == SUM_OF_EIGHT
    calls[0].send(STRAY_BYTES)
    assert ask(app, KEY).data == SUM_OF_EIGHT
    assert (store.tries, store.connections) == (2, 2)


@pytest.fixture
def transport(store: FaultyStore) -> Iterator[Transport]:
    with closing(Transport((OriginPattern.parse(store.url),), LIMITS)) as transport:
        yield transport


def send_get(adapter: WireAdapter, origin: Origin) -> Response:
    """The response to a request for the object, of which nothing is read yet."""
    head = StoreRequest.unsigned(origin, "/bucket/key").write_head("GET")
    with closing(Watchdog()) as watchdog:
        return adapter.send(head, origin, lambda _: read_address(origin), watchdog.watch(Scope.after(60)), (5, 60))


def request_to(store: FaultyStore) -> StoreRequest:
    return StoreRequest(Origin.parse(store.url), "/bucket/key", {"host": "store"})


def _drips(head: bytes, piece: bytes) -> Behaviour:
    def behave(call: Call) -> None:
        call.send(head)
        call.drip(piece)

    return behave


FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\n"


@pytest.mark.parametrize(
    "behave",
    [
        _drips(FORBIDDEN + b"Content-Length: 60000\r\n\r\n", b"<"),
        _drips(FORBIDDEN + b"\r\n", b"<"),
        _drips(FORBIDDEN + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n<\r\n"),
        _drips(FORBIDDEN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
        floods(FORBIDDEN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 1000),
        _drips(FORBIDDEN + b"Transfer-Encoding: chunked\r\n\r\n", b"1"),
    ],
    ids=["length", "until-closed", "chunks", "trailers", "flood-of-trailers", "chunk-size"],
)
def test_a_stores_words_are_waited_for_a_moment_only(
    store: FaultyStore, transport: Transport, monkeypatch: pytest.MonkeyPatch, behave: Behaviour
) -> None:
    """The status is there; without the limit, its document is read until the request's time is over."""
    monkeypatch.setattr("handler.stores.exchange._MAX_ERROR_SECONDS", 0.1)
    scope = Scope.after(60)
    for ask_store in (
        lambda request: transport.open(request, None, scope),
        lambda request: transport.head(request, None, scope),
        lambda request: transport.read_document(request, scope, 100),
    ):
        store.order(behave)
        with pytest.raises(StoreError) as refused:
            ask_store(request_to(store))
        assert (refused.value.status, refused.value.code) == (403, "AccessDenied")
    assert not scope.is_over
    assert transport._watchdog._watches == set()


@pytest.mark.parametrize(
    "answer",
    [
        plain("206 Partial Content", b"1234", {"Content-Range": "bytes 0-3/8"}),
        plain("200 OK", b"1234", {"Content-Encoding": "gzip"}),
        Answer("200 OK", {"Transfer-Encoding": "gzip, chunked"}, b"4\r\n1234\r\n0\r\n\r\n"),
        plain("203 Non-Authoritative Information", b"1234"),
    ],
    ids=["part", "encoded", "coded", "another-status"],
)
def test_a_document_is_whole_and_as_it_was_written(store: FaultyStore, transport: Transport, answer: Answer) -> None:
    store.order(says(answer))
    with pytest.raises(StoreProtocolError):
        transport.read_document(request_to(store), Scope.after(60), 100)


def test_an_answer_is_let_go_of_at_any_time_without_waiting(store: FaultyStore) -> None:
    """However much of it has been read, and twice."""

    def stalls(call: Call) -> None:
        call.send(plain("200 OK", EIGHT).head + EIGHT[:5])
        call.fall_silent()

    for count in (0, 1, 5):
        for end in ("close", "release"):
            with closing(WireAdapter(1)) as adapter:
                store.order(stalls)
                response = send_get(adapter, Origin.parse(store.url))
                assert response.readinto(memoryview(bytearray(count))) == count
                for _ in range(2):
                    getattr(response, end)()
                store.order(holds_eight)
                with contextlib.closing(send_get(adapter, Origin.parse(store.url))) as again:
                    assert again.readinto(memoryview(bytearray(9))) == 8


# Over TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def secure_store(certificate: Path) -> Iterator[int]:
    """The port of a store whose first answer over each connection is followed by another, in the same TLS record."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    well_formed = plain("200 OK", EIGHT * 2048)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    while secure.recv(4096):
                        # The rest is longer than a reader's buffer, so that the reader takes no byte more.
                        secure.sendall(well_formed.head + well_formed.body[:1000])
                        secure.sendall(well_formed.body[1000:] + STRAY_BYTES)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_what_follows_an_answer_in_the_tls_layer_is_not_the_next_one(secure_store: int, certificate: Path) -> None:
    with closing(WireAdapter(1)) as adapter:
        adapter._pool_options["ca_certs"] = str(certificate)
        origin = Origin.parse(f"https://127.0.0.1:{secure_store}")
        for _ in range(2):
            response = send_get(adapter, origin)
            body = memoryview(bytearray(len(EIGHT) * 2048))
            assert response.readinto(body) == len(body)
            assert body == EIGHT * 2048
            wire = response._wire
            assert wire is not None
            response.release()
            was_closed = wire.is_closed
            wire.close()
            assert was_closed


@pytest.mark.parametrize(
    ("answer", "is_doubtful"),
    [
        (REFUSAL.head + REFUSAL.body, False),
        (REFUSAL.head + REFUSAL.body[:-3], True),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<html>", True),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", False),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n", True),
    ],
)
def test_an_error_without_its_whole_document_is_doubtful(
    store: FaultyStore, transport: Transport, answer: bytes, is_doubtful: bool
) -> None:
    store.order(sends(answer))
    with pytest.raises(StoreError) as caught:
        transport.open(request_to(store), None, Scope.after(60))
    assert (caught.value.code, caught.value.is_doubtful) == ("NoSuchKey", is_doubtful)

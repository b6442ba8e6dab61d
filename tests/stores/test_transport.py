"""The parts of the seam, one by one: origins, deadlines, what counts as an answer, what goes over the wire.

Whole requests before a store that does wrong are in ``test_faults.py``.
"""

import http.client
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import urlsplit

import flask
import pytest
import urllib3.exceptions

from active_storage.errors import (
    ActiveStorageError,
    CallerGone,
    DeadlineExceeded,
    InvalidArgument,
    InvalidRange,
    NotModified,
    OriginNotAllowed,
    StoreError,
    StoreProtocolError,
    StoreTimeout,
    StoreUnreachable,
    WrongRegion,
)
from active_storage.grammar.query import StoreQuery
from active_storage.model.etag import ETag
from active_storage.model.origins import Origin, OriginPattern
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.addresses import Addresses, Trust, read_address
from handler.stores.answers import read_facts, read_failure
from handler.stores.passthrough import build_request
from handler.stores.store_request import StoreRequest
from handler.stores.transport import Transport, TransportLimits
from handler.stores.watchdog import Watch, Watchdog
from handler.stores.wire import _RECEIVE_BYTES, Response, WireAdapter
from tests.faulty_store import FaultyStore, first, holds, plain, read_headers, says, service, spoils, well
from tests.helpers import FakeClock, ask, read_error

# Far more than anything here takes, so that only what never happens runs into it.
PATIENCE_SECONDS = 30.0
TIMEOUTS = (PATIENCE_SECONDS, PATIENCE_SECONDS)

SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders={}, Signature=0"
SIGNED_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261123%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-SignedHeaders={}&X-Amz-Signature=0"
)


# Origins


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://store", Origin("http", "store", 80)),
        ("http://store/", Origin("http", "store", 80)),
        ("http://store:80", Origin("http", "store", 80)),
        ("https://store", Origin("https", "store", 443)),
        ("https://store:8443", Origin("https", "store", 8443)),
        ("HTTPS://S3.Example.ORG:443", Origin("https", "s3.example.org", 443)),
        ("http://my_store-1:9000", Origin("http", "my_store-1", 9000)),
        ("http://127.0.0.1:9000", Origin("http", "127.0.0.1", 9000)),
        ("http://[::1]:9000", Origin("http", "[::1]", 9000)),
        ("http://[::FFFF:127.0.0.1]", Origin("http", "[::ffff:127.0.0.1]", 80)),
        ("http://store.", Origin("http", "store.", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(text: str, origin: Origin) -> None:
    assert Origin.parse(text) == origin
    assert Origin.parse(str(origin)) == origin
    assert OriginPattern.parse(text).matches(origin)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "store",
        "store:9000",
        "//store",
        "ftp://store",
        "file:///etc/passwd",
        "http://",
        "http://:9000",
        "http://store:port",
        "http://store:65536",
        "http://store:-1",
        "http://store/bucket",
        "http://store//",
        "http://store?x",
        "http://store#x",
        "http://user@store",
        "http://user:password@store",
        "http://store@169.254.169.254",
        "http://@store",
        "http://a b",
        "http://store\\@other",
        "http://[::1%25eth0]",
        "http://[::1",
        "http://::1",
        "http://st%6fre",
        "http://st\xf6re",
    ],
)
def test_anything_else_is_no_origin(text: str) -> None:
    """What one parser could read in another way than the next is refused, not interpreted."""
    with pytest.raises(ValueError, match=r"."):
        Origin.parse(text)


def test_the_schemes_own_port_is_not_written() -> None:
    """As clients write ``Host``, which their signatures cover."""
    assert Origin.parse("https://store:443").authority == "store"
    assert Origin.parse("https://store:80").authority == "store:80"
    assert Origin.parse("http://[::1]:9000").authority == "[::1]:9000"


@pytest.mark.parametrize(
    ("pattern", "text", "is_allowed"),
    [
        ("http://store:9000", "http://store:9000", True),
        ("http://STORE:9000", "http://store:9000", True),
        ("http://store:9000", "https://store:9000", False),
        ("http://store:9000", "http://store:9001", False),
        ("http://store:9000", "http://store", False),
        ("http://store", "http://store.", False),
        ("http://store", "http://store.example.org", False),
        ("http://store", "http://other", False),
        ("https://*.s3.amazonaws.com", "https://bucket.s3.amazonaws.com", True),
        ("https://*.s3.amazonaws.com", "https://BUCKET.s3.amazonaws.com", True),
        ("https://*.s3.amazonaws.com", "https://s3.amazonaws.com", False),
        ("https://*.s3.amazonaws.com", "https://a.b.s3.amazonaws.com", False),
        ("https://*.s3.amazonaws.com", "https://bucket.s3.amazonaws.com.example.org", False),
        ("https://*.s3.amazonaws.com", "https://bucket-s3.amazonaws.com", False),
        ("https://*.s3.amazonaws.com", "http://bucket.s3.amazonaws.com", False),
        ("https://*.s3.amazonaws.com", "https://bucket.s3.amazonaws.com:8443", False),
        ("https://*.s3.amazonaws.com", "https://bucket.s3.amazonaws.com.", False),
        ("https://s3.*.amazonaws.com", "https://s3.eu-west-2.amazonaws.com", True),
        ("https://*.*.amazonaws.com", "https://s3.eu-west-2.amazonaws.com", True),
        # The same machine to a resolver, and not the same origin.
        ("http://127.0.0.1", "http://2130706433", False),
        ("http://127.0.0.1", "http://0x7f.0.0.1", False),
        ("http://127.0.0.1", "http://127.1", False),
        ("http://127.0.0.1", "http://localhost", False),
        ("http://127.0.0.1", "http://[::ffff:127.0.0.1]", False),
        ("http://[::1]", "http://[::1]", True),
        ("http://[::1]", "http://[0:0:0:0:0:0:0:1]", False),
        ("http://*", "http://store", True),
        # A * stands for labels of names, never for a number.
        ("http://*.*.*.*", "http://a.b.c.d", True),
        *(
            (f"http://{'.'.join('*' * (host.count('.') + 1))}", f"http://{host}", False)
            for host in ("127.0.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x", "127.1", "0", "0177.0.0.1",
                         "a.0x7f", "[::1]", "[::ffff:127.0.0.1]")
        ),
        ("http://*.example.org", "http://127.example.org", True),
    ],
)  # fmt: skip
def test_a_pattern_matches_whole_labels(pattern: str, text: str, is_allowed: bool) -> None:
    assert OriginPattern.parse(pattern).matches(Origin.parse(text)) is is_allowed


@pytest.mark.parametrize(
    "text",
    [
        *("http://s*.example.org", "http://**", "http://*.", "http://.*", "http://[*]", "*"),
        # What only some resolvers take for an address, and what can be no name.
        *(
            "http://127.1",
            "http://2130706433",
            "http://0x7f.0.0.1",
            "http://0177.0.0.1",
            "http://256.0.0.1",
            "http://0",
        ),
        *("http://127.0.0.1.", "http://*.0.0.1", "http://[1:2]"),
    ],
)
def test_a_star_is_a_whole_label_of_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        OriginPattern.parse(text)


# Deadlines


def test_a_deadline_that_is_over_leaves_nothing() -> None:
    assert Scope(time.monotonic() - 1).is_over
    assert Scope(time.monotonic() - 1).remaining_seconds == 0
    assert not Scope.after(PATIENCE_SECONDS).is_over
    assert 0 < Scope.after(PATIENCE_SECONDS).remaining_seconds <= PATIENCE_SECONDS


def test_work_is_wanted_until_the_deadline_is_over_or_the_caller_gone() -> None:
    Scope.after(PATIENCE_SECONDS).check()
    with pytest.raises(DeadlineExceeded, match="passed before all the data was reduced") as exceeded:
        Scope(time.monotonic() - 1).check()
    assert exceeded.value.status == 504
    with pytest.raises(CallerGone):
        Scope.after(PATIENCE_SECONDS, is_abandoned=lambda: True).check()


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with closing(Watchdog()) as watchdog:
        yield watchdog


@pytest.fixture
def watch(watchdog: Watchdog) -> Watch:
    return watchdog.watch(Scope.after(PATIENCE_SECONDS))


def attach_socket(watch: Watch, sockets: ExitStack) -> socket.socket:
    """Give a watch a socket; the other end of it."""
    here, there = socket.socketpair()
    sockets.enter_context(here)
    watch.attach(here)
    return sockets.enter_context(there)


def is_shut(there: socket.socket, patience_seconds: float = 0.01) -> bool:
    """Whether the other end of a socket is shut down in so many seconds."""
    there.settimeout(patience_seconds)
    try:
        return there.recv(1) == b""
    except TimeoutError:
        return False


def send(adapter: WireAdapter, request: StoreRequest, watchdog: Watchdog) -> Response:
    """The response to a request, which is watched for as long as a test is patient."""
    watch = watchdog.watch(Scope.after(PATIENCE_SECONDS))
    origin = request.origin
    return adapter.send(request.write_head("GET"), origin, lambda _: read_address(origin), watch, TIMEOUTS)


def test_the_watchdog_breaks_off_what_is_overdue_and_nothing_else() -> None:
    """A deadline that comes nearer than all before it wakes the thread, which waits for the others."""
    clock = FakeClock()
    with closing(Watchdog(clock)) as watchdog, ExitStack() as sockets:
        far, released, due = (watchdog.watch(Scope.after(seconds, clock=clock)) for seconds in (50, 1, 2))
        there = {watch: attach_socket(watch, sockets) for watch in (far, due)}
        released.release()
        released.release()
        clock.advance(1.9)
        assert not is_shut(there[due])
        clock.advance(0.1)
        assert is_shut(there[due], PATIENCE_SECONDS)
        assert not is_shut(there[far])
        assert [watch.is_broken_off for watch in (far, released, due)] == [False, False, True]


def test_a_watch_can_be_shortened_but_not_lengthened() -> None:
    clock = FakeClock()
    with closing(Watchdog(clock)) as watchdog, ExitStack() as sockets:
        watches = [watchdog.watch(Scope.after(seconds, clock=clock)) for seconds in (50, 2, 50)]
        there = [attach_socket(watch, sockets) for watch in watches]
        for watch in watches:
            watch.shorten(10)
        watches[2].release()
        watches[2].shorten(1)
        clock.advance(2)
        assert is_shut(there[1], PATIENCE_SECONDS)
        assert not is_shut(there[0])
        clock.advance(8)
        assert is_shut(there[0], PATIENCE_SECONDS)
        assert not is_shut(there[2])
        assert watchdog._watches == set()


def test_the_watchdog_holds_no_lock_while_it_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread whose request is broken off may release its watch at the same time."""
    done, clock = threading.Event(), FakeClock()
    with closing(Watchdog(clock)) as watchdog:
        due, other = (watchdog.watch(Scope.after(seconds, clock=clock)) for seconds in (1, 2))

        def release_elsewhere() -> None:
            thread = threading.Thread(target=other.release)
            thread.start()
            thread.join(PATIENCE_SECONDS)
            if not thread.is_alive():
                done.set()

        monkeypatch.setattr(due, "break_off", release_elsewhere)
        clock.advance(1)
        assert done.wait(PATIENCE_SECONDS)


def test_a_closed_watchdog_has_no_thread() -> None:
    before = threading.active_count()
    watchdog = Watchdog()
    watchdog.close()
    watchdog.watch(Scope.after(PATIENCE_SECONDS))
    watchdog.close()
    assert threading.active_count() == before


def test_a_request_is_broken_off_though_it_had_no_socket_yet(watch: Watch) -> None:
    here, there = socket.socketpair()
    with here, there:
        watch.break_off()
        watch.attach(here)
        assert there.recv(1) == b""


def test_a_request_that_gave_its_socket_back_does_not_break_off_the_next(watch: Watch) -> None:
    here, there = socket.socketpair()
    with here, there:
        watch.attach(here)
        watch.release()
        watch.break_off()
        there.sendall(b"next")
        assert here.recv(4) == b"next"


def test_a_watch_that_is_late_leaves_a_kept_connection_alone(store: FaultyStore, watchdog: Watchdog) -> None:
    """The watchdog may have taken it off its list just before the last byte came."""
    with closing(WireAdapter(1)) as adapter:
        for _ in range(2):
            response = send(adapter, StoreRequest.unsigned(Origin.parse(store.url), "/bucket/key"), watchdog)
            wire = response._wire
            assert wire is not None
            while response.readinto(memoryview(bytearray(65536))):
                pass
            response.release()
            response.watch.break_off()
            assert not wire.is_closed
            assert wire.is_connected


def test_a_connection_that_was_broken_off_is_not_kept(store: FaultyStore, watchdog: Watchdog) -> None:
    with closing(WireAdapter(1)) as adapter:
        response = send(adapter, StoreRequest.unsigned(Origin.parse(store.url), "/bucket/key"), watchdog)
        wire = response._wire
        assert wire is not None
        while response.readinto(memoryview(bytearray(65536))):
            pass
        response.watch.break_off()
        response.release()
        assert wire.is_closed


def test_a_handshake_can_be_broken_off(watch: Watch) -> None:
    """TLS takes the socket over while the store, or what pretends to be one, says a byte now and then."""
    with socket.create_server(("127.0.0.1", 0)) as server, closing(WireAdapter(1)) as adapter:
        origin = Origin.parse(f"https://127.0.0.1:{server.getsockname()[1]}")
        head = StoreRequest.unsigned(origin, "/bucket/key").write_head("GET")
        asking = ThreadPoolExecutor(1)
        sent = asking.submit(adapter.send, head, origin, lambda _: read_address(origin), watch, TIMEOUTS)
        there, _ = server.accept()
        with there, asking:
            # As much of the greeting as there is; the rest of it need not come.
            assert there.recv(5)
            watch.break_off()
            there.settimeout(PATIENCE_SECONDS / 3)
            while there.recv(65536):
                pass
            with pytest.raises((OSError, urllib3.exceptions.HTTPError)):
                sent.result()


def test_breaking_off_tls_leaves_no_ciphertext_to_be_read(watch: Watch) -> None:
    """``SSLSocket.shutdown`` would: what had come so far was read as numbers, if it was long enough."""
    context = ssl.create_default_context()
    plain_here, there = socket.socketpair()
    with there, context.wrap_socket(plain_here, server_hostname="store", do_handshake_on_connect=False) as here:
        there.sendall(b"ciphertext")
        watch.attach(here)
        watch.break_off()
        # Python 3.13 finds a broken pipe instead, trying to say why it ends.
        with suppress(OSError):
            assert here.recv(10) == b""


# What counts as an answer


# The first byte, the one after the last, and the size of the object.
Span = tuple[int, int, int]

FACTS: Mapping[str, str] = {"content-length": "8", "etag": '"1"'}
PART: Mapping[str, str] = {"content-length": "4", "content-range": "bytes 4-7/8", "etag": '"1"'}


@pytest.mark.parametrize(
    ("method", "status", "headers", "byte_range", "asks_for_part", "span"),
    [
        ("GET", 200, FACTS, None, False, (0, 8, 8)),
        ("HEAD", 200, FACTS, None, False, (0, 8, 8)),
        ("GET", 200, {"content-length": "0"}, None, False, (0, 0, 0)),
        ("GET", 206, PART, ByteRange(4, 7), False, (4, 8, 8)),
        ("GET", 206, PART, ByteRange(4, None), False, (4, 8, 8)),
        ("GET", 206, PART, ByteRange(None, 4), False, (4, 8, 8)),
        ("GET", 206, PART, ByteRange(4, 100), False, (4, 8, 8)),
        ("GET", 206, PART, None, True, (4, 8, 8)),
        # Some stores leave the range of a HEAD out of account.
        ("HEAD", 200, FACTS, ByteRange(4, 100), False, (4, 8, 8)),
        ("HEAD", 200, FACTS, ByteRange(None, 3), False, (5, 8, 8)),
    ],
)
def test_facts_are_read_from_an_answer_that_fits(
    method: str, status: int, headers: Mapping[str, str], byte_range: ByteRange, asks_for_part: bool, span: Span
) -> None:
    facts = read_facts(method, status, headers, byte_range, asks_for_part)
    assert (facts.start, facts.stop, facts.total) == span
    assert (facts.status, facts.etag, facts.headers) == (status, ETag.from_header(headers.get("etag")), headers)


@pytest.mark.parametrize(
    ("method", "status", "headers", "byte_range", "asks_for_part"),
    [
        ("GET", 200, {}, None, False),
        *(("GET", 200, {"content-length": text}, None, False) for text in ("", "-1", "+1", "1_0", "8.0", "8, 8")),
        ("GET", 200, {"content-length": "\N{ARABIC-INDIC DIGIT EIGHT}"}, None, False),
        ("GET", 200, {"content-length": "8" * 20}, None, False),
        ("GET", 200, {**FACTS, "transfer-encoding": "chunked"}, None, False),
        ("GET", 200, FACTS, ByteRange(4, 7), False),
        ("GET", 200, FACTS, ByteRange(0, 7), False),
        ("GET", 200, FACTS, None, True),
        ("HEAD", 200, FACTS, None, True),
        ("GET", 206, PART, None, False),
        ("HEAD", 206, PART, None, False),
        ("GET", 206, PART, ByteRange(0, 3), False),
        ("GET", 206, PART, ByteRange(4, 6), False),
        ("GET", 206, PART, ByteRange(8, 9), False),
        ("GET", 206, {**PART, "content-length": "8"}, ByteRange(4, 7), False),
        *(
            ("GET", 206, {"content-length": "4", "content-range": text}, ByteRange(4, 7), False)
            for text in (
                "", "4-7/8", "bytes 4-7", "bytes 4-7/*", "bytes */8", "bytes=4-7/8", "bytes 4-7/7", "bytes 7-4/8",
                "bytes 4 - 7/8", "bytes 4-7/8, bytes 4-7/8", "bytes -4-7/8", "octets 4-7/8", "bytes 4-7/8 ",
            )
        ),
        *(("GET", status, FACTS, None, False) for status in (100, 101, 103, 201, 202, 203, 204, 205, 207, 226)),
    ],
)  # fmt: skip
def test_any_other_answer_is_none(
    method: str, status: int, headers: Mapping[str, str], byte_range: ByteRange | None, asks_for_part: bool
) -> None:
    with pytest.raises(StoreProtocolError):
        read_facts(method, status, headers, byte_range, asks_for_part)


def test_a_range_outside_the_object_is_the_callers_fault_by_head_too() -> None:
    with pytest.raises(InvalidRange) as refused:
        read_facts("HEAD", 200, FACTS, ByteRange(8, None), asks_for_part=False)
    assert refused.value.length == 8


def fail(
    status: int, body: bytes = b"", secrets: str = "", is_conditional: bool = False, **headers: str
) -> ActiveStorageError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_failure(status, named, body, secrets, is_conditional)


def document(code: str = "AccessDenied", message: str = "Access Denied") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (403, document(), "AccessDenied", "Access Denied"),
        (404, document("NoSuchKey", "none"), "NoSuchKey", "none"),
        (403, document("Access.Denied2"), "Access.Denied2", "Access Denied"),
        (403, document("no code"), "AccessDenied", "Access Denied"),
        (403, document("a" * 65), "AccessDenied", "Access Denied"),
        (400, document("", ""), "BadRequest", "the store answered 400"),
        (404, b"", "NoSuchKey", "the store answered 404"),
        (418, b"", "StoreError", "the store answered 418"),
        (503, b"<html>", "StoreError", "the store answered 503"),
        (403, b"\xef\xbb\xbf" + document(), "AccessDenied", "Access Denied"),
        (403, document().replace(b"<Error>", b'<Error xmlns="http://s3.amazonaws.com/">'), "AccessDenied",
         "Access Denied"),
        (403, document(message="a\n  b\t c"), "AccessDenied", "a b c"),
        (403, document(message="&lt;b&gt; &amp;"), "AccessDenied", "<b> &"),
        (403, document(message="a" * 400), "AccessDenied", "a" * 300),
        (403, b'<?xml version="1.0" encoding="x-none"?>' + document(), "AccessDenied", "the store answered 403"),
    ],
)  # fmt: skip
def test_a_refusal_keeps_the_stores_own_code_and_words(status: int, body: bytes, code: str, message: str) -> None:
    error = fail(status, body)
    assert isinstance(error, StoreError)
    assert (error.status, error.code, error.message) == (status, code, message)


@pytest.mark.parametrize(
    ("body", "is_whole", "is_doubtful"),
    [
        (document("NoSuchKey"), True, False),
        (document("NoSuchKey"), False, False),
        (b"", True, False),
        (b"<html>Not Found</html>", True, False),
        (b"", False, True),
        (b"<html>Not", False, True),
        (document("NoSuchBucket")[:20], True, True),
        (b"<?xml version='1.0'?>" + document("no code"), True, True),
    ],
)
def test_a_code_is_doubtful_if_the_document_with_it_is_not_whole(
    body: bytes, is_whole: bool, is_doubtful: bool
) -> None:
    error = read_failure(404, {}, body, "", is_conditional=False, is_whole=is_whole)
    assert isinstance(error, StoreError)
    assert (error.code, error.is_doubtful) == ("NoSuchKey", is_doubtful)


def test_not_modified_is_an_answer_to_a_condition_only() -> None:
    unchanged = fail(304, is_conditional=True, etag='"1"')
    assert isinstance(unchanged, NotModified)
    assert unchanged.etag == ETag("1")
    assert isinstance(fail(304, etag='"1"'), StoreProtocolError)


@pytest.mark.parametrize(
    ("status", "code", "named", "header", "region"),
    [
        (301, "PermanentRedirect", "eu-west-2", "", "eu-west-2"),
        (301, "PermanentRedirect", "", "eu-west-2", "eu-west-2"),
        (301, "PermanentRedirect", "", "", None),
        (307, "TemporaryRedirect", "", "", None),
        (307, "TemporaryRedirect", "", "eu-west-2", "eu-west-2"),
        (400, "AuthorizationHeaderMalformed", "eu-west-2", "", "eu-west-2"),
        (400, "AuthorizationQueryParametersError", "eu-west-2", "", "eu-west-2"),
        (400, "IllegalLocationConstraintException", "", "me-south-1", "me-south-1"),
        # What is no region is not repeated.
        (301, "PermanentRedirect", "http://elsewhere.example", "", None),
        (301, "PermanentRedirect", "", "s" * 64, None),
        (301, "PermanentRedirect", "fwogzxivyxdzejr-token", "", None),
    ],
)
def test_a_redirect_for_a_region_is_a_refusal_that_names_it(
    status: int, code: str, named: str, header: str, region: str | None
) -> None:
    """By 400, which clients neither follow nor try again, and in words of ours: the store's name its endpoint."""
    body = document(code, "use bucket.s3.elsewhere.example").replace(
        b"</Error>", f"<Region>{named}</Region></Error>".encode()
    )
    headers = {"location": "http://elsewhere.example", **({"x-amz-bucket-region": header} if header else {})}
    error = read_failure(status, headers, body, "FwoGZXIvYXdzEJr-token", is_conditional=False)
    assert isinstance(error, WrongRegion)
    assert (error.status, error.code, error.region) == (400, code, region)
    assert region is None or region in error.message
    assert "elsewhere" not in error.message
    assert "fwog" not in error.message


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect"),
                                              (400, "AuthorizationHeaderMalformed")])  # fmt: skip
def test_the_answer_to_head_names_the_region_in_a_header_only(status: int, code: str) -> None:
    error = fail(status, x_amz_bucket_region="eu-west-2")
    assert isinstance(error, WrongRegion)
    assert (error.code, error.region) == (code, "eu-west-2")


@pytest.mark.parametrize(("status", "code"), [(400, "AuthorizationHeaderMalformed"), (403, "AccessDenied"),
                                              (404, "NoSuchKey")])  # fmt: skip
def test_a_refusal_for_another_reason_stays_the_stores(status: int, code: str) -> None:
    error = fail(status, document(code, "in its words"), x_amz_bucket_region="eu-west-2" if status > 400 else "")
    assert type(error) is StoreError
    assert (error.status, error.code, error.message) == (status, code, "in its words")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308, 399, 600, 999])
def test_a_redirect_and_what_is_no_status_are_no_answers(status: int) -> None:
    error = fail(status, document(), is_conditional=True, location="http://elsewhere.example/")
    assert isinstance(error, StoreProtocolError)
    assert "elsewhere" not in error.message


def test_a_range_outside_the_object_tells_its_length() -> None:
    error = fail(416, document("InvalidRange", "no"), content_range="bytes */8")
    assert isinstance(error, InvalidRange)
    assert error.length == 8
    assert isinstance(fail(416, document("InvalidRange", "no"), content_range="bytes 0-3/8"), StoreError)


TOKEN = "FwoGZXIvYXdzEJr//token+with/all=="
ENCODED_TOKEN = "FwoGZXIvYXdzEJr%2F%2Ftoken%2Bwith%2Fall%3D%3D"


@pytest.mark.parametrize(
    ("sent", "said", "message"),
    [
        ("Signature=" + "0f" * 32, f"you sent {'0f' * 32}.", "you sent ***."),
        ("X-Amz-Signature=" + "0f" * 32, f"Signature={'0f' * 32}", "Signature=***"),
        (f"x {TOKEN}", f"token: {TOKEN}", "token: ***=="),
        (f"X-Amz-Security-Token={ENCODED_TOKEN}&X", f"token: {TOKEN}", "token: ***=="),
        (f"X-Amz-Security-Token={ENCODED_TOKEN}&X", f"token: {ENCODED_TOKEN}", "token: ***"),
        ("Credential=AKIDEXAMPLEAKIDEXAMPLE/20261123/", "no key AKIDEXAMPLEAKIDEXAMPLE", "no key ***"),
        # One secret begins with another.
        (f"{'a' * 20} {'a' * 20}bcd", f"{'a' * 20}bcd", "***"),
        # In another case, encoded once more, in the other alphabet of base64.
        ("Signature=" + "0f" * 32, f"you sent {'0F' * 32}.", "you sent ***."),
        (f"x {TOKEN}", f"token: {TOKEN.upper()}", "token: ***=="),
        (f"x {TOKEN}", f"token: {TOKEN.translate(str.maketrans('+/', '-_'))}", "token: ***=="),
        (f"x {TOKEN}", f"token: {ENCODED_TOKEN.replace('%', '%25').lower()} ", "token: ***"),
        ("Signature=" + "0f" * 32, f"{'%30%66' * 32}", "***"),
        # Secret by its name, however short; other clouds' as well.
        ("GET /b/k?sig=c2VjcmV0&sr=b", "sig c2VjcmV0, sr=b", "sig ***, sr=b"),
        ("/b/k?Key-Pair-Id=K2JCJMDEHX", "pair K2JCJMDEHX", "pair ***"),
        ("/b/k?GoogleAccessId=reader%40project", "no reader@project", "no ***"),
        ("Credential=somebody/20261123/us-east-1", "no key somebody", "no key ***"),
        # Cut first, and what is left of the secret would be no longer known for one.
        ("s" * 40, "m" * 280 + "s" * 40, "m" * 280 + "***"),
        ("short", "short words stay", "short words stay"),
    ],
)
def test_a_message_loses_what_was_sent_in_confidence(sent: str, said: str, message: str) -> None:
    assert fail(403, document(message=said), secrets=sent).message == message


def test_a_secret_is_no_code() -> None:
    assert fail(403, document(code="s" * 40), secrets="s" * 40).code == "AccessDenied"


# The library's errors


LIMITS = TransportLimits(connect_seconds=5, read_seconds=5, tries=1, connections=1)
STORE = Origin.parse("http://store.test:9000")
SECRET_TARGET = "/bucket/key?X-Amz-Signature=0123456789abcdef"


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport((OriginPattern.parse(str(STORE)),), LIMITS)) as transport:
        yield transport


def open_key(transport: Transport, origin: Origin = STORE) -> Any:
    request = StoreRequest(origin, SECRET_TARGET, {"host": "store"})
    return transport.open(request, None, Scope.after(PATIENCE_SECONDS))


def test_a_range_is_asked_for_and_compared() -> None:
    parts = [
        says(plain("206 Partial Content", b"5678", {"Content-Range": content_range}))
        for content_range in ("bytes 4-7/12", "bytes 0-3/12")
    ]
    with (
        FaultyStore(first(*parts)) as store,
        closing(Transport((OriginPattern.parse(store.url),), LIMITS)) as transport,
    ):
        request = StoreRequest(Origin.parse(store.url), SECRET_TARGET, {"host": "store"})
        scope = Scope.after(PATIENCE_SECONDS)
        with transport.open(request, ByteRange(4, 7), scope) as stream:
            assert (stream.facts.start, stream.facts.stop, stream.facts.total) == (4, 8, 12)
        with pytest.raises(StoreProtocolError, match="bytes 0 to 3, which were not asked for"):
            transport.open(request, ByteRange(4, 7), scope)
        assert [read_headers(head)["range"] for head in store.heads] == ["bytes=4-7"] * 2


def test_a_whole_answer_is_read_to_its_end() -> None:
    with (
        FaultyStore(holds(b"12345678", etag='"1"')) as store,
        closing(Transport((OriginPattern.parse(store.url),), LIMITS)) as transport,
        open_key(transport, Origin.parse(store.url)) as stream,
    ):
        buffer = memoryview(bytearray(6))
        pieces = []
        while read := stream.readinto(buffer):
            pieces.append(bytes(buffer[:read]))
        assert b"".join(pieces) == b"12345678"
        assert stream.facts.etag == ETag("1")


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (urllib3.exceptions.NewConnectionError, StoreUnreachable),
        (urllib3.exceptions.NameResolutionError, StoreUnreachable),
        (urllib3.exceptions.ConnectTimeoutError, StoreTimeout),
        (urllib3.exceptions.SSLError, StoreUnreachable),
        (ssl.SSLCertVerificationError, StoreUnreachable),
        (http.client.RemoteDisconnected, StoreUnreachable),
        (http.client.BadStatusLine, StoreProtocolError),
        (http.client.InvalidURL, StoreProtocolError),
        (ConnectionResetError, StoreUnreachable),
        (TimeoutError, StoreTimeout),
        (ValueError, StoreUnreachable),
    ],
)
def test_an_error_of_the_libraries_becomes_one_of_ours_in_our_words(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, raised: type[Exception], error: type[ActiveStorageError]
) -> None:
    """Their text may hold the whole URL, with its signature: it is neither passed on nor kept as a cause."""
    fault = raised.__new__(raised)
    fault.args = (f"failed: {STORE}{SECRET_TARGET}",)

    def fail(*_: object) -> Response:
        raise fault

    monkeypatch.setattr(WireAdapter, "send", fail)
    with pytest.raises(error) as caught:
        open_key(transport)
    assert "Signature" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert transport._watchdog._watches == set()


def test_the_deadline_is_for_all_addresses_of_a_host() -> None:
    with ExitStack() as stack, FaultyStore(well) as store:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # Whose queue is full answers nobody.
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        # Twice: the first attempt may run out of time a moment before the watchdog sees that it did.
        addresses = [silent.getsockname(), silent.getsockname(), ("127.0.0.1", urlsplit(store.url).port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        patterns, limits = (OriginPattern.parse(str(STORE)),), TransportLimits(30, 30, 1, 1)
        finder = Addresses(lambda *_: found)
        transport = Transport(patterns, limits, trust=Trust(allows_special=True), addresses=finder)
        with closing(transport), pytest.raises(StoreTimeout):
            transport.head(StoreRequest(STORE, "/bucket/key", {}), None, Scope.after(0.3))
        assert store.heads == []


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/bucket/a key", {}),
        ("/bucket/key HTTP/1.1\r\nx-more: 1", {}),
        ("/bucket/key\n", {}),
        ("/bucket/k\xe9", {}),
        ("/bucket/k\u20ac", {}),
        ("", {}),
        ("/bucket/key", {"x-one": "1\r\nx-more: 1"}),
        ("/bucket/key", {"x-one": "1\r\n\r\nGET /other HTTP/1.1"}),
        ("/bucket/key", {"x-one": "\x7f"}),
        ("/bucket/key", {"x one": "1"}),
        ("/bucket/key", {"": "1"}),
    ],
)
def test_nothing_that_is_more_than_one_request_is_sent(target: str, headers: dict[str, str]) -> None:
    with FaultyStore(well) as store, closing(Transport((OriginPattern.parse(store.url),), LIMITS)) as transport:
        request = StoreRequest(Origin.parse(store.url), target, {"host": "store", **headers})
        with pytest.raises(InvalidArgument, match="cannot be sent on"):
            transport.head(request, None, Scope.after(PATIENCE_SECONDS))
        assert (store.connections, transport._watchdog._watches) == (0, set())


def test_what_is_added_to_a_request_is_checked_as_well() -> None:
    request = StoreRequest(STORE, "/bucket/key", {"host": "store"})
    assert request.write_head("GET", {"Range": "bytes=0-3"}) == (
        b"GET /bucket/key HTTP/1.1\r\nhost: store\r\nRange: bytes=0-3\r\n\r\n"
    )
    assert request.write_head("HEAD") == b"HEAD /bucket/key HTTP/1.1\r\nhost: store\r\n\r\n"
    for name, value in (("Range", "1\r\nx-more: 1"), ("Range", "1\n"), ("x one", "1"), ("Range", "\u20ac")):
        with pytest.raises(InvalidArgument, match="cannot be sent on"):
            request.write_head("GET", {name: value})


def test_an_origin_that_is_not_allowed_is_not_connected_to(transport: Transport) -> None:
    with pytest.raises(OriginNotAllowed, match=r"other\.test"):
        open_key(transport, Origin.parse("http://other.test"))


def test_no_connection_is_made_when_the_time_is_over(transport: Transport) -> None:
    with pytest.raises(StoreTimeout):
        transport.open(StoreRequest(STORE, "/bucket/key", {}), None, Scope(0))


def test_a_request_shows_no_secret() -> None:
    request = StoreRequest(STORE, SECRET_TARGET, {"authorization": "secret"}, frozenset({"canary"}))
    request.write_head("GET")
    assert repr(request) == "<StoreRequest http://store.test:9000/bucket/key>"


# What goes over the wire


TARGETS = [
    "/bucket/key",
    "/bucket/a%2fb%2Fc",
    "/bucket/a%c3%a9%C3%89",
    "/bucket//key",
    "/bucket///",
    "/bucket/key/",
    "/bucket/key//",
    "/bucket/.",
    "/bucket/..",
    "/bucket/../other/./key",
    "/bucket/%2e%2E/key",
    "/bucket/a+b%2Bc%20d",
    "/bucket/a;b=c;d",
    "/bucket/~a%7Eb-c_d.e",
    "/bucket/!$&'()*,:@=",
    "/bucket/%25%2525",
    "/bucket/%00%01%7F",
    "/bucket/%F0%9F%8C%8A",
    "/bucket/http://elsewhere.example/key",
    "/bucket/@elsewhere.example",
    "/bucket/" + "%E2%82%AC" * 341 + "a",
    "/bucket/" + "k" * 1024,
    "/bucket/key?versionId=a%2fb%2F+c",
    "/bucket/key?X-Amz-Signature=0&response-content-type=a/b&X-Amz-Date=1",
    "/bucket/key?versionId",
    "/bucket/key?versionId=&x-id=GetObject",
    "/bucket/key?versionId=a=b?c/d",
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:40])
@pytest.mark.parametrize(
    "door", ["/sum/float32", "/sum/float32;byte_order=little", "/sum/float32%3Bbyte_order%3Dbig", "/obj"]
)
def test_a_target_arrives_byte_for_byte(store: FaultyStore, app: flask.Flask, door: str, target: str) -> None:
    """A signature covers it as the caller wrote it."""
    # Whatever version is asked for, this store does not say which it sends.
    store.order(spoils(lambda answer: answer.headers.__delitem__("x-amz-version-id")))
    assert ask(app, door + target).status_code == 200
    assert [head.split(b"\r\n")[0] for head in store.heads] == [f"GET {target} HTTP/1.1".encode()]


def test_our_own_parameters_stay_here(store: FaultyStore, app: flask.Flask) -> None:
    ask(app, "/sum/float32/bucket/key?versionId=1&byte_order=little&X-Amz-Signature=2")
    assert store.heads[0].startswith(b"GET /bucket/key?versionId=1&X-Amz-Signature=2 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("public", "host"),
    [
        ("https://s3.example.org", b"s3.example.org"),
        ("https://s3.example.org:443", b"s3.example.org"),
        ("http://S3.example.org:443", b"s3.example.org:443"),
        ("http://[::1]:9000", b"[::1]:9000"),
    ],
)
def test_an_anonymous_request_is_these_bytes(store: FaultyStore, public: str, host: bytes) -> None:
    """``Host`` is the store as its clients know it; nothing else of the caller's goes on, nor of the library's."""
    headers = {
        "Host": "proxy.example.org",
        "User-Agent": "a browser",
        "Accept-Encoding": "gzip",
        "Accept": "*/*",
        "Cookie": "session=1",
        "Referer": "http://proxy.example.org/",
        "X-Forwarded-For": "10.0.0.1",
        "Connection": "close",
    }
    with service(store, s3_public_endpoint=public) as (app, _):
        assert ask(app, "/sum/float32/bucket/key", headers=headers).status_code == 200
    assert store.heads == [
        b"GET /bucket/key HTTP/1.1\r\n"
        b"host: " + host + b"\r\nuser-agent: s3-active-storage\r\naccept-encoding: identity\r\n\r\n"
    ]


def test_every_signed_header_goes_on_as_it_was_sent(store: FaultyStore, app: flask.Flask) -> None:
    headers = {
        "Authorization": SIGNATURE.format(
            "accept-encoding;cache-control;host;range;user-agent;x-amz-date;x-goog-custom"
        ),
        "Accept-Encoding": "gzip;q=0,  identity",
        "Cache-Control": "no-cache",
        "Range": "bytes=0-7",
        "User-Agent": "Boto3/1 (a;b)  c",
        "x-amz-date": "20261123T060000Z",
        "X-Goog-Custom": "MiXed  \xe9,a=b",
        # Not signed, and the store's business.
        "x-amz-security-token": "FwoG//+==",
        "x-amz-request-payer": "requester",
        # Not signed, and not its business.
        "X-Other": "1",
    }
    assert ask(app, "/sum/float32/bucket/key", headers=headers).status_code == 200
    lines = store.heads[0].split(b"\r\n")
    sent = {name.lower(): value.encode("latin-1") for name, value in headers.items() if name != "X-Other"}
    assert sorted(lines[1:-2]) == sorted(
        [b"host: " + store.url.removeprefix("http://").encode()]
        + [name.encode() + b": " + value for name, value in sent.items()]
    )


def test_a_presigned_request_goes_on_with_the_headers_that_it_names(store: FaultyStore, app: flask.Flask) -> None:
    query = f"?{SIGNED_QUERY.format('host%3Bx-goog-custom')}"
    assert (
        ask(app, f"/sum/float32/bucket/key{query}", headers={"X-Goog-Custom": "1", "X-Other": "1"}).status_code == 200
    )
    assert b"\r\nx-goog-custom: 1\r\n" in store.heads[0]
    assert b"x-other" not in store.heads[0]


@pytest.mark.parametrize(
    ("query", "asks_for_part"),
    [
        ("", False),
        ("partNumber=2", True),
        ("versionId=1&part%4Eumber=%32", True),
        ("partNumber=", False),
        ("versionId=partNumber", False),
    ],
)
def test_a_part_is_known_by_its_name_however_it_is_written(query: str, asks_for_part: bool) -> None:
    origin = Origin.parse("http://127.0.0.1:9000")
    request = build_request(origin, origin.authority, "/bucket/key", StoreQuery.of(query), {})
    assert request.asks_for_part is asks_for_part


def test_a_part_number_means_nothing_to_a_web_server() -> None:
    request = StoreRequest.unsigned(Origin.parse("http://127.0.0.1"), "/file?partNumber=2")
    assert request.takes_range
    assert not request.asks_for_part


@pytest.mark.parametrize(
    ("names", "headers"),
    [
        ("host;x-amz-date", {}),
        ("host;range", {}),
        ("host;x-goog-custom", {"X-Amz-Date": "1"}),
        # They say where a request ends: sent on without a body, the next caller's would be taken for one.
        ("content-length;host", {"Content-Length": "64"}),
        ("host;transfer-encoding", {"Transfer-Encoding": "chunked"}),
        ("connection;host", {"Connection": "upgrade"}),
        ("expect;host", {"Expect": "100-continue"}),
    ],
)
def test_a_signature_that_cannot_be_kept_is_refused_here(
    store: FaultyStore, app: flask.Flask, names: str, headers: dict[str, str]
) -> None:
    response = ask(app, "/sum/float32/bucket/key", headers={**headers, "Authorization": SIGNATURE.format(names)})
    assert response.status_code == 400
    assert read_error(response)["Code"] == "InvalidArgument"
    assert store.connections == 0


def test_the_environment_has_no_say(
    store: FaultyStore, app: flask.Flask, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy of the machine's gets to see a signature, and no password of it is sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with FaultyStore(says(plain("403 Forbidden"))) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(app, "/sum/float32/bucket/key").status_code == 200
        assert proxy.connections == 0
    assert b"authorization" not in store.heads[0].lower()


def test_connections_are_kept(store: FaultyStore, app: flask.Flask) -> None:
    for _ in range(3):
        assert ask(app, "/sum/float32/bucket/key").status_code == 200
        assert ask(app, "/sum/float32/bucket/key", "HEAD").status_code == 200
        assert ask(app, "/obj/bucket/key", headers={"Range": "bytes=0-7"}).status_code == 206
    assert (store.tries, store.connections) == (9, 1)


def test_a_connection_that_the_store_will_close_is_not_kept() -> None:
    with (
        FaultyStore(says(plain("200 OK", b"12345678", {"Connection": "close"}))) as store,
        closing(Transport((OriginPattern.parse(store.url),), LIMITS)) as transport,
    ):
        for _ in range(2):
            with open_key(transport, Origin.parse(store.url)) as stream:
                assert stream.readinto(memoryview(bytearray(9))) == 8
        assert (store.tries, store.connections) == (2, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the receive buffer is set on Linux only")
def test_a_connection_begins_with_a_large_buffer_and_no_low_water_mark(watchdog: Watchdog) -> None:
    with FaultyStore(holds(b"12345678")) as store, closing(WireAdapter(1)) as adapter:
        request = StoreRequest.unsigned(Origin.parse(store.url), "/bucket/key")
        with closing(send(adapter, request, watchdog)) as response:
            assert response._wire is not None
            connected = response._wire.sock
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= _RECEIVE_BYTES
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1

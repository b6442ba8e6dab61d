"""A faulty store: a server of real HTTP/1.1 on a loopback port, and the table of its faults.

It has one object, ``/bucket/key``, and one *behaviour* at a time: a function that handles a request in any way.
``CHAPTERS`` lists every behaviour, with its description and the outcome for the caller of the service. The tests in
``tests/stores`` run all of them, and so does ``tests/faults_page.py``, which writes ``docs/faults.md``. A new fault is
a row.
"""

import contextlib
import functools
import gzip
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn, Self
from urllib.parse import unquote
from xml.sax.saxutils import escape

import flask
import numpy as np

from handler.app import create_app
from handler.kernels.sizes import Sizes
from handler.scope import CLOCK
from handler.stores.answers import _MAX_MESSAGE_CHARACTERS
from handler.stores.exchange import _MAX_ERROR_BYTES
from handler.stores.transport import Transport, TransportLimits
from handler.stores.wire import _MAX_FIELDS, _MAX_LINE_BYTES
from tests.helpers import BLOCK_BYTES, FakeClock, make_settings

# Three blocks of the service, the last one partial. All numbers differ: float32 can represent each of them.
OBJECT_BYTES = 2 * BLOCK_BYTES + BLOCK_BYTES // 4
NUMBERS = np.arange(OBJECT_BYTES // 4).astype("<f4")
OBJECT = NUMBERS.tobytes()
ETAG = '"0123456789abcdef0123456789abcdef"'

# Two blocks, the last one partial, inside the object.
RANGE = range(400, 400 + BLOCK_BYTES + BLOCK_BYTES // 2)
RANGE_HEADER = f"bytes={RANGE.start}-{RANGE.stop - 1}"

WHOLE_SUM = np.float32(NUMBERS.sum(dtype=np.float64)).tobytes()
RANGE_SUM = np.float32(NUMBERS[RANGE.start // 4 : RANGE.stop // 4].sum(dtype=np.float64)).tobytes()

# The bytes after which a body ends: none, inside an element, at the end of a block, inside the next one, and all but
# one.
CUTS = (0, 1, 3, BLOCK_BYTES, BLOCK_BYTES + BLOCK_BYTES // 4 + 1, len(RANGE) - 1)

# The byte after which a body ends in most tests: inside an element of the first block.
CUT = 1001

# A size that fetchers help to read: several tasks, the last one partial.
_SIZES = Sizes()
LARGE_BYTES = _SIZES.fewest_tasks * _SIZES.task_bytes + _SIZES.task_bytes // 2

_DRIP_SECONDS = 0.005
_RANGE_RE = re.compile(r"bytes=(\d*)-(\d*)")

# The memory of a block, and of a single result.
_ONE_REQUEST = BLOCK_BYTES + 1024


@functools.cache
def make_large() -> bytes:
    """An object of several tasks, in which all numbers differ."""
    return np.arange(LARGE_BYTES // 4).astype("<f4").tobytes()


class HangUp(Exception):
    """A behaviour raises this to close the connection."""


class Call:
    """One request, and the connection for its response.

    Attributes:
        head: The bytes of the request, up to the empty line.
        number: The number of the request since the behaviour was set, from 1.
    """

    def __init__(self, connection: socket.socket, head: bytes, number: int, clock: FakeClock | None) -> None:
        self._clock = clock
        self._connection = connection
        self.head = head
        self.number = number

    def header(self, name: str) -> str | None:
        """The value of a header; None if it is absent."""
        return read_headers(self.head).get(name)

    def send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            raise HangUp from None

    def drip(self, piece: bytes) -> NoReturn:
        """Send ``piece`` repeatedly until the connection closes, and advance the clock each time."""
        while True:
            self.send(piece)
            self.pass_time(_DRIP_SECONDS)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock of the requests, if it can be set."""
        if self._clock is not None:
            self._clock.advance(seconds)

    def fall_silent(self) -> NoReturn:
        """Send nothing until the other side closes the connection."""
        with contextlib.suppress(OSError):
            self._connection.recv(1)
        raise HangUp

    def reset(self) -> NoReturn:
        """Reset the connection (TCP RST)."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise HangUp


Behaviour = Callable[[Call], None]


def read_headers(head: bytes) -> dict[str, str]:
    """The headers of a request, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


class FaultyStore:
    """A server on a free port of 127.0.0.1. A context manager, which closes every socket and ends every thread.

    Args:
        behave: The behaviour; None to close each connection at once.
        listens: Whether it listens at its port.

    Attributes:
        url: Its origin.
        heads: The raw requests since the behaviour was set.
        tries: The number of these requests; if it reads none, the number of connections.
        connections: The number of connections since it was made.
        clock: The clock of the requests, which it advances; None for the real time.
    """

    def __init__(self, behave: Behaviour | None = None, listens: bool = True) -> None:
        self.connections = 0
        self.clock: FakeClock | None = None
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._busy: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closing = False
        self._listener = socket.create_server(("127.0.0.1", 0)) if listens else socket.socket()
        if listens:
            self._start(self._accept)
        else:
            # Bound without listening, so that no other program gets the port.
            self._listener.bind(("127.0.0.1", 0))
        self._listens = listens
        self._port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.order(behave)

    def order(self, behave: Behaviour | None) -> None:
        """Close the busy connections, set the behaviour, and reset the counts."""
        with self._changed:
            _shut_down(self._busy)
            self._changed.wait_for(lambda: not self._busy)
            self._behave = behave
            self.heads: list[bytes] = []
            self.tries = 0

    def close(self) -> None:
        self._is_closing = True
        if self._listens:
            # On some systems, only a connection wakes up the accepting thread.
            socket.create_connection(("127.0.0.1", self._port)).close()
            self._threads[0].join()
        with self._changed:
            _shut_down(self._open)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="faulty store")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._is_closing:
                connection.close()
                return
            self.connections += 1
            # A response in many small pieces must not wait for acknowledgements.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(HangUp):
            if self._behave is None:
                self.tries += 1
                raise HangUp
            while True:
                head = _receive_head(connection)
                with self._changed:
                    self.heads.append(head)
                    self.tries += 1
                    self._busy.add(connection)
                    behave, call = self._behave, Call(connection, head, self.tries, self.clock)
                try:
                    behave(call)
                finally:
                    with self._changed:
                        self._busy.discard(connection)
                        self._changed.notify()
        with self._changed:
            self._open.discard(connection)
            connection.close()


def _shut_down(connections: Iterable[socket.socket]) -> None:
    for connection in connections:
        # With close alone, the thread of a connection that the other side does not read could run for a minute.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _receive_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        try:
            # Byte by byte, since later bytes belong to the next request; the service sends no bodies.
            received = connection.recv(1 if head else 4096)
        except OSError:
            raise HangUp from None
        if not received:
            raise HangUp
        head += received
    return head


# A store without faults


@dataclass
class Answer:
    """A response, which a behaviour can change before it is sent."""

    status: str
    headers: dict[str, str]
    body: bytes = b""
    version: str = "HTTP/1.1"

    @property
    def head(self) -> bytes:
        lines = [f"{self.version} {self.status}", *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1")


def refusal(status: str, code: str, message: str) -> Answer:
    """An error in S3's form."""
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return plain(status, document.encode(), {"Content-Type": "application/xml"})


def plain(status: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A response with a body and its ``Content-Length``."""
    return Answer(status, {**(headers or {}), "Content-Length": str(len(body))}, body)


def answer_well(call: Call, data: bytes = OBJECT, etag: str | None = ETAG) -> Answer:
    """S3's response to a request."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Last-Modified": "Mon, 23 Nov 2026 06:00:00 GMT",
        "x-amz-version-id": "a-version",
    }
    if etag is not None:
        headers["ETag"] = etag
        if call.header("if-match") not in (None, etag, "*"):
            return refusal("412 Precondition Failed", "PreconditionFailed", "The ETag is another one.")
    asked = _RANGE_RE.fullmatch(call.header("range") or "")
    if asked is None:
        return plain("200 OK", data, headers)
    first, last = (int(bound) if bound else None for bound in asked.groups())
    every = range(len(data))
    span = every[len(data) - (last or 0) :] if first is None else every[first : None if last is None else last + 1]
    if not span:
        answer = refusal("416 Range Not Satisfiable", "InvalidRange", "The range is not satisfiable.")
        answer.headers["Content-Range"] = f"bytes */{len(data)}"
        return answer
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(data)}"
    return plain("206 Partial Content", data[span.start : span.stop], headers)


def well(call: Call) -> None:
    """Send S3's response."""
    send(call, answer_well(call))


def send(call: Call, answer: Answer) -> None:
    """Send a response; to HEAD, without its body."""
    call.send(answer.head + (b"" if call.head.startswith(b"HEAD ") else answer.body))


# Building blocks of behaviours


def says(answer: Answer) -> Behaviour:
    """Send this response to every request."""
    return lambda call: send(call, answer)


def sends(data: bytes) -> Behaviour:
    """Send these bytes to every request, and close the connection."""

    def behave(call: Call) -> None:
        call.send(data)
        raise HangUp

    return behave


def holds(data: bytes, etag: str | None = ETAG) -> Behaviour:
    """Send S3's response for another object."""
    return lambda call: send(call, answer_well(call, data, etag))


def first(behave: Behaviour, then: Behaviour = well) -> Behaviour:
    """Use one behaviour for the first request, and another one for all later requests."""
    return lambda call: (behave if call.number == 1 else then)(call)


def spoils(change: Callable[[Answer], None], only_parts: bool = False, data: bytes = OBJECT) -> Behaviour:
    """Send S3's response after a change."""

    def behave(call: Call) -> None:
        answer = answer_well(call, data)
        if answer.status.startswith("206") or not only_parts:
            change(answer)
        send(call, answer)

    return behave


def adds(headers: Mapping[str, str]) -> Behaviour:
    """Send S3's response with additional headers."""
    return spoils(lambda answer: answer.headers.update(headers))


def adds_to_parts(headers: Mapping[str, str]) -> Behaviour:
    """Send S3's response; if it is a part, with additional headers."""
    return spoils(lambda answer: answer.headers.update(headers), only_parts=True)


def cuts_off(after: int, etag: str | None = ETAG) -> Behaviour:
    """Send S3's response, but close the connection after a number of bytes of the body."""

    def behave(call: Call) -> None:
        answer = answer_well(call, etag=etag)
        call.send(answer.head + answer.body[:after])
        raise HangUp

    return behave


def drips(start: bytes, piece: bytes) -> Behaviour:
    """Send a beginning, and then a piece repeatedly and slowly, without an end."""

    def behave(call: Call) -> None:
        call.send(start)
        call.drip(piece)

    return behave


def drips_object(connection: str) -> Behaviour:
    """Send S3's response slowly, byte by byte."""

    def behave(call: Call) -> None:
        answer = answer_well(call)
        answer.headers["Connection"] = connection
        call.send(answer.head)
        call.drip(b"\0")

    return behave


def floods(start: bytes, piece: bytes) -> Behaviour:
    """Send a beginning, and then a piece repeatedly and fast, without an end."""

    def behave(call: Call) -> None:
        call.send(start)
        while True:
            call.send(piece)
            call.pass_time(_DRIP_SECONDS)

    return behave


def refuses(body: bytes, status: str = "403 Forbidden") -> Behaviour:
    """Send an error with this document."""
    return says(plain(status, body, {"Content-Type": "application/xml"}))


# Further behaviours


def _continues_first(call: Call) -> None:
    call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    well(call)


def _closes_after_the_answer(call: Call) -> None:
    well(call)
    raise HangUp


def _speaks_http_1_0(call: Call) -> None:
    answer = answer_well(call)
    answer.version = "HTTP/1.0"
    send(call, answer)
    raise HangUp


def _sends_more(call: Call) -> None:
    well(call)
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234")


def _ends_inside_the_headers(call: Call) -> None:
    head = answer_well(call).head
    # The truncated Content-Length is a valid length.
    call.send(head[: head.index(b"Content-Length: ") + len("Content-Length: 12")])
    raise HangUp


def _ignores_ranges(call: Call) -> None:
    send(call, plain("200 OK", OBJECT, {"ETag": ETAG}))


def _always_partial(call: Call) -> None:
    headers = {"ETag": ETAG, "Content-Range": f"bytes 0-{len(OBJECT) - 1}/{len(OBJECT)}"}
    send(call, plain("206 Partial Content", OBJECT, headers))


def _drop_content_range(answer: Answer) -> None:
    del answer.headers["Content-Range"]


def _shorten(answer: Answer) -> None:
    answer.body = answer.body[:-4]
    answer.headers["Content-Length"] = str(len(answer.body))
    answer.headers["Content-Range"] = f"bytes {RANGE.start}-{RANGE.stop - 5}/{len(OBJECT)}"


def _in_parts(answer: Answer) -> None:
    _drop_content_range(answer)
    answer.headers["Content-Type"] = "multipart/byteranges; boundary=b"


def _chunk(answer: Answer) -> None:
    del answer.headers["Content-Length"]
    answer.headers["Transfer-Encoding"] = "chunked"
    answer.body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body)


def _chunk_with_length(answer: Answer) -> None:
    length = answer.headers["Content-Length"]
    answer.body += b"more"
    _chunk(answer)
    answer.headers["Content-Length"] = length


def _refuses_in_chunks(call: Call) -> None:
    answer = refusal("404 Not Found", "NoSuchKey", "The specified key does not exist.")
    _chunk(answer)
    send(call, answer)


def _sends_until_closed(call: Call) -> None:
    answer = answer_well(call)
    del answer.headers["Content-Length"]
    send(call, answer)
    raise HangUp


def _says_of_length(*lines: str) -> Behaviour:
    def behave(call: Call) -> None:
        answer = answer_well(call)
        del answer.headers["Content-Length"]
        call.send(answer.head[:-2] + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + answer.body)
        raise HangUp

    return behave


def _promises_an_exabyte(call: Call) -> None:
    call.send(Answer("200 OK", {"Content-Length": str(10**18), "ETag": ETAG}).head + OBJECT)
    raise HangUp


def _stalls(call: Call) -> None:
    answer = answer_well(call)
    call.send(answer.head + answer.body[: len(answer.body) // 2])
    call.fall_silent()


def _resets_inside(call: Call) -> None:
    answer = answer_well(call)
    call.send(answer.head + answer.body[:CUT])
    call.reset()


def _resets_inside_a_refusal(call: Call) -> None:
    call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n<Error>")
    call.reset()


def _stalls_inside_a_refusal(call: Call) -> None:
    call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n<Error>")
    call.fall_silent()


def _compress(answer: Answer) -> None:
    answer.body = gzip.compress(answer.body, mtime=0)
    answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Content-Length"] = str(len(answer.body))


def _hides_an_encoding(call: Call) -> None:
    # Some parsers end the headers at a line without a colon, and miss the encoding.
    answer = answer_well(call)
    send(call, Answer(answer.status, {**answer.headers, "no\r\nContent-Encoding": "gzip"}, answer.body))


# Differences of a later response from the first one


@dataclass(frozen=True)
class Difference:
    """A difference of a later response from the first one.

    Attributes:
        name: Its name in tests.
        does: The description on the page.
        change: Changes the response.
        code: The code of the error; empty if the result is correct.
    """

    name: str
    does: str
    change: Callable[[Answer], None]
    code: str = ""


def _says(**headers: str) -> Callable[[Answer], None]:
    return lambda answer: answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})


def _leaves_out(name: str) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.headers.pop(name, None)

    return change


def _change_range(change: Callable[[int, int, int], tuple[int, int, int]]) -> Callable[[Answer], None]:
    """Change the range in the header, given as first byte, last byte and total."""

    def spoil(answer: Answer) -> None:
        if match := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", "")):
            answer.headers["Content-Range"] = "bytes {}-{}/{}".format(*change(*map(int, match.groups())))

    return spoil


def _answer_whole(answer: Answer) -> None:
    answer.status, answer.body = "200 OK", OBJECT
    answer.headers["Content-Length"] = str(len(OBJECT))
    answer.headers.pop("Content-Range", None)


def _shift(answer: Answer) -> None:
    # The bytes match the header, but not the request. The response with a whole object has no range.
    if "Content-Range" in answer.headers:
        _change_range(lambda first, last, total: (first - 1, last - 1, total))(answer)
        answer.body = b"\0" + answer.body[:-1]


def _compress_to_length(answer: Answer) -> None:
    length = len(answer.body)
    answer.body = gzip.compress(answer.body[:1024], mtime=0).ljust(length, b"\0")[:length]
    answer.headers["Content-Encoding"] = "gzip"


def _follow(answer: Answer) -> None:
    answer.body += b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234"


def _becomes(status: str) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.status, answer.body = status, b""
        answer.headers = {"Content-Length": "0"}

    return change


# fmt: off
DIFFERENCES = (
    Difference("nothing", "says the same", lambda _: None),
    Difference("aws-chunked", "says `Content-Encoding: aws-chunked`", _says(Content_Encoding="aws-chunked")),
    Difference("identity", "says `Content-Encoding: identity`", _says(Content_Encoding="Identity")),
    Difference("server-encryption", "says that it encrypts the object itself",
               _says(x_amz_server_side_encryption="AES256")),
    Difference("content-type", "says another `Content-Type`", _says(Content_Type="text/plain")),
    Difference("no-date", "leaves `Last-Modified` out", _leaves_out("Last-Modified")),
    Difference("more-bytes", "sends more bytes than it promised", _follow),
    Difference("gzip-label", "labels them `Content-Encoding: gzip`", _says(Content_Encoding="gzip"),
               "StoreProtocolError"),
    Difference("gzip-label-in-list", "labels them `Content-Encoding: identity, X-GZIP`",
               _says(Content_Encoding="identity, X-GZIP"), "StoreProtocolError"),
    Difference("gzip", "compresses them", _compress, "StoreProtocolError"),
    Difference("gzip-of-right-length", "compresses them, with the length of what was asked for", _compress_to_length,
               "StoreProtocolError"),
    *(
        Difference(f"encrypted-{name}", f"says `x-amz-meta-x-amz-{name}`",
                   _says(**{f"x-amz-meta-x-amz-{name}": "AAAA"}), "StoreProtocolError")
        for name in ("key-v2", "key", "c", "iv")
    ),
    Difference("encrypted-azure", "says `x-ms-meta-encryptiondata`", _says(x_ms_meta_encryptiondata="{}"),
               "StoreProtocolError"),
    Difference("other-generation", "gives another `x-goog-generation`", _says(x_goog_generation="2"), "ObjectChanged"),
    Difference("other-azure-version", "gives another `x-ms-version-id`", _says(x_ms_version_id="2"), "ObjectChanged"),
    Difference("stored-encoding", "says `x-goog-stored-content-encoding: gzip`",
               _says(x_goog_stored_content_encoding="gzip"), "StoreProtocolError"),
    Difference("other-key", "names another key of the caller's",
               _says(x_amz_server_side_encryption_customer_key_MD5="AAAA"), "StoreProtocolError"),
    Difference("other-etag", "gives another ETag", _says(ETag='"other"'), "ObjectChanged"),
    Difference("weak-etag", "gives the ETag as a weak one (`W/`)", _says(ETag=f"W/{ETAG}"), "ObjectChanged"),
    Difference("two-etags", "gives two ETags, one of them the same", _says(ETag=f'{ETAG}, "other"'), "ObjectChanged"),
    Difference("no-etag", "gives no ETag", _leaves_out("ETag"), "ObjectChanged"),
    Difference("other-version", "gives another `x-amz-version-id`", _says(x_amz_version_id="other"), "ObjectChanged"),
    Difference("no-version", "gives no `x-amz-version-id`", _leaves_out("x-amz-version-id"), "ObjectChanged"),
    Difference("other-date", "gives another `Last-Modified`", _says(Last_Modified="Tue, 24 Nov 2026 06:00:00 GMT"),
               "ObjectChanged"),
    Difference("larger", "says that the object is larger",
               _change_range(lambda first, last, total: (first, last, total + 4)), "ObjectChanged"),
    Difference("condition-fails", "answers 412", _becomes("412 Precondition Failed"), "ObjectChanged"),
    Difference("outside", "answers 416", _becomes("416 Range Not Satisfiable"), "ObjectChanged"),
    Difference("not-modified", "answers 304", _becomes("304 Not Modified"), "StoreProtocolError"),
    Difference("whole", "answers 200 with the whole object", _answer_whole, "StoreProtocolError"),
    Difference("shifted", "sends bytes that begin one earlier", _shift, "StoreProtocolError"),
    Difference("shorter", "says that they end one earlier",
               _change_range(lambda first, last, total: (first, last - 1, total)), "StoreProtocolError"),
    Difference("multipart", "labels them `multipart/byteranges`",
               _says(Content_Type="Multipart/ByteRanges; boundary=b"), "StoreProtocolError"),
    Difference("length", "gives another `Content-Length`", _says(Content_Length="4"), "StoreProtocolError"),
    Difference("chunked", "sends them in chunks", _chunk, "StoreProtocolError"),
    Difference("no-range", "does not say which they are", _leaves_out("Content-Range"), "StoreProtocolError"),
)
# fmt: on


# Behaviours that repeat parts of the request


def _hear(call: Call) -> str:
    """The request, raw and percent-decoded."""
    heard = call.head.decode("latin-1").replace("\r\n", " ")
    return f"{heard} {unquote(heard)}"


def _repeats_everything(call: Call) -> None:
    message = f"The signature does not match. You sent {escape(_hear(call))}"
    send(call, refusal("403 Forbidden", "SignatureDoesNotMatch", message))


def _repeats_words_as_codes(call: Call) -> None:
    words = re.findall(r"\b[A-Za-z0-9]{20,64}\b", _hear(call))
    send(call, refusal("403 Forbidden", max(words, key=len, default="AccessDenied"), "Access Denied."))


def _repeats_where_messages_are_cut(call: Call) -> None:
    # The message is cut inside the longest word.
    words = re.findall(r"[A-Za-z0-9+/%-]{20,}", _hear(call))
    longest = max(words, key=len, default="")
    send(
        call,
        refusal(
            "403 Forbidden",
            "SignatureDoesNotMatch",
            f"{'x' * (_MAX_MESSAGE_CHARACTERS - 1 - len(longest) // 2)} {longest}",
        ),
    )


def _repeats_in_headers(call: Call) -> None:
    send(call, plain("403 Forbidden", b"", {"x-amz-request-id": _hear(call), "WWW-Authenticate": _hear(call)}))


def _repeats_in_a_broken_header(call: Call) -> None:
    answer = answer_well(call)
    send(call, Answer(answer.status, {**answer.headers, f"{_hear(call)}\r\nx-amz-meta-a": "1"}, answer.body))


def _repeats_as_status_line(call: Call) -> None:
    call.send(f"{_hear(call)}\r\n\r\n".encode("latin-1"))
    raise HangUp


def _in_another_region(status: str, code: str) -> Answer:
    answer = refusal(status, code, "Use bucket.s3.eu-west-2.example.")
    answer.headers |= {"x-amz-bucket-region": "eu-west-2", "Location": "https://bucket.s3.eu-west-2.example/key"}
    return answer


def _redirects_with_the_query(call: Call) -> None:
    target = call.head.split(b" ")[1].decode("latin-1")
    send(call, plain("307 Temporary Redirect", b"", {"Location": f"http://elsewhere.example{target}"}))


# Outcomes for the caller


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request.

    Attributes:
        status: The status of the reply; 200 only with the correct result.
        code: The code of the error document.
        tries: The number of requests to the store.
    """

    status: int
    code: str
    tries: int


def right(tries: int = 1) -> Outcome:
    """The correct result, after a number of tries."""
    return Outcome(200, "", tries)


def refused(status: int, code: str, tries: int = 1) -> Outcome:
    """An error, after a number of tries."""
    return Outcome(status, code, tries)


UNREACHABLE = refused(502, "StoreUnreachable", 3)
PROTOCOL = refused(502, "StoreProtocolError")
CUT_OFF = refused(502, "StoreCutOff", 3)
TOO_SLOW = refused(504, "StoreTimeout", 3)
TOO_LATE = refused(504, "StoreTimeout")
CHANGED = refused(503, "ObjectChanged", 2)
FORBIDDEN = refused(403, "AccessDenied")
LATER = {"": right(2), "ObjectChanged": CHANGED, "StoreProtocolError": refused(502, "StoreProtocolError", 2)}

# Short timeouts, for responses that never come. All others have enough time on a loaded machine too.
_IMPATIENT = MappingProxyType({"read_timeout": 0.1})
_IN_A_HURRY = MappingProxyType({"deadline": 0.8})


@dataclass(frozen=True)
class Fault:
    """A fault of the store: a row of the table.

    Attributes:
        name: Its name in tests.
        does: The description on the page.
        behave: The behaviour; None to close each connection at once.
        whole: The outcome of a request for the whole object.
        ranged: The outcome of a request for a range; None if it is the same.
        settings: Further settings of the service.
        listens: Whether the store listens at its port.
    """

    name: str
    does: str
    behave: Behaviour | None
    whole: Outcome
    ranged: Outcome | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    listens: bool = True

    def outcome(self, is_ranged: bool) -> Outcome:
        return self.ranged if is_ranged and self.ranged is not None else self.whole


_S3_ERROR = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE e [<!ENTITY a0 "ha">'
    + b"".join(b'<!ENTITY a%d "%b">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))
    + b"]><Error><Code>NoSuchKey</Code><Message>&a9;</Message></Error>"
)
_BLOW_UP = b'<!DOCTYPE e [<!ENTITY a "%b">]><Error><Message>%b</Message></Error>' % (b"a" * 30_000, b"&a;" * 10_000)
_FOREIGN_ENTITY = b'<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/passwd">]><Error><Message>&a;</Message></Error>'

# fmt: off
CHAPTERS: Mapping[str, tuple[Fault, ...]] = MappingProxyType({
    "Harmless": (
        Fault("well", "has no faults", well, right()),
        Fault("closes-after-the-answer", "closes the connection after each response, without `Connection: close`",
              _closes_after_the_answer, right()),
        Fault("http-1.0", "answers in HTTP/1.0", _speaks_http_1_0, right()),
        Fault("continues-first", "sends `100 Continue` before the answer", _continues_first, right()),
        Fault("sends-more", "sends more bytes than it promised", _sends_more, right()),
        Fault("aws-chunked", "says `Content-Encoding: aws-chunked`, which was about the upload",
              adds({"Content-Encoding": "aws-chunked"}), right()),
        Fault("multipart-label", "labels the object `Content-Type: multipart/mixed`, without a boundary",
              adds({"Content-Type": "multipart/mixed"}), right()),
        Fault("latin-1", "sends headers outside ASCII", adds({"x-amz-meta-a": "\xe9"}), right()),
    ),
    "Connections": (
        Fault("down", "is down: nothing listens", None, refused(502, "StoreUnreachable", 0), listens=False),
        Fault("closes-at-once", "accepts connections and closes them", None, UNREACHABLE),
        Fault("closes-unanswered", "closes the connection after the request", sends(b""), UNREACHABLE),
        Fault("resets", "resets the connection after the request", lambda call: call.reset(), UNREACHABLE),
        Fault("resets-once", "resets the connection after the request, once", first(lambda call: call.reset()),
              right(2)),
        Fault("ends-in-status", "closes the connection inside the status line", sends(b"HTTP/1.1 200"), UNREACHABLE),
        Fault("ends-in-headers", "closes the connection inside the headers", _ends_inside_the_headers, UNREACHABLE),
        Fault("ends-in-headers-once", "closes the connection inside the headers, once",
              first(_ends_inside_the_headers), right(2)),
    ),
    "Time": (
        Fault("never-answers", "never answers", lambda call: call.fall_silent(), TOO_SLOW, settings=_IMPATIENT),
        Fault("stalls", "stops in the middle of the object", _stalls, TOO_SLOW, settings=_IMPATIENT),
        Fault("drips-status", "sends a status line byte by byte, without an end", drips(b"HTTP/1.1 200 ", b"O"),
              TOO_LATE, settings=_IN_A_HURRY),
        Fault("drips-headers", "sends a header byte by byte, without an end", drips(b"HTTP/1.1 200 OK\r\nx: ", b"x"),
              TOO_LATE, settings=_IN_A_HURRY),
        Fault("continues-for-ever", "sends `100 Continue` repeatedly, without an end",
              floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), TOO_LATE, settings=_IN_A_HURRY),
        Fault("drips", "sends the object byte by byte, for longer than a request may take", drips_object("keep-alive"),
              TOO_LATE, settings=_IN_A_HURRY),
        Fault("drips-and-closes", "the same, after `Connection: close`", drips_object("close"),
              TOO_LATE, settings=_IN_A_HURRY),
        Fault("drips-a-refusal", "refuses, with a document that comes byte by byte, without an end",
              drips(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 60000\r\n\r\n", b"<"), FORBIDDEN, settings=_IN_A_HURRY),
    ),
    "Redirects": (
        *(
            Fault(f"redirects-{status[:3]}", f"redirects to {where}: `{status}`",
                  says(plain(status, b"", {"Location": location})), PROTOCOL)
            for status, where, location in (
                ("301 Moved Permanently", "another path of its own", "/bucket/other"),
                ("302 Found", "an origin that is not allowed", "http://169.254.169.254/latest/meta-data"),
                ("303 See Other", "another path of its own", "/bucket/other"),
                ("307 Temporary Redirect", "an origin that is not allowed", "http://10.0.0.1/bucket/key"),
                ("308 Permanent Redirect", "another path of its own", "/bucket/other"),
            )
        ),
        *(
            Fault(f"region-{code}", f"says `{code}`, and names the region of the bucket: `{status}`",
                  says(_in_another_region(status, code)), refused(400, code))
            for status, code in (
                ("301 Moved Permanently", "PermanentRedirect"),
                ("307 Temporary Redirect", "TemporaryRedirect"),
                ("400 Bad Request", "AuthorizationHeaderMalformed"),
            )
        ),
    ),
    "Ranges": (
        Fault("ignores-ranges", "answers 200 with the whole object, whatever the range", _ignores_ranges,
              right(), PROTOCOL),
        Fault("always-partial", "answers 206 with the whole object, whatever the range", _always_partial, PROTOCOL),
        Fault("shifts-ranges", "answers 206 with other bytes than asked for",
              adds_to_parts({"Content-Range": f"bytes {RANGE.start + 4}-{RANGE.stop + 3}/{len(OBJECT)}"}),
              right(), PROTOCOL),
        Fault("shortens-ranges", "answers 206 with fewer bytes than asked for", spoils(_shorten, only_parts=True),
              right(), PROTOCOL),
        Fault("no-content-range", "answers 206 without `Content-Range`", spoils(_drop_content_range, only_parts=True),
              right(), PROTOCOL),
        Fault("unknown-total", "answers 206 and does not say how large the object is",
              adds_to_parts({"Content-Range": f"bytes {RANGE.start}-{RANGE.stop - 1}/*"}), right(), PROTOCOL),
        Fault("impossible-range", "answers 206 with an impossible range",
              adds_to_parts({"Content-Range": f"bytes {RANGE.stop - 1}-{RANGE.start}/{len(OBJECT)}"}), right(),
              PROTOCOL),
        Fault("beyond-the-end", "answers 206 with a range that ends after the object",
              adds_to_parts({"Content-Range": f"bytes {RANGE.start}-{RANGE.stop - 1}/{RANGE.stop - 4}"}),
              right(), PROTOCOL),
        Fault("multipart", "answers 206 with a multipart document", spoils(_in_parts, only_parts=True), right(),
              PROTOCOL),
        Fault("multipart-with-range", "answers 206 with a multipart document, and a range of all of it",
              adds_to_parts({"Content-Type": "multipart/byteranges; boundary=b"}), right(), PROTOCOL),
        Fault("whole-of-a-part", "answers 200, and says in `Content-Range` that it is a part",
              adds({"Content-Range": f"bytes {RANGE.start}-{RANGE.stop - 1}/{len(OBJECT)}"}), PROTOCOL, right()),
        Fault("disagrees", "answers 206 with a `Content-Length` other than the `Content-Range`",
              adds_to_parts({"Content-Length": "4"}), right(), PROTOCOL),
        Fault("unsatisfied", "answers 416 and how large the object is",
              says(plain("416 Range Not Satisfiable", b"", {"Content-Range": "bytes */8"})),
              refused(416, "InvalidRange")),
        Fault("unsatisfied-in-xml", "answers 416 with a document only",
              says(refusal("416 Range Not Satisfiable", "InvalidRange", "The requested range is not satisfiable")),
              refused(416, "InvalidRange")),
    ),
    "Lengths": (
        Fault("chunked", "sends the object in chunks, without a length", spoils(_chunk), PROTOCOL),
        Fault("chunked-with-length", "sends the object in chunks, and a length that is too short",
              spoils(_chunk_with_length), PROTOCOL),
        Fault("until-closed", "sends the object without a length, up to the end of the connection",
              _sends_until_closed, PROTOCOL),
        *(
            Fault(f"length-{name}", f"says {' and '.join(f'`{line}`' for line in lines)}", _says_of_length(*lines),
                  PROTOCOL)
            for name, lines in {
                "doubled": ("Content-Length: 8", "Content-Length: 8"),
                "different": ("Content-Length: 8", "Content-Length: 12"),
                "negative": ("Content-Length: -8",),
                "signed": ("Content-Length: +8",),
                "underscored": ("Content-Length: 1_0",),
                "fraction": ("Content-Length: 8.0",),
                "empty": ("Content-Length:",),
                "astronomical": (f"Content-Length: {10**24}",),
                "spaced": ("Content-Length : 8",),
            }.items()
        ),
        Fault("promises-an-exabyte", "promises 10^18 bytes, sends fewer, and then answers a range with 200",
              first(_promises_an_exabyte, _ignores_ranges), refused(502, "StoreProtocolError", 2), PROTOCOL),
    ),
    "Bodies that break off": (
        Fault("cuts-off", "sends fewer bytes than it promised, each time", cuts_off(CUT), CUT_OFF),
        Fault("resets-inside", "resets the connection inside the object, each time", _resets_inside, CUT_OFF),
        *(
            Fault(f"cut-off-at-{after}", f"breaks off once, when it has sent {after} of its bytes",
                  first(cuts_off(after)), right(2))
            for after in CUTS
        ),
        Fault("cut-off-twice", "breaks off inside an element, twice",
              first(cuts_off(CUT), lambda call: (cuts_off(7) if call.number == 2 else well)(call)), right(3)),
        Fault("reset-inside-once", "resets the connection inside the object, once", first(_resets_inside), right(2)),
        Fault("cut-off-without-etag", "breaks off, and gives no ETag", cuts_off(CUT, etag=None),
              refused(502, "StoreCutOff")),
        Fault("cut-off-with-weak-etag", "breaks off, and gives a weak ETag (`W/`)",
              cuts_off(CUT, etag='W/"1"'), refused(502, "StoreCutOff")),
        Fault("cut-off-at-once-with-weak-etag", "breaks off before the first byte, once, and gives a weak ETag",
              first(cuts_off(0, etag='W/"1"'), holds(OBJECT, etag='W/"1"')), right(2)),
        Fault("cut-off-at-once-without-etag", "breaks off before the first byte, once, and gives no ETag",
              first(cuts_off(0, etag=None), holds(OBJECT, etag=None)), right(2)),
        Fault("cut-off-then-changed", "breaks off; then the object is another one",
              first(cuts_off(CUT), holds(OBJECT[::-1], '"other"')), CHANGED),
        Fault("cut-off-then-changed-silently", "breaks off; then the object is another one, and `If-Match` is ignored",
              first(cuts_off(CUT), adds({"ETag": '"other"'})), CHANGED),
        Fault("cut-off-then-larger", "breaks off; then the object is larger, with the same ETag",
              first(cuts_off(CUT), holds(OBJECT + bytes(4))), CHANGED),
        Fault("cut-off-then-smaller", "breaks off; then the object ends before that, with the same ETag",
              first(cuts_off(CUT), holds(OBJECT[: CUT - 1])), CHANGED),
        Fault("cut-off-then-whole", "breaks off; then ignores the range of the rest",
              first(cuts_off(CUT), _ignores_ranges), refused(502, "StoreProtocolError", 2)),
        Fault("cut-off-then-gone", "breaks off; then the object is gone",
              first(cuts_off(CUT), says(refusal("404 Not Found", "NoSuchKey", "The specified key does not exist."))),
              refused(404, "NoSuchKey", 2)),
    ),
    "Later answers": (
        *(
            Fault(f"later-{difference.name}", f"breaks off; then, with the rest, {difference.does}",
                  first(cuts_off(CUT), spoils(difference.change)), LATER[difference.code])
            for difference in DIFFERENCES
        ),
    ),
    "Bytes that are not the object's": (
        Fault("gzip", "sends the object in `Content-Encoding: gzip`", spoils(_compress),
              refused(400, "UnsupportedContentEncoding"), PROTOCOL),
        Fault("gzip-label", "labels the object `Content-Encoding: gzip`", adds({"Content-Encoding": "gzip"}),
              refused(400, "UnsupportedContentEncoding")),
        Fault("gzip-hidden", "hides `Content-Encoding: gzip` behind a malformed header line", _hides_an_encoding,
              PROTOCOL),
        Fault("encrypted", "has an object that its writer encrypted (`x-amz-meta-x-amz-key-v2`)",
              adds({"x-amz-meta-x-amz-key-v2": "AAAA"}), refused(400, "ClientSideEncrypted")),
        Fault("encrypted-v1", "has an object that its writer encrypted (`x-amz-meta-x-amz-key`)",
              adds({"X-Amz-Meta-X-Amz-Key": "AAAA"}), refused(400, "ClientSideEncrypted")),
        Fault("encrypted-v3", "has an object that its writer encrypted (`x-amz-meta-x-amz-c`)",
              adds({"x-amz-meta-x-amz-c": "115"}), refused(400, "ClientSideEncrypted")),
        Fault("encrypted-azure", "has an object that its writer encrypted (`x-ms-meta-encryptiondata`)",
              adds({"x-ms-meta-encryptiondata": "{}"}), refused(400, "ClientSideEncrypted")),
    ),
    "Refusals": (
        Fault("internal-error", "fails: 500, each time",
              says(refusal("500 Internal Server Error", "InternalError", "We encountered an internal error.")),
              refused(500, "InternalError", 3)),
        Fault("internal-error-once", "fails: 500, once",
              first(says(refusal("500 Internal Server Error", "InternalError", "We encountered an internal error."))),
              right(2)),
        Fault("bad-gateway", "fails behind a proxy: 502 with a page of HTML",
              refuses(b"<!DOCTYPE html><html><body>Bad Gateway<br></body></html>", "502 Bad Gateway"),
              refused(502, "StoreError", 3)),
        Fault("slow-down", "is busy: 503 SlowDown, each time",
              says(refusal("503 Slow Down", "SlowDown", "Please reduce your request rate.")),
              refused(503, "SlowDown", 3)),
        Fault("slow-down-once", "is busy: 503 SlowDown, once",
              first(says(refusal("503 Slow Down", "SlowDown", "Please reduce your request rate."))), right(2)),
        Fault("no-such-key", "has no such object: 404",
              says(refusal("404 Not Found", "NoSuchKey", "The specified key does not exist.")),
              refused(404, "NoSuchKey")),
        Fault("no-such-bucket", "has no such bucket: 404",
              says(refusal("404 Not Found", "NoSuchBucket", "The specified bucket does not exist")),
              refused(404, "NoSuchBucket")),
        Fault("chunked-refusal", "has no such object: 404, in chunks", _refuses_in_chunks, refused(404, "NoSuchKey")),
        Fault("bare-404", "has no such object: 404 without a document", says(plain("404 Not Found")),
              refused(404, "NoSuchKey")),
        Fault("bare-401", "requires credentials: 401 without a document", says(plain("401 Unauthorized")),
              refused(401, "Unauthorized")),
        Fault("text-refusal", "refuses in plain text: 400", refuses(b"no \xff & <", "400 Bad Request"),
              refused(400, "BadRequest")),
        Fault("json-refusal", "refuses in JSON: 403", refuses(b'{"Code": "NotThis"}'), FORBIDDEN),
        Fault("cut-off-refusal", "refuses, and breaks off inside the document",
              sends(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n" + _S3_ERROR[:-3]), FORBIDDEN),
        Fault("reset-refusal", "refuses, and resets the connection inside the document", _resets_inside_a_refusal,
              FORBIDDEN),
        Fault("stalled-refusal", "refuses, and stops inside the document", _stalls_inside_a_refusal, FORBIDDEN,
              settings=_IMPATIENT),
        Fault("strange-code", "refuses with a malformed code",
              says(refusal("403 Forbidden", "not a code", "Access Denied.")), FORBIDDEN),
        Fault("huge-refusal", "refuses, with 8 MiB of document", refuses(_S3_ERROR.ljust(128 * _MAX_ERROR_BYTES)),
              FORBIDDEN),
        Fault("endless-refusal", "refuses, with a document without an end",
              floods(b"HTTP/1.1 403 Forbidden\r\n\r\n<Error>", b"<Code>NoSuchKey</Code>"), FORBIDDEN),
        Fault("endless-chunked-refusal", "refuses, with chunks without an end, and a length that says otherwise",
              floods(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n"
                     b"Content-Length: %d\r\n\r\n" % _MAX_ERROR_BYTES,
                     b"1000\r\n%b\r\n" % (b" " * 4096)), FORBIDDEN),
        Fault("billion-laughs", "refuses, with XML entities that grow to 2 GB", refuses(_LAUGHS), FORBIDDEN),
        Fault("quadratic-blow-up", "refuses, with one long XML entity used 10,000 times", refuses(_BLOW_UP), FORBIDDEN),
        Fault("foreign-entity", "refuses, with an XML entity that names a file", refuses(_FOREIGN_ENTITY), FORBIDDEN),
        Fault("deep-xml", "refuses, with XML of 9,000 levels", refuses(b"<a>" * 9_000 + b"</a>" * 9_000), FORBIDDEN),
        Fault("unknown-charset", "refuses, with XML in an unknown encoding",
              refuses(b'<?xml version="1.0" encoding="x-none"?>' + _S3_ERROR), FORBIDDEN),
        Fault("multi-byte-charset", "refuses, with XML in an encoding that the parser does not support",
              refuses(b'<?xml version="1.0" encoding="shift_jis"?>' + _S3_ERROR), FORBIDDEN),
    ),
    "Other answers": (
        Fault("early-hints", "sends `103 Early Hints` before the answer",
              sends(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234"), PROTOCOL),
        Fault("switches-protocols", "answers 101", sends(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), PROTOCOL),
        Fault("created", "answers 201", says(plain("201 Created", OBJECT)), PROTOCOL),
        Fault("no-content", "answers 204", sends(b"HTTP/1.1 204 No Content\r\n\r\n"), PROTOCOL),
        Fault("not-modified", "answers 304 unasked", sends(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'),
              PROTOCOL),
        Fault("failed-precondition", "answers 412 unasked", says(plain("412 Precondition Failed")),
              refused(412, "PreconditionFailed")),
        Fault("status-999", "answers 999", says(plain("999 Request Denied")), PROTOCOL),
    ),
    "Malformed HTTP": (
        Fault("not-http", "does not speak HTTP", sends(b"SSH-2.0-OpenSSH_9.7\r\n"), PROTOCOL),
        Fault("strange-status", "sends a status line without a status", sends(b"HTTP/1.1 OK\r\n\r\n"), PROTOCOL),
        *(
            Fault(f"lenient-status-{place}", f"sends the status as `{status}`",
                  sends(f"HTTP/1.1 {status} OK\r\nContent-Length: {OBJECT_BYTES}\r\n\r\n".encode() + OBJECT), PROTOCOL)
            for place, status in enumerate(("+200", "2_00", "0200", "20", "2000"))
        ),
        Fault("lenient-status", "sends a control character before the status",
              sends(f"HTTP/1.1 \x0b200 OK\r\nContent-Length: {OBJECT_BYTES}\r\n\r\n".encode() + OBJECT), PROTOCOL),
        Fault("http-3", "sends a status line of another HTTP", sends(b"HTTP/3 200 OK\r\nContent-Length: 0\r\n\r\n"),
              PROTOCOL),
        Fault("long-header", "sends a header line of more than 64 KiB", adds({"x-amz-meta-a": "a" * _MAX_LINE_BYTES}),
              PROTOCOL),
        Fault("many-headers", "sends 200 headers", adds({f"x-amz-meta-{n}": "a" for n in range(2 * _MAX_FIELDS)}),
              PROTOCOL),
        Fault("headers-for-ever", "sends headers without an end",
              floods(b"HTTP/1.1 200 OK\r\n", b"x-amz-meta-a: " + b"a" * 10_000 + b"\r\n"), PROTOCOL),
        Fault("folded-line", "folds a header line", adds({"x-amz-meta-a": "1\r\n 2"}), PROTOCOL),
        Fault("folded-first-line", "sends a first header line that starts with a space",
              sends(b"HTTP/1.1 200 OK\r\n Content-Length: 4\r\nContent-Length: 4\r\n\r\n1234"), PROTOCOL),
        Fault("control-characters", "sends control characters in a header", adds({"x-amz-meta-a": "1\x012"}), PROTOCOL),
        Fault("carriage-return", "sends a carriage return in a header",
              adds({"x-amz-meta-a": "1\rContent-Encoding: gzip"}), PROTOCOL),
        Fault("no-name", "sends a header with an invalid name", adds({"x-amz-meta-(b)": "1"}), PROTOCOL),
        Fault("line-without-colon", "sends a header line without a colon", adds({"no\r\nx-amz-meta-a": "1"}), PROTOCOL),
    ),
    "Repeated secrets": (
        Fault("repeats-everything", "refuses, and repeats the whole request in the message", _repeats_everything,
              refused(403, "SignatureDoesNotMatch")),
        Fault("repeats-where-cut", "refuses, and repeats a secret where the message is cut",
              _repeats_where_messages_are_cut, refused(403, "SignatureDoesNotMatch")),
        Fault("repeats-as-code", "refuses, and gives a secret for a code", _repeats_words_as_codes, FORBIDDEN),
        Fault("repeats-in-headers", "refuses, and repeats the request in headers", _repeats_in_headers, FORBIDDEN),
        Fault("repeats-in-broken-header", "repeats the request in a malformed header line",
              _repeats_in_a_broken_header, PROTOCOL),
        Fault("repeats-as-status", "repeats the request instead of a status line", _repeats_as_status_line, PROTOCOL),
        Fault("repeats-in-redirect", "redirects elsewhere with the whole query", _redirects_with_the_query, PROTOCOL),
    ),
})
# fmt: on

FAULTS = tuple(fault for chapter in CHAPTERS.values() for fault in chapter)


# The service in front of a faulty store


@contextlib.contextmanager
def service(store: FaultyStore, **settings: Any) -> Iterator[tuple[flask.Flask, Transport]]:
    """The application in front of a faulty store, and its transport.

    It has memory for one request at a time, so that a request fails if the one before did not release its memory.
    """
    values = make_settings(
        **{"s3_endpoint": store.url, "memory_limit": _ONE_REQUEST, "max_object_memory": _ONE_REQUEST, **settings}
    )
    limits = TransportLimits(values.connect_timeout, values.read_timeout, values.retries, connections=2)
    # If the deadline ends a request, the store advances the clock.
    store.clock = FakeClock() if "deadline" in settings else None
    clock = store.clock or CLOCK
    transport = Transport(values.allow_list, limits, pause=lambda _: None, clock=clock)
    try:
        yield create_app(values, transport, clock), transport
    finally:
        transport.close()

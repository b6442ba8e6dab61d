"""The one place that connects: what may be fetched, and when to try again.

The origin is looked up on the allow-list before a socket is opened, and what its name resolves to is judged
(``addresses.py``); redirects are refused, the environment's proxies and netrc are not asked. What counts as an answer
is in ``answers.py``. A try that fails in passing (no connection, cut off, 500, 502, 503, 504) is made again, from where
the bytes broke off and only if the ETag is still the same, until the tries or the time run out.
"""

import contextlib
import http.client
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import urllib3.exceptions

from handler.errors import (
    ActiveStorageError,
    CallerGone,
    EntityTooLarge,
    OriginNotAllowed,
    StoreCutOff,
    StoreError,
    StoreProtocolError,
    StoreTimeout,
    StoreUnreachable,
)
from handler.origins import Origin, OriginPattern
from handler.params import format_range
from handler.spec import ByteRange
from handler.upstream.addresses import Addresses, Reach, Trust
from handler.upstream.answers import read_facts, read_failure
from handler.upstream.deadline import Deadline, Watch, Watchdog
from handler.upstream.source import ObjectFacts, Stream, more_of_same
from handler.upstream.wire import Abort, Answer, WireAdapter, WireRequest

# S3's error documents are some hundred bytes. A larger body is not read, and its connection not kept.
_MAX_ERROR_BYTES = 64 * 1024

# What is read at a time of a body that is dropped, or held anyway.
_PIECE_BYTES = 64 * 1024

# Callers can name as many origins as they like; few of them are allowed.
_MAX_ORIGINS = 1024

_PASSING_STATUSES = frozenset({500, 502, 503, 504})

# The conditions that 304 is an answer to (RFC 9110, section 15.4.5).
_UNLESS_MODIFIED_HEADERS = frozenset({"if-none-match", "if-modified-since"})

# The first pause is short, since most breaks are of one connection; each one after is twice as long.
_FIRST_PAUSE_SECONDS = 0.05

_Made = TypeVar("_Made")

_LIBRARY_ERRORS = (
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    # What http.client makes of a socket that the watchdog closed while it read a line.
    ValueError,
)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What to ask a store for; its ``repr`` shows origin and path only.

    Attributes:
        origin: Where to connect.
        target: The request target, as it is to be sent.
        headers: As they are to be sent, ``Host`` among them.
        has_fixed_range: A signature covers ``Range``: it is among the headers, and no other can be asked for.
        names_part: The target asks for a part by its number, so that a 206 comes unasked.
    """

    origin: Origin
    target: str
    headers: Mapping[str, str]
    has_fixed_range: bool = False
    names_part: bool = False

    def __repr__(self) -> str:
        return f"<StoreRequest {self.origin}{self.target.partition('?')[0]}>"

    @property
    def takes_range(self) -> bool:
        """Whether any range can be asked for, such as the rest of one that broke off."""
        return not (self.has_fixed_range or self.names_part)


def own_headers(host: str) -> dict[str, str]:
    """What every request says of itself, to a ``Host``: who asks, and that the bytes are wanted as they are stored."""
    return {"host": host, "user-agent": "s3-active-storage", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """How long and how often: ``tries`` for one range, times in seconds, ``connections`` kept to one origin."""

    connect_seconds: float
    read_seconds: float
    tries: int
    connections: int


class Transport:
    """Connections to stores, shared by all requests of a process.

    Args:
        allowed: The origins that may be fetched from.
        limits: How long and how often.
        pause: Waits so many seconds between tries.
        trust: What their names may resolve to.
        addresses: Finds what they resolve to.
    """

    def __init__(
        self,
        allowed: tuple[OriginPattern, ...],
        limits: TransportLimits,
        pause: Callable[[float], None] = time.sleep,
        trust: Trust | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        self._allowed = allowed
        self._limits = limits
        self._pause = pause
        self._trust = trust or Trust()
        self._addresses = addresses or Addresses()
        self._find_reach = lru_cache(_MAX_ORIGINS)(self._judge)
        self._adapter = WireAdapter(limits.connections)
        self._watchdog = Watchdog()

    def open(self, request: StoreRequest, byte_range: ByteRange | None, deadline: Deadline) -> Stream:
        """The bytes of ``byte_range``, or of the whole object, resumed where they break off.

        Raises:
            ActiveStorageError: They cannot be had.
        """
        return HttpStream(partial(self._exchange, "GET", request, deadline), request, byte_range, self._tries(deadline))

    def head(self, request: StoreRequest, byte_range: ByteRange | None, deadline: Deadline) -> ObjectFacts:
        """What ``open`` would find, without its bytes.

        Raises:
            ActiveStorageError: It cannot be had.
        """
        exchange = self._tries(deadline).make(lambda: self._exchange("HEAD", request, deadline, byte_range))
        exchange.close()
        return exchange.facts

    def read_document(self, request: StoreRequest, deadline: Deadline, most: int) -> bytes:
        """The whole of what a store says of something else than an object, such as a listing.

        Args:
            request: What to ask for.
            deadline: When it must be there.
            most: How many bytes it may have.

        Raises:
            EntityTooLarge: It has more.
            ActiveStorageError: It cannot be had.
        """
        return self._tries(deadline).make(lambda: self._read_document(request, deadline, most))

    def ensure_answers(self, origin: Origin, deadline: Deadline) -> None:
        """Pass where something at ``origin`` speaks HTTP, whatever it says.

        Raises:
            ActiveStorageError: Nothing does.
        """
        self._send("HEAD", StoreRequest(origin, "/", own_headers(origin.authority)), deadline, {}).close()

    def close(self) -> None:
        """Close the connections that are kept, and end the thread that watches over deadlines."""
        self._adapter.close()
        self._watchdog.close()

    def _read_document(self, request: StoreRequest, deadline: Deadline, most: int) -> bytes:
        exchange = self._send("GET", request, deadline, {})
        try:
            return exchange.read_document(most)
        finally:
            exchange.close()

    def _tries(self, deadline: Deadline) -> "Tries":
        return Tries(self._limits.tries, deadline, self._pause)

    def _exchange(
        self,
        method: str,
        request: StoreRequest,
        deadline: Deadline,
        byte_range: ByteRange | None,
        etag: str | None = None,
    ) -> "Exchange":
        extra = {}
        if byte_range is not None and not request.has_fixed_range:
            extra["Range"] = format_range(byte_range)
        if etag is not None and "if-match" not in request.headers:
            extra["If-Match"] = etag
        exchange = self._send(method, request, deadline, extra)
        try:
            exchange.take_facts(byte_range)
        except ActiveStorageError:
            exchange.close()
            raise
        return exchange

    def _judge(self, origin: Origin) -> Reach | None:
        """How far an origin is trusted; None where nothing may be fetched from it."""
        matches = [pattern for pattern in self._allowed if pattern.matches(origin)]
        return self._trust.find_reach(origin, any(pattern.is_exact for pattern in matches)) if matches else None

    def _send(self, method: str, request: StoreRequest, deadline: Deadline, extra: Mapping[str, str]) -> "Exchange":
        reach = self._find_reach(request.origin)
        if reach is None:
            raise OriginNotAllowed(f"{request.origin} is not one of the origins that may be fetched from")
        if deadline.is_over:
            raise StoreTimeout("the time for this request was over before the store was asked")
        left = deadline.remaining_seconds
        watches: list[Watch] = []

        def watch(abort: Abort) -> None:
            watches.append(self._watchdog.watch(deadline, abort))

        def release() -> None:
            for entry in watches:
                self._watchdog.release(entry)

        wired = WireRequest(method, request.origin, request.target, {**request.headers, **extra}, on_send=watch)
        wired.locate = partial(self._addresses.find, request.origin, reach)
        try:
            response = self._adapter.send(
                wired,
                timeout=(min(self._limits.connect_seconds, left), min(self._limits.read_seconds, left)),
                stream=True,
            )
        except OriginNotAllowed:
            release()
            raise
        except _LIBRARY_ERRORS as error:
            release()
            raise _translate(error, request.origin, deadline) from None
        return Exchange(method, request, response, deadline, release)


class Exchange:
    """One request and its answer. What is read from it is counted; a connection is kept only after the last byte.

    Attributes:
        facts: What the store says, once ``take_facts`` has found it fit.
    """

    facts: ObjectFacts

    def __init__(
        self,
        method: str,
        request: StoreRequest,
        response: Answer,
        deadline: Deadline,
        release: Callable[[], None],
    ) -> None:
        self._method = method
        self._request = request
        self._response = response
        self._body = response.raw
        self._deadline = deadline
        self._release = release
        self._missing: int | None = 0 if method == "HEAD" else None
        self._is_open = True

    def take_facts(self, byte_range: ByteRange | None) -> None:
        """Find out what the answer holds.

        Raises:
            ActiveStorageError: It is a refusal, or not an answer to what was asked.
        """
        status, headers = self._accept()
        self.facts = read_facts(self._method, status, headers, byte_range, self._request.names_part)
        if self._missing is None:
            self._missing = self.facts.length

    def read_document(self, most: int) -> bytes:
        """The body of an answer that is no object's, in whatever coding it comes.

        Raises:
            EntityTooLarge: It has more than so many bytes.
            ActiveStorageError: It is a refusal, or does not come to its end.
        """
        _, headers = self._accept()
        document, piece = bytearray(), memoryview(bytearray(_PIECE_BYTES))
        try:
            while read := self._body.readinto(piece):
                document += piece[:read]
                if len(document) > most:
                    raise EntityTooLarge(f"what the store sends has more than {most} bytes")
        except _LIBRARY_ERRORS as error:
            raise _translate(error, self._request.origin, self._deadline, is_body=True) from None
        if "transfer-encoding" not in headers and headers.get("content-length") != str(len(document)):
            raise _cut_off(self._deadline)
        self._missing = 0
        return bytes(document)

    def _accept(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers of an answer that is no refusal.

        Raises:
            ActiveStorageError: It is one.
        """
        status = self._response.status_code
        headers = self._response.headers
        if status >= 300:
            sent = " ".join((self._request.target, *self._request.headers.values()))
            raise read_failure(
                status,
                headers,
                self._read_error_body(headers),
                secrets=sent,
                is_conditional=not _UNLESS_MODIFIED_HEADERS.isdisjoint(self._request.headers),
            )
        return status, headers

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of ``buffer``, which is no longer than what is missing; how many bytes, at least 1.

        Raises:
            StoreCutOff: The connection ended before the last byte.
            StoreTimeout: The next byte did not come in time.
            CallerGone: Nobody waits for it any more.
        """
        try:
            read = self._body.readinto(buffer)
        except _LIBRARY_ERRORS as error:
            raise _translate(error, self._request.origin, self._deadline, is_body=True) from None
        if not read:
            raise _cut_off(self._deadline)
        self._missing = (self._missing or 0) - read
        if self._missing and self._deadline.is_abandoned():
            raise CallerGone("the caller closed the connection before the answer was there")
        return read

    def skip(self, count: int) -> None:
        """Read ``count`` bytes and drop them.

        Raises:
            StoreCutOff, StoreTimeout: As ``readinto``.
        """
        scratch = memoryview(bytearray(min(count, _PIECE_BYTES)))
        while count:
            count -= self.readinto(scratch[:count])

    def close(self) -> None:
        """Give the connection back where nothing more comes on it, else close it. Twice is once."""
        if not self._is_open:
            return
        self._is_open = False
        self._release()
        if self._missing == 0 and not self._deadline.is_over:
            self._body.release_conn()
        else:
            self._body.close()

    def _read_error_body(self, headers: Mapping[str, str]) -> bytes:
        if self._method == "HEAD" or self._response.status_code == 304:
            self._missing = 0
            return b""
        body = bytearray(_MAX_ERROR_BYTES)
        filled = 0
        # A refusal is one, whatever becomes of its document.
        with contextlib.suppress(*_LIBRARY_ERRORS):
            while filled < len(body) and (read := self._body.readinto(memoryview(body)[filled:])):
                filled += read
        if headers.get("content-length") == str(filled) and "transfer-encoding" not in headers:
            self._missing = 0
        return bytes(body[:filled])


class HttpStream(Stream):
    """The bytes of one range, resumed where they break off.

    Args:
        exchange: Asks for a range, of the object with an ETag if one is given.
        request: What is asked for.
        byte_range: The range, None for the whole object.
        tries: How often it may be asked for.
    """

    def __init__(
        self,
        exchange: Callable[..., Exchange],
        request: StoreRequest,
        byte_range: ByteRange | None,
        tries: "Tries",
    ) -> None:
        self._ask = exchange
        self._request = request
        self._byte_range = byte_range
        self._tries = tries
        self._exchange = tries.make(lambda: exchange(byte_range))
        self.facts = self._exchange.facts

    def readinto(self, buffer: memoryview, /) -> int:
        window = buffer[: self.facts.length - self.bytes_read]
        if not window:
            return 0
        try:
            read = self._exchange.readinto(window)
        except ActiveStorageError as error:
            self._tries.fail(error)
            self._exchange.close()
            self._exchange = self._tries.make(self._resume)
            return self.readinto(buffer)
        self.bytes_read += read
        return read

    def close(self) -> None:
        self._exchange.close()

    def _resume(self) -> Exchange:
        done = self.bytes_read
        if done and self.facts.strong_etag is None:
            raise StoreCutOff("the store cut the object off, and gives no strong ETag by which to go on with the same")
        whole_again = not self._request.takes_range
        rest = self._byte_range if whole_again else ByteRange(self.facts.start + done, self.facts.stop - 1)
        with more_of_same():
            exchange = self._ask(rest, self.facts.strong_etag)
        try:
            exchange.facts.ensure_same(self.facts)
            if whole_again:
                exchange.skip(done)
        except ActiveStorageError:
            exchange.close()
            raise
        return exchange


class Tries:
    """How often one range is asked for, all in all.

    Args:
        limit: The number of tries.
        deadline: After it there are none.
        pause: Waits so many seconds.
    """

    def __init__(self, limit: int, deadline: Deadline, pause: Callable[[float], None]) -> None:
        self._limit = limit
        self._deadline = deadline
        self._pause = pause
        self._failed = 0

    def make(self, attempt: Callable[[], _Made]) -> _Made:
        """What ``attempt`` gives, tried again while it fails in passing.

        Raises:
            ActiveStorageError: The last failure.
        """
        while True:
            try:
                return attempt()
            except ActiveStorageError as error:
                self.fail(error)

    def fail(self, error: ActiveStorageError) -> None:
        """Count a failure and wait before the next try.

        Raises:
            ActiveStorageError: ``error``, where another try makes no sense or is not left.
        """
        self._failed += 1
        # Full jitter, so that the many that one break hits do not come back together.
        longest_seconds = _FIRST_PAUSE_SECONDS * 2 ** (self._failed - 1)
        pause_seconds = random.uniform(0, longest_seconds)  # noqa: S311  # spreads load, hides nothing
        is_last = self._failed >= self._limit or self._deadline.remaining_seconds <= longest_seconds
        if is_last or not _is_passing(error):
            raise error
        self._pause(pause_seconds)


def _is_passing(error: ActiveStorageError) -> bool:
    if isinstance(error, StoreError):
        return error.status in _PASSING_STATUSES
    return isinstance(error, StoreUnreachable | StoreCutOff | StoreTimeout)


def _cut_off(deadline: Deadline) -> ActiveStorageError:
    if deadline.is_over:
        return StoreTimeout("the store had not sent everything when the time for this request was over")
    return StoreCutOff("the store sent fewer bytes than it promised")


def _translate(error: Exception, origin: Origin, deadline: Deadline, is_body: bool = False) -> ActiveStorageError:
    """What an error of the library's means. Its own text may hold a URL, so that none of it is used."""
    if is_body and deadline.is_over:
        return _cut_off(deadline)
    # To urllib3, a connection that was refused is a kind of timeout.
    is_timeout = isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError)
    if (is_timeout and not isinstance(error, urllib3.exceptions.NewConnectionError)) or deadline.is_over:
        return StoreTimeout(f"the store at {origin} did not answer in time")
    if is_body:
        return _cut_off(deadline)
    # RemoteDisconnected is both.
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return StoreProtocolError(f"what the store at {origin} sent is not well-formed HTTP/1.1")
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return StoreUnreachable(f"no trusted TLS connection to the store at {origin}")
    return StoreUnreachable(f"no connection to the store at {origin}, or it broke before an answer came")

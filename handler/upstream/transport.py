"""The one place that connects: what may be fetched, and when to try again.

The origin is looked up on the allow-list before a socket is opened, and what its name resolves to is judged
(``addresses.py``); redirects are refused, the environment's proxies and netrc are not asked. What counts as an answer
is in ``answers.py``. A try that fails in passing (no connection, cut off, 500, 502, 503, 504) is made again, from where
the bytes broke off, until the tries or the time run out. What comes then is compared with the first answer
(``ask_again`` in ``source.py``).

Clean-up reads nothing: a connection is kept where the last byte of an answer is known to be read, and closed otherwise.
"""

import contextlib
import http.client
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from handler.upstream.answers import ensure_document, read_facts, read_failure
from handler.upstream.deadline import Deadline, Watch, Watchdog
from handler.upstream.source import ObjectFacts, Stream, ask_again
from handler.upstream.wire import Abort, Answer, WireAdapter, WireRequest

# S3's error documents are some hundred bytes. A larger body is not read, and its connection not kept.
_MAX_ERROR_BYTES = 64 * 1024

# How long to wait for one, all in all. It comes with its status, which already says what is wrong; only the store's own
# words are lost with it.
_MAX_ERROR_SECONDS = 2.0

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

    def pinned_to(self, facts: ObjectFacts) -> "StoreRequest":
        """The request for more of the same object: with ``If-Match``, where it has a strong ETag.

        A condition of the caller's stays as it is, since a signature may cover it.
        """
        etag = facts.strong_etag
        if etag is None or "if-match" in self.headers:
            return self
        return replace(self, headers={**self.headers, "if-match": etag})


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
        exchange = partial(self._exchange, "GET", deadline)
        return HttpStream(exchange, request, byte_range, self._tries(deadline), deadline)

    def head(self, request: StoreRequest, byte_range: ByteRange | None, deadline: Deadline) -> ObjectFacts:
        """What ``open`` would find, without its bytes.

        Raises:
            ActiveStorageError: It cannot be had.
        """
        exchange = self._tries(deadline).make(lambda: self._exchange("HEAD", deadline, request, byte_range))
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
        self, method: str, deadline: Deadline, request: StoreRequest, byte_range: ByteRange | None
    ) -> "Exchange":
        extra = {}
        if byte_range is not None and not request.has_fixed_range:
            extra["Range"] = format_range(byte_range)
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
        leash = _Leash(self._watchdog, deadline)
        wired = WireRequest(method, request.origin, request.target, {**request.headers, **extra}, on_send=leash.fasten)
        wired.locate = partial(self._addresses.find, request.origin, reach)
        try:
            response = self._adapter.send(
                wired,
                timeout=(min(self._limits.connect_seconds, left), min(self._limits.read_seconds, left)),
                stream=True,
            )
        except OriginNotAllowed:
            leash.release()
            raise
        except _LIBRARY_ERRORS as error:
            leash.release()
            raise _translate(error, request.origin, deadline) from None
        return Exchange(method, request, response, deadline, leash)


class _Leash:
    """Breaks one request off at its deadline, or sooner.

    Args:
        watchdog: What keeps the time.
        deadline: The request's.
    """

    def __init__(self, watchdog: Watchdog, deadline: Deadline) -> None:
        self._watchdog = watchdog
        self._deadline = deadline
        self._watches: list[tuple[Watch, Abort]] = []

    def fasten(self, abort: Abort) -> None:
        """``abort`` breaks the request off."""
        self._watches.append((self._watchdog.watch(self._deadline, abort), abort))

    def shorten(self, seconds: float) -> None:
        """Break the request off so many seconds from now, if it is not released by then."""
        deadline = Deadline.after(seconds)
        self._watches += [(self._watchdog.watch(deadline, abort), abort) for _, abort in self._watches]

    def release(self) -> None:
        """The request is over. Idempotent."""
        for watch, _ in self._watches:
            self._watchdog.release(watch)


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
        leash: _Leash,
    ) -> None:
        self._method = method
        self._request = request
        self._response = response
        self._body = response.raw
        self._deadline = deadline
        self._leash = leash
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
        """The body of an answer that is not an object: all of it, with a length or in chunks.

        Raises:
            EntityTooLarge: It has more than so many bytes.
            ActiveStorageError: It is a refusal, or a part of the document, or encoded, or does not come to its end.
        """
        status, headers = self._accept()
        ensure_document(status, headers)
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
        """Give the connection back where nothing more comes on it, else close it. Reads nothing. Idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        self._leash.release()
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
        self._leash.shorten(_MAX_ERROR_SECONDS)
        # Whatever becomes of its document, a refusal stays a refusal.
        with contextlib.suppress(*_LIBRARY_ERRORS):
            while filled < len(body) and (read := self._body.readinto(memoryview(body)[filled:])):
                filled += read
        if headers.get("content-length") == str(filled) and "transfer-encoding" not in headers:
            self._missing = 0
        return bytes(body[:filled])


class HttpStream(Stream):
    """The bytes of one range, resumed where they break off.

    Args:
        exchange: Asks for a range.
        request: What is asked for.
        byte_range: The range, None for the whole object.
        tries: How often it may be asked for.
        deadline: When the answer must be there that is made of them.
    """

    def __init__(
        self,
        exchange: Callable[[StoreRequest, ByteRange | None], Exchange],
        request: StoreRequest,
        byte_range: ByteRange | None,
        tries: "Tries",
        deadline: Deadline,
    ) -> None:
        self._ask = exchange
        self._request = request
        self._byte_range = byte_range
        self._tries = tries
        self._deadline = deadline
        self._exchange = tries.make(lambda: exchange(request, byte_range))
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

    def ensure_wanted(self) -> None:
        self._deadline.ensure_wanted()

    def close(self) -> None:
        self._exchange.close()

    def _resume(self) -> Exchange:
        done = self.bytes_read
        if done and self.facts.strong_etag is None:
            raise StoreCutOff("the store cut the object off, and gives no strong ETag by which to go on with the same")
        whole_again = not self._request.takes_range
        rest = self._byte_range if whole_again else ByteRange(self.facts.start + done, self.facts.stop - 1)
        exchange = ask_again(lambda: self._ask(self._request.pinned_to(self.facts), rest), self.facts)
        try:
            expected = (self.facts.start + (0 if whole_again else done), self.facts.stop)
            if (exchange.facts.start, exchange.facts.stop) != expected:
                # A part that is asked for by its number can be any range.
                raise StoreProtocolError("the store sends another part of the object than before")
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

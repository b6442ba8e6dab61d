"""One request and its answer: what is read of it, and what becomes of its connection.

Clean-up reads nothing: a connection is kept where the last byte of an answer is known to be read, and closed otherwise.
What counts as an answer is in ``answers.py``.
"""

import contextlib
from collections.abc import Mapping

from active_storage.errors import CallerGone, EntityTooLarge
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.answers import ensure_conditions, ensure_document, read_facts, read_failure
from handler.stores.library_errors import LIBRARY_ERRORS, cut_off, translate
from handler.stores.source import ObjectFacts
from handler.stores.store_request import StoreRequest
from handler.stores.watchdog import Watch, Watchdog
from handler.stores.wire import Abort, Answer

# S3's error documents are some hundred bytes. A larger body is not read, and its connection not kept.
_MAX_ERROR_BYTES = 64 * 1024

# How long to wait for one, all in all. It comes with its status, which already says what is wrong; only the store's own
# words are lost with it.
_MAX_ERROR_SECONDS = 2.0

# What is read at a time of a body that is dropped, or held anyway.
_PIECE_BYTES = 64 * 1024

# The conditions that 304 is an answer to (RFC 9110, section 15.4.5).
_UNLESS_MODIFIED_HEADERS = frozenset({"if-none-match", "if-modified-since"})


class Leash:
    """Breaks one request off at its scope, or sooner.

    Args:
        watchdog: What keeps the time.
        scope: What bounds the work.
    """

    def __init__(self, watchdog: Watchdog, scope: Scope) -> None:
        self._watchdog = watchdog
        self._scope = scope
        self._watches: list[tuple[Watch, Abort]] = []

    def fasten(self, abort: Abort) -> None:
        """``abort`` breaks the request off."""
        self._watches.append((self._watchdog.watch(self._scope, abort), abort))

    def shorten(self, seconds: float) -> None:
        """Break the request off so many seconds from now, if it is not released by then."""
        scope = Scope.after(seconds, clock=self._scope.clock)
        self._watches += [(self._watchdog.watch(scope, abort), abort) for _, abort in self._watches]

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
        scope: Scope,
        leash: Leash,
    ) -> None:
        self._method = method
        self._request = request
        self._response = response
        self._body = response.raw
        self._scope = scope
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
        ensure_conditions(self.facts, self._request.target, self._request.headers)
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
        except LIBRARY_ERRORS as error:
            raise translate(error, self._request.origin, self._scope, is_body=True) from None
        if "transfer-encoding" not in headers and headers.get("content-length") != str(len(document)):
            raise cut_off(self._scope)
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
            named = (f"{name}={value}" for name, value in self._request.headers.items())
            sent = " ".join((self._request.target, *named))
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
        except LIBRARY_ERRORS as error:
            raise translate(error, self._request.origin, self._scope, is_body=True) from None
        if not read:
            raise cut_off(self._scope)
        self._missing = (self._missing or 0) - read
        if self._missing and self._scope.is_abandoned():
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
        if self._missing == 0 and not self._scope.is_over:
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
        with contextlib.suppress(*LIBRARY_ERRORS):
            while filled < len(body) and (read := self._body.readinto(memoryview(body)[filled:])):
                filled += read
        if headers.get("content-length") == str(filled) and "transfer-encoding" not in headers:
            self._missing = 0
        return bytes(body[:filled])

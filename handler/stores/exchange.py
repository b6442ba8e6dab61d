"""One request and its response: whether the store's answer can be believed, and the bytes of its body.

``answers.py`` says what an acceptable answer is. ``wire.py`` decides what becomes of the connection.
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
from handler.stores.wire import Response

# S3's error documents have some hundred bytes. A larger body is not read to its end, and its connection is closed.
_MAX_ERROR_BYTES = 64 * 1024

# How long to wait for an error document. The status has arrived and says what is wrong; without the document, only the
# store's own words are lost.
_MAX_ERROR_SECONDS = 2.0

# The size of one read of a body that is dropped, or held in memory as a whole.
_PIECE_BYTES = 64 * 1024

# The conditions that a store answers with 304 (RFC 9110, section 15.4.5).
_UNLESS_MODIFIED_HEADERS = frozenset({"if-none-match", "if-modified-since"})


class Exchange:
    """One request and its response.

    Args:
        request: The request.
        response: Its response, with the body still to be read.
        scope: The scope of the caller's request.

    Attributes:
        facts: The facts about the object; set by ``take_facts``.
    """

    facts: ObjectFacts

    def __init__(self, request: StoreRequest, response: Response, scope: Scope) -> None:
        self._request = request
        self._response = response
        self._scope = scope

    def take_facts(self, byte_range: ByteRange | None) -> None:
        """Read the facts about the object from the head of the response.

        Args:
            byte_range: The range that was asked for; None for the whole object.

        Raises:
            ActiveStorageError: The store refuses, or its answer does not fit the request.
        """
        status, headers = self._accept()
        self.facts = read_facts(self._response.method, status, headers, byte_range, self._request.asks_for_part)
        ensure_conditions(self.facts, self._request.target, self._request.headers)

    def read_document(self, limit_bytes: int) -> bytes:
        """The whole body of an answer that is not an object, with a length or in chunks.

        Raises:
            EntityTooLarge: It has more than ``limit_bytes``.
            ActiveStorageError: The store refuses, or the document is partial, encoded or cut off.
        """
        status, headers = self._accept()
        ensure_document(status, headers)
        document, piece = bytearray(), memoryview(bytearray(_PIECE_BYTES))
        try:
            while read := self._response.readinto(piece):
                document += piece[:read]
                if len(document) > limit_bytes:
                    raise EntityTooLarge(f"the store's document has more than {limit_bytes} bytes")
        except LIBRARY_ERRORS as error:
            raise translate(error, self._request.origin, self._scope, is_body=True) from None
        if "transfer-encoding" not in headers and headers.get("content-length") != str(len(document)):
            raise cut_off(self._scope)
        return bytes(document)

    def readinto(self, buffer: memoryview) -> int:
        """Fill a part of ``buffer`` from the body.

        Args:
            buffer: Not longer than the rest of the body.

        Returns:
            The number of bytes, at least 1.

        Raises:
            StoreCutOff: The connection ended before the last byte.
            StoreTimeout: The next byte did not arrive in time.
            CallerGone: The caller does not wait for the rest any more.
        """
        try:
            read = self._response.readinto(buffer)
        except LIBRARY_ERRORS as error:
            raise translate(error, self._request.origin, self._scope, is_body=True) from None
        if not read:
            raise cut_off(self._scope)
        if self._response.length and self._scope.is_abandoned():
            raise CallerGone("the caller closed the connection before the answer was there")
        return read

    def skip(self, count: int) -> None:
        """Read ``count`` bytes and drop them.

        Raises:
            StoreCutOff, StoreTimeout, CallerGone: As ``readinto``.
        """
        scratch = memoryview(bytearray(min(count, _PIECE_BYTES)))
        while count:
            count -= self.readinto(scratch[:count])

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else close it. Reads nothing. Idempotent."""
        self._response.release()

    def _accept(self) -> tuple[int, Mapping[str, str]]:
        """The status and the headers of the response.

        Raises:
            ActiveStorageError: The store refuses.
        """
        status, headers = self._response.status, self._response.headers
        if status < 300:
            return status, headers
        sent = " ".join((self._request.target, *(f"{name}={value}" for name, value in self._request.headers.items())))
        is_conditional = not _UNLESS_MODIFIED_HEADERS.isdisjoint(self._request.headers)
        body, is_whole = self._read_error_body()
        raise read_failure(status, headers, body, sent, is_conditional, is_whole)

    def _read_error_body(self) -> tuple[bytes, bool]:
        """The body, and whether it is whole."""
        if self._response.length == 0:
            return b"", True
        body = memoryview(bytearray(_MAX_ERROR_BYTES))
        filled, is_whole = 0, False
        self._response.watch.shorten(_MAX_ERROR_SECONDS)
        # A refusal stays a refusal, whether or not its document arrives.
        with contextlib.suppress(*LIBRARY_ERRORS):
            while filled < len(body) and (read := self._response.readinto(body[filled:])):
                filled += read
            is_whole = filled < len(body) and not self._response.length and not self._response.watch.is_broken_off
        return bytes(body[:filled]), is_whole

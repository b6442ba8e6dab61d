"""Objects in a store as sources.

A request is sent as the caller signed it, or is signed by this service in the caller's name. This service signs each
request when it is sent, so that the date is fresh. A signature is for one region. If the store names another region,
the request is signed and sent once more, and later requests for the bucket are signed for that region.
"""

from collections.abc import Callable
from typing import TypeVar

from active_storage.errors import NotModified, StoreError, WrongRegion
from active_storage.grammar.ranges import NEGOTIATED_HEADERS
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.identity import ENCRYPTION_PREFIX
from handler.stores.signatures import is_known
from handler.stores.signers import S3Signer, Signer
from handler.stores.source import ObjectFacts, Source, Stream
from handler.stores.store_request import StoreRequest
from handler.stores.transport import Transport

_Result = TypeVar("_Result")

# The name in a query that names a version of an object.
_VERSION = "versionId"


class StoreSource(Source):
    """An object in a store.

    Args:
        transport: Connects to the store.
        request: The request for the object.
        scope: The scope of the caller's request.
        signer: Adds headers that say who asks; None if the request is complete.
    """

    def __init__(self, transport: Transport, request: StoreRequest, scope: Scope, signer: Signer | None = None) -> None:
        super().__init__()
        self._transport = transport
        self._request = request
        self._scope = scope
        self._signer = signer
        self.takes_range = request.takes_range

    def __repr__(self) -> str:
        return f"<StoreSource {self._request!r}>"

    @property
    def identity(self) -> str | None:
        request = self._request
        names = {name for name, _, _ in request.query.pairs if name and not is_known(name, request.query)}
        # A condition or a range of the caller's own makes another answer of it, and a key of their own other bytes.
        if names - {_VERSION} or not NEGOTIATED_HEADERS.isdisjoint(request.headers):
            return None
        if any(name.startswith(ENCRYPTION_PREFIX) for name in request.headers):
            return None
        server, path = f"{request.origin} {request.headers.get('host', '')}", request.target.partition("?")[0]
        return f"{server} {path}?{','.join(request.query.find(_VERSION))}"

    def open_unless(self, facts: ObjectFacts, byte_range: ByteRange | None) -> Stream | None:
        unless = {"if-none-match": str(facts.etag)}
        try:
            return self._take(
                lambda: self._ask(
                    lambda: self._transport.open(self._sign("GET").with_headers(unless), byte_range, self._scope)
                )
            )
        except NotModified as same:
            if facts.says_same(same.etag, same.headers):
                return None
        return self.open(byte_range)

    def _open(self, byte_range: ByteRange | None) -> Stream:
        return self._ask(lambda: self._transport.open(self._sign("GET"), byte_range, self._scope))

    def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:
        return self._ask(lambda: self._transport.open(self._sign("GET").pinned_to(expected), byte_range, self._scope))

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        return self._ask(lambda: self._transport.head(self._sign("HEAD"), byte_range, self._scope))

    def read_document(self, limit_bytes: int) -> bytes:
        """The whole of a document that is not an object, such as a page of a listing.

        Raises:
            EntityTooLarge: It has more than ``limit_bytes``.
            ActiveStorageError: The store does not send it.
        """
        return self._ask(lambda: self._transport.read_document(self._sign("GET"), self._scope, limit_bytes))

    def _sign(self, method: str) -> StoreRequest:
        request = self._request
        if self._signer is None:
            return request
        return request.with_headers(self._signer.sign(method, request.origin, request.target))

    def _ask(self, ask: Callable[[], _Result]) -> _Result:
        """The result of ``ask``, which is called again if the store names another region than it was signed for."""
        if not isinstance(self._signer, S3Signer):
            return ask()
        regions, place = self._signer.regions, (self._request.origin, self._request.target)
        signed_for = regions.find(*place)
        try:
            return ask()
        except WrongRegion as error:
            if error.region in (None, signed_for):
                raise
            regions.learn(*place, error.region)
        return ask()


class FallbackSource(Source):
    """An object that can have one of two names. The second is asked for if there is no object of the first.

    Args:
        first: The object under the first name.
        second: The object under the second name.
    """

    def __init__(self, first: Source, second: Source) -> None:
        super().__init__()
        self._first = first
        self._second = second
        self._found = first
        self.takes_range = first.takes_range and second.takes_range

    def __repr__(self) -> str:
        return f"<FallbackSource {self._first!r} {self._second!r}>"

    def _open(self, byte_range: ByteRange | None) -> Stream:
        try:
            stream, self._found = self._first.open(byte_range), self._first
        except StoreError as error:
            _ensure_absent(error)
            stream, self._found = self._second.open(byte_range), self._second
        return stream

    def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:
        # Only by the name that was found. A new object may have the first name by now.
        return self._found.open(byte_range, expected)

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        try:
            return self._first.head(byte_range)
        except StoreError as error:
            _ensure_absent(error)
        return self._second.head(byte_range)


def _ensure_absent(error: StoreError) -> None:
    if error.code != "NoSuchKey":
        raise error

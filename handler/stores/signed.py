"""Sources that this service asks for in the caller's name.

Every request is signed when it is made, so that its date is fresh. A signature is for one region: where the store names
another one, the request is signed once more, and the region is kept for the next ones.
"""

from collections.abc import Callable
from typing import TypeVar

from active_storage.errors import StoreError, WrongRegion
from active_storage.model.origins import Origin
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.signers import S3Signer, Signer
from handler.stores.source import ObjectFacts, Source, Stream
from handler.stores.store_request import StoreRequest, own_headers
from handler.stores.transport import Transport

_Given = TypeVar("_Given")


class SignedSource(Source):
    """An object that is asked for with what ``signer`` says, or with nothing at all.

    Args:
        transport: What connects.
        origin: Where the object lies.
        target: Its path and query there, as they are to be sent.
        signer: What signs; None for a request in nobody's name.
        scope: What bounds the work.
    """

    def __init__(self, transport: Transport, origin: Origin, target: str, signer: Signer | None, scope: Scope) -> None:
        super().__init__()
        self._transport = transport
        self._origin = origin
        self._target = target
        self._signer = signer
        self._scope = scope

    def __repr__(self) -> str:
        return f"<SignedSource {self._origin}{self._target.partition('?')[0]}>"

    def _open(self, byte_range: ByteRange | None) -> Stream:
        return self._ask(lambda: self._transport.open(self._request("GET"), byte_range, self._scope))

    def _open_more(self, byte_range: ByteRange | None, same_as: ObjectFacts) -> Stream:
        return self._transport.open(self._request("GET").pinned_to(same_as), byte_range, self._scope)

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        return self._ask(lambda: self._transport.head(self._request("HEAD"), byte_range, self._scope))

    def _ask(self, ask: Callable[[], _Given]) -> _Given:
        """What ``ask`` gives, asked a second time where the store names another region than it was signed for."""
        if not isinstance(self._signer, S3Signer):
            return ask()
        regions = self._signer.regions
        signed_for = regions.find(self._origin, self._target)
        try:
            return ask()
        except WrongRegion as error:
            if error.region in (None, signed_for):
                raise
            regions.learn(self._origin, self._target, error.region)
        return ask()

    def _request(self, method: str) -> StoreRequest:
        headers = own_headers(self._origin.authority)
        if self._signer is not None:
            headers |= self._signer.sign(method, self._origin, self._target)
        return StoreRequest(self._origin, self._target, headers)


class FallbackSource(Source):
    """An object that may lie under another name: where there is none of the first, that of the second.

    Args:
        first: Where it should be.
        second: Where it may be.
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

    def _open_more(self, byte_range: ByteRange | None, same_as: ObjectFacts) -> Stream:
        # Of the name that was found: another object may have come under the first since.
        return self._found.open(byte_range, same_as)

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        try:
            return self._first.head(byte_range)
        except StoreError as error:
            _ensure_absent(error)
        return self._second.head(byte_range)


def _ensure_absent(error: StoreError) -> None:
    if error.code != "NoSuchKey":
        raise error

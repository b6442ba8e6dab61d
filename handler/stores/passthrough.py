"""A source that asks the store with the caller's own signature: what was signed goes on byte for byte.

The caller signs for the store (header SigV4, a presigned query, or nothing at all); this service holds no key. It adds
only what no signature covers: a range, conditions on the source's ETag.

Sources: SigV4 with the Authorization header and with query parameters, Amazon S3 API Reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from active_storage.errors import InvalidArgument, shown_name
from active_storage.grammar.query import StoreQuery
from active_storage.grammar.ranges import NEGOTIATED_HEADERS
from active_storage.grammar.targets import join_target
from active_storage.model.origins import Origin
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.headers import drop_nominated, is_passable
from handler.stores.signatures import find_claims
from handler.stores.source import ObjectFacts, Source, Stream
from handler.stores.store_request import StoreRequest, own_headers
from handler.stores.transport import Transport

# Beside x-amz-*, what the older signature version 2 covers, and who signs.
_AUTHENTICATION_HEADERS = frozenset({"authorization", "date", "content-md5", "content-type"})


@dataclass(frozen=True, slots=True)
class SignedCall:
    """What a caller asks the store for, with the signature, if there is any; its ``repr`` shows no part of that.

    Attributes:
        path: The object's, as it was sent.
        query: The store's own.
        headers: The caller's that are not of its connection only, names in lower case.
        signed: Those that the signature covers, without ``host``.
    """

    path: str
    query: StoreQuery
    headers: Mapping[str, str] = field(repr=False)
    signed: frozenset[str]

    @classmethod
    def of(cls, path: str, query: StoreQuery, headers: Mapping[str, str]) -> Self:
        """The call that these are: a header or a presigned link names what is signed.

        Where something is named but nothing is signed, nothing counts as signed.

        Raises:
            InvalidArgument: Something signed is not in the request, or must not be sent on: the store could not verify
                the signature.
        """
        kept = drop_nominated(headers)
        claims = find_claims(query, headers.get("authorization", ""))
        for name in sorted(claims.names):
            if name not in headers:
                what = shown_name(name) or "a header"
                raise InvalidArgument("SignedHeaders", f"the signature covers {what}, which was not sent")
            if claims.are_proved and not (name in kept and _can_pass(name, headers[name])):
                what = name if shown_name(name) else "a header"
                raise InvalidArgument("SignedHeaders", f"the signature covers {what}, which cannot be sent on")
        if not claims.others.isdisjoint(kept):
            kept = {name: value for name, value in kept.items() if name not in claims.others}
        return cls(path, query, kept, claims.names if claims.are_proved else frozenset())


class PassthroughSource(Source):
    """An object of the store's, asked for as the caller signed it.

    Args:
        transport: What connects.
        request: What to ask for.
        scope: What bounds the work.
    """

    def __init__(self, transport: Transport, request: StoreRequest, scope: Scope) -> None:
        super().__init__()
        self._transport = transport
        self._request = request
        self._scope = scope
        self.takes_range = request.takes_range

    def __repr__(self) -> str:
        return f"<PassthroughSource {self._request!r}>"

    def _open(self, byte_range: ByteRange | None) -> Stream:
        return self._transport.open(self._request, byte_range, self._scope)

    def _open_more(self, byte_range: ByteRange | None, same_as: ObjectFacts) -> Stream:
        return self._transport.open(self._request.pinned_to(same_as), byte_range, self._scope)

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        return self._transport.head(self._request, byte_range, self._scope)


def build_request(store: Origin, public_store: Origin, call: SignedCall, conditions: Mapping[str, str]) -> StoreRequest:
    """What to ask the store for on the caller's behalf.

    Args:
        store: Where to connect.
        public_store: The store as the caller signed for it: its authority becomes ``Host``.
        call: What the caller asks for.
        conditions: Conditional headers in the source's terms; those that are signed stay as they were sent.
    """
    forwarded = {
        name: value
        for name, value in call.headers.items()
        if name in call.signed or (name not in NEGOTIATED_HEADERS and _speaks_to_store(name))
    }
    return StoreRequest(
        origin=store,
        target=join_target(call.path, call.query.text),
        headers={**own_headers(public_store.authority), **conditions, **forwarded},
        has_fixed_range="range" in call.signed,
        names_part=bool(call.query.find_last("partNumber")),
    )


def _speaks_to_store(name: str) -> bool:
    return name in _AUTHENTICATION_HEADERS or (name.startswith("x-amz-") and is_passable(name))


def _can_pass(name: str, value: str) -> bool:
    # Some clients sign that a GET has no body, which is true of this service's request as well.
    return is_passable(name) or (name == "content-length" and value == "0")

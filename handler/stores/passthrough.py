"""Requests to a store that carry the signature they came with. This service holds no key for them.

The signed parts go on byte for byte: the target, and the headers that the signature names. This service adds only what
no signature covers: a range, and conditions on the object's ETag.

Sources: SigV4 with the Authorization header and with query parameters, Amazon S3 API Reference.
"""

from collections.abc import Callable, Mapping

from active_storage.errors import InvalidArgument, shown_name
from active_storage.grammar.query import StoreQuery
from active_storage.grammar.ranges import NEGOTIATED_HEADERS
from active_storage.grammar.targets import join_target
from active_storage.model.origins import Origin
from handler.stores.headers import drop_nominated, is_passable
from handler.stores.identity import ENCRYPTION_PREFIX
from handler.stores.signatures import find_claims
from handler.stores.store_request import StoreRequest, own_headers

# Besides x-amz-*: the headers that the older signature version 2 covers, and the one with the signature.
_AUTHENTICATION_HEADERS = frozenset({"authorization", "date", "content-md5", "content-type"})


def _is_for_store(name: str) -> bool:
    """Whether an unsigned header of a caller goes on to the store."""
    return name in _AUTHENTICATION_HEADERS or (name.startswith("x-amz-") and is_passable(name))


def build_request(  # noqa: PLR0913, PLR0917  # each is a fact of its own
    store: Origin,
    host: str,
    path: str,
    query: StoreQuery,
    headers: Mapping[str, str],
    goes_on: Callable[[str], bool] = _is_for_store,
) -> StoreRequest:
    """The request of a caller, for the store.

    If the caller names signed headers without a signature, no header counts as signed.

    Args:
        store: The server to connect to.
        host: The ``Host`` that the caller signed for.
        path: The path of the object, as the caller sent it.
        query: The caller's query, without parameters of this service.
        headers: The caller's headers, names in lower case.
        goes_on: Whether an unsigned header goes on to the store. Ranges and conditions never do: the caller of this
            function translates them, and adds them with ``with_headers``.

    Raises:
        InvalidArgument: A signed header is absent, or must not be sent on. The store could not verify the signature.
    """
    kept = drop_nominated(headers)
    claims = find_claims(query, headers.get("authorization", ""))
    for name in sorted(claims.names):
        if name not in headers:
            what = shown_name(name) or "a header"
            raise InvalidArgument("SignedHeaders", f"the signature covers {what}, which was not sent")
        if claims.are_covered and not (name in kept and _can_pass(name, headers[name])):
            what = name if shown_name(name) else "a header"
            raise InvalidArgument("SignedHeaders", f"the signature covers {what}, which cannot be sent on")
    signed = claims.names if claims.are_covered else frozenset[str]()
    sent = own_headers(host)
    for name, value in kept.items():
        is_unsigned = name not in NEGOTIATED_HEADERS and name not in claims.others and goes_on(name)
        if name in signed or is_unsigned:
            sent[name] = value
    target, asks_for_part = join_target(path, query.text), bool(query.find_last("partNumber"))
    return StoreRequest(store, target, sent, signed, asks_for_part)


def build_link_request(store: Origin, path: str, query: StoreQuery, headers: Mapping[str, str]) -> StoreRequest:
    """The request of a link that a store presigned for this service, as stores do in the events of object lambdas.

    Besides the signed headers, only the client's encryption key goes on. The client's own signature is for the client's
    own request.

    Args:
        store: The origin of the link.
        path: The path of the link.
        query: The query of the link.
        headers: The client's headers, names in lower case.

    Raises:
        InvalidArgument: The signature covers a header that the client did not send.
    """
    others = {name: value for name, value in headers.items() if name != "authorization"}
    return build_request(store, store.authority, path, query, others, _is_encryption_key)


def _is_encryption_key(name: str) -> bool:
    return name.startswith(ENCRYPTION_PREFIX) and is_passable(name)


def _can_pass(name: str, value: str) -> bool:
    # Some clients sign that a GET has no body, which holds for the request to the store as well.
    return is_passable(name) or (name == "content-length" and value == "0")

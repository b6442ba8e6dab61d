"""What goes along with a link that a store presigned for this service, as object lambdas are handed one.

The link is sent verbatim: its signature covers all of it, and the headers that it names. Of the client's own request
nothing else goes along, least of all who the client is: the link says that.
"""

from collections.abc import Mapping
from dataclasses import replace

from active_storage.grammar.query import StoreQuery
from handler.stores.passthrough import SignedCall

# The key of an object that the client encrypts with (SSE-C): the store has it from nobody else.
_ENCRYPTION_PREFIX = "x-amz-server-side-encryption-customer-"


def replay(path: str, query: StoreQuery, headers: Mapping[str, str]) -> SignedCall:
    """The call that a link stands for, with those of the client's headers that go along.

    Args:
        path: Of the link, as it was presigned.
        query: Of the link.
        headers: The client's, names in lower case.

    Raises:
        InvalidArgument: The signature covers a header that the client did not send.
    """
    # Its own signature is for its own request.
    call = SignedCall.of(path, query, {name: value for name, value in headers.items() if name != "authorization"})
    along = {
        name: value
        for name, value in call.headers.items()
        if name in call.signed or name.startswith(_ENCRYPTION_PREFIX)
    }
    return replace(call, headers=along)

"""What goes along with a link that a store presigned for this service, as object lambdas are handed one.

The link is sent verbatim: its signature covers all of it, and the headers that it names. Of the client's own request
nothing else goes along, least of all who the client is: the link says that.
"""

from collections.abc import Mapping

from handler.upstream.passthrough import find_signed_names

# The key of an object that the client encrypts with (SSE-C): the store has it from nobody else.
_ENCRYPTION_PREFIX = "x-amz-server-side-encryption-customer-"


def replayed_headers(query: str, headers: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str]]:
    """Which of the client's headers go along with a link, and which of these its signature covers.

    Args:
        query: Of the link, as it was presigned.
        headers: The client's, names in lower case.

    Raises:
        InvalidArgument: The signature covers a header that the client did not send.
    """
    # Its own signature is for its own request.
    others = {name: value for name, value in headers.items() if name != "authorization"}
    signed = find_signed_names(query, others)
    replayed = {name: value for name, value in others.items() if name in signed or name.startswith(_ENCRYPTION_PREFIX)}
    return replayed, signed

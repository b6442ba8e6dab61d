"""The object-lambda webhook: ``POST /{reducer}/{dtype}[;param=value]*``, or ``POST /``, of MinIO, AIStor and RustFS.

A client requests an object from the store through a lambda. The store posts an event with a link to the object, and
forwards the reply to the client. The reduction is in the path of the endpoint that the store is configured with, or in
the client's query. The same paths followed by a bucket and a key belong to the direct proxy.

MinIO forwards the headers that begin with ``x-amz-fwd-header-``, and RustFS the plain ones. MinIO drops the body of an
error and writes a document of its own from two headers.
"""

import hmac
from collections.abc import Iterable

from active_storage.errors import ActiveStorageError, InvalidArgument, MissingToken, WrongToken
from active_storage.grammar.query import split_query
from active_storage.grammar.reductions import merge, parse_reduction
from active_storage.grammar.text import decode
from handler.doors.door import Reply, Request
from handler.doors.error_replies import plain_message, write_xml_error
from handler.doors.json_body import read_body, read_object
from handler.doors.lambda_door import reduce_event
from handler.doors.lambda_event import Echo, find_echo, parse_event
from handler.doors.service import Service

METHODS = ("POST", "HEAD")

_FORWARD = "x-amz-fwd-header-"

_DOCUMENT_HEADERS = frozenset({"Content-Type", "Content-Length"})

# The key in ``Request.found`` of the strings that the reply must repeat.
_ECHO = "echo"


def is_call(request: Request) -> bool:
    """Whether a store sent the request: a POST without an object, or the HEAD by which MinIO checks a new endpoint."""
    if request.path.strip("/").count("/") > 1:
        return False
    # An S3 client's HEAD is for the direct proxy.
    is_clients = any(name.startswith("x-amz-") for name in request.headers)
    return request.method == "POST" or (request.method == "HEAD" and not is_clients)


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a store's event.

    Raises:
        ActiveStorageError: There is no result.
    """
    if request.method == "HEAD":
        return Reply(200, [("Content-Length", "0")])
    # Checked before the body is read, so that a request without a token costs little. This error repeats no event.
    ensure_caller(request.headers.get("authorization", ""), service.settings.live_tokens)
    document = read_object(read_body(request))
    request.found[_ECHO] = find_echo(document)
    event = parse_event(document)
    texts = merge(parse_endpoint(request), event.texts)
    return _address(reduce_event(event, texts, service, request.scope), request)


def write_error(error: ActiveStorageError, request: Request) -> Reply:
    """The reply with an error: two headers for MinIO, and S3's document for other stores."""
    error_headers = [("x-amz-fwd-error-code", error.code), ("x-amz-fwd-error-message", plain_message(error))]
    return _address(write_xml_error(error, request), request, error_headers)


def ensure_caller(authorization: str, tokens: tuple[str, ...]) -> None:
    """Pass if the header contains one of the live tokens, or if no token is configured.

    Args:
        authorization: The ``Authorization`` header: ``Bearer`` and a token, or the configured text.
        tokens: The live tokens. The header is compared with all of them, each in constant time.

    Raises:
        MissingToken: The header is absent.
        WrongToken: The header contains another token.
    """
    if not tokens:
        return
    if not authorization:
        raise MissingToken("Authorization: is required; the store must send the token of this webhook")
    accepted = (text for token in tokens for text in (token, f"Bearer {token}"))
    # A header from a function's event can contain any characters.
    presented = authorization.encode(errors="surrogatepass")
    matches = [hmac.compare_digest(presented, text.encode()) for text in accepted]
    if not any(matches):
        raise WrongToken("Authorization: is not one of the tokens of this webhook")


def parse_endpoint(request: Request) -> dict[str, str]:
    """The texts of a reduction in the path and the query of the endpoint that the store is configured with.

    Raises:
        InvalidArgument: The query has other names. Ignoring one could give wrong numbers.
    """
    query = split_query(request.query)
    if query.rest.text:
        raise InvalidArgument("query", "has a name that is not a parameter of a reduction")
    return merge(parse_reduction(decode(request.path.strip("/"), field="path")), query.parameters)


def _address(reply: Reply, request: Request, error_headers: Iterable[tuple[str, str]] = ()) -> Reply:
    """The reply with the headers that MinIO needs: route and token, the client's status, and a copy of all headers.

    An error repeats the route and the token as well. Its type and length are not copied: MinIO drops the document.
    """
    own = _DOCUMENT_HEADERS if error_headers else frozenset()
    forwarded = [(f"{_FORWARD}{name}", value) for name, value in reply.headers if name not in own]
    headers = [
        *reply.headers,
        *forwarded,
        ("x-amz-fwd-status", str(reply.status)),
        # MinIO sends an id of its own. Ours is the one in our log.
        (f"{_FORWARD}x-activestorage-request-id", request.record.id),
        *error_headers,
    ]
    echo = request.found.get(_ECHO)
    if isinstance(echo, Echo):
        headers += [("x-amz-request-route", echo.route), ("x-amz-request-token", echo.token)]
    return Reply(reply.status, headers, reply.body)

"""The object-lambda webhook: ``POST /{reducer}/{dtype}[;param=value]*``, or ``POST /``, of MinIO, AIStor and RustFS.

A client asks the store for an object through a lambda; the store posts an event, with a link to the object, and passes
on what comes back. What is to be computed stands in the path that the store was set up with, or in the client's query.
The same paths with a bucket and a key behind them are the direct proxy's.

MinIO forwards the headers under ``x-amz-fwd-header-``, RustFS those that stand there plainly; of an error, MinIO drops
the body and writes its own document from two headers.
"""

import hmac
from collections.abc import Iterable

from handler.contracts.door import Reply, Request, Service, write_xml_error
from handler.contracts.event import Echo, find_echo, parse_event
from handler.contracts.json_body import read_body, read_object
from handler.contracts.lambda_door import reduce_event
from handler.errors import ActiveStorageError, InvalidArgument, MissingToken, WrongToken
from handler.params import decode, merge, parse_reduction, split_query
from handler.render import plain_message

METHODS = ("POST", "HEAD")

_FORWARD = "x-amz-fwd-header-"

_DOCUMENT_HEADERS = frozenset({"Content-Type", "Content-Length"})

# Under which a request keeps what its reply must echo.
_ECHO = "echo"


def is_call(request: Request) -> bool:
    """Whether a request is a store's: a POST that names no object, or the HEAD by which MinIO tries a new endpoint."""
    if request.path.strip("/").count("/") > 1:
        return False
    # An S3 client's HEAD of what it takes for a key is the direct proxy's to answer.
    is_clients = any(name.startswith("x-amz-") for name in request.headers)
    return request.method == "POST" or (request.method == "HEAD" and not is_clients)


def answer(request: Request, service: Service) -> Reply:
    """The reply to a store's event.

    Raises:
        ActiveStorageError: There is no result.
    """
    if request.method == "HEAD":
        return Reply(200, [("Content-Length", "0")])
    # Before the body is read, so that a stranger's costs nothing; the refusal then names no event.
    ensure_caller(request.headers.get("authorization", ""), service.settings.live_tokens)
    document = read_object(read_body(request))
    request.found[_ECHO] = find_echo(document)
    event = parse_event(document)
    given = merge(parse_endpoint(request), event.given)
    return _address(reduce_event(event, given, service, request.deadline), request)


def write_error(error: ActiveStorageError, request: Request) -> Reply:
    """An error as MinIO passes it on, and as S3's document for whoever reads that."""
    told = [("x-amz-fwd-error-code", error.code), ("x-amz-fwd-error-message", plain_message(error))]
    return _address(write_xml_error(error, request), request, told)


def ensure_caller(authorization: str, tokens: tuple[str, ...]) -> None:
    """Pass where a store says one of the live tokens, as ``Bearer`` or as it was configured; where none is, always.

    Args:
        authorization: What it says.
        tokens: Those that are good. All are compared, each in a time that does not depend on what they have in common.

    Raises:
        MissingToken: It says nothing.
        WrongToken: It says something else.
    """
    if not tokens:
        return
    if not authorization:
        raise MissingToken("Authorization: the store that calls this webhook must send its token")
    good = (text for token in tokens for text in (token, f"Bearer {token}"))
    # A text from a function's event can be of any characters.
    given = authorization.encode(errors="surrogatepass")
    matches = [hmac.compare_digest(given, text.encode()) for text in good]
    if not any(matches):
        raise WrongToken("Authorization: is none of the tokens of this webhook")


def parse_endpoint(request: Request) -> dict[str, str]:
    """What the endpoint settles that the store was set up with: in its path, or in its query.

    Raises:
        InvalidArgument: It says something else, which would otherwise be left out in silence.
    """
    query = split_query(request.query)
    if query.rest.text:
        raise InvalidArgument("query", "of this webhook has names that are no parameters of a reduction")
    return merge(parse_reduction(decode(request.path.strip("/"), field="path")), query.parameters)


def _address(reply: Reply, request: Request, told: Iterable[tuple[str, str]] = ()) -> Reply:
    """The reply with what MinIO needs: whose answer it is, the client's status, and the client's headers once more.

    Every reply names the event that was read, an error as well. The length of an error is that of a document which
    MinIO drops.
    """
    own = _DOCUMENT_HEADERS if told else frozenset()
    forwarded = [(f"{_FORWARD}{name}", value) for name, value in reply.headers if name not in own]
    headers = [
        *reply.headers,
        *forwarded,
        ("x-amz-fwd-status", str(reply.status)),
        # MinIO has an id of its own; ours is the one that our log knows.
        (f"{_FORWARD}x-activestorage-request-id", request.id),
        *told,
    ]
    echo = request.found.get(_ECHO)
    if isinstance(echo, Echo):
        headers += [("x-amz-request-route", echo.route), ("x-amz-request-token", echo.token)]
    return Reply(reply.status, headers, reply.body)

"""What the two JSON doors share: the way through them, and errors in JSON.

A POST names the operation in its path and the object in its body; Basic credentials, if there are any, are the caller's
for the object's server, and go nowhere else. Two of S3's own headers say what Basic has no place for: the token of a
session, and who pays. The reply is the version's own business.

The clients know errors by statuses that are not those of S3: a refusal by the store is 401 and an object that is not
there 400. Both tables stand below; ``caused_by`` tells what led to what, the root of it last.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import unquote

from handler import pipeline
from handler.contracts.door import Reply, Request, Service
from handler.contracts.json_body import read_body
from handler.contracts.json_request import JsonReduction, Place
from handler.errors import (
    ActiveStorageError,
    BadCredentials,
    IncompleteElement,
    InvalidArgument,
    NoSuchDoor,
    OriginNotAllowed,
    StoreError,
    UnknownReducer,
)
from handler.logs import note
from handler.pipeline import Answer
from handler.render import error_headers
from handler.spec import REDUCERS
from handler.upstream.signed import (
    BasicSigner,
    Credentials,
    FallbackSource,
    S3Signer,
    SignedSource,
    Signer,
    Unsigned,
)
from handler.upstream.source import Source

METHODS = ("POST",)

# What a store's refusal is here: by its code, then by its status. What is in neither is 400 below 500, and 502 else.
STORE_CODES: Mapping[str, int] = MappingProxyType(
    {
        "NoSuchKey": 400,
        "NoSuchBucket": 400,
        "InvalidObjectState": 400,
        "AccessDenied": 401,
        "InvalidAccessKeyId": 401,
        "SignatureDoesNotMatch": 401,
        # The clock is not the caller's.
        "RequestTimeTooSkewed": 502,
    }
)
STORE_STATUSES: Mapping[int, int] = MappingProxyType({401: 401, 403: 401, 429: 503, 503: 503, 504: 504})

# Which of our own statuses the clients know. What is not here is 400 below 500, and 502 else.
OWN_STATUSES = frozenset({400, 401, 404, 405, 500, 502, 503, 504})

_INVALID = "request data is not valid"
_DENIED = "Access Denied"

# What ``requests`` makes of a name and a password that are None, and of two that are empty.
_NOBODY = frozenset({(b"None", b"None"), (b"", b"")})

_BASIC_RE = re.compile(r"basic +(?P<token>[A-Za-z0-9+/]+=*) *", re.ASCII | re.IGNORECASE)

# It stands in a header, between a sign and a slash, before a comma.
_ACCESS_KEY_RE = re.compile(rb"[!-+\--~]*")

_TOKEN_HEADER, _PAYER_HEADER = "x-amz-security-token", "x-amz-request-payer"

# STS does not say of which characters; all that are known are base64. A comma would be two headers.
_TOKEN_RE = re.compile(r"[!-+\--~]{1,8192}", re.ASCII)


def reduce(
    request: Request, service: Service, parse: Callable[[str, bytes], JsonReduction]
) -> tuple[JsonReduction, Answer]:
    """What a request asks for, and the answer to that.

    Args:
        request: The request.
        service: What it is answered with.
        parse: Reads the body of a request for an operation.

    Raises:
        ActiveStorageError: There is no result.
    """
    operation = find_operation(request.path)
    credentials = read_credentials(request.headers)
    wanted = parse(operation, read_body(request))
    note(reducer=wanted.spec.reducer, dtype=wanted.spec.dtype)
    source = open_place(wanted.place, credentials, request, service)
    try:
        return wanted, pipeline.run(wanted.spec, source, service.gate, service.helpers)
    except OriginNotAllowed as error:
        raise InvalidArgument(wanted.place.field, "lies at none of the origins that may be fetched from") from error
    except IncompleteElement as error:
        raise InvalidArgument("size", f"is no whole number of {wanted.spec.dtype} elements") from error
    except StoreError as error:
        if error.status == 416:
            raise InvalidArgument("offset", "lies outside the object") from error
        raise


def find_operation(path: str) -> str:
    """The operation that a path such as ``/v2/sum/`` names. Slashes more do no harm.

    Raises:
        UnknownReducer: There is no such operation.
        NoSuchDoor: The path names none, or goes on.
    """
    version, *rest = [unquote(part, errors="replace") for part in path.split("/") if part]
    if len(rest) != 1:
        raise NoSuchDoor(f"nothing answers here; ask for /{version}/operation/")
    if rest[0] not in REDUCERS:
        raise UnknownReducer(f"unsupported operation {rest[0][:60]}")
    return rest[0]


def parse_credentials(header: str) -> Credentials | None:
    """Who asks, by the ``Authorization`` header; None for nobody.

    Raises:
        BadCredentials: It is not Basic, or not well-formed: taken for nobody's, the request could be answered with
            another "no" than its own.
    """
    # What HTTP allows around a value (RFC 9110, section 5.5), and no other space.
    header = header.strip(" \t")
    if not header:
        return None
    match = _BASIC_RE.fullmatch(header)
    try:
        decoded = base64.b64decode(match["token"] if match else "", validate=True)
    except binascii.Error:
        decoded = b""
    user, colon, secret = decoded.partition(b":")
    if not colon:
        raise BadCredentials("Authorization: is not Basic with a name and a password")
    return None if (user, secret) in _NOBODY else Credentials(user, secret)


def read_credentials(headers: Mapping[str, str]) -> Credentials | None:
    """Who asks, by the headers: Basic, and the token of a session beside it; None for nobody.

    Raises:
        BadCredentials: As ``parse_credentials``; or a token comes without Basic, or is malformed.
    """
    credentials = parse_credentials(headers.get("authorization", ""))
    token = headers.get(_TOKEN_HEADER, "").strip()
    if not token:
        return credentials
    if credentials is None:
        raise BadCredentials(f"{_TOKEN_HEADER}: needs the access key and the secret that it belongs to, as Basic")
    if not _TOKEN_RE.fullmatch(token):
        raise BadCredentials(f"{_TOKEN_HEADER}: is malformed; a session token is one word of ASCII")
    return replace(credentials, token=token)


def read_payer(headers: Mapping[str, str]) -> dict[str, str]:
    """What a caller says to the store of who pays ("Requester Pays buckets", Amazon S3 User Guide).

    Raises:
        InvalidArgument: It is not what S3 knows.
    """
    payer = headers.get(_PAYER_HEADER, "").strip()
    if payer not in ("", "requester"):
        raise InvalidArgument(_PAYER_HEADER, "is not 'requester'")
    return {_PAYER_HEADER: payer} if payer else {}


def open_place(place: Place, credentials: Credentials | None, request: Request, service: Service) -> Source:
    """The source that a place is, asked for in the name of whoever asks.

    Raises:
        BadCredentials: The name cannot be that of an S3 key.
    """
    signer = _find_signer(place, credentials, request, service)
    sources = [
        SignedSource(service.transport, place.origin, target, signer, request.deadline) for target in place.targets
    ]
    return sources[0] if len(sources) == 1 else FallbackSource(*sources)


def _find_signer(place: Place, credentials: Credentials | None, request: Request, service: Service) -> Signer | None:
    if not place.is_s3:
        # A web server has no use for S3's headers, and a token is for none but the store.
        return BasicSigner(credentials) if credentials else None
    headers = read_payer(request.headers)
    if credentials is None:
        return Unsigned(headers) if headers else None
    if not _ACCESS_KEY_RE.fullmatch(credentials.user):
        raise BadCredentials("Authorization: the name has characters that no S3 access key has")
    return S3Signer(credentials, service.signing_keys, service.regions, headers=headers)


def write_error(error: ActiveStorageError, request: Request) -> Reply:  # noqa: ARG001  # a door's
    """An error as the clients of this interface know it."""
    status = find_status(error)
    message, *causes = dict.fromkeys(_tell(error))
    told: dict[str, str | list[str]] = {"message": message}
    if causes:
        told["caused_by"] = causes
    document = json.dumps({"error": told}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(document)))]
    if status == 401:
        # RFC 9110, section 15.5.2.
        headers.append(("WWW-Authenticate", 'Basic realm="the server of the object"'))
    return Reply(status, [*error_headers(error), *headers], document)


def find_status(error: ActiveStorageError) -> int:
    """The status of an error here."""
    other = 400 if 400 <= error.status < 500 else 502
    if isinstance(error, StoreError):
        return STORE_CODES.get(error.code) or STORE_STATUSES.get(error.status, other)
    return error.status if error.status in OWN_STATUSES else other


def _tell(error: ActiveStorageError) -> Iterator[str]:
    """What happened, in lines from the outermost to the root."""
    if isinstance(error, InvalidArgument):
        yield _INVALID
        yield error.message
    elif isinstance(error, StoreError):
        yield "the server of the object refused it"
        if find_status(error) == 401:
            yield _DENIED
        yield f"{error.code}: {error.message}"
    else:
        yield error.message
    # Whatever is not ours may hold what nobody should see.
    if isinstance(error.__cause__, ActiveStorageError):
        yield from _tell(error.__cause__)

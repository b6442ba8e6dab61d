"""Shared code of the two JSON doors: from a request to a reduction.

A POST names the reducer in its path and the object in its body. Each version writes its own reply: ``json_v1.py`` and
``json_v2.py``.
"""

from collections.abc import Callable
from urllib.parse import unquote

from active_storage.errors import (
    IncompleteElement,
    InvalidArgument,
    NoSuchDoor,
    OriginNotAllowed,
    StoreError,
    UnknownReducer,
)
from active_storage.model.reducers import REDUCERS
from handler.doors.door import Request
from handler.doors.json_body import read_body
from handler.doors.json_credentials import find_signer, read_credentials
from handler.doors.json_location import ObjectLocation
from handler.doors.json_request import JsonQuestion
from handler.doors.service import Service
from handler.engine.engine import Reduction
from handler.stores.signers import Credentials
from handler.stores.source import Source
from handler.stores.store_request import StoreRequest
from handler.stores.store_source import FallbackSource, StoreSource

METHODS = ("POST",)


def reduce(
    request: Request, service: Service, parse: Callable[[str, bytes], JsonQuestion]
) -> tuple[JsonQuestion, Reduction]:
    """The question of a request, and its reduction.

    Args:
        request: The request.
        service: The service, which all requests share.
        parse: Parses the body of a request for a reducer.

    Raises:
        ActiveStorageError: There is no result.
    """
    reducer = find_reducer(request.path)
    credentials = read_credentials(request.headers)
    question = parse(reducer, read_body(request))
    spec, location = question.spec, question.location
    request.record.add(reducer=spec.reducer, dtype=spec.dtype)
    source = open_location(location, credentials, request, service)
    try:
        return question, service.engine.reduce(spec, source, request.scope)
    except OriginNotAllowed as error:
        raise InvalidArgument(location.field, "has an origin that is not on the allow-list of this server") from error
    except IncompleteElement as error:
        raise InvalidArgument("size", f"is not a multiple of the size of a {spec.dtype} element") from error
    except StoreError as error:
        if error.status == 416:
            raise InvalidArgument("offset", "is beyond the end of the object") from error
        raise


def find_reducer(path: str) -> str:
    """The reducer that a path such as ``/v2/sum/`` names. Additional slashes are ignored.

    Raises:
        UnknownReducer: There is no reducer of that name.
        NoSuchDoor: The path has no second part, or a third one.
    """
    version, *rest = [unquote(segment, errors="replace") for segment in path.split("/") if segment]
    if len(rest) != 1:
        raise NoSuchDoor(f"no such path; ask for /{version}/reducer/, such as /{version}/sum/")
    if rest[0] not in REDUCERS:
        # The clients call a reducer an operation.
        raise UnknownReducer(f"unsupported operation {rest[0][:60]}")
    return rest[0]


def open_location(
    location: ObjectLocation, credentials: Credentials | None, request: Request, service: Service
) -> Source:
    """The source at a location, with the caller's credentials.

    Raises:
        BadCredentials: The name in the credentials cannot be an S3 access key.
    """
    signer = find_signer(location, credentials, request, service)
    requests = [StoreRequest.unsigned(location.origin, target) for target in location.targets]
    sources = [StoreSource(service.transport, each, request.scope, signer) for each in requests]
    return sources[0] if len(sources) == 1 else FallbackSource(*sources)

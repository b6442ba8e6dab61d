"""Errors of the client: its own classes, and those of the service by the code of a reply.

A program catches ``ActiveStorageError`` for all of them, or a class. No message holds a key, a secret, a token or a
signature.
"""

import difflib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree as ET

import active_storage.errors as service_errors
from active_storage.errors import (
    ActiveStorageError,
    InvalidArgument,
    ObjectChanged,
    SlowDown,
    StoreError,
    UndecodableData,
    WrongRegion,
    shown,
)

# Longer bodies of errors are not messages of the service.
_MOST_ERROR_CHARACTERS = 1 << 16

# What a gateway answers if there is no service behind it, or if it is full.
_OF_GATEWAYS = frozenset({502, 503, 504})

# The seconds of a pause that is read from a reply.
_SECONDS = "[0-9]{1,9}"

# How alike a name must be to be suggested, from 0 to 1 (difflib.get_close_matches).
_ALIKE = 0.5

# A wrong name and the list of those that there are, in a message of the service.
_NAMES_RE = re.compile(
    r"'(?P<wrong>[^']+)'.*?"
    r"(?:; (?:there are|the array has|in it there are|the [a-z ]+ are)|, not (?:by )?one of) (?P<names>.+)"
)
_NAME_RE = re.compile(r"'([^']+)'|([A-Za-z_]\w*)")


class InsecureService(ActiveStorageError):
    """The secret would go over http to another machine. Nothing was sent."""

    status = 400
    code = "InsecureService"


class NoCredentials(ActiveStorageError):
    """There are no keys, and ``anon=True`` was not given. Nothing was sent."""

    status = 401
    code = "NoCredentials"


class ServiceUnreachable(ActiveStorageError):
    """There is no connection to the service, or no reply within the timeout."""

    status = 502
    code = "ServiceUnreachable"


class ServiceTooOld(ActiveStorageError):
    """The service is no active storage, or of a version that does not know what is asked for."""

    status = 501
    code = "ServiceTooOld"


class IncompleteReply(ActiveStorageError):
    """The connection broke within a reply, or a sequence of items has no ``end``. Nothing of it is a result."""

    status = 502
    code = "IncompleteReply"


class BadReply(ActiveStorageError):
    """The reply is not what the service documents."""

    status = 502
    code = "BadReply"


def read_xml_error(status: int, headers: Mapping[str, str], body: bytes) -> ActiveStorageError:
    """The error of a reply with S3's XML."""
    code, message = "", ""
    try:
        root = ET.fromstring(body[:_MOST_ERROR_CHARACTERS])  # noqa: S314  # expat expands no external entities
        code, message = root.findtext("Code") or "", root.findtext("Message") or ""
    except (ET.ParseError, LookupError, ValueError):
        # No XML, or in an encoding that is not known.
        pass
    return _make(status, code, message, headers)


def read_json_error(status: int, headers: Mapping[str, str], body: bytes) -> ActiveStorageError:
    """The error of a reply with the JSON of an error."""
    try:
        error = json.loads(body[:_MOST_ERROR_CHARACTERS])["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        error = {}
    return describe_error(status, error, headers)


def describe_error(status: int, error: Any, headers: Mapping[str, str]) -> ActiveStorageError:
    """The error of the members ``message``, ``caused_by`` and ``code``, as in a reply or in an item."""
    error = error if isinstance(error, dict) else {}
    causes = error.get("caused_by")
    message = causes[-1] if isinstance(causes, list) and causes else error.get("message", "")
    return _make(status, str(error.get("code", "")), str(message), headers)


def suggest_name(name: str, names: Any) -> str:
    """The names of a list that are most like a wrong one, as the end of a message; "" for none."""
    near = difflib.get_close_matches(name, [str(each) for each in names], cutoff=_ALIKE)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def _make(status: int, code: str, message: str, headers: Mapping[str, str]) -> ActiveStorageError:
    if not code and not message:
        return _describe_stranger(status, headers)
    message = message or f"the service answered with status {status}"
    message += _suggest(message)
    request = headers.get("x-amz-request-id", "")
    error = _find_class(status, code, message, headers)
    if re.fullmatch(r"[\w-]{1,80}", request):
        error.add_note(f"request id: {request}")
    return error


def _describe_stranger(status: int, headers: Mapping[str, str]) -> ActiveStorageError:
    """The error of a reply that is not the service's, such as the page of a proxy before it."""
    kind = headers.get("content-type", "").partition(";")[0].strip()
    what = f"a reply of the type {shown(kind)}" if kind else "a reply"
    text = f"{what} with status {status} came that is not of the service; a proxy before it may have sent it"
    error = ServiceUnreachable(text) if status in _OF_GATEWAYS else BadReply(text)
    error.status = status
    return error


def suggest_names(error: ActiveStorageError) -> ActiveStorageError:
    """The same error, which suggests the names that are most like a wrong one in its message."""
    near = _suggest(error.message).strip(" ()")
    return error.explained(near) if near else error


def _suggest(message: str) -> str:
    """The names in a message that are most like the wrong one."""
    match = _NAMES_RE.search(message)
    if match is None:
        return ""
    return suggest_name(match["wrong"], ("".join(found) for found in _NAME_RE.findall(match["names"])))


def _find_class(status: int, code: str, message: str, headers: Mapping[str, str]) -> ActiveStorageError:
    first, _, rest = message.partition(": ")
    match code:
        case "InvalidArgument":
            return InvalidArgument(first, rest) if rest else InvalidArgument("request", message)
        case "UndecodableData":
            return UndecodableData(first, rest)
        case "ObjectChanged":
            return ObjectChanged()
        case "SlowDown":
            after = headers.get("retry-after", "")
            return SlowDown(message, int(after) if re.fullmatch(_SECONDS, after) else 1)
        case "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed":
            return WrongRegion(code, headers.get("x-activestorage-bucket-region"))
    known = _BY_MESSAGE.get(code)
    # Other codes are those of the store.
    return known(message) if known else StoreError(status, code or "Unknown", message.removeprefix(f"{code}: "))


# Classes of ``active_storage.errors`` that are made of a message alone, by code.
_BY_MESSAGE: Mapping[str, type[ActiveStorageError]] = MappingProxyType(
    {
        each.code: each
        for each in vars(service_errors).values()
        if isinstance(each, type) and issubclass(each, ActiveStorageError)
        if each.__init__ is ActiveStorageError.__init__ and each is not ActiveStorageError
    }
)

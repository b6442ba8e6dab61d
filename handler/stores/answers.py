"""What counts as an answer: from a store's status and headers to facts that can be trusted, or to an error.

Pure functions: no connection is opened or read here. A status or a header that does not fit what was asked for is an
error, because numbers reduced from such an answer could be other numbers.
"""

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from active_storage.errors import (
    ActiveStorageError,
    InvalidRange,
    NotModified,
    PreconditionFailed,
    StoreError,
    StoreProtocolError,
    WrongRegion,
)
from active_storage.grammar.query import StoreQuery
from active_storage.model.etag import ETag, allows_match, allows_none_match
from active_storage.model.ranges import ByteRange
from handler.stores.hiding import Secrets
from handler.stores.identity import VERSIONS, read_encodings
from handler.stores.source import ObjectFacts

_CONTENT_RANGE_RE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_UNSATISFIED_RANGE_RE = re.compile(r"bytes \*/([0-9]{1,19})", re.ASCII)
_LENGTH_RE = re.compile(r"[0-9]{1,19}", re.ASCII)
_CODE_RE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,63}", re.ASCII)

# Where a store sends no error document, as to HEAD.
_CODES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
}

# S3's answers to a request for a bucket of another region (Amazon S3 API Reference, "Error responses"): redirects, and
# refusals of a signature that is for another one.
_REDIRECT_CODES = {301: "PermanentRedirect", 307: "TemporaryRedirect"}
_REGION_CODES = frozenset(
    {
        *_REDIRECT_CODES.values(),
        *("AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "IllegalLocationConstraintException"),
        *("IllegalLocationConstraint", "IncorrectEndpoint", "Redirect"),
    }
)
_REGION_RE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)

_MAX_MESSAGE_CHARACTERS = 300

# Of one text in an error document; entities can make it long.
_MAX_TEXT_CHARACTERS = 4096


def read_facts(
    method: str, status: int, headers: Mapping[str, str], byte_range: ByteRange | None, asks_for_part: bool
) -> ObjectFacts:
    """The facts of a successful answer.

    Args:
        method: GET or HEAD. Some stores leave ``Range`` out of account for HEAD: then the span is worked out here.
        status: The answer's; 200 or 206.
        headers: The answer's, names in lower case.
        byte_range: What was asked for, None for the whole object.
        asks_for_part: A part was asked for by its number: a 206 with any range is the answer.

    Raises:
        StoreProtocolError: The answer is not one to what was asked.
        InvalidRange: The range lies outside the object.
    """
    if status not in (200, 206):
        raise StoreProtocolError(f"the store answered {status}, which is no answer to {method}")
    length = _read_length(headers)
    wants_piece = byte_range is not None or asks_for_part
    if status == 206:
        if not wants_piece:
            raise StoreProtocolError("the store answered with a part of the object; the whole was asked for")
        start, stop, total = _read_content_range(headers, byte_range)
        if length != stop - start:
            raise StoreProtocolError(f"the store says {length} bytes in one header and {stop - start} in another")
    else:
        if wants_piece and (method != "HEAD" or byte_range is None):
            raise StoreProtocolError("the store answered with the whole object; a part was asked for")
        # It has no meaning here (RFC 9110, section 14.4), but one of a part says that the length is the part's, too.
        if "content-range" in headers and headers["content-range"] != f"bytes 0-{length - 1}/{length}":
            raise StoreProtocolError("the store answered with the whole object, and names a part of it")
        total = length
        start, stop = (0, total) if byte_range is None else byte_range.resolve(total)
    return ObjectFacts(status, start, stop, total, ETag.from_header(headers.get("etag")), headers)


def ensure_conditions(facts: ObjectFacts, target: str, sent: Mapping[str, str]) -> None:
    """Check that an answer is about the object that was asked for. Stores ignore conditions that they do not know.

    Args:
        facts: The facts of the answer.
        target: The target of the request.
        sent: The headers of the request, with names in lower case.

    Raises:
        PreconditionFailed: The object has another ETag than ``If-Match`` names.
        NotModified: The object has an ETag that ``If-None-Match`` names.
        StoreProtocolError: The answer is about another version.
    """
    if "if-match" in sent and not allows_match(sent["if-match"], facts.etag):
        raise PreconditionFailed("If-Match names another object than the store has")
    if "if-none-match" in sent and not allows_none_match(sent["if-none-match"], facts.etag):
        raise NotModified(facts.etag)
    if "?" not in target:
        return
    for header, name in VERSIONS:
        if header in facts.headers:
            versions = StoreQuery.of(target.partition("?")[2]).find(name)
            if versions and facts.headers[header] not in versions:
                raise StoreProtocolError("the store sends another version of the object than was asked for")


def ensure_document(status: int, headers: Mapping[str, str]) -> None:
    """Pass where an answer is a whole document, as it is written.

    Raises:
        StoreProtocolError: It is a part of one, or encoded.
    """
    if status != 200:
        raise StoreProtocolError(f"the store answered {status}, which is no answer to GET")
    if headers.get("transfer-encoding", "chunked").lower() != "chunked" or read_encodings(headers):
        raise StoreProtocolError("the store sends a document in a coding that was not asked for")


def read_failure(
    status: int, headers: Mapping[str, str], body: bytes, secrets: str, is_conditional: bool
) -> ActiveStorageError:
    """The error that a refusal stands for: the store's own, or ours where following it would be wrong.

    Args:
        status: The answer's; 300 or above.
        headers: The answer's, names in lower case.
        body: S3's error document, or whatever there is.
        secrets: What was sent, the target and ``name=value`` of each header: nothing secret in it will be in the
            error, in whatever case or encoding.
        is_conditional: What was sent allows 304 for an answer.
    """
    if status == 304 and is_conditional:
        return NotModified(ETag.from_header(headers.get("etag")))
    if status == 304 or status > 599:
        return StoreProtocolError(f"the store answered {status}, which is no answer to what it was asked")
    texts = _read_document(body)
    region = headers.get("x-amz-bucket-region") or texts.get("Region", "")
    said = (texts.get("Code", ""), texts.get("Message", ""), region)
    hidden = Secrets.of(secrets, *said)
    code, message, region = map(hidden.hide, said)
    code = code if _CODE_RE.fullmatch(code) else ""
    if error := _read_redirection(status, code, region):
        return error
    if status < 400:
        return StoreProtocolError(f"the store redirects ({status}); redirects are not followed")
    if status == 416 and (match := _UNSATISFIED_RANGE_RE.fullmatch(headers.get("content-range", ""))):
        return InvalidRange(f"the range selects no byte of an object of {match[1]} bytes", length=int(match[1]))
    message = message[:_MAX_MESSAGE_CHARACTERS] or f"the store answered {status}"
    return StoreError(status, code or _CODES.get(status, "StoreError"), message)


def _read_redirection(status: int, code: str, region: str) -> WrongRegion | None:
    """The error for an answer by which S3 says that a bucket lies in another region; None where it says nothing of it.

    The answer to HEAD has no document: then it is one if it names the region and nothing else could be meant by it.
    """
    is_known = _REGION_RE.fullmatch(region) is not None
    if not code and is_known:
        code = _REDIRECT_CODES.get(status, "AuthorizationHeaderMalformed" if status == 400 else "")
    if code not in _REGION_CODES or (status >= 400 and not is_known):
        return None
    return WrongRegion(code, region if is_known else None)


def _read_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        # RFC 9112, section 6.1: beside it, a length is not to be trusted.
        raise StoreProtocolError("the store sends the object in a transfer coding, so that its length is not known")
    text = headers.get("content-length", "")
    if not _LENGTH_RE.fullmatch(text):
        raise StoreProtocolError("the store does not say how many bytes it sends")
    return int(text)


def _read_content_range(headers: Mapping[str, str], byte_range: ByteRange | None) -> tuple[int, int, int]:
    if headers.get("content-type", "").strip().lower().startswith("multipart/byteranges"):
        # RFC 9110, section 14.6: each range is wrapped in a part with headers of its own.
        raise StoreProtocolError("the store sends the range as a multipart document")
    match = _CONTENT_RANGE_RE.fullmatch(headers.get("content-range", ""))
    if match is None:
        raise StoreProtocolError("the store does not say which bytes it sends")
    first, last, total = (int(group) for group in match.groups())
    if not first <= last < total:
        raise StoreProtocolError("the store names a range of bytes that cannot be")
    try:
        expected = (first, last + 1) if byte_range is None else byte_range.resolve(total)
    except InvalidRange:
        expected = None
    if (first, last + 1) != expected:
        raise StoreProtocolError(f"the store sends bytes {first} to {last}, which were not asked for")
    return first, last + 1, total


def _read_document(body: bytes) -> dict[str, str]:
    """The texts of an error document, by the names of their elements, each in one line."""
    try:
        # Expat bounds what entities may grow to (since 2.4.1), and the caller how much of a body is read.
        document = ET.fromstring(body)  # noqa: S314
    except (ET.ParseError, LookupError, ValueError):
        # The last two: its encoding is unknown, or not one of those that expat takes.
        return {}
    return {
        element.tag.rpartition("}")[2]: " ".join((element.text or "")[:_MAX_TEXT_CHARACTERS].split())
        for element in document
    }

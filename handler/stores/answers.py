"""The answer of a store, read from the head of a response: facts that can be trusted, or an error.

These are pure functions, which neither open nor read a connection. A status or a header that does not fit the request
is an error, because the response could hold the bytes of something else.
"""

import re
from collections.abc import Mapping

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
from handler.stores.xml_text import XmlFault, XmlLimits, read_texts

_CONTENT_RANGE_RE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_UNSATISFIED_RANGE_RE = re.compile(r"bytes \*/([0-9]{1,19})", re.ASCII)
_LENGTH_RE = re.compile(r"[0-9]{1,19}", re.ASCII)
_CODE_RE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,63}", re.ASCII)

# The codes of refusals without an error document, such as those to HEAD.
_CODES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
}

# A document that has this is S3's, even if it cannot be parsed.
_ERROR_ELEMENT = b"<Error"

# The codes with which S3 answers a request for a bucket in another region (Amazon S3 API Reference, "Error responses"):
# redirects, and refusals of a signature for the wrong region.
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

# The part of one text in an error document that is read.
_MAX_TEXT_CHARACTERS = 4096

# An error document has some ten elements. Their texts lie below the root.
_LIMITS = XmlLimits(depth=2, elements=1000)


def read_facts(
    method: str, status: int, headers: Mapping[str, str], byte_range: ByteRange | None, asks_for_part: bool
) -> ObjectFacts:
    """The facts in a successful response about an object.

    Args:
        method: GET or HEAD. Some stores ignore ``Range`` in a HEAD request. The range is then computed here.
        status: The status of the response.
        headers: The headers of the response, names in lower case.
        byte_range: The range that was asked for; None for the whole object.
        asks_for_part: Whether a part was asked for by its number. A 206 may then have any range.

    Raises:
        StoreProtocolError: The response does not fit the request.
        InvalidRange: The range lies outside the object.
    """
    if status not in (200, 206):
        raise StoreProtocolError(f"the store answered {method} with status {status} in place of 200 or 206")
    length = _read_length(headers)
    wants_piece = byte_range is not None or asks_for_part
    if status == 206:
        if not wants_piece:
            raise StoreProtocolError("the store answered with a part of the object; the whole was asked for")
        start, stop, total = _read_content_range(headers, byte_range)
        if length != stop - start:
            named = stop - start
            raise StoreProtocolError(f"the store sends Content-Length {length} with a Content-Range of {named} bytes")
    else:
        if wants_piece and (method != "HEAD" or byte_range is None):
            raise StoreProtocolError("the store answered with the whole object; a part was asked for")
        # The header has no meaning with 200 (RFC 9110, section 14.4). But if it names a part, so may the length.
        if "content-range" in headers and headers["content-range"] != f"bytes 0-{length - 1}/{length}":
            raise StoreProtocolError("the store answered with the whole object, but with the Content-Range of a part")
        total = length
        start, stop = (0, total) if byte_range is None else byte_range.resolve(total)
    return ObjectFacts(status, start, stop, total, ETag.from_header(headers.get("etag")), headers)


def ensure_conditions(facts: ObjectFacts, target: str, sent: Mapping[str, str]) -> None:
    """Pass if a response is about the object that was asked for. Stores ignore conditions that they do not know.

    Args:
        facts: The facts of the response.
        target: The target of the request.
        sent: The headers of the request, names in lower case.

    Raises:
        PreconditionFailed: The object's ETag does not match ``If-Match``.
        NotModified: The object's ETag matches ``If-None-Match``.
        StoreProtocolError: The response is about another version.
    """
    if "if-match" in sent and not allows_match(sent["if-match"], facts.etag):
        raise PreconditionFailed("If-Match: does not match the ETag of the object")
    if "if-none-match" in sent and not allows_none_match(sent["if-none-match"], facts.etag):
        raise NotModified(facts.etag, facts.headers)
    if "?" not in target:
        return
    for header, name in VERSIONS:
        if header in facts.headers:
            versions = StoreQuery.of(target.partition("?")[2]).find(name)
            if versions and facts.headers[header] not in versions:
                raise StoreProtocolError("the store sends another version of the object than was asked for")


def ensure_document(status: int, headers: Mapping[str, str]) -> None:
    """Pass if a response holds a whole document without an encoding.

    Raises:
        StoreProtocolError: It is a part of one, or encoded.
    """
    if status != 200:
        raise StoreProtocolError(f"the store answered GET with status {status} in place of 200")
    if headers.get("transfer-encoding", "chunked").lower() != "chunked" or read_encodings(headers):
        raise StoreProtocolError("the store sends the document in an encoding that was not asked for")


def read_failure(  # noqa: PLR0913, PLR0917  # what makes an answer
    status: int, headers: Mapping[str, str], body: bytes, sent: str, is_conditional: bool, is_whole: bool = True
) -> ActiveStorageError:
    """The error for a refusal: the store's own, or one of the service if the store's would mislead the caller.

    Args:
        status: The status of the response, 300 or above.
        headers: The headers of the response, names in lower case.
        body: S3's error document, or any other body.
        sent: The target and ``name=value`` of each header of the request, separated by spaces. No secret in it gets
            into the error, in any case or encoding.
        is_conditional: Whether the request has a condition that 304 answers.
        is_whole: Whether ``body`` is the whole body.
    """
    if status == 304 and is_conditional:
        return NotModified(ETag.from_header(headers.get("etag")), headers)
    if status == 304 or status > 599:
        return StoreProtocolError(f"the store answered with status {status}, which does not fit the request")
    texts = _read_document(body)
    region = headers.get("x-amz-bucket-region") or texts.get("Region", "")
    said = (texts.get("Code", ""), texts.get("Message", ""), region)
    hidden = Secrets.of(sent, *said)
    code, message, region = map(hidden.hide, said)
    code = code if _CODE_RE.fullmatch(code) else ""
    if error := _read_redirection(status, code, region):
        return error
    if status < 400:
        return StoreProtocolError(f"the store answered with a redirect ({status}), which is not followed")
    if status == 416 and (match := _UNSATISFIED_RANGE_RE.fullmatch(headers.get("content-range", ""))):
        return InvalidRange(f"the range selects no byte of an object of {match[1]} bytes", length=int(match[1]))
    message = message[:_MAX_MESSAGE_CHARACTERS] or f"the store answered {status}"
    is_doubtful = not code and (not is_whole or _ERROR_ELEMENT in body)
    return StoreError(status, code or _CODES.get(status, "StoreError"), message, is_doubtful=is_doubtful)


def _read_redirection(status: int, code: str, region: str) -> WrongRegion | None:
    """The error for an answer of S3 that a bucket is in another region; None for any other answer.

    The response to HEAD has no document. It is such an answer if it names a region and its status has no other meaning.
    """
    is_known = _REGION_RE.fullmatch(region) is not None
    if not code and is_known:
        code = _REDIRECT_CODES.get(status, "AuthorizationHeaderMalformed" if status == 400 else "")
    if code not in _REGION_CODES or (status >= 400 and not is_known):
        return None
    return WrongRegion(code, region if is_known else None)


def _read_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        # RFC 9112, section 6.1: a Content-Length beside it cannot be trusted.
        raise StoreProtocolError("the store sends the object with a Transfer-Encoding, so that its length is not known")
    text = headers.get("content-length", "")
    if not _LENGTH_RE.fullmatch(text):
        raise StoreProtocolError("the store sends no well-formed Content-Length")
    return int(text)


def _read_content_range(headers: Mapping[str, str], byte_range: ByteRange | None) -> tuple[int, int, int]:
    if headers.get("content-type", "").strip().lower().startswith("multipart/byteranges"):
        # RFC 9110, section 14.6: each part of the document has headers of its own before the bytes of a range.
        raise StoreProtocolError("the store sends the range as a multipart document")
    match = _CONTENT_RANGE_RE.fullmatch(headers.get("content-range", ""))
    if match is None:
        raise StoreProtocolError("the store sends no well-formed Content-Range")
    first, last, total = (int(group) for group in match.groups())
    if not first <= last < total:
        raise StoreProtocolError("the store sends a Content-Range that is impossible")
    try:
        expected = (first, last + 1) if byte_range is None else byte_range.resolve(total)
    except InvalidRange:
        expected = None
    if (first, last + 1) != expected:
        raise StoreProtocolError(f"the store sends bytes {first} to {last}, which were not asked for")
    return first, last + 1, total


def _read_document(body: bytes) -> dict[str, str]:
    """The texts of an error document, each on one line, by the names of their elements."""
    try:
        texts = read_texts(body, _LIMITS)
    except XmlFault:
        return {}
    return {names[1]: " ".join(text[:_MAX_TEXT_CHARACTERS].split()) for names, text in texts if len(names) == 2}

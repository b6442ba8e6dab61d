"""What several doors share in dressing a result or an error: headers, ETags, S3's error document."""

import hashlib
import re
from functools import lru_cache
from xml.sax.saxutils import escape

from active_storage.algebra import ARITHMETIC_VERSION
from handler.core.result import Result
from handler.errors import ActiveStorageError, InvalidRange, MethodNotAllowed, MissingToken, SlowDown, WrongRegion
from handler.params import format_range, format_reduction
from handler.spec import ReductionSpec

# Python's http.client, and boto3 with it, gives up on a header line of 64 KiB, and S3's metadata holds 2 KiB in all.
_MAX_COUNT_HEADER_BYTES = 1024

# All but the characters of XML 1.0, section 2.2: a path may hold others, and no parser takes a document with one.
_NOT_XML_RE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_NOT_PLAIN_RE = re.compile(r"[^\x20-\x7e]")

# RFC 9110, section 8.8.3.
_ETAG_RE = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')


def describe_result(result: Result) -> dict[str, str]:
    """What is said of a result beside its bytes, by the last part of the header's name.

    Shape and counts are lists of whole numbers, which Python writes as JSON does.
    """
    facts = {"dtype": result.dtype, "shape": str([*result.shape]), "byte-order": "little"}
    if result.count_total is not None:
        facts["count-total"] = str(result.count_total)
    if result.empty_total:
        facts["empty"] = str(result.empty_total)
    # The shortest count takes three characters; of more than that many, the text is not even made.
    if result.counts is not None and len(result.counts) * 3 <= _MAX_COUNT_HEADER_BYTES:
        counts = str([*result.counts])
        if len(counts) <= _MAX_COUNT_HEADER_BYTES:
            facts["count"] = counts
    return facts


def result_headers(result: Result) -> list[tuple[str, str]]:
    """The headers of a result, once under our own names and once as object metadata, which boto3 shows."""
    facts = describe_result(result).items()
    return [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(result.length)),
        *((f"x-activestorage-{name}", value) for name, value in facts),
        *((f"x-amz-meta-activestorage-{name}", value) for name, value in facts),
    ]


def error_headers(error: ActiveStorageError) -> list[tuple[str, str]]:
    """The headers that HTTP wants beside some statuses (RFC 9110, sections 10.2.1, 10.2.3, 11.6.1 and 14.4)."""
    match error:
        case MethodNotAllowed():
            return [("Allow", ", ".join(error.allowed))]
        case SlowDown():
            return [("Retry-After", str(error.retry_after_seconds))]
        case MissingToken():
            return [("WWW-Authenticate", "Bearer")]
        case InvalidRange():
            return [("Content-Range", f"bytes */{error.length}")]
        case WrongRegion(region=str(region)):
            # S3's own name for it.
            return [("x-amz-bucket-region", region)]
        case _:
            return []


def plain_message(error: ActiveStorageError) -> str:
    """The message of an error as a header can hold it: one line of ASCII (RFC 9110, section 5.5)."""
    return _NOT_PLAIN_RE.sub("?", " ".join(error.message.split()))


def error_document(error: ActiveStorageError, resource: str, request_id: str) -> bytes:
    """S3's XML for an error (Amazon S3 API Reference, "Error responses").

    Args:
        error: What went wrong.
        resource: The path that was asked for, without its query.
        request_id: The id of the request.
    """
    fields = {"Code": error.code, "Message": error.message, "Resource": resource, "RequestId": request_id}
    texts = {name: escape(_NOT_XML_RE.sub("\N{REPLACEMENT CHARACTER}", value)) for name, value in fields.items()}
    content = "".join(f"<{name}>{text}</{name}>" for name, text in texts.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{content}</Error>'.encode()


def format_result_etag(source_etag: str | None, spec: ReductionSpec) -> str | None:
    """The ETag of what ``spec`` makes of the object with ``source_etag``: another for every other reduction.

    The source's own is in it, and can be read back. It is never the same, since tools compare that with the body's MD5.
    None where the source has none, or one that is not well formed.
    """
    match = _ETAG_RE.fullmatch(source_etag or "")
    return None if match is None else f'{match["weak"] or ""}"{match["opaque"]}-{_digest(spec)}"'


def parse_result_etag(result_etag: str, spec: ReductionSpec) -> str | None:
    """The source's ETag, read back from that of a result of ``spec``; None where it is of something else."""
    match = _ETAG_RE.fullmatch(result_etag)
    if match is None:
        return None
    source, _, digest = match["opaque"].rpartition("-")
    return f'{match["weak"] or ""}"{source}"' if digest == _digest(spec) else None


def split_etags(header: str) -> list[str]:
    """The entity tags that an ``If-Match`` or ``If-None-Match`` header lists."""
    return [match[0] for match in _ETAG_RE.finditer(header)]


# Many ask for the same of many objects. Equal specs are written the same, so that no ETag owes anything to what was
# asked before. A spec takes some hundred bytes here, with a thousand missing values 32 KiB.
@lru_cache(maxsize=256)
def _digest(spec: ReductionSpec) -> str:
    byte_range = format_range(spec.range) if spec.range else ""
    reduction = f"{format_reduction(spec)}/{byte_range}/{ARITHMETIC_VERSION}"
    return hashlib.sha256(reduction.encode()).hexdigest()[:12]

"""An error in the form of HTTP and S3: headers, a one-line message, the XML document, and the reply with all of them.

Other forms are elsewhere: JSON in ``json_errors.py``, the forms of object lambdas in ``webhook.py`` and
``aws_object_lambda.py``.
"""

import re
from xml.sax.saxutils import escape

from active_storage.errors import (
    ActiveStorageError,
    InvalidRange,
    MethodNotAllowed,
    MissingToken,
    NotModified,
    SlowDown,
    WrongRegion,
)
from handler.doors.door import Reply, Request

# Characters that XML 1.0 forbids (section 2.2). A path can contain some, and parsers refuse a document with one.
_NOT_XML_RE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# A client can resolve these errors by a signature for another region, sent to the same endpoint. S3's clients sign
# again when a reply names the region. They remember it for the bucket in the path, which in this service's paths is a
# reducer. Therefore replies to GET and to HEAD name the region, and the next error corrects what a client remembers. A
# new signature does not resolve a redirect, since this service has one store. For a redirect, the region is sent in a
# header that S3's clients ignore.
_RESIGNED_CODES = frozenset({"AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"})

_NOT_PLAIN_RE = re.compile(r"[^\x20-\x7e]")


def error_headers(error: ActiveStorageError) -> list[tuple[str, str]]:
    """The headers that HTTP requires with some statuses (RFC 9110, sections 10.2.1, 10.2.3, 11.6.1 and 14.4)."""
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
            own = ("x-activestorage-bucket-region", region)
            # S3's own header makes the client sign again.
            return [own, ("x-amz-bucket-region", region)] if error.code in _RESIGNED_CODES else [own]
        case _:
            return []


def plain_message(error: ActiveStorageError) -> str:
    """The message of an error for a header: one line of ASCII (RFC 9110, section 5.5)."""
    return _NOT_PLAIN_RE.sub("?", " ".join(error.message.split()))


def error_document(error: ActiveStorageError, resource: str, request_id: str) -> bytes:
    """S3's XML for an error (Amazon S3 API Reference, "Error responses").

    Args:
        error: The error.
        resource: The path of the request, without the query.
        request_id: The id of the request.
    """
    fields = {"Code": error.code, "Message": error.message, "Resource": resource, "RequestId": request_id}
    if isinstance(error, WrongRegion) and error.region and error.code in _RESIGNED_CODES:
        fields["Region"] = error.region
    texts = {name: escape(_NOT_XML_RE.sub("\N{REPLACEMENT CHARACTER}", value)) for name, value in fields.items()}
    content = "".join(f"<{name}>{text}</{name}>" for name, text in texts.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{content}</Error>'.encode()


def write_xml_error(error: ActiveStorageError, request: Request) -> Reply:
    """The reply with an error in S3's XML, which every S3 client can parse; a 304 has an ETag and no body."""
    headers = error_headers(error)
    if isinstance(error, NotModified):
        return Reply(error.status, [*headers, *([("ETag", str(error.etag))] if error.etag else [])])
    document = error_document(error, request.path, request.record.id)
    headers += [("Content-Type", "application/xml"), ("Content-Length", str(len(document)))]
    return Reply(error.status, headers, document)

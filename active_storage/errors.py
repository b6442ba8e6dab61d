"""Every failure the service can name, one class each, as data.

A class has an HTTP status and a code in the manner of S3's. An instance adds the message and the facts of the case.
Nothing here renders: a door writes an error as XML, JSON or headers. Callers distinguish errors by class and attribute,
never by text. A message may be shown to anyone: it names what is wrong, and never holds a URL's query, a header's value
or another secret.
"""

import re

from active_storage.model.etag import ETag

_NAME_RE = re.compile(r"(?=.{1,60}$)[A-Za-z][A-Za-z0-9]{0,18}([-_.][A-Za-z0-9]{1,19})*")

# The codes of stores that can stand in a log: those that GetObject and HeadObject, and a listing, can end in (Amazon S3
# API Reference, "Error responses"), and what answers.py calls an answer without a code. Any other is the store's text,
# and a store can repeat there what it was sent.
STORE_CODES = frozenset(
    {
        *("AccessDenied", "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed"),
        *("AuthorizationQueryParametersError", "BadDigest", "BadRequest", "ConditionalRequestConflict"),
        *("CredentialsNotSupported", "ExpiredToken", "IllegalLocationConstraintException", "IncompleteBody"),
        *("IncorrectEndpoint", "InternalError", "InvalidAccessKeyId", "InvalidAccessPoint", "InvalidArgument"),
        *("InvalidBucketName", "InvalidBucketState", "InvalidDigest", "InvalidEncryptionAlgorithmError"),
        *("InvalidHostHeader", "InvalidHttpMethod", "InvalidObjectName", "InvalidObjectState", "InvalidPart"),
        *("InvalidPartNumber", "InvalidPayer", "InvalidRange", "InvalidRequest", "InvalidSecurity", "InvalidTag"),
        *("InvalidToken", "InvalidURI", "InvalidVersionId", "KMS.DisabledException", "KMS.InvalidKeyUsageException"),
        *("KMS.KMSInvalidStateException", "KMS.NotFoundException", "KeyTooLongError", "MethodNotAllowed"),
        *("MissingAuthenticationToken", "MissingSecurityHeader", "NoSuchAccessPoint", "NoSuchBucket", "NoSuchKey"),
        *("NoSuchUpload", "NoSuchVersion", "NotImplemented", "NotModified", "NotSignedUp", "OperationAborted"),
        *("PermanentRedirect", "PreconditionFailed", "Redirect", "RequestExpired", "RequestTimeTooSkewed"),
        *("RequestTimeout", "ServiceUnavailable", "SignatureDoesNotMatch", "SlowDown", "StoreError"),
        *("TemporaryRedirect", "TokenRefreshRequired", "TooManyRequests", "Unauthorized", "UnauthorizedAccess"),
        *("UserKeyMustBeSpecified", "XAmzContentSHA256Mismatch"),
    }
)


def shown(text: str) -> str:
    """A caller's text, fit to be quoted in a message: one line of ASCII, sixty characters at most."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def shown_name(name: str) -> str | None:
    """A caller's name, fit to be quoted in a message; None if it could be a misplaced secret.

    Names consist of words. Signatures and keys are long runs of letters and digits.
    """
    return ascii(name) if _NAME_RE.fullmatch(name) else None


class ActiveStorageError(Exception):
    """What went wrong, as data that a door writes in its own form.

    Attributes:
        status: The HTTP status, which says whose fault it is: 4xx the caller's, 500 ours, 502 to 504 the store's.
        code: The code for programs. Like S3's codes it consists of letters only, as AWS and boto3 require.
        message: One line for people.
    """

    status: int = 500
    code: str = "InternalError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def logged_code(self) -> str:
        """The code as a log can hold it."""
        return self.code


class InternalError(ActiveStorageError):
    """A mistake of ours. The log says where; the caller learns only that it was ours."""


# The caller's request


class InvalidArgument(ActiveStorageError):
    """A field of the request has a wrong value.

    Attributes:
        field: The name of the field.
        reason: What is wrong with it.
        index: The index of the wrong value in a list; None if the field is not a list.
    """

    status = 400
    code = "InvalidArgument"

    def __init__(self, field: str, reason: str, index: int | None = None) -> None:
        super().__init__(f"{field if index is None else f'{field}[{index}]'}: {reason}")
        self.field = field
        self.reason = reason
        self.index = index


class InvalidCodec(InvalidArgument):
    """The codec of a step is unknown, or one of its parameters has a wrong name or value.

    Attributes:
        codec: The id of the step.
        member: ``id``, ``element_size``, or the name of the parameter.
        fault: What is wrong with it.
    """

    def __init__(self, codec: str, member: str, fault: str, field: str = "filters") -> None:
        name = member if member.isidentifier() and member.isascii() else shown(member)
        super().__init__(field, fault if member == "id" else f"{codec}: {name[:60]} {fault}")
        self.codec = codec
        self.member = member
        self.fault = fault

    def within(self, field: str) -> "InvalidCodec":
        """The same error for a step in ``field``."""
        return InvalidCodec(self.codec, self.member, self.fault, field)


class CodecNotInstalled(ActiveStorageError):
    """The library of a codec is not installed on this server."""

    status = 400
    code = "CodecNotInstalled"

    def __init__(self, codec: str, library: str) -> None:
        super().__init__(f'{codec}: the library {library} is not installed on this server; its extra "codecs" has it')
        self.codec = codec


class BadCredentials(ActiveStorageError):
    """The header with the caller's credentials is malformed."""

    status = 401
    code = "InvalidCredentials"


class MissingToken(ActiveStorageError):
    """A call of the webhook has no token."""

    status = 401
    code = "MissingWebhookToken"


class WrongToken(ActiveStorageError):
    """A call of the webhook has a wrong token."""

    status = 403
    code = "InvalidWebhookToken"


class Unsupported(ActiveStorageError):
    """The request is valid, and this door cannot answer it."""

    status = 501
    code = "NotImplemented"


class UnknownReducer(ActiveStorageError):
    """There is no reducer of that name."""

    status = 404
    code = "NoSuchReducer"


class IncompleteElement(ActiveStorageError):
    """The selected bytes are not a whole number of elements."""

    status = 400
    code = "IncompleteElement"


class UndecodableData(ActiveStorageError):
    """The stored bytes are not valid data of ``codec``: they are truncated, too long, or damaged."""

    status = 400
    code = "UndecodableData"

    def __init__(self, codec: str, message: str) -> None:
        super().__init__(f"{codec}: {message}")
        self.codec = codec


class NothingToReduce(ActiveStorageError):
    """A maximum or minimum of no elements, which numpy refuses too."""

    status = 400
    code = "NothingToReduce"


class EncodedObject(ActiveStorageError):
    """The store delivers the object in a Content-Encoding, so that its bytes are not the elements."""

    status = 400
    code = "UnsupportedContentEncoding"


class EncryptedObject(ActiveStorageError):
    """The client that wrote the object encrypted it, so that the store has ciphertext only."""

    status = 400
    code = "ClientSideEncrypted"


class EntityTooLarge(ActiveStorageError):
    """The request needs more memory than a request may hold."""

    status = 400
    code = "EntityTooLarge"


class UriTooLong(ActiveStorageError):
    """The request target is longer than the server reads."""

    status = 414
    code = "RequestURITooLong"


class OriginNotAllowed(ActiveStorageError):
    """The object lies at an origin that is not on the allow-list."""

    status = 403
    code = "OriginNotAllowed"


class NoSuchDoor(ActiveStorageError):
    """The path leads to no door.

    For an S3 client the first segment of the path is a bucket. s3fs looks for a folder if it finds no object. It knows
    this code as "not found", and would raise an error for an unknown code.
    """

    status = 404
    code = "NoSuchBucket"


class MethodNotAllowed(ActiveStorageError):
    """The method is not one of ``allowed``."""

    status = 405
    code = "MethodNotAllowed"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class PreconditionFailed(ActiveStorageError):
    """A conditional header does not hold for the result."""

    status = 412
    code = "PreconditionFailed"


class InvalidRange(ActiveStorageError):
    """The range lies outside the object, which has ``length`` bytes."""

    status = 416
    code = "InvalidRange"

    def __init__(self, message: str, length: int) -> None:
        super().__init__(message)
        self.length = length


class NotModified(ActiveStorageError):
    """The caller's copy is current. ``etag`` is the ETag of the object or of the result, or None."""

    status = 304
    code = "NotModified"

    def __init__(self, etag: ETag | None) -> None:
        super().__init__("the result is the one that the caller has")
        self.etag = etag


class CallerGone(ActiveStorageError):
    """The caller closed the connection before the reply. It is for the log only."""

    # nginx's status for this, known from its logs.
    status = 499
    code = "ClientClosedRequest"


# This server's state


class SlowDown(ActiveStorageError):
    """The memory for requests is in use. The caller can try again after ``retry_after_seconds``."""

    status = 503
    code = "SlowDown"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


# The store's side


class StoreError(ActiveStorageError):
    """The store refused the request. Its status, code and message are passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def logged_code(self) -> str:
        """The code if it is one of S3's; any other can be anything."""
        return self.code if self.code in STORE_CODES else "StoreError"


class WrongRegion(StoreError):
    """The bucket lies in another region than the one that the request was sent to or signed for.

    S3 says so by a redirect or a refusal. Redirects are not followed, since a signature is for one endpoint. The status
    is 400, whatever the store's was: clients neither follow nor repeat it, and every door can send it.

    Attributes:
        region: The bucket's region; None if the store does not name it.
    """

    status = 400
    code = "PermanentRedirect"

    def __init__(self, code: str, region: str | None) -> None:
        where = "in another region" if region is None else f"in the region {region}"
        super().__init__(
            self.status, code, f"the bucket lies {where}: ask the endpoint of its region, with a signature for it"
        )
        self.region = region


class StoreUnreachable(ActiveStorageError):
    """The connection to the store failed, or broke before an answer."""

    status = 502
    code = "StoreUnreachable"


class StoreProtocolError(ActiveStorageError):
    """The store's answer violates HTTP or S3. A result from it could be wrong."""

    status = 502
    code = "StoreProtocolError"


class StoreCutOff(ActiveStorageError):
    """The store sent fewer bytes than it announced, repeatedly."""

    status = 502
    code = "StoreCutOff"


class StoreTimeout(ActiveStorageError):
    """The store did not answer completely before the deadline."""

    status = 504
    code = "StoreTimeout"


class DeadlineExceeded(ActiveStorageError):
    """The deadline passed while data was being decoded or reduced."""

    status = 504
    code = "DeadlineExceeded"


class ObjectChanged(ActiveStorageError):
    """The object was replaced while it was being read. Asking again can succeed."""

    status = 503
    code = "ObjectChanged"

    def __init__(self) -> None:
        super().__init__("the object was replaced while it was being read")


class TornRead(ObjectChanged):
    """Ranges that were read side by side are of two versions of the object. Reading it once more can succeed."""

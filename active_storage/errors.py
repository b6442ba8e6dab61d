"""The errors of the service, one class for each kind of failure, as data.

A class has an HTTP status and a code in the style of S3's codes. An instance adds the message and further attributes. A
door writes an error as XML, JSON or headers; nothing here does. Programs distinguish errors by class and attribute,
never by message. A message can be shown to anyone: it says what is wrong, and never contains the query of a URL, the
value of a header, or another secret.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Self

from active_storage.model.etag import ETag

_NAME_RE = re.compile(r"(?=.{1,60}$)[A-Za-z][A-Za-z0-9]{0,18}([-_.][A-Za-z0-9]{1,19})*")

# The codes of stores that may be logged: those of GetObject, HeadObject and the listings (Amazon S3 API Reference,
# "Error responses"), and the code that answers.py gives to a response without one. Any other code is text of the store,
# which can repeat parts of the request.
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
    """A caller's text, quoted for a message: one line of ASCII, at most sixty characters of the text."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def shown_end(text: str) -> str:
    """The same for a long key or URL: the end of it says more."""
    return ascii(text if len(text) <= 120 else "..." + text[-117:])


def shown_name(name: str) -> str | None:
    """A caller's name, quoted for a message; None if it could be a misplaced secret.

    Names consist of words. Signatures and keys are long runs of letters and digits.
    """
    return ascii(name) if _NAME_RE.fullmatch(name) else None


class ActiveStorageError(Exception):
    """The base of all errors.

    Attributes:
        status: The HTTP status: 4xx for a fault in the request, 500 for one in this service, 502 to 504 for the store.
        code: The code for programs. Like S3's codes it consists of letters only, as AWS and boto3 require.
        message: One line for people.
    """

    status: int = 500
    code: str = "InternalError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Callable[..., Exception], tuple[Any, ...]]:
        # Processes that share work hand errors over. Python would call the class with the message alone.
        return _restore, (type(self), self.args, self.__dict__)

    def located(self, where: str) -> Self:
        """The same error, whose message begins with where it happened, such as the array and the object."""
        return self._with_message(f"{where}: {self.message}")

    def explained(self, explanation: str) -> Self:
        """The same error, whose message ends with what the caller may not know."""
        return self._with_message(f"{self.message} ({explanation})")

    def _with_message(self, message: str) -> Self:
        self.message = message
        self.args = (message,)
        return self

    @property
    def logged_code(self) -> str:
        """The code that may be logged."""
        return self.code


def _restore(kind: type[ActiveStorageError], args: tuple[Any, ...], attributes: dict[str, Any]) -> ActiveStorageError:
    """An error as it was pickled."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class InternalError(ActiveStorageError):
    """A fault in this service. The log names the line of code; the caller gets no details."""


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


class UnsupportedArray(InvalidArgument):
    """The array has a feature that is not supported, which the message names.

    Attributes:
        array: The path of the array in its container.
    """

    def __init__(self, array: str, feature: str) -> None:
        super().__init__("array", f"{shown(array)} has {feature}, which is not supported")
        self.array = array


class CodecNotInstalled(ActiveStorageError):
    """The library of a codec is not installed on this server."""

    status = 400
    code = "CodecNotInstalled"

    def __init__(self, codec: str, library: str) -> None:
        super().__init__(
            f"{codec}: the library {library} is not installed on this server; "
            "the extra 'codecs' of s3-active-storage-service installs it"
        )
        self.codec = codec


class ReaderNotInstalled(ActiveStorageError):
    """The library that reads a kind of container is not installed on this server."""

    status = 400
    code = "ReaderNotInstalled"

    def __init__(self, container: str, library: str, extra: str) -> None:
        super().__init__(
            f'{container}: the library {library} is not installed on this server; its extra "{extra}" has it'
        )


class BadCredentials(ActiveStorageError):
    """The header with the caller's credentials is malformed."""

    status = 401
    code = "InvalidCredentials"


class MissingToken(ActiveStorageError):
    """A request to the webhook has no token."""

    status = 401
    code = "MissingWebhookToken"


class WrongToken(ActiveStorageError):
    """A request to the webhook has a wrong token."""

    status = 403
    code = "InvalidWebhookToken"


class Unsupported(ActiveStorageError):
    """The request is valid, but this door does not support it."""

    status = 501
    code = "NotImplemented"


class UnknownReducer(ActiveStorageError):
    """There is no reducer of that name."""

    status = 404
    code = "NoSuchReducer"


class IncompleteElement(ActiveStorageError):
    """The number of selected bytes is not a multiple of the element size."""

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
    """A maximum or minimum of no elements. numpy raises an error for it too."""

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
    """The origin of the object is not on the allow-list."""

    status = 403
    code = "OriginNotAllowed"


class NoSuchDoor(ActiveStorageError):
    """No door has this path.

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
    """The range is outside the object, which has ``length`` bytes."""

    status = 416
    code = "InvalidRange"

    def __init__(self, message: str, length: int) -> None:
        super().__init__(message)
        self.length = length


class NotModified(ActiveStorageError):
    """The caller's copy is current.

    Attributes:
        etag: The ETag of the object or of the result, or None.
        headers: The headers of a store's answer, names in lower case.
    """

    status = 304
    code = "NotModified"

    def __init__(self, etag: ETag | None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__("the result is the same as the one that the caller has")
        self.etag = etag
        self.headers = dict(headers or {})


class CallerGone(ActiveStorageError):
    """The caller closed the connection before the reply. It is for the log only."""

    # The status that nginx logs for this.
    status = 499
    code = "ClientClosedRequest"


# This server's state


class SlowDown(ActiveStorageError):
    """Other requests use all the memory for requests. The caller can try again after ``retry_after_seconds``."""

    status = 503
    code = "SlowDown"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


# The store's side


class StoreError(ActiveStorageError):
    """The store refused the request. Its status, code and message are passed on.

    Attributes:
        is_doubtful: Whether the code is a guess from the status, because the document that names it was cut off or is
            damaged. A 404 can then mean that the bucket is absent, for instance.
    """

    def __init__(self, status: int, code: str, message: str, *, is_doubtful: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.is_doubtful = is_doubtful

    @property
    def logged_code(self) -> str:
        """The code if it is in ``STORE_CODES``, else "StoreError": other codes can contain anything."""
        return self.code if self.code in STORE_CODES else "StoreError"


class WrongRegion(StoreError):
    """The bucket is in another region than the one that the request was sent to or signed for.

    S3 reports this by a redirect or an error. Redirects are not followed, since a signature is for one endpoint. The
    status is always 400: clients neither follow nor repeat it, and every door can send it.

    Attributes:
        region: The bucket's region; None if the store does not name it.
    """

    status = 400
    code = "PermanentRedirect"

    def __init__(self, code: str, region: str | None) -> None:
        where = "another region" if region is None else f"the region {region}"
        super().__init__(
            self.status, code, f"the bucket is in {where}; send the request to that region's endpoint, signed for it"
        )
        self.region = region


class StoreUnreachable(ActiveStorageError):
    """The connection to the store failed, or closed before the response."""

    status = 502
    code = "StoreUnreachable"


class StoreProtocolError(ActiveStorageError):
    """The store's response violates HTTP or the S3 API. A result from it could be wrong."""

    status = 502
    code = "StoreProtocolError"


class StoreCutOff(ActiveStorageError):
    """The store sent fewer bytes than it announced, repeatedly."""

    status = 502
    code = "StoreCutOff"


class StoreTimeout(ActiveStorageError):
    """The store did not send the complete response before the deadline."""

    status = 504
    code = "StoreTimeout"


class DeadlineExceeded(ActiveStorageError):
    """The deadline passed while data was being decoded or reduced."""

    status = 504
    code = "DeadlineExceeded"


class ObjectChanged(ActiveStorageError):
    """The object was replaced while it was being read. The same request can succeed later."""

    status = 503
    code = "ObjectChanged"

    def __init__(self) -> None:
        super().__init__("the object was replaced while it was being read; send the request again")


class TornRead(ObjectChanged):
    """Ranges that were read in parallel are from two versions of the object. Reading it once more can succeed."""


class ArrayChanged(ActiveStorageError):
    """An object of the array was replaced while it was being reduced, and again at the second attempt."""

    status = 409
    code = "ArrayChanged"


class PlanOutdated(ActiveStorageError):
    """The plan that the caller knows does not hold any more: the array or the service has changed."""

    status = 409
    code = "PlanOutdated"

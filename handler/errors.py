"""Every failure the service can name, one class each, as data.

A class gives an HTTP status and a code in S3's manner; an instance adds the message and the facts of the case.
Nothing here renders: a door dresses an error in XML, JSON or headers. Callers tell errors apart by class and
attribute, never by text. A message may be shown to anyone: it names the offending thing and never holds a URL's
query, a header's value or any other secret.
"""

import re

_NAME_RE = re.compile(r"(?=.{1,60}$)[A-Za-z][A-Za-z0-9]{0,18}([-_.][A-Za-z0-9]{1,19})*")


def shown(text: str) -> str:
    """A caller's text as a message may quote it: one line of ASCII, sixty characters at most."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def shown_name(name: str) -> str | None:
    """A name that a caller gave, as a message may quote it; None where it could be a secret in the wrong place.

    Names are words; signatures and keys are long runs of letters and digits.
    """
    return ascii(name) if _NAME_RE.fullmatch(name) else None


class ActiveStorageError(Exception):
    """What went wrong, ready to be dressed by a door.

    Attributes:
        status: The HTTP status that says whose fault it is: 4xx the caller's, 500 ours, 502 to 504 the store's.
        code: What a program acts on, in S3's manner: letters only, so that AWS and boto3 take it as it is.
        message: One line for people.
    """

    status: int = 500
    code: str = "InternalError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InternalError(ActiveStorageError):
    """Our own fault. The log line says where; the caller learns only that it was us."""


# The caller's request


class InvalidArgument(ActiveStorageError):
    """A part of the request has a value that it cannot have.

    Attributes:
        field: The name of the part.
        reason: What is wrong with it.
        place: Which value of a list it is, counted from 0; None where it is not that of one.
    """

    status = 400
    code = "InvalidArgument"

    def __init__(self, field: str, reason: str, place: int | None = None) -> None:
        super().__init__(f"{field if place is None else f'{field}[{place}]'}: {reason}")
        self.field = field
        self.reason = reason
        self.place = place


class InvalidCodec(InvalidArgument):
    """The codec of a step is unknown, or a parameter of it has a wrong name or value.

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
        """The same fault, of a step that stands in ``field``."""
        return InvalidCodec(self.codec, self.member, self.fault, field)


class CodecNotInstalled(ActiveStorageError):
    """This server lacks the library that a codec needs."""

    status = 400
    code = "CodecNotInstalled"

    def __init__(self, codec: str, library: str) -> None:
        super().__init__(f'{codec}: the library {library} is not installed on this server; its extra "codecs" has it')
        self.codec = codec


class BadCredentials(ActiveStorageError):
    """The header that says who asks is of a form that nothing can be read from."""

    status = 401
    code = "InvalidCredentials"


class MissingToken(ActiveStorageError):
    """A store that calls the webhook does not say that it is the one that was set up."""

    status = 401
    code = "MissingWebhookToken"


class WrongToken(ActiveStorageError):
    """What it says is none of the live tokens."""

    status = 403
    code = "InvalidWebhookToken"


class Unsupported(ActiveStorageError):
    """What is asked for is well understood, and cannot be had by this way."""

    status = 501
    code = "NotImplemented"


class UnknownReducer(ActiveStorageError):
    """There is no reduction of that name."""

    status = 404
    code = "NoSuchReducer"


class IncompleteElement(ActiveStorageError):
    """The bytes named are not a whole number of elements."""

    status = 400
    code = "IncompleteElement"


class UndecodableData(ActiveStorageError):
    """The bytes as stored are not what ``codec`` writes: cut short, followed by others, or damaged."""

    status = 400
    code = "UndecodableData"

    def __init__(self, codec: str, message: str) -> None:
        super().__init__(f"{codec}: {message}")
        self.codec = codec


class NothingToReduce(ActiveStorageError):
    """A maximum or minimum of no elements, which numpy refuses as well."""

    status = 400
    code = "NothingToReduce"


class EncodedObject(ActiveStorageError):
    """The store delivers the object in a Content-Encoding: its bytes are not the numbers."""

    status = 400
    code = "UnsupportedContentEncoding"


class EncryptedObject(ActiveStorageError):
    """The object was encrypted by the client that wrote it: the store holds ciphertext only."""

    status = 400
    code = "ClientSideEncrypted"


class EntityTooLarge(ActiveStorageError):
    """One request would hold more memory than any request may."""

    status = 400
    code = "EntityTooLarge"


class UriTooLong(ActiveStorageError):
    """The request target is longer than the server reads."""

    status = 414
    code = "RequestURITooLong"


class OriginNotAllowed(ActiveStorageError):
    """The bytes would have to come from an origin that is not on the allow-list."""

    status = 403
    code = "OriginNotAllowed"


class NoSuchDoor(ActiveStorageError):
    """Nothing answers at that path.

    To an S3 client the path's first part is a bucket. s3fs, which looks for a folder where it finds no object, takes
    this code for "there is none", and one that it does not know for an error.
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
    """The range lies outside the object, which is ``length`` bytes long."""

    status = 416
    code = "InvalidRange"

    def __init__(self, message: str, length: int) -> None:
        super().__init__(message)
        self.length = length


class NotModified(ActiveStorageError):
    """The caller's copy is still good. ``etag`` is the store's, None where it sent none."""

    status = 304
    code = "NotModified"

    def __init__(self, etag: str | None) -> None:
        super().__init__("the result is the one that the caller has")
        self.etag = etag


class CallerGone(ActiveStorageError):
    """The caller closed the connection before the answer was there. Nobody reads this; the log does."""

    # nginx's own, known to whoever reads logs.
    status = 499
    code = "ClientClosedRequest"


# This server's state


class SlowDown(ActiveStorageError):
    """The memory for requests is all in use now; worth asking again after ``retry_after_seconds``."""

    status = 503
    code = "SlowDown"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


# The store's side


class StoreError(ActiveStorageError):
    """The store refused: its own status, code and message, passed on as they are."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class WrongRegion(StoreError):
    """The bucket lies in another region than the request was sent to, or signed for.

    S3 answers so with a redirect or a refusal. Nothing is followed: a signature is for one place. The status is 400
    whatever the store's was: clients neither follow that nor try it again, and every door can say it.

    Attributes:
        region: Where the bucket lies; None where the store does not say.
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
    """No connection to the store, or it broke before an answer came."""

    status = 502
    code = "StoreUnreachable"


class StoreProtocolError(ActiveStorageError):
    """The store answered what HTTP or S3 do not allow here: a result from it could be wrong."""

    status = 502
    code = "StoreProtocolError"


class StoreCutOff(ActiveStorageError):
    """The store sent fewer bytes than it promised, and went on doing so."""

    status = 502
    code = "StoreCutOff"


class StoreTimeout(ActiveStorageError):
    """The store did not answer, or not to the end, in the time that a request has."""

    status = 504
    code = "StoreTimeout"


class DeadlineExceeded(ActiveStorageError):
    """The time that a request has was over while the data was still being decoded."""

    status = 504
    code = "DeadlineExceeded"


class ObjectChanged(ActiveStorageError):
    """The object was replaced while it was being read; asked again, it will be read whole."""

    status = 503
    code = "ObjectChanged"

    def __init__(self) -> None:
        super().__init__("the object was replaced while it was being read")


class PartsDiffer(ObjectChanged):
    """Parts of it that were read side by side are of two objects: worth starting over, since the new one is whole."""

"""The interface of a door: request in, reply out.

Requests and replies belong to no framework: WSGI and AWS Lambda make the same ones. Nothing here parses or writes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from active_storage.errors import ActiveStorageError
from handler.doors.service import Service
from handler.observe.record import Record
from handler.scope import Scope


@dataclass(frozen=True, slots=True)
class Request:
    """A request. No part of it is decoded. Its ``repr`` shows neither query nor headers.

    Attributes:
        scope: The deadline and the record of the request.
        method: The HTTP method, in capitals.
        path: The raw path, without the query. A virtual-host style request is rewritten to path style.
        query: The raw query.
        headers: Names in lower case.
        read_body: Returns the body, or its first bytes up to a maximum number. Later calls return the same bytes.
        fault: The error of a malformed request; None for a well-formed one.
        found: Values that the door has parsed, for its own ``write_error``.
    """

    scope: Scope = field(repr=False)
    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    read_body: Callable[[int], bytes] = field(repr=False)
    fault: ActiveStorageError | None = None
    found: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def record(self) -> Record:
        """The record of the request."""
        return self.scope.record


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply. Its ``repr`` shows the status only.

    Attributes:
        status: The HTTP status.
        headers: Names and values. ``Content-Length`` is among them unless the status forbids a body, or the body is
            made while it is sent.
        body: The bytes, or an iterable of them, which the sender closes. It is not sent in reply to HEAD.
    """

    status: int
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes | Iterable[bytes] = field(default=b"", repr=False)

    @property
    def pieces(self) -> Iterable[bytes]:
        """The body as an iterable."""
        return (self.body,) if isinstance(self.body, bytes) else self.body

    def close(self) -> None:
        """Release the resources of the body. The sender calls this once, whether or not it sent the body."""
        if close := getattr(self.body, "close", None):
            close()


class Door(Protocol):
    """The interface of a door, which is a module."""

    @property
    def __name__(self) -> str:
        """The module's name; the log calls the door by the last component."""

    @property
    def METHODS(self) -> tuple[str, ...]:  # noqa: N802  # a module's constant
        """The HTTP methods that the door answers."""

    def reply_to(self, request: Request, service: Service, /) -> Reply:
        """The reply to a request.

        Raises:
            ActiveStorageError: The request cannot be answered. ``write_error`` makes the reply.
        """

    def write_error(self, error: ActiveStorageError, request: Request, /) -> Reply:
        """The reply with an error."""

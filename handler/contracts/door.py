"""What every door is made of: a request, a reply, the service behind it, and errors in S3's XML."""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from handler.errors import ActiveStorageError, InvalidArgument, NotModified
from handler.memory import MemoryGate
from handler.params import find_authority, split_target
from handler.parts import HELPERS, Helpers
from handler.render import error_document, error_headers
from handler.settings import Settings
from handler.upstream.addresses import Trust
from handler.upstream.deadline import Deadline
from handler.upstream.signed import Regions, SigningKeys
from handler.upstream.transport import Transport, TransportLimits

# RFC 9110, section 7.2, and RFC 3986, section 3.2.2, without an empty name, which no http URL has (RFC 9110, section
# 4.2.1), and without commas, which a server puts between two of them.
_HOST_RE = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Service:
    """What the requests of a process share."""

    settings: Settings
    transport: Transport
    gate: MemoryGate
    helpers: Helpers = field(default_factory=Helpers)
    signing_keys: SigningKeys = field(default_factory=SigningKeys)
    regions: Regions = field(default_factory=Regions)

    @classmethod
    def of(cls, settings: Settings, transport: Transport | None = None) -> Self:
        """The service that the settings say; ``transport`` in place of the one that connects to stores."""
        limits = TransportLimits(
            connect_seconds=settings.connect_timeout,
            read_seconds=settings.read_timeout,
            tries=settings.retries,
            connections=settings.threads + HELPERS,
        )
        gate = MemoryGate.of(settings)
        own_hosts = frozenset((settings.store.host, settings.public_store.host))
        trust = Trust(own_hosts, settings.allow_special_addresses)
        regions = Regions(settings.s3_region)
        transport = transport or Transport(settings.allow_list, limits, trust=trust)
        return cls(settings, transport, gate, regions=regions)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, of which nothing was decoded; its ``repr`` shows no query and no header.

    Attributes:
        id: What the reply and the log call it.
        method: In capitals.
        path: As it was sent, without the query; in path style, whatever the style of the request.
        query: As it was sent.
        headers: Names in lower case.
        deadline: When the reply must be there.
        read_body: The first so many bytes of the body, fewer only where it ends; asked again, the same.
        fault: Why no door may answer it; None for a well-formed request.
        found: What a door has read from it so far, for its own ``write_error``.
    """

    id: str
    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    deadline: Deadline = field(repr=False)
    read_body: Callable[[int], bytes] = field(repr=False)
    fault: ActiveStorageError | None = None
    found: dict[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; its ``repr`` shows the status only.

    Attributes:
        status: HTTP's.
        headers: Names and values, ``Content-Length`` among them where there can be a body.
        body: The bytes, or pieces of them as they come, closed by who sends them. To HEAD nobody sends it.
    """

    status: int
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes | Iterable[bytes] = field(default=b"", repr=False)

    @property
    def pieces(self) -> Iterable[bytes]:
        """The body, whatever it comes in."""
        return (self.body,) if isinstance(self.body, bytes) else self.body

    def close(self) -> None:
        """Let go of what the body holds. Whoever sends it, or does not, calls this once."""
        if close := getattr(self.body, "close", None):
            close()


class Door(Protocol):
    """What every door is: a module with these in it."""

    @property
    def __name__(self) -> str:
        """The module's; the last part of it is what the log calls the door."""

    @property
    def METHODS(self) -> tuple[str, ...]:  # noqa: N802  # a module's constant
        """The methods that it answers."""

    def answer(self, request: Request, service: Service, /) -> Reply:
        """The reply to a request.

        Raises:
            ActiveStorageError: There is none but an error.
        """

    def write_error(self, error: ActiveStorageError, request: Request, /) -> Reply:
        """The reply that tells of an error."""


def new_request_id() -> str:
    """A name for a request that no other has."""
    return secrets.token_hex(8).upper()


def find_fault(method: str, raw_target: str, host: str | None, needs_host: bool) -> ActiveStorageError | None:
    """Why HTTP requires a request to be answered with 400 (RFC 9112, section 3.2); None for a well-formed one.

    Args:
        method: Its method.
        raw_target: Its target, as it was sent.
        host: Its ``Host``; None where there is none.
        needs_host: Whether it must have one, as of HTTP/1.1.
    """
    if host is None and needs_host:
        return InvalidArgument("Host", "is missing")
    if host is not None and not _HOST_RE.fullmatch(host):
        return InvalidArgument("Host", "is not of the form name or name:port")
    if raw_target.startswith("/") or (method, raw_target) == ("OPTIONS", "*") or method == "CONNECT":
        return None
    authority = find_authority(raw_target)
    if authority is None or not _HOST_RE.fullmatch(authority):
        return InvalidArgument("target", "is neither a path nor a URL of http or https")
    return None


def locate_target(raw_target: str, host: str, base_domain: str | None) -> tuple[str, str]:
    """The path, in path style, and the query of a request target, both as they were sent.

    Args:
        raw_target: As it was sent.
        host: The request's ``Host``, which a target that is a URL overrules (RFC 9112, section 3.2.2).
        base_domain: In a virtual-host style request, the host is a bucket (to us, the reducer) under this domain.
    """
    path, query = split_target(raw_target)
    name = (find_authority(raw_target) or host).lower().partition(":")[0] if base_domain else ""
    if base_domain and name.endswith(f".{base_domain.lower()}"):
        path = f"/{name.removesuffix(base_domain.lower())[:-1]}{path}"
    return path, query


def write_xml_error(error: ActiveStorageError, request: Request) -> Reply:
    """An error as S3 writes it, so that every S3 client knows it by its code; 304 is an ETag only."""
    headers = error_headers(error)
    if isinstance(error, NotModified):
        return Reply(error.status, [*headers, *([("ETag", error.etag)] if error.etag else [])])
    document = error_document(error, request.path, request.id)
    headers += [("Content-Type", "application/xml"), ("Content-Length", str(len(document)))]
    return Reply(error.status, headers, document)

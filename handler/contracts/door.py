"""What every door is made of: a request, a reply, the service behind it, and errors in S3's XML."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from handler.errors import ActiveStorageError, NotModified
from handler.memory import MemoryGate
from handler.params import split_target
from handler.parts import HELPERS, Helpers
from handler.render import error_document, error_headers
from handler.settings import Settings
from handler.upstream.addresses import Trust
from handler.upstream.deadline import Deadline
from handler.upstream.signed import Regions, SigningKeys
from handler.upstream.transport import Transport, TransportLimits


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
    """

    id: str
    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    deadline: Deadline = field(repr=False)
    read_body: Callable[[int], bytes] = field(repr=False)


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


def locate_target(raw_target: str, host: str, base_domain: str | None) -> tuple[str, str]:
    """The path, in path style, and the query of a request target, both as they were sent.

    Args:
        raw_target: As it was sent.
        host: The request's ``Host``.
        base_domain: In a virtual-host style request, the host is a bucket (to us, the reducer) under this domain.
    """
    path, query = split_target(raw_target)
    name = host.lower().partition(":")[0]
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

"""Where the objects of a container lie, and in whose name each is asked for.

A request names one object or one prefix: the root of the container. Its other objects are below the root, or references
in it name them. A request can also name several files, each of which is the root of a container of its own. This module
says which credentials go along:

- The root is asked for as the request asks for it.
- What lies below the root, or in the same store, is asked for in the caller's name where that is possible. A signature
  of the caller's covers one path, so that it cannot be sent with another one.
- Everything else is asked for in nobody's name. Credentials never go to another origin than the store's own.

The transport compares each origin with the allow-list, before it connects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from active_storage.errors import InvalidArgument, shown
from active_storage.grammar.query import StoreQuery
from active_storage.grammar.targets import join_target
from active_storage.grammar.text import encode
from active_storage.model.origins import Origin
from handler.doors.json_location import URL_SAFE, ObjectLocation
from handler.doors.service import Service
from handler.doors.urls import split_url
from handler.scope import Scope
from handler.stores.listings import Folder
from handler.stores.signatures import is_signed
from handler.stores.signers import Signer
from handler.stores.source import Source
from handler.stores.store_request import StoreRequest, own_headers
from handler.stores.store_source import StoreSource

# The field of errors about URLs in references: the caller has not sent them.
_REFERENCE = "reference"

_S3_SCHEME = "s3://"

# Names that many servers resolve, so that the object would be another one than its key says.
_DOT_SEGMENTS = frozenset({"", ".", ".."})

# Opens the object at a target of one origin.
_Opener = Callable[[str], StoreSource]


@dataclass(frozen=True, slots=True)
class StoreContainer:
    """A container in a store. Its ``repr`` shows the path of the root only.

    Attributes:
        root: The raw path of the root, without a slash at its end.
        open_root: Opens the object at the root.
        open_below: Opens an object by its target below the root; None if only the root can be asked for.
        openers: Opens an object in the caller's name, by origin.
        open_s3: Opens an object of the service's own store: references of the form ``s3://bucket/key`` mean it.
        open_elsewhere: Opens an object at any origin, in nobody's name.
        open_listing: Opens a listing by its target; None if the server lists nothing.
    """

    root: str
    open_root: Callable[[], StoreSource] = field(repr=False)
    open_below: _Opener | None = field(repr=False)
    openers: Mapping[Origin, _Opener] = field(repr=False)
    open_s3: _Opener = field(repr=False)
    open_elsewhere: Callable[[Origin, str], StoreSource] = field(repr=False)
    open_listing: _Opener | None = field(default=None, repr=False)

    def open_key(self, key: str) -> Source:
        """The object with this key below the root; "" is the root itself.

        Raises:
            InvalidArgument: The key leads out of the root, or the caller's signature does not cover it.
        """
        if not key:
            return self.open_root()
        if not _DOT_SEGMENTS.isdisjoint(key.split("/")):
            raise InvalidArgument("array", f"{shown(key)} has an empty segment, or a segment of dots")
        if self.open_below is None:
            raise InvalidArgument("Authorization", "the signature covers one object, and the array has several")
        return self.open_below(f"{self.root}/{_encode(key)}")

    def folder(self, key: str) -> Folder | None:
        """What lies below a key, "" for the root, as an S3 store lists it; None if the server is another one."""
        open_listing = self.open_listing
        if open_listing is None:
            return None
        _, bucket, path = f"{self.root}/{_encode(key)}".split("/", 2)
        return Folder(
            f"/{bucket}",
            f"{unquote(path).removesuffix('/')}/",
            lambda target, limit_bytes: open_listing(target).read_document(limit_bytes),
        )

    @property
    def name(self) -> str:
        """The name of the root: the end of its path, decoded."""
        return unquote(self.root.rpartition("/")[2], errors="replace")

    def enclosing(self) -> "StoreContainer | None":
        """The container whose root is one segment shorter; None above a bucket, or if a signature covers the root."""
        parent, _, name = self.root.rpartition("/")
        if not parent or not name or self.open_below is None:
            return None
        return replace(self, root=parent, open_root=_refuse_root)

    def open_url(self, url: str) -> Source:
        """The object at a URL that references name: ``s3://bucket/key``, or ``http(s)://``.

        A URL that is presigned goes out as it is.

        Raises:
            InvalidArgument: The URL is malformed.
        """
        if url[: len(_S3_SCHEME)].lower() == _S3_SCHEME:
            bucket, _, key = url[len(_S3_SCHEME) :].partition("/")
            if bucket in _DOT_SEGMENTS or not key:
                raise InvalidArgument(_REFERENCE, "is not of the form s3://bucket/key")
            return self.open_s3(f"/{_encode(bucket)}/{_encode(key)}")
        split = split_url(_REFERENCE, url)
        target = _quote(join_target(split.path or "/", split.query or ""))
        opener = self.openers.get(split.origin)
        if opener is None or is_signed(StoreQuery.of(split.query or ""), ""):
            return self.open_elsewhere(split.origin, target)
        return opener(target)


@dataclass(frozen=True, slots=True)
class TableContainer(StoreContainer):
    """The objects that a table of chunks names.

    Attributes:
        table: The members of the table.
    """

    table: Mapping[str, Any] = field(repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class FilesContainer(StoreContainer):
    """Several files, whose arrays follow each other.

    Attributes:
        files: The containers of one file each, in their order.
    """

    files: tuple[StoreContainer, ...] = field(repr=False, kw_only=True)


def make_call_container(request: StoreRequest, service: Service, scope: Scope) -> StoreContainer:
    """The container that a caller of S3's protocol asks for: signed, presigned or anonymous.

    Args:
        request: The caller's request for the root.
        service: What all requests share.
        scope: The request's.
    """

    def open_alike(target: str) -> StoreSource:
        return StoreSource(service.transport, replace(request, target=target), scope)

    open_s3: _Opener = partial(_open_own_store, service, scope)
    if not request.is_signed and request.origin == service.settings.store:
        open_s3 = open_alike
    return StoreContainer(
        root=request.target.partition("?")[0].removesuffix("/"),
        open_root=lambda: StoreSource(service.transport, request, scope),
        open_below=None if request.is_signed else open_alike,
        openers=dict.fromkeys((service.settings.store, service.settings.public_store), open_s3),
        open_s3=open_s3,
        open_elsewhere=partial(_open_elsewhere, service, scope),
    )


def make_located_container(
    location: ObjectLocation, signer: Signer | None, service: Service, scope: Scope
) -> StoreContainer:
    """The container that a JSON request names, asked for with the caller's own keys.

    Args:
        location: Where the root lies.
        signer: What signs for the store; None for an anonymous request.
        service: What all requests share.
        scope: The request's.
    """
    openers = _make_openers(location.origin, signer, service, scope)
    return _make_located(location, openers, service, scope)


def make_files_container(
    locations: Sequence[ObjectLocation], signer: Signer | None, service: Service, scope: Scope
) -> FilesContainer:
    """The container of several files: those at the origin of the first are asked for with the caller's own keys.

    Args:
        locations: Where each file lies.
        signer: What signs for the origin of the first; None for an anonymous request.
        service: What all requests share.
        scope: The request's.
    """
    openers = _make_openers(locations[0].origin, signer, service, scope)
    files = tuple(_make_located(location, openers, service, scope) for location in locations)
    return FilesContainer(**_make_rootless(openers, service, scope), files=files)


def _make_located(
    location: ObjectLocation, openers: Mapping[Origin, _Opener], service: Service, scope: Scope
) -> StoreContainer:
    target, open_elsewhere = location.targets[0], partial(_open_elsewhere, service, scope)
    open_own = openers.get(location.origin, partial(open_elsewhere, location.origin))
    return StoreContainer(
        root=target.partition("?")[0].removesuffix("/"),
        open_root=partial(open_own, target),
        open_below=open_own,
        openers=openers,
        open_s3=openers.get(service.settings.store, partial(_open_own_store, service, scope)),
        open_elsewhere=open_elsewhere,
        open_listing=open_own if location.is_s3 else None,
    )


def make_table_container(
    table: Mapping[str, Any], origin: Origin, signer: Signer | None, service: Service, scope: Scope
) -> TableContainer:
    """The container of a table of chunks: its objects are asked for with the caller's own keys at one origin.

    Args:
        table: The members of the table.
        origin: Where the caller's keys are sent to.
        signer: What signs for it; None for an anonymous request.
        service: What all requests share.
        scope: The request's.
    """
    openers = _make_openers(origin, signer, service, scope)
    return TableContainer(**_make_rootless(openers, service, scope), table=table)


def _make_rootless(openers: Mapping[Origin, _Opener], service: Service, scope: Scope) -> dict[str, Any]:
    """The fields of a container without a root."""
    return {
        "root": "",
        "open_root": _refuse_root,
        "open_below": None,
        "openers": openers,
        "open_s3": openers.get(service.settings.store, partial(_open_own_store, service, scope)),
        "open_elsewhere": partial(_open_elsewhere, service, scope),
    }


def _make_openers(origin: Origin, signer: Signer | None, service: Service, scope: Scope) -> dict[Origin, _Opener]:
    """What opens objects in the caller's name: at one origin, and at the other name of the service's own store."""

    def open_signed(origin: Origin, target: str) -> StoreSource:
        return StoreSource(service.transport, StoreRequest.unsigned(origin, target), scope, signer)

    own_store = {service.settings.store, service.settings.public_store}
    origins = {origin} | (own_store if origin in own_store else set())
    return {each: partial(open_signed, each) for each in origins}


def _refuse_root() -> NoReturn:
    raise InvalidArgument("store", "has no root")


def _open_own_store(service: Service, scope: Scope, target: str) -> StoreSource:
    """An object of the service's own store, asked for in nobody's name."""
    settings = service.settings
    request = StoreRequest(settings.store, target, own_headers(settings.public_store.authority))
    return StoreSource(service.transport, request, scope)


def _open_elsewhere(service: Service, scope: Scope, origin: Origin, target: str) -> StoreSource:
    return StoreSource(service.transport, StoreRequest.unsigned(origin, target), scope)


def _encode(text: str) -> str:
    try:
        return encode(text)
    except UnicodeEncodeError:
        raise InvalidArgument(_REFERENCE, "has an unpaired surrogate") from None


def _quote(target: str) -> str:
    try:
        return quote(target, safe=URL_SAFE)
    except UnicodeEncodeError:
        raise InvalidArgument(_REFERENCE, "has an unpaired surrogate") from None

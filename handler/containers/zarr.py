"""Zarr stores: the documents that describe an array, and the order in which they are requested.

1. ``<array>/zarr.json``, version 3: one request. zarr-python prefers it, too, if an array has both versions' metadata.
2. ``<array>/.zarray`` and ``<array>/.zattrs``, version 2: three requests with the first.
3. Only if neither is there: the consolidated metadata of the parents, inline in ``zarr.json`` or in ``.zmetadata``. The
   array's own documents come first since they are smaller, they need no more requests, and a writer that does not
   consolidate again changes only them.

The arrays of a group are listed by consolidated metadata, its own or that of a parent. Without it, an S3 store lists
the folders below the group, and the documents of each are read, side by side.

A store that denies listing answers 403 for a document that is absent. Such an answer passes for an absent document as
long as another one describes the array; it is the error if none does. It never passes for absent attributes, which can
change what the numbers mean.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from active_storage.errors import ActiveStorageError, InvalidArgument, StoreError, UndecodableData, shown
from handler.containers.chunk_keys import ChunkKeys, ObjectIndex
from handler.containers.listing import Listing
from handler.containers.reader import ContainerReader
from handler.containers.stored_array import ChunkIndex, ChunkObject, StoredArray
from handler.containers.variables import list_names
from handler.containers.zarr_document import parse_object
from handler.containers.zarr_shards import ShardIndex, Shards
from handler.containers.zarr_v2 import read_v2
from handler.containers.zarr_v3 import read_v3

# The number of parents whose consolidated metadata is requested, with two requests each: the root and the nearest ones.
_MAX_PARENTS = 8

# The number of arrays that an error names.
_MAX_NAMES = 20

_HINT = "S3 answers so for a missing key, too, if listing the bucket is not allowed"

_NO_LIST = "has no consolidated metadata that lists its arrays; zarr.consolidate_metadata writes it"

# Names that no node has (Zarr version 3, "Node names"), and that cannot be asked for.
_NO_NAMES = frozenset({"", ".", ".."})


def open_zarr(reader: ContainerReader, array: str) -> StoredArray:
    """The stored array at a path of a Zarr store of version 2 or 3.

    Args:
        reader: Reads the objects below the root of the store.
        array: The path of the array; "" if the root is the array itself.

    Raises:
        InvalidArgument: The path is malformed, or leads to a group.
        StoreError: There is no such array (404 NoSuchKey), or its metadata cannot be read.
        UndecodableData: The metadata contradicts the specification or itself.
        UnsupportedArray: The array has a feature that is not supported.
        ActiveStorageError: The metadata cannot be read.
    """
    path = array.strip("/")
    if path and any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidArgument("array", f'{shown(array)} has a part that is empty, "." or ".."')
    return _Opening(reader, path).find()


def is_zarr_group(reader: ContainerReader) -> bool:
    """Whether the root of a container is a group.

    Raises:
        ActiveStorageError: The documents that say so cannot be read.
    """
    return _Opening(reader, "").is_group()


def list_zarr(reader: ContainerReader, group: str) -> Listing:
    """The arrays of a group of a Zarr store.

    Consolidated metadata takes one request for version 3, and two for version 2. Without it, the store lists the group,
    and each array takes one request for version 3, and two for version 2.

    Args:
        reader: Reads the objects below the root of the store.
        group: The path of the group; "" for the root.

    Raises:
        InvalidArgument: The path leads to an array; or there is no consolidated metadata, and the server lists nothing.
        StoreError: There is no such group (404 NoSuchKey), its metadata cannot be read, or listing is not allowed.
        StoreProtocolError: The store's listing cannot be believed.
        EntityTooLarge: The listing or the metadata is too long.
        UndecodableData: The metadata contradicts the specification or itself.
        ActiveStorageError: The metadata cannot be read.
    """
    return _Opening(reader, group.strip("/")).list_group()


class _Opening:
    """The search for one array.

    Args:
        reader: Reads the objects.
        path: The path of the array, without slashes around it.
        metadata: The objects that were read before.
    """

    def __init__(self, reader: ContainerReader, path: str, metadata: Iterable[ChunkObject] = ()) -> None:
        self._reader = reader
        self._path = path
        self._metadata = list(metadata)
        # The first answer that may mean an absent document.
        self._denial: StoreError | None = None
        # What is sought, as consolidated metadata of a parent names it.
        self._known: list[str] = []

    def find(self) -> StoredArray:
        """The array.

        Raises:
            ActiveStorageError: It is not found, or not supported.
        """
        array = self._find_own() or self._find_consolidated()
        if array is not None:
            return array
        self._refuse_group()
        if self._denial is not None:
            raise self._denial.located(f"Zarr array {self._shown}")
        raise self._is_absent("array", ".zarray")

    def list_group(self) -> Listing:
        """The arrays of the group at the path.

        Raises:
            ActiveStorageError: There is no group, or nothing that lists its arrays.
        """
        own: dict[str, Any] | None = None
        for parent, path in [(self._path, ""), *_list_parents(self._path)]:
            group = self._read(_join(parent, "zarr.json"))
            if not path:
                own = group
            if group is not None and not path and group.get("node_type") == "array":
                raise InvalidArgument("store.array", f"{self._shown} is an array, not a group")
            if group is not None and group.get("consolidated_metadata") is not None:
                nodes = _list_v3(group)
                if not path or path in nodes:
                    return self._list_v3_group(
                        *((group, nodes) if not path else (nodes[path], _list_below(nodes, path)))
                    )
                self._know(parent, _list_v3_nodes(nodes, "group"))
            group = self._read(_join(parent, ".zmetadata"))
            documents = {} if group is None else _read_member(group, "metadata")
            if group is not None and (not path or f"{path}/.zgroup" in documents):
                return self._list_v2_group(_list_below(documents, path) if path else documents)
            self._know(parent, _list_v2(documents, ".zgroup"))
        if not self._is_group_by(own):
            raise self._is_absent("group", ".zgroup")
        return self._list_in_store(own)

    def _list_in_store(self, group: Mapping[str, Any] | None) -> Listing:
        """The arrays of a group whose folders the store lists.

        Args:
            group: The document of a group of version 3; None for version 2.
        """
        names = self._list_folders()
        read_child = self._read_child_v2 if group is None else self._read_child_v3
        children = dict(zip(names, self._reader.map(read_child, names), strict=True))
        arrays = {name: child for name, child in children.items() if child is not None}
        if group is None:
            attributes = self._read(_join(self._path, ".zattrs"), is_required_if_denied=True) or {}
        else:
            attributes = _read_member(group, "attributes")
        return Listing.of(attributes, arrays, lambda name: arrays[name]())

    def _list_folders(self) -> list[str]:
        """The names of the folders below the path, which can be arrays, groups, or neither."""
        try:
            names = self._reader.list_folders(self._path)
        except StoreError as error:
            error.located(f"the listing of Zarr group {self._shown}")
            if error.code == "AccessDenied":
                error.explained(f"s3:ListBucket is not allowed, and the group {_NO_LIST}")
            raise
        if names is None:
            raise InvalidArgument(
                "store.url",
                f"the group {self._shown} {_NO_LIST}; an S3 store can list them, if interface_type is s3",
            )
        return [name for name in names if name not in _NO_NAMES]

    def _read_child_v3(self, name: str) -> Callable[[], StoredArray] | None:
        """What opens the array of a name in this group; None if there is no array of it."""
        child = _Opening(self._reader, _join(self._path, name))
        document = child._read(_join(child._path, "zarr.json"), is_required_if_denied=True)
        if document is None or document.get("node_type") != "array":
            return None
        return partial(child.open_v3, document, {})

    def _read_child_v2(self, name: str) -> Callable[[], StoredArray] | None:
        """The same for version 2."""
        child = _Opening(self._reader, _join(self._path, name))
        array = child._read(_join(child._path, ".zarray"), is_required_if_denied=True)
        if array is None:
            return None
        attributes = child._read(_join(child._path, ".zattrs"), is_required_if_denied=True)
        return partial(child.open_v2, array, attributes or {})

    def _list_v3_group(self, group: Mapping[str, Any], nodes: Mapping[str, Any]) -> Listing:
        names = [name for name in _list_v3_nodes(nodes, "array") if "/" not in name]
        return Listing.of(
            _read_member(group, "attributes"), names, lambda name: self._below(name).open_v3(nodes[name], {})
        )

    def _list_v2_group(self, documents: Mapping[str, Any]) -> Listing:
        def open_array(name: str) -> StoredArray:
            array, attributes = (_read_member(documents, f"{name}/{each}") for each in (".zarray", ".zattrs"))
            return self._below(name).open_v2(array, attributes)

        names = [name for name in _list_v2(documents) if "/" not in name]
        return Listing.of(_read_member(documents, ".zattrs"), names, open_array)

    def _below(self, name: str) -> "_Opening":
        """The opening of an array of this group, by the metadata that was read."""
        return _Opening(self._reader, _join(self._path, name), self._metadata)

    def is_group(self) -> bool:
        """Whether there is a group at the path.

        Raises:
            ActiveStorageError: The documents that say so cannot be read.
        """
        return self._is_group_by(self._read(_join(self._path, "zarr.json")))

    def _is_group_by(self, document: Mapping[str, Any] | None) -> bool:
        """Whether there is a group at the path, of which this is the ``zarr.json``; None if it has none."""
        if document is not None:
            return document.get("node_type") == "group"
        if self._read(_join(self._path, ".zgroup")) is not None:
            return True
        if self._denial is not None:
            raise self._denial.located(f"Zarr group {self._shown}")
        return False

    def _know(self, parent: str, names: Iterable[str]) -> None:
        self._known = self._known or [_join(parent, name) for name in names]

    def _is_absent(self, kind: str, document: str) -> StoreError:
        known = f"; there are {list_names(self._known, self._path)}" if self._known else ""
        text = f"there is no Zarr {kind} {self._shown}: neither zarr.json nor {document}{known}"
        return StoreError(404, "NoSuchKey", text)

    @property
    def _shown(self) -> str:
        return shown(self._path or "/")

    def _find_own(self) -> StoredArray | None:
        document = self._read(_join(self._path, "zarr.json"))
        if document is not None:
            return self.open_v3(document, _list_v3(document))
        document = self._read(_join(self._path, ".zarray"))
        if document is not None:
            attributes = self._read(_join(self._path, ".zattrs"), is_required_if_denied=True)
            return self.open_v2(document, attributes or {})
        return None

    def _find_consolidated(self) -> StoredArray | None:
        for parent, path in _list_parents(self._path):
            group = self._read(_join(parent, "zarr.json"))
            nodes = {} if group is None else _list_v3(group)
            if path in nodes:
                return self.open_v3(nodes[path], _list_below(nodes, path))
            self._know(parent, _list_v3_nodes(nodes, "array"))
            group = self._read(_join(parent, ".zmetadata"))
            documents = {} if group is None else _read_member(group, "metadata")
            if f"{path}/.zarray" in documents:
                array, attributes = (_read_member(documents, f"{path}/{name}") for name in (".zarray", ".zattrs"))
                return self.open_v2(array, attributes)
            if f"{path}/.zgroup" in documents:
                raise self._is_group(_list_v2(_list_below(documents, path)))
            self._know(parent, _list_v2(documents))
        return None

    def _refuse_group(self) -> None:
        """Pass if the path is not that of a group of version 2."""
        document = self._read(_join(self._path, ".zmetadata"))
        if document is not None:
            raise self._is_group(_list_v2(_read_member(document, "metadata")))
        if self._read(_join(self._path, ".zgroup")) is not None:
            raise self._is_group([])

    def open_v3(self, document: Mapping[str, Any], nodes: Mapping[str, Any]) -> StoredArray:
        """The array of a document of version 3, below whose path ``nodes`` lie."""
        if document.get("node_type") == "group":
            raise self._is_group(_list_v3_nodes(nodes, "array"))
        return read_v3(self._path or "/", document, tuple(self._metadata), self._open_index)

    def open_v2(self, array: Mapping[str, Any], attributes: Mapping[str, Any]) -> StoredArray:
        """The array of the documents of version 2."""
        return read_v2(self._path or "/", array, attributes, tuple(self._metadata), self._open_index)

    def _open_index(self, keys: ChunkKeys, shards: Shards | None = None) -> ChunkIndex:
        path = _join(self._path, "")
        if shards is None:
            return ObjectIndex(self._reader.container, path, keys)
        return ShardIndex(self._reader, path, keys, shards)

    def _is_group(self, arrays: Iterable[str]) -> InvalidArgument:
        names = [shown(name) for name in arrays]
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        known = f"; its arrays are {', '.join(names[:_MAX_NAMES])}{more}" if names else ""
        return InvalidArgument("array", f"{self._shown} is a group{known}")

    def _read(self, key: str, *, is_required_if_denied: bool = False) -> dict[str, Any] | None:
        """The members of a document; None if it is absent, or if access is denied and that may mean the same."""
        document = self._reader.open_key(key)
        try:
            text = document.read_if_present()
        except StoreError as error:
            if error.status != 403 or error.code != "AccessDenied":
                raise error.located(shown(key)) from None
            error.located(f"{shown(key)} ({_HINT})")
            if is_required_if_denied:
                raise
            self._denial = self._denial or error
            return None
        except ActiveStorageError as error:
            raise error.located(shown(key)) from None
        if text is None:
            return None
        self._metadata.append(document.chunk_object)
        return parse_object(key, text)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _list_parents(path: str) -> list[tuple[str, str]]:
    """The parents of a path that are searched, and the path below each: the root first, where stores consolidate."""
    parts = path.split("/") if path else []
    pairs = [("/".join(parts[:count]), "/".join(parts[count:])) for count in range(len(parts))]
    return pairs[:1] + pairs[:0:-1][: _MAX_PARENTS - 1]


def _read_member(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object in a member; empty if the member is missing or null.

    Raises:
        UndecodableData: It is not an object.
    """
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UndecodableData("zarr", f"{shown(name)} should be an object")
    return value


def _list_v3(group: Mapping[str, Any]) -> dict[str, Any]:
    """The documents in the consolidated metadata of a group, by path."""
    nodes = _read_member(_read_member(group, "consolidated_metadata"), "metadata")
    return {name: _read_member(nodes, name) for name in nodes}


def _list_v3_nodes(nodes: Mapping[str, Any], kind: str) -> list[str]:
    """The paths of the arrays or groups in consolidated metadata of version 3."""
    return [name for name in nodes if _read_member(nodes, name).get("node_type") == kind]


def _list_v2(documents: Mapping[str, Any], kind: str = ".zarray") -> list[str]:
    """The paths of the arrays in consolidated metadata of version 2, or of the groups."""
    return [name.removesuffix(f"/{kind}") for name in documents if name.endswith(f"/{kind}")]


def _list_below(documents: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The documents below a path, by the rest of their path."""
    start = f"{path}/"
    return {name.removeprefix(start): document for name, document in documents.items() if name.startswith(start)}

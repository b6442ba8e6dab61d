"""Kerchunk references: a Zarr store whose keys are references to parts of other objects.

Source: kerchunk's documentation, "References specification". ``kerchunk_json.py`` and ``kerchunk_parquet.py`` read the
two forms, and the readers of Zarr read the documents of Zarr. Features that need Jinja are refused by name: generated
references (``gen``), and templates that are more than a name.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from active_storage.errors import InvalidArgument, StoreError, UnsupportedArray, shown
from active_storage.model.dtypes import MAX_BYTES
from handler.containers.chunk_keys import ChunkKeys
from handler.containers.kerchunk_json import Range, ReferenceText
from handler.containers.kerchunk_parquet import ParquetIndex, load_pyarrow
from handler.containers.listing import Listing
from handler.containers.reader import ContainerReader
from handler.containers.references import ReferenceIndex, UrlObjects, damaged_references, decode_inline, ensure_url
from handler.containers.stored_array import WHOLE_OBJECT, ChunkIndex, ChunkObject, StoredArray
from handler.containers.zarr_document import parse_object
from handler.containers.zarr_shards import Shards
from handler.containers.zarr_v2 import read_v2
from handler.containers.zarr_v3 import read_v3

# The consolidated metadata of Zarr version 2, and in Parquet the only place of metadata.
_CONSOLIDATED = ".zmetadata"


def open_kerchunk(reader: ContainerReader, array: str) -> StoredArray:
    """An array of kerchunk references.

    The root of the container is the JSON document, or the folder of the Parquet files.

    Args:
        reader: Reads the references. They are read once for all arrays.
        array: The path of the array, without a leading slash.

    Raises:
        UndecodableData: The references or the metadata contradict themselves or their format.
        UnsupportedArray: They need a feature that is not supported, such as Jinja, another scheme than ``s3`` and
            ``http``, or a feature of Zarr.
        StoreError: There is no such array (404 NoSuchKey), or they cannot be read.
        EntityTooLarge: They exceed ``ReadLimits``.
        ReaderNotInstalled: They are in Parquet, and pyarrow is not installed.
        ActiveStorageError: They cannot be read.
    """
    references = reader.keep(_References, lambda: _open_references(reader, array))  # type: ignore[type-abstract]
    return references.open_array(array)


def list_kerchunk(reader: ContainerReader, group: str) -> Listing:
    """The arrays of a group of kerchunk references.

    Args:
        reader: Reads the references.
        group: The path of the group; "" for the root.

    Raises:
        ActiveStorageError: They cannot be read, as for ``open_kerchunk``.
    """
    references = reader.keep(_References, lambda: _open_references(reader, group))  # type: ignore[type-abstract]
    path = group.strip("/")
    return references.list_group(f"{path}/" if path else "")


class _References(ABC):
    """References in one of the two forms. A reader keeps them for all arrays."""

    @abstractmethod
    def list_group(self, prefix: str) -> Listing:
        """The arrays of the group whose path, with a slash at its end, is ``prefix``; "" for the root."""

    @abstractmethod
    def open_array(self, array: str) -> StoredArray:
        """See ``open_kerchunk``."""


def _open_references(reader: ContainerReader, array: str) -> _References:
    root = reader.open_key("")
    try:
        text = root.read_all()
    except StoreError as error:
        # A folder is not an object. A store that denies listing answers 403 for a missing key.
        if error.status not in (403, 404):
            raise
        try:
            consolidated = reader.open_key(_CONSOLIDATED)
            document = consolidated.read_all()
        except (StoreError, InvalidArgument):
            # A caller's signature may not cover the objects below the root.
            raise error from None
        return _ParquetReferences(reader, consolidated.chunk_object, document, array)
    return _JsonReferences(reader, root.chunk_object, ReferenceText(text, array, reader))


class _JsonReferences(_References):
    """References in a JSON document.

    Args:
        reader: Reads documents of Zarr that are references themselves.
        root: The JSON document.
        text: Its text.
    """

    def __init__(self, reader: ContainerReader, root: ChunkObject, text: ReferenceText) -> None:
        self._reader = reader
        self._root = root
        self._text = text
        self._objects = UrlObjects(reader)

    def open_array(self, array: str) -> StoredArray:
        """See ``open_kerchunk``."""
        prefix = f"{array}/" if array else ""
        metadata = [self._root]
        open_index = partial(self._open_index, array, prefix)
        if (members := self._read(f"{prefix}.zarray", metadata, array)) is not None:
            attributes = self._read(f"{prefix}.zattrs", metadata, array) or {}
            return read_v2(array, members, attributes, metadata, open_index)
        if (members := self._read(f"{prefix}zarr.json", metadata, array)) is not None:
            return read_v3(array, members, metadata, open_index)
        if (document := self._read(_CONSOLIDATED, metadata, array)) is not None:
            return read_v2(array, *find_consolidated(array, prefix, document), metadata, open_index)
        raise _no_such_array(array)

    def list_group(self, prefix: str) -> Listing:
        """See ``list_kerchunk``."""
        metadata = [self._root]
        consolidated = self._read(_CONSOLIDATED, metadata, prefix)
        documents = {} if consolidated is None else _read_documents(prefix, consolidated)
        attributes = self._read(f"{prefix}.zattrs", metadata, prefix) or documents.get(f"{prefix}.zattrs")
        if attributes is None:
            attributes = (self._read(f"{prefix}zarr.json", metadata, prefix) or {}).get("attributes")
        names = dict.fromkeys(_name_arrays(prefix, (*self._text.list_keys(), *documents)))
        arrays = [name for name in names if not self._is_group(prefix + name)]
        return Listing.of(attributes or {}, arrays, lambda name: self.open_array(prefix + name))

    def _is_group(self, path: str) -> bool:
        """Whether a document of version 3 at a path describes a group."""
        document = self._read(f"{path}/zarr.json", [], path)
        return document is not None and document.get("node_type") == "group"

    def _read(self, key: str, metadata: list[ChunkObject], array: str) -> dict[str, Any] | None:
        """A document of Zarr; None if there is none. If it is a reference, its object is added to ``metadata``."""
        document = self._text.find_document(key, array)
        if document is None:
            return None
        if isinstance(document, Range):
            url = self._text.fill_templates(document.url, array)
            ensure_url(array, url)
            source = self._reader.open_url(url)
            start, size = document.offset, document.size
            document = source.read_all() if size == WHOLE_OBJECT else source.read(start, start + size)
            metadata.append(source.chunk_object)
        return parse_object(key, document)

    def _open_index(self, array: str, prefix: str, keys: ChunkKeys, shards: Shards | None = None) -> ChunkIndex:
        if shards is not None:
            raise UnsupportedArray(array, "references to shards")
        columns, urls, inline = self._text.read_columns(prefix, _number_keys(keys), array)
        return ReferenceIndex(
            columns,
            lambda number: self._objects.open(array, self._text.fill_templates(urls[number], array)),
            lambda number: decode_inline(inline[number], array),
        )


class _ParquetReferences(_References):
    """References in Parquet files.

    Args:
        reader: Reads the files.
        root: The object of the metadata.
        document: The text of the metadata.
        array: The path of the array that is asked for first, for errors.
    """

    def __init__(self, reader: ContainerReader, root: ChunkObject, document: bytes, array: str) -> None:
        load_pyarrow()
        self._reader = reader
        self._root = root
        self._document = parse_object(_CONSOLIDATED, document)
        self._objects = UrlObjects(reader)
        record_size = self._document.get("record_size")
        if type(record_size) is not int or not 1 <= record_size <= MAX_BYTES:
            raise damaged_references(array, "record_size should be a whole number from 1 to 2**63-1")
        self._record_size = record_size

    def list_group(self, prefix: str) -> Listing:
        """See ``list_kerchunk``."""
        documents = _read_documents(prefix, self._document)
        attributes = documents.get(f"{prefix}.zattrs") or {}
        return Listing.of(attributes, _name_arrays(prefix, documents), lambda name: self.open_array(prefix + name))

    def open_array(self, array: str) -> StoredArray:
        """See ``open_kerchunk``."""
        if not array:
            raise UnsupportedArray(array, "references in Parquet without the path of an array")
        members, attributes = find_consolidated(array, f"{array}/", self._document)
        index = ParquetIndex(self._reader, self._objects, array, self._record_size)
        return read_v2(array, members, attributes, [self._root], lambda _: index)


def _name_arrays(prefix: str, keys: Iterable[str]) -> Iterator[str]:
    """The names in a group that have a document of an array, by the keys of references."""
    for key in keys:
        name, _, document = key.removeprefix(prefix).rpartition("/")
        if key.startswith(prefix) and name and "/" not in name and document in (".zarray", "zarr.json"):
            yield name


def _read_documents(array: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The documents in consolidated metadata, by key.

    Raises:
        UndecodableData: The metadata is malformed.
    """
    documents = document.get("metadata")
    if not isinstance(documents, dict):
        raise damaged_references(array, f"{_CONSOLIDATED} has no object metadata")
    return documents


def find_consolidated(
    array: str, prefix: str, document: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The documents ``.zarray`` and ``.zattrs`` of an array in consolidated metadata.

    Raises:
        UndecodableData: The metadata is malformed.
        StoreError: There is no such array.
    """
    documents = _read_documents(array, document)
    members, attributes = documents.get(f"{prefix}.zarray"), documents.get(f"{prefix}.zattrs", {})
    if members is None:
        raise _no_such_array(array)
    if not isinstance(members, dict) or not isinstance(attributes, dict):
        raise damaged_references(array, f"{_CONSOLIDATED} has a document that is not an object")
    return members, attributes


def _number_keys(keys: ChunkKeys) -> Callable[[str], int | None]:
    """A function from the key of a chunk, below the path of its array, to its number; None for any other key."""
    if not keys.grid:
        return {keys.prefix or "0": 0}.get
    separator = re.escape(keys.separator)
    start = re.escape(keys.prefix) + separator if keys.prefix else ""
    # The numbers of a chunk as Zarr writes them: without leading zeros.
    number = "(0|[1-9][0-9]{0,18})"
    match = re.compile(start + separator.join([number] * len(keys.grid)), re.ASCII).fullmatch
    grid = keys.grid

    def find_number(key: str) -> int | None:
        found = match(key)
        if found is None:
            return None
        chunk = 0
        for place, count in zip(map(int, found.groups()), grid, strict=True):
            if place >= count:
                return None
            chunk = chunk * count + place
        return chunk

    return find_number


def _no_such_array(array: str) -> StoreError:
    return StoreError(404, "NoSuchKey", f"there is no Zarr array {shown(array or '/')} in the references")

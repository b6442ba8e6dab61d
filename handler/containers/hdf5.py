"""HDF5 and NetCDF-4: from the path of a dataset to its ``StoredArray``.

The structures of the format are read in the other ``hdf5_`` files: bytes (``source``), the superblock and headers
(``file``), links (``groups``), heaps, B-trees, data types, attributes, dimensions, filters, layouts, and indexes of
chunks (``chunks``, ``index``, ``btree1``, ``btree2``, ``arrays``).
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from active_storage.errors import EntityTooLarge, InvalidArgument, UnsupportedArray, shown
from active_storage.model.dtypes import DTYPES
from handler.containers.hdf5_attributes import Attributes
from handler.containers.hdf5_chunks import ChunkGrid
from handler.containers.hdf5_dimensions import NOT_COORDINATE, RESERVED, Dimensions, is_only_dimension
from handler.containers.hdf5_file import (
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILL_VALUE,
    FILTERS,
    LAYOUT,
    OLD_FILL_VALUE,
    Hdf5File,
    ObjectHeader,
)
from handler.containers.hdf5_filters import Pipeline, make_pipeline, parse_filters
from handler.containers.hdf5_groups import Found, Groups
from handler.containers.hdf5_index import MOST_CHUNK_BYTES, ChunkTable
from handler.containers.hdf5_layout import CHUNKED, COMPACT, parse_layout
from handler.containers.hdf5_source import Cursor, Hdf5Source, damaged
from handler.containers.hdf5_types import Datatype, parse_dataspace, parse_datatype
from handler.containers.listing import Listing
from handler.containers.pieces import PieceIndex, c_strides, cut_rows
from handler.containers.stored_array import ABSENT, ChunkIndex, ChunkObject, Numbers, Places, StoredArray
from handler.containers.variables import list_names, missing_variable, not_a_variable

_NBIT = "nbit"

# When the fill value is written to chunks that are allocated: never.
_NEVER = 1

# The fill values of netCDF for variables without their own (``NC_FILL_BYTE`` and so on in netcdf.h).
_NETCDF_FILLS = {
    "int8": -127,
    "int16": -32767,
    "int32": -2147483647,
    "int64": -9223372036854775806,
    "uint8": 255,
    "uint16": 65535,
    "uint32": 4294967295,
    "uint64": 18446744073709551614,
    "float32": 9.9692099683868690e36,
    "float64": 9.9692099683868690e36,
}


def open_hdf5(source: Hdf5Source, array: str) -> StoredArray:
    """A dataset of an HDF5 file.

    Args:
        source: Reads the file.
        array: The path of the dataset.

    Raises:
        InvalidArgument: There is no such dataset.
        UnsupportedArray: The file or the dataset has a feature that is not supported.
        UndecodableData: The file is damaged or cut short.
        EntityTooLarge: The metadata is larger than the limits allow.
        ActiveStorageError: The file cannot be read.
    """
    file = Hdf5File(source, array)
    groups, reader = Groups(file), Attributes(file)
    return _describe(file, Dimensions(file, groups, reader), array, *_find_dataset(groups, reader, array))


def list_hdf5(source: Hdf5Source, group: str) -> Listing:
    """The datasets of a group of an HDF5 file.

    Args:
        source: Reads the file.
        group: The path of the group, without a leading slash; "" for the root.

    Raises:
        InvalidArgument: There is no such group.
        UnsupportedArray: The file has a feature that is not supported.
        UndecodableData: The file is damaged or cut short.
        EntityTooLarge: The metadata is larger than the limits allow.
        ActiveStorageError: The file cannot be read.
    """
    file = Hdf5File(source, group)
    groups, reader = Groups(file), Attributes(file)
    found = groups.find(group.encode(errors="replace"))
    if found is None or not found.header.is_group:
        names = list_names(_list_beside(groups, group.encode(errors="replace")), group)
        raise InvalidArgument("store.array", f"there is no group {shown(group or '/')}; there are {names}")
    datasets: dict[str, tuple[Found, dict[str, Any]]] = {}
    elsewhere: dict[str, str] = {}
    for link in groups.links(found.header):
        name = link.name.removeprefix(NOT_COORDINATE).decode(errors="replace")
        try:
            dataset = groups.find(link.name, (*found.groups, found.header) if group else ())
        except UnsupportedArray as error:
            elsewhere[name] = error.reason
            continue
        if dataset is not None and dataset.header.is_dataset:
            attributes = reader.read(dataset.header)
            if not is_only_dimension(attributes):
                datasets[name] = dataset, attributes
    prefix, dimensions = f"{group}/" if group else "", Dimensions(file, groups, reader)
    listing = Listing.of(
        {name: value for name, value in reader.read(found.header).items() if name not in RESERVED},
        datasets,
        lambda name: _describe(Hdf5File(source, prefix + name), dimensions, prefix + name, *datasets[name]),
    )
    return replace(listing, unsupported={**listing.unsupported, **elsewhere})


def _describe(
    file: Hdf5File, dimensions: Dimensions, array: str, found: Found, attributes: dict[str, Any]
) -> StoredArray:
    """The stored array of a dataset."""
    dataset = _Dataset(file, found.header)
    shape = dimensions.shape(found, dataset.space, attributes) if dataset.is_chunked else dataset.shape
    return StoredArray(
        name=array.removeprefix("/"),
        shape=shape,
        chunks=dataset.chunks,
        dtype=dataset.dtype,
        byte_order=dataset.datatype.byte_order,
        permutation=tuple(range(len(shape))),
        steps=dataset.pipeline.steps,
        fill=dataset.read_fill(shape),
        dimensions=dimensions.names(found, len(shape), attributes),
        attributes={name: value for name, value in attributes.items() if name not in RESERVED},
        index=dataset.make_index(shape),
        metadata=(file.source.object.chunk_object,),
    )


def _find_dataset(groups: Groups, reader: Attributes, array: str) -> tuple[Found, dict[str, Any]]:
    """The dataset of a path, and its attributes.

    NetCDF-4 gives a variable that is not the coordinate of the dimension with its name another name in the file.
    """
    parent, _, name = array.encode(errors="replace").rpartition(b"/")
    if not name:
        raise _not_found(groups, array)
    for each in (name, NOT_COORDINATE + name):
        found = groups.find(parent + b"/" + each)
        if found is not None and found.header.is_dataset:
            attributes = reader.read(found.header)
            if not is_only_dimension(attributes):
                return found, attributes
    raise _not_found(groups, array)


def _not_found(groups: Groups, array: str) -> InvalidArgument:
    """The error for a path that leads to no dataset."""
    path = array.encode(errors="replace")
    found = groups.find(path)
    is_group = found is not None and found.header.is_group
    if is_group:
        return not_a_variable(array, _list_beside(groups, path + b"/"))
    return missing_variable(array, _list_beside(groups, path))


def _list_beside(groups: Groups, path: bytes) -> list[str]:
    """The names of the other links in the group around a path; none if there is no such group."""
    around, _, last = path.rpartition(b"/")
    holder = groups.find(around)
    listed = groups.links(holder.header) if holder is not None and holder.header.is_group else ()
    # A link with the name that is asked for leads to a dimension without a variable.
    links = [link.name.removeprefix(NOT_COORDINATE) for link in listed if link.name != last]
    return [name.decode(errors="replace") for name in links]


class _Dataset:
    """A dataset, from the messages of its header.

    Args:
        file: The file.
        header: The header of the dataset.

    Attributes:
        space: The data space.
        shape: The shape.
        chunks: The shape of a chunk, or of a piece if it has none.
        dtype: The name of the data type in ``DTYPES``.
        datatype: The data type in the file.
        pipeline: The filters.

    Raises:
        UnsupportedArray: It has a feature that is not supported.
        UndecodableData: Its header is damaged.
        EntityTooLarge: It has too many chunks.
    """

    def __init__(self, file: Hdf5File, header: ObjectHeader) -> None:
        self._file = file
        self._header = header
        if header.find(EXTERNAL_FILES):
            raise file.refuse("external storage, data in other files")
        self.datatype, self.dtype = self._read_datatype()
        self.space = parse_dataspace(self._need(DATASPACE))
        if self.space.shape is None:
            raise file.refuse("no data (a null data space)")
        self.shape = self.space.shape
        self._layout = parse_layout(file, self._need(LAYOUT))
        self.pipeline = self._read_pipeline()
        self._needed_steps = self._find_needed_steps()
        self._grid = self._make_grid() if self._layout.kind == CHUNKED else None
        self.chunks = self._grid.chunks if self._grid else self._cut_pieces()

    @property
    def is_chunked(self) -> bool:
        """Whether the dataset has chunks, so that it can be extended."""
        return self._grid is not None

    def _need(self, kind: int) -> bytes:
        message = self._header.find(kind)
        if message is None:
            raise damaged(f"the header of the dataset has no message of type {kind}")
        return self._file.message_data(message)

    def _read_datatype(self) -> tuple[Datatype, str]:
        datatype = parse_datatype(self._need(DATATYPE))
        if datatype.dtype is None:
            raise self._file.refuse(f"the data type {datatype.kind}")
        return datatype, datatype.dtype

    def _read_pipeline(self) -> Pipeline:
        message = self._header.find(FILTERS)
        if message is None or self._layout.kind != CHUNKED:
            return Pipeline((), (), ())
        return make_pipeline(self._file, parse_filters(self._file.message_data(message)), self.datatype.size)

    def _find_needed_steps(self) -> int:
        """The steps that no chunk may lack, as bits: nbit, where it clears the unused bits of integers."""
        if self.datatype.bits is None:
            return 0
        places = [number for number, step in enumerate(self.pipeline.steps) if step.id == _NBIT]
        if not places:
            size, (_, bits) = self.datatype.size, self.datatype.bits
            raise self._file.refuse(f"integers of {bits} bits in {size} bytes")
        return 1 << places[0]

    def _make_grid(self) -> ChunkGrid:
        *chunks, itemsize = self._layout.chunks or (0,)
        if len(chunks) != len(self.shape) or not chunks or 0 in chunks or itemsize != self.datatype.size:
            raise damaged(f"the shape of a chunk, {self._layout.chunks}, does not fit the dataset")
        grid = ChunkGrid(self.shape, self.space.most, tuple(chunks), itemsize, bool(self.pipeline.places))
        if grid.chunk_bytes > MOST_CHUNK_BYTES:
            raise self._file.refuse(f"chunks of more than {MOST_CHUNK_BYTES} bytes")
        most = self._file.source.limits.references
        if grid.count > most:
            raise EntityTooLarge(f"the dataset has {grid.count} chunks; the limit is {most}")
        return grid

    def _cut_pieces(self) -> tuple[int, ...]:
        if self._layout.kind == COMPACT:
            return tuple(max(1, size) for size in self.shape)
        return cut_rows(self.shape)

    @property
    def _data_bytes(self) -> int:
        return math.prod(self.shape) * self.datatype.size

    def make_index(self, shape: tuple[int, ...]) -> ChunkIndex:
        """Where the chunks lie. The index of a chunked dataset is read when it is needed.

        Args:
            shape: The shape of the array, which can be larger than that of a chunked dataset.

        Raises:
            UndecodableData: The data does not have the size of the dataset, or lies outside the file.
        """
        layout, source = self._layout, self._file.source
        if self._grid:
            table = ChunkTable(self._file, layout, self._grid, self.pipeline, self._needed_steps)
            return table if shape == self.shape else _ExtendedIndex(table, self._grid, shape)
        if layout.kind == COMPACT:
            if len(layout.data) != self._data_bytes:
                raise damaged(f"the data has {len(layout.data)} bytes, not {self._data_bytes}")
            return _CompactIndex(source.object.chunk_object, layout.data)
        if layout.address is None or not self._data_bytes:
            return _AbsentIndex(source.object.chunk_object)
        start = source.base + layout.address
        if start + self._data_bytes > source.total_bytes:
            raise damaged("the data lies outside the file")
        strides = c_strides(self.shape, self.datatype.size)
        return PieceIndex(source.object.chunk_object, start, self.shape, self.chunks, strides, self.datatype.size)

    def read_fill(self, shape: tuple[int, ...]) -> Any:
        """The value of elements that were never written: that of the fill message, or 0.

        Beyond the dataset it is that of the fill message, or that of netCDF for the data type. HDF5 fills a chunk that
        reaches beyond the dataset, unless it never writes the fill value.

        Args:
            shape: The shape of the array, which can be larger than that of a chunked dataset.

        Raises:
            UndecodableData: The value does not fit the data type.
            UnsupportedArray: The array is larger than the dataset, and elements beyond it have no certain value.
        """
        value, is_written = self._find_fill()
        stored, dtype = self.datatype.numpy, DTYPES[self.dtype]
        if shape != self.shape and not (value and is_written):
            sizes = zip(shape, self.shape, self.chunks, strict=True)
            has_rest = any(whole > size and size % chunk for whole, size, chunk in sizes)
            default = _NETCDF_FILLS.get(self.dtype)
            if is_written or has_rest or (not value and default is None):
                raise self._file.refuse(f"the shape {self.shape}, shorter than its dimensions, and no fill value")
            if not value:
                return dtype.type(default)
        if not value or stored is None:
            return dtype.type(0)
        if len(value) != self.datatype.size:
            raise damaged(f"the fill value has {len(value)} bytes, not {self.datatype.size}")
        number = np.frombuffer(value, stored)
        if self.datatype.bits is not None:
            # The unused bits above the number and below it go, and its sign fills those above.
            lowest, bits = self.datatype.bits
            unused = 8 * self.datatype.size - bits
            number = number.astype(dtype) << (unused - lowest) >> unused
        return number.astype(dtype)[0]

    def _find_fill(self) -> tuple[bytes, bool]:
        """The bytes of the fill value, none for the default; and whether it is written to chunks."""
        if message := self._header.find(FILL_VALUE):
            return _parse_fill(self._file.message_data(message))
        if message := self._header.find(OLD_FILL_VALUE):
            cursor = Cursor(self._file.message_data(message), "a fill value")
            return cursor.take(cursor.uint(4)), True
        return b"", True


def _parse_fill(data: bytes) -> tuple[bytes, bool]:
    """The bytes of the fill value, and whether it is written to chunks.

    There are no bytes if it is the default or undefined, both of which read as 0.
    """
    cursor = Cursor(data, "a fill value")
    version = cursor.uint(1)
    if version in {1, 2}:
        # When space is allocated, and when the value is written.
        cursor.take(1)
        is_written = cursor.uint(1) != _NEVER
        is_defined = bool(cursor.uint(1))
    elif version == 3:
        flags = cursor.uint(1)
        is_written, is_defined = flags >> 2 & 3 != _NEVER, bool(flags & 0x20)
    else:
        raise damaged(f"there is no fill value of version {version}")
    return cursor.take(cursor.uint(4)) if is_defined else b"", is_written


class _ExtendedIndex:
    """The index of a dataset that is shorter than its dimensions: chunks beyond it are absent.

    Args:
        index: The index of the dataset.
        grid: The grid of its chunks.
        shape: The lengths of its dimensions.
    """

    def __init__(self, index: ChunkIndex, grid: ChunkGrid, shape: tuple[int, ...]) -> None:
        self._index = index
        self._inner = grid.sizes
        self._outer = tuple(-(-size // chunk) for size, chunk in zip(shape, grid.chunks, strict=True))

    def locate(self, chunks: Numbers) -> Places:
        """The places of chunks of the dataset, and none of others; see ``ChunkIndex``."""
        coordinates = np.unravel_index(chunks, self._outer)
        is_inside = np.ones(len(chunks), bool)
        for place, size in zip(coordinates, self._inner, strict=True):
            is_inside &= place < size
        found = self._index.locate(self._flatten([place[is_inside] for place in coordinates]))
        object_numbers, offsets, sizes = (np.full(len(chunks), value, np.int64) for value in (0, 0, ABSENT))
        object_numbers[is_inside], offsets[is_inside] = found.object_numbers, found.offsets
        sizes[is_inside] = found.sizes
        masks = None if found.masks is None else np.zeros(len(chunks), np.int64)
        if masks is not None and found.masks is not None:
            masks[is_inside] = found.masks
        return Places(found.objects, object_numbers, offsets, sizes, masks)

    def _flatten(self, coordinates: list[Numbers]) -> Numbers:
        numbers = np.zeros(len(coordinates[0]), np.int64)
        for place, size in zip(coordinates, self._inner, strict=True):
            numbers = numbers * size + place
        return numbers


class _CompactIndex:
    """The index of a dataset whose data lies in its header: one chunk, whose bytes are known."""

    def __init__(self, chunk_object: ChunkObject, data: bytes) -> None:
        self._object = chunk_object
        self._data = data

    def locate(self, chunks: Numbers) -> Places:
        """The place of the chunk; see ``ChunkIndex``."""
        zeros = np.zeros(len(chunks), np.int64)
        return Places(
            [self._object], zeros, zeros, zeros + len(self._data), None, dict.fromkeys(range(len(chunks)), self._data)
        )


class _AbsentIndex:
    """The index of a dataset to which nothing was written."""

    def __init__(self, chunk_object: ChunkObject) -> None:
        self._object = chunk_object

    def locate(self, chunks: Numbers) -> Places:
        """No chunk has a place; see ``ChunkIndex``."""
        zeros = np.zeros(len(chunks), np.int64)
        return Places([self._object], zeros, zeros, np.full(len(chunks), ABSENT))

"""Containers of every kind, written by the libraries that users write with, and as xarray reads them."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5netcdf
import h5py
import hdf5plugin
import netCDF4
import numcodecs
import numpy as np
import xarray as xr
import zarr
from xarray.backends.zarr import FillValueCoder
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from tests.containers.memory import MemoryContainer
from tests.containers.reference_stores import GAP

Array = np.ndarray[Any, np.dtype[Any]]

NAME = "v"

# The variables of netCDF-3 know no more; the last of its forms knows them all.
_CLASSIC = ("int8", "int16", "int32", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NUMBERS = (*_INTEGERS, "float32", "float64")
ALL = (*NUMBERS, "bool")


@dataclass(frozen=True)
class Contents:
    """What a container is made of.

    Attributes:
        values: The stored numbers.
        chunks: The shape of a chunk.
        attributes: The attributes of the variable, but for the fill value.
        fill: The fill value; None for the library's own, which marks nothing as missing.
        absent: The numbers of chunks that are not written, where a container allows it.
        codec: A number that chooses one of the encodings of the container.
        unlimited: How many of the first dimensions can grow, where a container allows it.
        is_big: Whether the elements are stored in big-endian order.
    """

    values: Array
    chunks: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fill: Any = None
    absent: frozenset[int] = frozenset()
    codec: int = 0
    unlimited: int = 0
    is_big: bool = False

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple("zyx"[-self.values.ndim :][: self.values.ndim])

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        return self.values.dtype.newbyteorder(">" if self.is_big else "<")

    def regions(self) -> Iterator[tuple[slice, ...]]:
        """The chunks that are written."""
        grid = tuple(-(-size // chunk) for size, chunk in zip(self.values.shape, self.chunks, strict=True))
        for number, index in enumerate(np.ndindex(grid)):
            if number not in self.absent:
                yield tuple(
                    slice(place * chunk, min((place + 1) * chunk, size))
                    for place, chunk, size in zip(index, self.chunks, self.values.shape, strict=True)
                )

    def put_into(self, target: Any) -> None:
        """Write the chunks into a variable of a library."""
        for region in self.regions():
            target[region or ...] = self.values[region or ...]


@dataclass(frozen=True)
class Written:
    """A container.

    Attributes:
        container_type: Its type, as requests name it.
        container: Its objects.
        read: The variable as xarray reads it, decoded or not.
    """

    container_type: Any
    container: MemoryContainer
    read: Callable[[bool], xr.DataArray]


def _reader(source: Any, **options: Any) -> Callable[[bool], xr.DataArray]:
    def read(is_decoded: bool) -> xr.DataArray:
        with xr.open_dataset(source, decode_times=False, mask_and_scale=is_decoded, **options) as dataset:
            return dataset[NAME].load()

    return read


# Zarr

_V2_COMPRESSORS: tuple[Any, ...] = (
    None, numcodecs.Zstd(1), numcodecs.Blosc("lz4", 5, numcodecs.Blosc.BITSHUFFLE), numcodecs.Zlib(1),
    numcodecs.Blosc("zstd", 1, numcodecs.Blosc.SHUFFLE), numcodecs.BZ2(1), numcodecs.LZMA(), numcodecs.LZ4(),
)  # fmt: skip
_V3_COMPRESSORS: tuple[Any, ...] = (
    None, [ZstdCodec(level=1)], [GzipCodec(level=1)], [BloscCodec(cname="lz4")], [Crc32cCodec()],
    [ZstdCodec(level=1, checksum=True), Crc32cCodec()],
)  # fmt: skip


def write_zarr_v2(contents: Contents, folder: Path) -> Written:
    dtype = contents.values.dtype
    compressor = _V2_COMPRESSORS[contents.codec % len(_V2_COMPRESSORS)]
    filters: list[Any] = []
    if contents.codec % 3 == 1 and dtype.kind in "iu":
        filters.append(numcodecs.Delta(contents.stored_dtype.str))
    if contents.codec % 5 == 2:
        filters.append(numcodecs.Shuffle(dtype.itemsize))
    options = {"compressors": compressor, "filters": filters or None, "order": "F" if contents.codec % 2 else "C"}
    return _write_zarr(
        contents, 2, dtype=contents.stored_dtype, attributes={"_ARRAY_DIMENSIONS": list(contents.dimensions)}, **options
    )


def write_zarr_v3(contents: Contents, folder: Path) -> Written:
    return _write_zarr(contents, 3, **_v3_options(contents))


def write_zarr_sharded(contents: Contents, folder: Path) -> Written:
    shards = tuple(chunk * (1 + (contents.codec + axis) % 3) for axis, chunk in enumerate(contents.chunks))
    return _write_zarr(contents, 3, shards=shards, **_v3_options(contents))


def _v3_options(contents: Contents) -> dict[str, Any]:
    turned = tuple(reversed(range(contents.values.ndim)))
    is_turned = contents.codec % 2 and len(turned) > 1
    attributes = {}
    if contents.fill is not None:
        attributes["_FillValue"] = FillValueCoder.encode(contents.fill, contents.values.dtype)
    return {
        "dtype": contents.values.dtype,
        "attributes": attributes,
        "compressors": _V3_COMPRESSORS[contents.codec % len(_V3_COMPRESSORS)],
        "serializer": BytesCodec(endian="big" if contents.is_big else "little"),
        "filters": [TransposeCodec(order=turned)] if is_turned else None,
        "dimension_names": contents.dimensions,
    }


def _write_zarr(contents: Contents, version: Any, *, attributes: dict[str, Any], **options: Any) -> Written:
    objects: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(objects)
    zarr.create_group(store, zarr_format=version)
    plain = {name: _as_json(value) for name, value in contents.attributes.items()}
    array = zarr.create_array(
        store,
        name=NAME,
        shape=contents.values.shape,
        chunks=contents.chunks,
        fill_value=contents.fill,
        zarr_format=version,
        attributes={**attributes, **plain},
        config={"write_empty_chunks": True},
        **options,
    )
    contents.put_into(array)
    files = {key: value.to_bytes() for key, value in objects.items()}
    return Written(
        "zarr", MemoryContainer(files), _reader(store, engine="zarr", consolidated=False, zarr_format=version)
    )


def _as_json(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# NetCDF


def write_netcdf4(contents: Contents, folder: Path) -> Written:
    codecs: tuple[dict[str, Any], ...] = (
        {}, {"compression": "zlib", "complevel": 1}, {"compression": "zstd", "complevel": 1},
        {"compression": "zlib", "shuffle": False, "fletcher32": True}, {"fletcher32": True},
        {"compression": "bzip2"},
    )  # fmt: skip
    options = dict(codecs[contents.codec % len(codecs)])
    if contents.values.ndim:
        options["chunksizes"] = contents.chunks
    else:
        options = {}
    return _write_netcdf(contents, folder, "NETCDF4", "h5netcdf" if contents.codec % 2 else "netcdf4", **options)


def write_netcdf_classic(contents: Contents, folder: Path) -> Written:
    return _write_netcdf(contents, folder, "NETCDF3_CLASSIC", "scipy")


def write_netcdf_offset(contents: Contents, folder: Path) -> Written:
    return _write_netcdf(contents, folder, "NETCDF3_64BIT_OFFSET", "scipy")


def write_netcdf_cdf5(contents: Contents, folder: Path) -> Written:
    return _write_netcdf(contents, folder, "NETCDF3_64BIT_DATA", "netcdf4")


def _write_netcdf(contents: Contents, folder: Path, form: Any, engine: str, **options: Any) -> Written:
    path = folder / "file.nc"
    most = contents.unlimited if form == "NETCDF4" else min(1, contents.unlimited)
    if contents.absent:
        # A dimension without a limit has the size of what is written.
        most = 0
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.set_auto_maskandscale(False)
        for axis, (name, size) in enumerate(zip(contents.dimensions, contents.values.shape, strict=True)):
            file.createDimension(name, None if axis < most else size)
        # Another variable, so that records of one lie between records of the other.
        other = file.createVariable("other", "i2", contents.dimensions[:1])
        other[...] = np.ones(contents.values.shape[:1], "i2")
        endian: Any = "big" if contents.is_big else "native"
        variable = file.createVariable(
            NAME,
            contents.values.dtype.str[1:],
            contents.dimensions,
            fill_value=contents.fill,
            endian=endian if form == "NETCDF4" else "native",
            **options,
        )
        variable.set_auto_maskandscale(False)
        variable.setncatts(dict(contents.attributes))
        if form == "NETCDF4":
            contents.put_into(variable)
        else:
            variable[...] = contents.values
    return Written("netcdf", MemoryContainer({"": path.read_bytes()}), _reader(path, engine=engine))


def write_h5netcdf(contents: Contents, folder: Path) -> Written:
    # The netCDF library comes without the other filters.
    engine = "netcdf4" if contents.codec % 9 in {0, 1, 3, 4, 5} else "h5netcdf"
    path = folder / "file.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = dict(zip(contents.dimensions, contents.values.shape, strict=True))
        options = _hdf5_options(contents) if contents.values.ndim else {}
        variable = file.create_variable(
            NAME, contents.dimensions, contents.stored_dtype, fillvalue=contents.fill, **options
        )
        contents.put_into(variable)
        for name, value in contents.attributes.items():
            variable.attrs[name] = value
    return Written("netcdf", MemoryContainer({"": path.read_bytes()}), _reader(path, engine=engine))


# HDF5


def _hdf5_options(contents: Contents) -> dict[str, Any]:
    codecs: tuple[dict[str, Any], ...] = (
        {}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {"fletcher32": True, "shuffle": True},
        {"compression": "gzip", "fletcher32": True}, dict(hdf5plugin.Zstd()), dict(hdf5plugin.LZ4()),
        dict(hdf5plugin.Bitshuffle()), dict(hdf5plugin.Blosc()),
    )  # fmt: skip
    return {"chunks": contents.chunks, **codecs[contents.codec % len(codecs)]}


def _make_hdf5_writer(libver: str) -> Callable[[Contents, Path], Written]:
    def write(contents: Contents, folder: Path) -> Written:
        stored, dataset = _write_hdf5(contents, libver)
        dataset.file.close()
        read = _reader(io.BytesIO(stored.getvalue()), engine="h5netcdf")
        return Written("netcdf", MemoryContainer({"": stored.getvalue()}), read)

    return write


def _write_hdf5(contents: Contents, libver: str) -> tuple[io.BytesIO, Any]:
    stored, values = io.BytesIO(), contents.values
    # The oldest and the newest version of the format that the library may write.
    versions = (libver, "latest" if libver == "earliest" else libver)
    file = h5py.File(stored, "w", libver=versions)
    options: dict[str, Any] = {}
    # Without chunks: contiguous, or in the header.
    is_chunked = values.ndim and 0 not in values.shape and contents.codec % 6 != 5
    if is_chunked:
        options = _hdf5_options(contents)
        options["maxshape"] = tuple(
            None if axis < contents.unlimited else size for axis, size in enumerate(values.shape)
        )
    dataset = file.create_dataset(NAME, values.shape, contents.stored_dtype, fillvalue=contents.fill, **options)
    if is_chunked:
        contents.put_into(dataset)
    elif not contents.absent:
        dataset[...] = values
    for axis, (name, size) in enumerate(zip(contents.dimensions, values.shape, strict=True)):
        file[name] = np.arange(size)
        file[name].make_scale(name)
        dataset.dims[axis].attach_scale(file[name])
    if contents.fill is not None:
        dataset.attrs["_FillValue"] = contents.fill
    for name, value in contents.attributes.items():
        dataset.attrs[name] = value
    return stored, dataset


# References


def write_references_to_zarr(contents: Contents, folder: Path) -> Written:
    """The chunks of a Zarr store in one object, and some of them in the references."""
    written = write_zarr_v2(contents, folder)
    references: dict[str, Any] = {}
    packed = GAP
    for key, value in written.container.objects.items():
        is_metadata = key.rpartition("/")[2].startswith(".z")
        if is_metadata or (len(references) % 4 == 3 and value.isascii()):
            references[key] = value.decode()
        else:
            references[key] = ["s3://bucket/packed", len(packed), len(value)]
            packed += value + GAP
    return _write_references(references, packed, written.read, contents.codec % 2)


def write_references_to_hdf5(contents: Contents, folder: Path) -> Written:
    """The chunks of an HDF5 file, as kerchunk and VirtualiZarr name them."""
    # JSON knows one type of floats. Numbers that fit float32 give the same values, whatever the type of factors.
    factors = {
        name: contents.attributes[name] for name in ("scale_factor", "add_offset") if name in contents.attributes
    }
    wide = {name: np.float64(np.float32(value)) for name, value in factors.items()}
    attributes = {**contents.attributes, **wide}
    contents = replace(contents, codec=contents.codec % 2, attributes=attributes)
    stored, dataset = _write_hdf5(contents, "latest" if contents.unlimited else "earliest")
    filters, values = [{"id": "shuffle", "elementsize": contents.values.itemsize}], contents.values
    has_chunks = dataset.chunks is not None
    chunks = contents.chunks if has_chunks else values.shape
    metadata = {
        "zarr_format": 2,
        "shape": values.shape,
        "chunks": [max(1, size) for size in chunks],
        "dtype": contents.stored_dtype.str,
        "compressor": {"id": "zlib", "level": 4} if dataset.compression else None,
        "filters": filters if dataset.shuffle else None,
        "fill_value": _as_fill(contents.fill),
        "order": "C",
    }
    plain = {name: _as_json(value) for name, value in attributes.items()}
    references: dict[str, Any] = {
        ".zgroup": '{"zarr_format": 2}',
        f"{NAME}/.zarray": json.dumps(metadata),
        f"{NAME}/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": contents.dimensions, **plain}),
    }
    url = "s3://bucket/packed"
    if has_chunks:
        for number in range(dataset.id.get_num_chunks()):
            info = dataset.id.get_chunk_info(number)
            key = ".".join(str(start // chunk) for start, chunk in zip(info.chunk_offset, chunks, strict=True))
            references[f"{NAME}/{key}"] = [url, info.byte_offset, info.size]
    elif (offset := dataset.id.get_offset()) is not None and values.size:
        key = ".".join("0" for _ in values.shape) or "0"
        references[f"{NAME}/{key}"] = [url, offset, values.nbytes]
    dataset.file.close()
    read = _reader(io.BytesIO(stored.getvalue()), engine="h5netcdf")
    return _write_references(references, stored.getvalue(), read, contents.codec)


def _as_fill(value: Any) -> Any:
    """A fill value in the JSON of Zarr version 2."""
    return "NaN" if value is not None and np.isnan(value) else _as_json(value)


def _write_references(
    references: dict[str, Any], packed: bytes, read: Callable[[bool], xr.DataArray], version: int
) -> Written:
    document = {"version": 1, "refs": references} if version else references
    objects = {"": json.dumps(document).encode(), "s3://bucket/packed": packed}
    return Written("kerchunk", MemoryContainer(objects), read)


@dataclass(frozen=True)
class Kind:
    """A kind of container.

    Attributes:
        write: Writes one.
        dtypes: The data types that it knows.
        has_absent: Whether chunks can be absent.
        has_empty: Whether dimensions can have the size 0.
        has_scalars: Whether there can be no dimensions.
    """

    write: Callable[[Contents, Path], Written]
    dtypes: tuple[str, ...] = NUMBERS
    has_absent: bool = True
    has_empty: bool = False
    has_scalars: bool = True


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "zarr v2": Kind(write_zarr_v2, ALL, has_empty=True),
        "zarr v3": Kind(write_zarr_v3, ALL, has_empty=True),
        "zarr v3 in shards": Kind(write_zarr_sharded, ALL, has_empty=True, has_scalars=False),
        "netCDF4": Kind(write_netcdf4),
        "h5netcdf": Kind(write_h5netcdf),
        "netCDF-3 classic": Kind(write_netcdf_classic, _CLASSIC, has_absent=False),
        "netCDF-3 64-bit offset": Kind(write_netcdf_offset, _CLASSIC, has_absent=False),
        "netCDF-3 CDF5": Kind(write_netcdf_cdf5, has_absent=False),
        **{
            f"h5py {libver}": Kind(_make_hdf5_writer(libver), ALL, has_empty=True)
            for libver in ("earliest", "v108", "v110", "latest")
        },
        "references to Zarr": Kind(write_references_to_zarr, ALL, has_empty=True),
        "references to HDF5": Kind(write_references_to_hdf5, has_empty=False),
    }
)

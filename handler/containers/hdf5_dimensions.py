"""HDF5: the names and the lengths of dimensions, by the conventions of dimension scales and of NetCDF-4.

A dataset refers to a scale for each of its dimensions. In NetCDF-4 a scale is a dimension, and where it holds data,
also the coordinate variable of that name. A coordinate variable does not refer to itself: if it has several dimensions,
an attribute has their numbers, and the scales have their own number in an attribute.

A dimension without a limit is as long as the longest dataset that has it (netCDF-C, ``nc4_find_dim_len``). The scale
lists these datasets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from active_storage.errors import UndecodableData
from handler.containers.hdf5_attributes import Attributes, Reference, Referrer
from handler.containers.hdf5_file import DATASPACE, Hdf5File, ObjectHeader
from handler.containers.hdf5_groups import HARD, Found, Groups
from handler.containers.hdf5_types import Dataspace, ensure_shape, parse_dataspace

# A variable that has the name of a dimension without being its coordinate.
NOT_COORDINATE = b"_nc4_non_coord_"

# What the attribute CLASS of a scale says.
_SCALE = "DIMENSION_SCALE"

# A scale that is a dimension only, and holds no data.
_ONLY_DIMENSION = "This is a netCDF dimension but not a netCDF variable"

_NUMBER, _NUMBERS, _REFERENCES = "_Netcdf4Dimid", "_Netcdf4Coordinates", "DIMENSION_LIST"
_REFERRERS = "REFERENCE_LIST"

# The attributes that NetCDF-4 and dimension scales reserve.
RESERVED = frozenset({"CLASS", "NAME", _REFERRERS, "_NCProperties", "_nc3_strict", _NUMBER, _NUMBERS, _REFERENCES})


def is_only_dimension(attributes: Mapping[str, Any]) -> bool:
    """Whether a dataset is a dimension without a variable."""
    return str(attributes.get("NAME", "")).startswith(_ONLY_DIMENSION)


class Dimensions:
    """Names and measures the dimensions of datasets.

    A dataset can refer to the scales of its group, and of the groups that hold that.

    Args:
        file: The file.
        groups: Its groups.
        reader: Reads attributes.
    """

    def __init__(self, file: Hdf5File, groups: Groups, reader: Attributes) -> None:
        self._file = file
        self._groups = groups
        self._reader = reader

    def names(self, found: Found, rank: int, attributes: Mapping[str, Any]) -> tuple[str | None, ...]:
        """The names of the dimensions of a dataset; None for one without a name.

        Args:
            found: The dataset.
            rank: The number of its dimensions.
            attributes: Its attributes, reserved ones among them.

        Raises:
            UndecodableData: The scales are damaged.
        """
        references = attributes.get(_REFERENCES)
        if isinstance(references, list) and len(references) == rank:
            known: dict[int, str] = {}
            for name, address in self._links(found):
                known.setdefault(address, name)
            return tuple(self._name_reference(each, known) for each in references)
        if attributes.get("CLASS") != _SCALE:
            return (None,) * rank
        if rank == 1:
            return (_decode(found.name),)
        numbers = _numbers(attributes, rank)
        scales = self._scales_by_number(found) if numbers else {}
        return tuple(scales[number][0] if number in scales else None for number in numbers or (None,) * rank)

    def shape(self, found: Found, space: Dataspace, attributes: Mapping[str, Any]) -> tuple[int, ...]:
        """The lengths of the dimensions of a dataset, which can be shorter itself.

        Args:
            found: The dataset.
            space: Its data space, which has a shape.
            attributes: Its attributes, reserved ones among them.

        Raises:
            UndecodableData: The scales are damaged, or the shape is too large for any file.
        """
        own = space.shape or ()
        lengths = list(own)
        for axis, scale in self._find_scales(found, len(own), attributes).items():
            if space.most[axis] is None:
                lengths[axis] = max(own[axis], self._measure(scale))
        return ensure_shape(tuple(lengths))

    def _find_scales(self, found: Found, rank: int, attributes: Mapping[str, Any]) -> dict[int, ObjectHeader]:
        """The first scale of each dimension, as far as there is one, by the number of the dimension."""
        references = attributes.get(_REFERENCES)
        if isinstance(references, list) and len(references) == rank:
            firsts = [_first_address(each) for each in references]
            return {axis: self._file.header(address) for axis, address in enumerate(firsts) if address}
        if attributes.get("CLASS") != _SCALE:
            return {}
        if rank == 1:
            return {0: found.header}
        numbers = _numbers(attributes, rank)
        scales = self._scales_by_number(found) if numbers else {}
        return {axis: self._file.header(scales[number][1]) for axis, number in enumerate(numbers) if number in scales}

    def _measure(self, scale: ObjectHeader) -> int:
        """The length of the dimension of a scale, if it has no limit; otherwise 0."""
        space = self._read_space(scale.address)
        if space is None or not space.shape or space.most[0] is not None:
            return 0
        longest = space.shape[0]
        listed = self._reader.read(scale).get(_REFERRERS)
        referrers = {each for each in listed if isinstance(each, Referrer)} if isinstance(listed, list) else set()
        self._file.read_ahead({each.address for each in referrers})
        for each in referrers:
            shape = self._read_shape(each)
            longest = max(longest, *shape[each.axis : each.axis + 1], 0)
        return longest

    def _read_shape(self, referrer: Referrer) -> tuple[int, ...]:
        """The shape of a dataset that a scale lists; () if it was deleted, which HDF5 does not tell the scale."""
        try:
            space = self._read_space(referrer.address)
        except UndecodableData:
            return ()
        return () if space is None else space.shape or ()

    def _read_space(self, address: int) -> Dataspace | None:
        message = self._file.find_message(address, DATASPACE)
        return None if message is None else parse_dataspace(self._file.message_data(message))

    def _name_reference(self, references: Any, known: Mapping[int, str]) -> str | None:
        """The name of the first scale of a dimension: that of its link, or its own if it lies in another group."""
        address = _first_address(references)
        if address is None:
            return None
        if address in known:
            return known[address]
        name = self._reader.read(self._file.header(address)).get("NAME")
        return name if isinstance(name, str) and name and not name.startswith(_ONLY_DIMENSION) else None

    def _scales_by_number(self, found: Found) -> dict[int, tuple[str, int]]:
        """The names and addresses of scales by the numbers of their dimensions in NetCDF-4."""
        scales: dict[int, tuple[str, int]] = {}
        for name, address in self._links(found):
            header = self._file.header(address)
            attributes = self._reader.read(header) if header.is_dataset else {}
            # Other variables have the number of their first dimension.
            number = attributes.get(_NUMBER) if attributes.get("CLASS") == _SCALE else None
            if isinstance(number, np.integer):
                scales.setdefault(int(number), (name, address))
        return scales

    def _links(self, found: Found) -> Iterator[tuple[str, int]]:
        """The names and addresses of the objects that a dataset can refer to, the nearest first."""
        for group in reversed(found.groups):
            for link in self._groups.links(group):
                if link.kind == HARD:
                    yield _decode(link.name), link.address


def _first_address(references: Any) -> int | None:
    """The address of the first scale of a dimension; None if it has none."""
    if not isinstance(references, list) or not references or not isinstance(references[0], Reference):
        return None
    return references[0].address


def _numbers(attributes: Mapping[str, Any], rank: int) -> list[int]:
    """The numbers of the dimensions of a coordinate variable that has several; none if it does not say all."""
    numbers = attributes.get(_NUMBERS)
    if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "iu" or numbers.shape != (rank,):
        return []
    return [int(number) for number in numbers]


def _decode(name: bytes) -> str:
    return name.decode(errors="replace").removeprefix(NOT_COORDINATE.decode())

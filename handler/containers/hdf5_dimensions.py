"""HDF5: the names of dimensions, by the conventions of dimension scales and of NetCDF-4.

A dataset refers to a scale for each of its dimensions. In NetCDF-4 a scale is a dimension, and where it holds data,
also the coordinate variable of that name. A coordinate variable does not refer to itself: if it has several dimensions,
an attribute has their numbers, and the scales have their own number in an attribute.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from handler.containers.hdf5_attributes import Attributes, Reference
from handler.containers.hdf5_file import Hdf5File
from handler.containers.hdf5_groups import HARD, Found, Groups

# A variable that has the name of a dimension without being its coordinate.
NOT_COORDINATE = b"_nc4_non_coord_"

# A scale that is a dimension only, and holds no data.
_ONLY_DIMENSION = "This is a netCDF dimension but not a netCDF variable"

_NUMBER, _NUMBERS, _REFERENCES = "_Netcdf4Dimid", "_Netcdf4Coordinates", "DIMENSION_LIST"

# The attributes that NetCDF-4 and dimension scales reserve.
RESERVED = frozenset(
    {"CLASS", "NAME", "REFERENCE_LIST", "_NCProperties", "_nc3_strict", _NUMBER, _NUMBERS, _REFERENCES}
)


def is_only_dimension(attributes: Mapping[str, Any]) -> bool:
    """Whether a dataset is a dimension without a variable."""
    return str(attributes.get("NAME", "")).startswith(_ONLY_DIMENSION)


class Dimensions:
    """Names the dimensions of datasets.

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
        if attributes.get("CLASS") != "DIMENSION_SCALE":
            return (None,) * rank
        if rank == 1:
            return (_decode(found.name),)
        numbers = np.atleast_1d(attributes.get(_NUMBERS, ()))
        if len(numbers) != rank:
            return (None,) * rank
        names = self._names_by_number(found)
        return tuple(names.get(int(number)) for number in numbers)

    def _name_reference(self, references: Any, known: Mapping[int, str]) -> str | None:
        """The name of the first scale of a dimension: that of its link, or its own if it lies in another group."""
        if not isinstance(references, list) or not references or not isinstance(references[0], Reference):
            return None
        address = references[0].address
        if address in known:
            return known[address]
        name = self._reader.read(self._file.header(address)).get("NAME")
        return name if isinstance(name, str) and name and not name.startswith(_ONLY_DIMENSION) else None

    def _names_by_number(self, found: Found) -> dict[int, str]:
        """The names of dimensions by their numbers in NetCDF-4."""
        names: dict[int, str] = {}
        for name, address in self._links(found):
            header = self._file.header(address)
            number = self._reader.read(header).get(_NUMBER) if header.is_dataset else None
            if isinstance(number, np.integer):
                names.setdefault(int(number), name)
        return names

    def _links(self, found: Found) -> Iterator[tuple[str, int]]:
        """The names and addresses of the objects that a dataset can refer to, the nearest first."""
        for group in reversed(found.groups):
            for link in self._groups.links(group):
                if link.kind == HARD:
                    yield _decode(link.name), link.address


def _decode(name: bytes) -> str:
    return name.decode(errors="replace").removeprefix(NOT_COORDINATE.decode())

"""The arrays of a group of a container, as the service describes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from active_storage.client.failures import BadReply
from active_storage.client.results import Array, read_numbers, write_table


@dataclass(frozen=True, slots=True)
class Variable:
    """An array as its metadata describes it. Nothing is decoded.

    Attributes:
        name: The name in the group.
        dims: The names of the dimensions; None for one without a name.
        shape: The shape.
        dtype: The data type of the elements, as they are stored.
        chunks: The shape of a chunk.
        attributes: The attributes.
        fill_value: The number that marks missing data in Zarr version 2; None if no number does.
        values: The elements as they are stored, of a coordinate that was asked for; None otherwise.
    """

    name: str
    dims: tuple[str | None, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    attributes: Mapping[str, Any] = field(repr=False)
    fill_value: Any = None
    values: Array | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Group:
    """What is in a group.

    Attributes:
        attributes: The attributes of the group.
        variables: Its arrays.
        unsupported: Why an array cannot be read, by name.
        requests: The number of requests from the service to the store.
        bytes_read: The bytes that the service read.
    """

    attributes: Mapping[str, Any]
    variables: Sequence[Variable]
    unsupported: Mapping[str, str]
    requests: int
    bytes_read: int

    def _repr_html_(self) -> str:
        arrays = {
            each.name: "("
            + ", ".join(f"{dim or '?'}: {size}" for dim, size in zip(each.dims, each.shape, strict=True))
            + f") {each.dtype}, chunks of {each.chunks}"
            for each in self.variables
        }
        unsupported = {name: f"cannot be read: {reason}" for name, reason in self.unsupported.items()}
        return write_table("Group", {**arrays, **unsupported})


def read_group(members: Mapping[str, Any]) -> Group:
    """The group of the members of a reply.

    Raises:
        BadReply: They do not fit together.
    """
    try:
        return Group(
            _read_attributes(members["attributes"]),
            tuple(map(_read_variable, members["variables"])),
            members["unsupported"],
            members["requests"],
            members["bytes_read"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadReply(f"the description of the group cannot be read ({error})") from None


def _read_variable(members: Mapping[str, Any]) -> Variable:
    fill, values = members["fill_value"], members["values"]
    return Variable(
        members["name"],
        tuple(members["dims"]),
        tuple(members["shape"]),
        members["dtype"],
        tuple(members["chunks"]),
        _read_attributes(members["attributes"]),
        None if fill is None else read_numbers(fill)[()],
        None if values is None else read_numbers(values),
    )


def _read_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _read_attribute(value) for name, value in attributes.items()}


def _read_attribute(value: Any) -> Any:
    """A value, in which numbers of numpy are maps with bytes: no attribute of JSON has bytes."""
    if isinstance(value, list):
        return [_read_attribute(each) for each in value]
    if not isinstance(value, dict):
        return value
    return read_numbers(value)[()] if isinstance(value.get("bytes"), bytes) else _read_attributes(value)

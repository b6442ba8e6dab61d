"""A JSON object of the metadata of a Zarr array: its members, checked as they are read.

Two kinds of errors. What contradicts the specification or itself is ``UndecodableData``. What the specification allows
and this service does not read is ``UnsupportedArray``, which names the feature.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from active_storage.errors import InvalidCodec, UndecodableData, UnsupportedArray, shown
from active_storage.model.dtypes import DTYPES, MAX_BYTES, MAX_DIMENSIONS
from active_storage.model.steps import Step
from handler.json_text import JsonFault, JsonLimits, parse

# The consolidated metadata of a thousand arrays has some hundred thousand elements.
_LIMITS = JsonLimits(elements=1 << 18, members=1 << 16, depth=32, has_constants=True)

# A chain of codecs is undone for each chunk. Real ones have up to five.
_MAX_CODECS = 32

# The parameters of codecs of numcodecs that name data types.
_DTYPE_PARAMETERS = ("astype", "decode_dtype", "dtype", "encode_dtype")


def parse_object(key: str, text: bytes) -> dict[str, Any]:
    """The members of the JSON object in a metadata document.

    Raises:
        UndecodableData: The text is not a JSON object, or exceeds the limits.
    """
    try:
        value = parse(text, _LIMITS)
    except JsonFault as fault:
        where = "/".join([key, *map(str, fault.path)])
        raise UndecodableData("zarr", f"{shown(where)} {fault.reason}") from None
    if not isinstance(value, dict):
        raise UndecodableData("zarr", f"{shown(key)} is not a JSON object")
    return value


@dataclass(frozen=True, slots=True)
class ZarrDocument:
    """A JSON object of the metadata of an array.

    Attributes:
        array: The path of the array, for messages.
        members: The members of the object.
    """

    array: str
    members: Mapping[str, Any]

    def fault(self, text: str) -> UndecodableData:
        """The error for metadata that is wrong, as ``text`` says."""
        return UndecodableData("zarr", f"{shown(self.array)}: {text}")

    def unsupported(self, feature: str) -> UnsupportedArray:
        """The error for a feature that is not supported."""
        return UnsupportedArray(self.array, feature)

    def within(self, members: Mapping[str, Any]) -> "ZarrDocument":
        """Another object of the same array."""
        return ZarrDocument(self.array, members)

    def required(self, member: str) -> Any:
        """The value of a member.

        Raises:
            UndecodableData: The member is missing.
        """
        if member not in self.members:
            raise self.fault(f"{member} is missing")
        return self.members[member]

    def ensure_known(self, what: str, *known: str) -> None:
        """Pass if there are no other members than those that are known.

        Raises:
            UnsupportedArray: There are others.
        """
        for member in self.members.keys() - set(known):
            raise self.unsupported(f"the parameter {shown(member)} of {what}")

    def sizes(self, member: str) -> tuple[int, ...]:
        """The sizes in a member, one for each dimension, each at least 0.

        Raises:
            UndecodableData: They are not sizes.
            UnsupportedArray: They are too many.
        """
        value = self.required(member)
        if not isinstance(value, list) or not all(type(size) is int and 0 <= size <= MAX_BYTES for size in value):
            raise self.fault(f"{member} should be a list of whole numbers from 0 to 2**63-1")
        if len(value) > MAX_DIMENSIONS:
            raise self.unsupported(f"more than {MAX_DIMENSIONS} dimensions")
        return tuple(value)

    def chunk_sizes(self, member: str, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a chunk in a member. A size of 0 along an empty dimension is 1: zarr-python writes 0 there.

        Raises:
            UndecodableData: It is not a shape with a size of at least 1 for each dimension.
            UnsupportedArray: It has too many dimensions.
        """
        chunks = self.sizes(member)
        if len(chunks) != len(shape):
            raise self.fault(f"{member} has {len(chunks)} dimensions, the shape has {len(shape)}")
        chunks = tuple(chunk if size else max(1, chunk) for chunk, size in zip(chunks, shape, strict=True))
        if not all(chunks):
            raise self.fault(f"{member} has a size of 0")
        return chunks

    def names(self, member: str, count: int, *, has_null: bool) -> tuple[str | None, ...]:
        """The names of ``count`` dimensions in a member; all None if the member is missing or null.

        Args:
            member: The name of the member.
            count: The number of dimensions.
            has_null: Whether a single name can be null.

        Raises:
            UndecodableData: They are not names, or not as many as the dimensions.
        """
        value = self.members.get(member)
        if value is None:
            return (None,) * count
        kinds = str | None if has_null else str
        if not isinstance(value, list) or not all(isinstance(name, kinds) for name in value):
            raise self.fault(f"{member} should be a list of names")
        if len(value) != count:
            raise self.fault(f"{member} has {len(value)} names for {count} dimensions")
        return tuple(value)

    def codecs(self, member: str, value: object) -> list[Any]:
        """The list of codecs in a member.

        Raises:
            UndecodableData: The value is not a list.
            UnsupportedArray: There are too many codecs.
        """
        if not isinstance(value, list):
            raise self.fault(f"{member} should be a list")
        if len(value) > _MAX_CODECS:
            raise self.unsupported(f"more than {_MAX_CODECS} codecs")
        return value

    def step(self, name: str, parameters: Mapping[str, Any], byte_order: str) -> Step:
        """The step of a codec.

        Args:
            name: The name of the codec, for ``Step``.
            parameters: Its configuration. A parameter that is null has its default value.
            byte_order: What a data type in the parameters begins with: "<" if data types without a byte order are
                little-endian, "" if the chain of codecs decides it.

        Raises:
            UnsupportedArray: The codec or one of its parameters is not supported.
        """
        given = {key: value for key, value in parameters.items() if value is not None}
        for key in _DTYPE_PARAMETERS:
            if isinstance(given.get(key), str):
                given[key] = _with_order(given[key], byte_order)
        try:
            return Step.of(name, given)
        except InvalidCodec as error:
            what = f"the codec {shown(name)}"
            detail = "" if error.member == "id" else f" whose {shown(error.member)} {error.fault}"
            raise self.unsupported(what + detail) from None


def _with_order(dtype: str, byte_order: str) -> str:
    if not byte_order:
        return dtype.lstrip("<>|=")
    return dtype if dtype[:1] in "<>|" else byte_order + dtype


def make_grid(document: ZarrDocument, shape: Sequence[int], chunks: Sequence[int], dtype: str) -> tuple[int, ...]:
    """The number of chunks along each dimension.

    Raises:
        UndecodableData: The array has more bytes than a 64-bit machine can count.
    """
    grid = tuple(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))
    # Chunks at the edge are stored whole.
    stored = (max(1, count) * chunk for count, chunk in zip(grid, chunks, strict=True))
    if math.prod(stored) * DTYPES[dtype].itemsize > MAX_BYTES:
        raise document.fault("the array has more than 2**63-1 bytes")
    return grid

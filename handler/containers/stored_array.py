"""The stored array: the description of one array of a container, in the same form for every container."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.steps import Step
from handler.stores.source import ObjectFacts, Source

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

# The size of a chunk that is absent: each of its elements is the fill value.
ABSENT = -1

# The size of a chunk that is a whole object, whose size is not known before it is read.
WHOLE_OBJECT = -2


@dataclass(frozen=True, slots=True, eq=False)
class ChunkObject:
    """An object that holds chunks. Each is equal to itself only, so that it can be a key of a mapping.

    Attributes:
        name: The key or the URL without a query, for messages.
        source: Opens ranges of it.
        facts: The store's facts of it when the index was made: every range is of this version. None if the index
            has only its key: then the version is that of the first answer.
        must_exist: Whether it is an error that the object is absent, since references name it, several of them maybe.
            Otherwise the object is a chunk, and if it is absent, the elements of the chunk are the fill value.
    """

    name: str
    source: Source
    facts: ObjectFacts | None = None
    must_exist: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where some chunks lie, one row for each chunk, in the order in which they were asked for.

    Attributes:
        objects: The objects that hold the chunks.
        object_numbers: For each chunk, the index of its object in ``objects``; int64.
        offsets: For each chunk, its first byte in the object; int64.
        sizes: For each chunk, its stored size in bytes, ``ABSENT`` or ``WHOLE_OBJECT``; int64.
        masks: For each chunk, the steps that were skipped when it was written: bit ``n`` stands for step ``n`` of
            ``StoredArray.steps``, in the order of writing; None if no step was skipped. int64.
        inline: The stored bytes of chunks that are part of the metadata, by row. Their sizes count, and their objects
            do not.
    """

    objects: Sequence[ChunkObject]
    object_numbers: Numbers
    offsets: Numbers
    sizes: Numbers
    masks: Numbers | None = None
    inline: Mapping[int, bytes] = field(default_factory=dict)

    def object_of(self, row: int) -> ChunkObject:
        """The object that holds the chunk of a row."""
        return self.objects[int(self.object_numbers[row])]


class ChunkIndex(Protocol):
    """Where the chunks of an array lie. It may read from the store, such as the index of a shard."""

    def locate(self, chunks: Numbers) -> Places:
        """The places of chunks.

        Args:
            chunks: Numbers of chunks of the grid, flattened in C order; ascending and unique. Never more than a section
                has.

        Raises:
            ActiveStorageError: The index cannot be read, or is damaged.
        """


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array as its container describes it. A reader has checked that the attributes fit each other.

    Attributes:
        name: The path of the array in its container, for messages.
        shape: The shape; () for a scalar. A size can be 0.
        chunks: The shape of a chunk, one size of at least 1 for each dimension. A chunk at the edge is stored whole. If
            the array is stored without chunks and cut into pieces by its reader, the last piece ends with the array.
        dtype: The data type of the elements, a name in ``DTYPES``.
        byte_order: The byte order of the elements.
        permutation: The dimensions in the order in which a chunk is stored: ``(0, 1, 2)`` is C order, ``(2, 1, 0)`` F
            order.
        steps: The encoding of a chunk, in the order of writing.
        fill: The value of the elements of an absent chunk, a scalar of ``dtype`` in native byte order; None if an
            absent chunk is an error.
        dimensions: The names of the dimensions; None for one without a name.
        attributes: The attributes of the array, as strings, numbers, numpy scalars and arrays, and lists of them.
        index: Where the chunks lie.
        metadata: The objects that the metadata was read from, with their facts. At the end of a reduction they are
            requested again, to see whether they have changed.
        fill_marks_missing: Whether elements equal to ``fill`` are missing data: the ``fill_value`` of Zarr version 2.
        places_digest: A digest of the places if no object of ``metadata`` has them, as for a table. It is part of the
            digest of a plan.
    """

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    byte_order: ByteOrder
    permutation: tuple[int, ...]
    steps: tuple[Step, ...]
    fill: Any
    dimensions: tuple[str | None, ...]
    attributes: Mapping[str, Any] = field(repr=False)
    index: ChunkIndex = field(repr=False)
    metadata: Sequence[ChunkObject] = field(repr=False)
    fill_marks_missing: bool = False
    places_digest: str | None = None

    def attribute(self, name: str) -> Any:
        """The value of an attribute in Python's types, without the list around a single one; None if it is absent."""
        values = np.asarray(self.attributes.get(name)).reshape(-1).tolist()
        return values[0] if len(values) == 1 else values

    def text_attribute(self, name: str) -> str:
        """The text of an attribute; "" if it is absent or no text."""
        value = self.attribute(name)
        return value if isinstance(value, str) else ""

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """The size of a decoded chunk, in bytes."""
        return math.prod(self.chunks) * DTYPES[self.dtype].itemsize

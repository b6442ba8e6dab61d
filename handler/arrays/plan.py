"""The plan of a reduction: how the touched chunks are cut into batches and sections, and what the digest covers.

A *batch* is as many chunks, neighbours in C order, as fit a block: their decoded data is reduced together. A *section*
is a run of batches whose partial result can be asked for by itself, and joined elsewhere. Both depend on the array and
the selection alone: never on the reducer, the storage of the chunks, or the number of threads.

An array is one stored array, or several that follow each other along a dimension: its *parts*. Each part has its own
chunks and its own encoding. A batch belongs to one part, and a section to one or to several small ones.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from active_storage.algebra import ALGEBRAS, ARITHMETIC_VERSION, Algebra, make_algebra
from active_storage.algebra.packing import Packing
from active_storage.algebra.quantiles import find_result_dtype
from active_storage.errors import ActiveStorageError, EntityTooLarge, InvalidArgument
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.expression import format_expression
from active_storage.model.reducers import ARRAY_REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.arrays.combination import Combination, read_combinations
from handler.arrays.coordinates import AnyArray, Coordinates
from handler.arrays.decoding import CommonDecoding, Decoding, Unpacking
from handler.arrays.fetch import read_version
from handler.arrays.grid import Grid, count_all_touched
from handler.arrays.selection import Listed, Selection
from handler.arrays.spread import cut_part
from handler.arrays.weights import read_weights
from handler.containers.concat import ConcatenatedArray, in_file
from handler.containers.stored_array import ChunkObject, StoredArray
from handler.kernels.pieces import Array
from handler.kernels.reducer import state_bytes
from handler.kernels.sizes import Sizes

# A section is worth a request of its own: some 50 ms of work near the store.
_SECTION_BYTES = 32 << 20

# The most sections of a stored array: a client keeps a list of them. An array in parts may have some more, since parts
# need not fill their sections.
_MOST_SECTIONS = 4096

# The most chunks of a batch, and of a section unless there would be too many sections. What is known of a chunk while
# it is read takes a kilobyte, however few elements it has.
_MOST_BATCH_CHUNKS = 1024
_MOST_SECTION_CHUNKS = 16 * _MOST_BATCH_CHUNKS

# The memory for each cell in which quantiles are made of sorted elements: some arrays of int64 and float64.
_QUANTILE_BYTES = 96

# The most parts of a section: opening a file takes several round trips to the store.
_MOST_PARTS = 64


@dataclass(frozen=True)
class PartPlan:
    """The plan of one stored array: of the whole array, or of one of its parts.

    Attributes:
        array: The stored array.
        file: The number of the file that it lies in; None if the request names one container.
        selection: What is selected of it.
        decoding: How stored numbers become values.
        unpacking: What makes the numbers that are reduced of stored ones; None if they are the stored ones.
        grid: The touched chunks.
        sizes: The sizes of blocks.
        most_sections: The most sections that it is cut into.
        weights: The weights of its elements, a spread array of float64; None if they have none.
        combination: What is reduced in place of its elements; None for the elements.
    """

    array: StoredArray
    file: int | None
    selection: Selection
    decoding: Decoding
    unpacking: Unpacking | None
    grid: Grid
    sizes: Sizes
    most_sections: int
    weights: Array | None = None
    combination: Combination | None = None

    @cached_property
    def batch_chunks(self) -> int:
        """The number of chunks of a batch."""
        return max(1, min(_MOST_BATCH_CHUNKS, self.sizes.block_bytes // max(1, self.array.chunk_bytes)))

    @cached_property
    def arrays(self) -> tuple[StoredArray, ...]:
        """The array, and those whose chunks are read together with its own."""
        operands = () if self.combination is None else self.combination.operands
        return (self.array, *(operand.array for operand in operands))

    @cached_property
    def batch_bytes(self) -> int:
        """The size of a batch of the array with the largest elements, decoded."""
        return self.batch_chunks * max(array.chunk_bytes for array in self.arrays)

    @cached_property
    def section_chunks(self) -> int:
        """The number of chunks of a section: whole batches."""
        most = min(_SECTION_BYTES // max(1, self.batch_bytes), _MOST_SECTION_CHUNKS // self.batch_chunks)
        batches = max(1, most)
        batches = max(batches, -(-self.grid.count // (self.batch_chunks * self.most_sections)))
        return batches * self.batch_chunks

    def cut(self) -> Iterator["Stretch"]:
        """The touched chunks, a section at a time."""
        count, size = self.grid.count, self.section_chunks
        return (Stretch(self, range(start, min(start + size, count))) for start in range(0, count, size))

    @property
    def covered(self) -> dict[str, Any]:
        """What the digest of a plan covers of a stored array."""
        array = self.array
        return {
            "array": array.name,
            "shape": array.shape,
            "chunks": array.chunks,
            "dtype": array.dtype,
            "places": array.places_digest,
            "versions": [read_version(each.facts)[0].decode() if each.facts else None for each in array.metadata],
            "section_chunks": self.section_chunks,
            "batch_chunks": self.batch_chunks,
        }


@dataclass(frozen=True, slots=True)
class Stretch:
    """Touched chunks of one part that belong to a section.

    Attributes:
        part: The plan of the part.
        touched: Their numbers among the touched chunks of the part.
    """

    part: PartPlan
    touched: range

    @property
    def decoded_bytes(self) -> int:
        """Their size, decoded."""
        return len(self.touched) * self.part.array.chunk_bytes


@dataclass(frozen=True)
class ArrayPlan:
    """The plan of the reduction of an array.

    Attributes:
        reduction: What was asked for.
        array: The array.
        selection: What is selected.
        decoding: What is reduced of all parts alike.
        parts: The plans of its parts, in their order; one for a stored array.
        weights: A digest of the weights; None if elements have none.
        beside: The objects that the metadata of coordinates and weights was read from.
    """

    reduction: ArrayReduction
    array: AnyArray
    selection: Selection
    decoding: CommonDecoding
    parts: tuple[PartPlan, ...]
    weights: str | None = None
    beside: tuple[ChunkObject, ...] = ()

    @classmethod
    def of(
        cls,
        reduction: ArrayReduction,
        array: AnyArray,
        sizes: Sizes,
        most_chunks: int,
        coordinates: Coordinates | None = None,
    ) -> "ArrayPlan":
        """The plan of a reduction.

        Args:
            reduction: The reduction.
            array: The array.
            sizes: The sizes of blocks.
            most_chunks: The most chunks that the selection may touch.
            coordinates: The coordinates of the array; None if the reduction names none.

        Raises:
            InvalidArgument: The reduction does not fit the array.
            UndecodableData: The attributes of the array contradict its data type.
            EntityTooLarge: The selection touches too many chunks. They are counted before they are enumerated.
        """
        selection = Selection.of(reduction, array, coordinates)
        weights = None
        if reduction.weights is not None and coordinates is not None:
            weights = read_weights(reduction.weights, reduction.reducer, array, coordinates)
        stored, selections, files = _take_apart(array, selection)
        touched = sum(map(count_all_touched, stored, selections))
        if touched > most_chunks:
            raise EntityTooLarge(
                f"array {array.name!r}: the selection touches {touched} chunks; the limit is {most_chunks} (MAX_CHUNKS)"
            )
        decodings = [_decode(reduction, *each) for each in zip(stored, files, strict=True)]
        decoding = CommonDecoding.of(decodings, reduction.reducer, weights is not None)
        combinations: list[Combination] = []
        if coordinates is not None and (reduction.expression is not None or reduction.other is not None):
            combinations = read_combinations(reduction, array, decodings, coordinates)
            unpackings = tuple(each.unpacking for each in combinations)
            decoding = CommonDecoding(combinations[0].dtype.name, None, unpackings, None)
        rule, algebras = ARRAY_REDUCERS[reduction.reducer], ALGEBRAS.get(reduction.reducer, {})
        folds = not rule.is_quantile and not any(each.has_position for each in algebras.values())
        grids = [Grid(*each, folds) for each in zip(stored, selections, strict=True)]
        decoded_bytes = [grid.count * part.chunk_bytes for grid, part in zip(grids, stored, strict=True)]
        total_bytes = max(1, sum(decoded_bytes))
        parts = tuple(
            PartPlan(
                part,
                files[number],
                selections[number],
                decodings[number],
                decoding.unpackings[number],
                grids[number],
                sizes,
                max(1, _MOST_SECTIONS * decoded_bytes[number] // total_bytes),
                None if weights is None else cut_part(weights, array, number),
                combinations[number] if combinations else None,
            )
            for number, part in enumerate(stored)
        )
        digest = (
            None if weights is None else hashlib.sha256(repr(weights.shape).encode() + weights.tobytes()).hexdigest()
        )
        beside = () if coordinates is None else tuple(coordinates.metadata)
        plan = cls(reduction, array, selection, decoding, parts, digest, beside)
        # Validates the reducer for the data type.
        assert plan.spec  # noqa: S101
        return plan

    @property
    def packing(self) -> Packing | None:
        """How the result of stored numbers becomes that of values; None if it already is."""
        return self.decoding.packing

    @cached_property
    def spec(self) -> ReductionSpec:
        """The reduction of the numbers that are reduced: of stored numbers, or of values.

        Raises:
            InvalidArgument: The reducer is not defined for the data type.
        """
        reducer, dtype = self.reduction.reducer, self.decoding.dtype
        if self.is_quantile:
            # Made of the elements themselves, in ``handler.arrays.quantiles``.
            if DTYPES[dtype].kind not in ARRAY_REDUCERS[reducer].kinds:
                raise InvalidArgument("dtype", f"{reducer} is not defined for {dtype} elements")
            return ReductionSpec("select", dtype)
        if self.packing is not None:
            reducer = self.packing.stored_reducer(reducer)
        # Sums of integers do not wrap in their own type, and the sum of bools is how many are true.
        kind = DTYPES[dtype].kind
        sum_dtype = (
            {"b": "int64", "i": "int64", "u": "uint64"}.get(kind) if reducer == "sum" and self.weights is None else None
        )
        return ReductionSpec(
            reducer,
            dtype,
            sum_dtype=sum_dtype,
            ddof=self.reduction.ddof,
            edges=self.reduction.edges,
            is_weighted=self.weights is not None,
            has_other=self.reduction.other is not None,
        )

    @cached_property
    def algebra(self) -> Algebra[Any]:
        """How partial results are joined and finished."""
        return make_algebra(self.spec)

    @property
    def is_quantile(self) -> bool:
        """Whether the result is made of sorted elements."""
        return ARRAY_REDUCERS[self.reduction.reducer].is_quantile

    @property
    def leading(self) -> tuple[int, ...]:
        """The shape of the dimensions of the result before those of its cells."""
        count = len(self.reduction.q)
        return (count,) if count > 1 else self.spec.leading

    @property
    def result_dtype(self) -> str:
        """The data type of the result, a name in ``DTYPES``."""
        reducer = self.reduction.reducer
        if self.is_quantile:
            value = DTYPES[self.decoding.dtype] if self.packing is None else self.packing.dtype
            is_kept = reducer == "median" and value.kind == "f"
            return value.name if is_kept else find_result_dtype(self.reduction.method, value).name
        if self.packing is None:
            return self.spec.result_dtype
        empty = np.zeros((*self.spec.leading, 0), DTYPES[self.spec.result_dtype])
        return self.packing.transform(reducer, empty, np.zeros(0, np.int64)).dtype.name

    @property
    def dimensions(self) -> tuple[str | None, ...]:
        """The names of the dimensions of the cells; None for one without a name."""
        selection = self.selection
        return tuple(
            selection.groups.name
            if selection.groups is not None and number == selection.grouped
            else self.array.dimensions[number]
            for number in selection.kept
        )

    @property
    def labels(self) -> dict[str, Sequence[Any]]:
        """What the indices of dimensions of the result stand for, by the name of the dimension.

        They are the names of groups, values of coordinates that were selected, quantiles, and pairs of edges.
        """
        reduction, labels = self.reduction, dict(self.selection.all_labels)
        if self.is_quantile and self.leading:
            labels["quantile"] = list(reduction.q)
        if reduction.edges is not None:
            labels["bin"] = [list(pair) for pair in itertools.pairwise(reduction.edges)]
        return labels

    @cached_property
    def chunks(self) -> int:
        """The number of touched chunks."""
        return sum(part.grid.count for part in self.parts)

    @property
    def sections(self) -> int:
        """The number of sections."""
        return len(self._sections)

    def section(self, number: int) -> Sequence[Stretch]:
        """The touched chunks of a section."""
        return self._sections[number]

    def count_chunks(self, sections: Iterable[int]) -> int:
        """The number of touched chunks of some sections."""
        return sum(len(stretch.touched) for section in sections for stretch in self._sections[section])

    @cached_property
    def _sections(self) -> list[list[Stretch]]:
        """The chunks of each section. Parts that are smaller than a section share one."""
        enough = max(_SECTION_BYTES, self.decoded_bytes // _MOST_SECTIONS)
        sections: list[list[Stretch]] = []
        size = 0
        for part in self.parts:
            for stretch in part.cut():
                size += stretch.decoded_bytes
                mates = sections[-1] if sections else []
                if mates and mates[-1].part is not part and size <= enough and len(mates) < _MOST_PARTS:
                    mates.append(stretch)
                else:
                    sections.append([stretch])
                    size = stretch.decoded_bytes
        return sections

    def box(self, section: int) -> tuple[slice, ...]:
        """The cells of the result that a section belongs to: a box around those of its parts."""
        boxes = [each.part.grid.box(each.touched.start, each.touched.stop) for each in self.section(section)]
        return tuple(
            slice(min(side.start for side in sides), max(side.stop for side in sides))
            for sides in zip(*boxes, strict=True)
        )

    def ensure_sections(self, sections: range | None) -> range:
        """The numbers of the sections that are asked for; all of them for None.

        Raises:
            InvalidArgument: There are no such sections.
        """
        if sections is None:
            return range(self.sections)
        if not 0 <= sections.start <= sections.stop <= self.sections:
            raise InvalidArgument("sections", f"should lie between 0 and {self.sections}")
        return sections

    @property
    def decoded_bytes(self) -> int:
        """The size of all touched chunks, decoded."""
        return sum(part.grid.count * part.array.chunk_bytes for part in self.parts)

    @property
    def batch_bytes(self) -> int:
        """The size of the largest batch of one array, decoded."""
        return max((part.batch_bytes for part in self.parts if part.grid.count), default=0)

    @property
    def most_arrays(self) -> int:
        """The number of arrays whose chunks are read together."""
        operands = (part.combination.operands for part in self.parts if part.combination is not None)
        return 1 + max(map(len, operands), default=0)

    def count_result_bytes(self, part: PartPlan) -> int:
        """The most memory that the partial results of a batch of a part take: each chunk can have its own."""
        if self.is_quantile:
            return 0
        shape = zip(part.array.chunks, part.selection.indices, strict=True)
        sizes = [min(chunk, len(indices)) for chunk, indices in shape]
        kept = zip(self.selection.kept, self.selection.cells, strict=True)
        cells = math.prod(min(sizes[axis], count) for axis, count in kept)
        return min(part.batch_chunks, part.grid.count) * cells * (self.algebra.cell_bytes + 8)

    @property
    def has_lists(self) -> bool:
        """Whether selected elements are listed along a dimension, so that those of a batch are copied."""
        return any(isinstance(indices, Listed) for part in self.parts for indices in part.selection.indices)

    @property
    def has_steps(self) -> bool:
        """Whether chunks are encoded, so that decoding them takes memory."""
        return any(array.steps for part in self.parts for array in part.arrays)

    @property
    def result_bytes(self) -> int:
        """The memory of the result, with the state that it is computed from."""
        if self.is_quantile:
            return math.prod(self.selection.cells) * (_QUANTILE_BYTES + 32 * len(self.reduction.quantiles))
        return state_bytes(self.algebra, self.spec.leading, self.selection.cells)

    @property
    def metadata(self) -> list[ChunkObject]:
        """The objects that the metadata was read from, each once."""
        return [each for each, _ in self.located_metadata]

    @cached_property
    def located_metadata(self) -> list[tuple[ChunkObject, int | None]]:
        """The same, with the number of the file that each lies in; None if the request names one container."""
        pairs = [(each, part.file) for part in self.parts for each in part.array.metadata]
        pairs += [(each, None) for each in self.beside]
        found: dict[int, tuple[ChunkObject, int | None]] = {}
        for each, file in pairs:
            # Variables of one file have the same source.
            found.setdefault(id(each.source), (each, file))
        return list(found.values())

    @cached_property
    def digest(self) -> str:
        """What identifies the plan: two services with the same digest have partial results that can be joined.

        It covers the array and its version, the selection, the axis, the decoding, the cuts and the arithmetic. It does
        not cover the reducer, so that one plan serves several.
        """
        reduction = self.reduction
        covered: dict[str, Any] = {
            "arithmetic": ARITHMETIC_VERSION,
            "container": reduction.container,
            "selection": self.selection.covered,
            "labels": self.selection.all_labels,
            "weights": self.weights,
            "other": reduction.other,
            "expression": None if reduction.expression is None else format_expression(reduction.expression),
            "combined": [part.combination.covered for part in self.parts if part.combination is not None],
            "beside": [read_version(each.facts)[0].decode() if each.facts else None for each in self.beside],
            "decode": reduction.decode,
            "skipna": reduction.skips_nan,
            "missing": sorted((name, [repr(value) for value in values]) for name, values in reduction.missing.items()),
            "ddof": reduction.ddof,
            "edges": reduction.edges,
            "thresholds": sorted(reduction.thresholds.items()),
            "absent": reduction.absent_is_forbidden,
        }
        if isinstance(self.array, ConcatenatedArray):
            covered |= {"concat": self.array.axis, "parts": [part.covered for part in self.parts]}
        else:
            covered |= self.parts[0].covered
        return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:32]


def _take_apart(
    array: AnyArray, selection: Selection
) -> tuple[Sequence[StoredArray], Sequence[Selection], Sequence[int | None]]:
    """The parts of an array, what is selected of each, and the number of its file."""
    if isinstance(array, StoredArray):
        return [array], [selection], [None]
    return array.parts, [selection.part(array.axis, *each) for each in array.bounds], range(len(array.parts))


def _decode(reduction: ArrayReduction, array: StoredArray, file: int | None) -> Decoding:
    try:
        return Decoding.of(reduction, array)
    except ActiveStorageError as error:
        raise in_file(error, file) from error.__cause__

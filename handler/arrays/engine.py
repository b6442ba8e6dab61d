"""The engine of arrays: the one way from the reduction of an array to its result, whatever the door. Read it downwards.

It receives everything that it works with. It knows neither who asks nor how the store is asked.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from active_storage.algebra import Partial
from active_storage.algebra.packing import finish_packed
from active_storage.errors import (
    ActiveStorageError,
    ArrayChanged,
    DeadlineExceeded,
    InvalidArgument,
    ObjectChanged,
    PlanOutdated,
    StoreProtocolError,
    StoreTimeout,
    UnsupportedArray,
)
from active_storage.model.array_reduction import ArrayReduction, ContainerType
from active_storage.model.dtypes import DTYPES
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from handler.arrays.coordinates import AnyArray, Coordinates
from handler.arrays.fetch import See, Strength, count_runs, read_version
from handler.arrays.kept_answers import KeptAnswers
from handler.arrays.plan import ArrayPlan
from handler.arrays.quantiles import QuantileFinder, finish_quantiles
from handler.arrays.quantiles import count_bytes as count_quantile_bytes
from handler.arrays.sections import (
    ChunkFetchers,
    SectionPartial,
    SectionReducer,
    count_section_bytes,
    hold_for_array,
    locate,
    unit_chunks,
)
from handler.containers.concat import in_file
from handler.containers.listing import Listing
from handler.containers.metadata_cache import MetadataCache
from handler.containers.open import OPENERS, list_group, open_array, open_concatenated
from handler.containers.reader import Container, ContainerReader, MetadataMemory, ReadLimits
from handler.containers.side_by_side import map_side_by_side
from handler.containers.stored_array import WHOLE_OBJECT, ChunkObject, StoredArray
from handler.engine.engine import Engine
from handler.engine.memory import Account, MemoryGate
from handler.engine.result import Result
from handler.kernels.order_statistics import Taker
from handler.scope import Scope
from handler.stores.source import ObjectFacts, Source


@dataclass(frozen=True, slots=True)
class ArrayAnswer:
    """The result of the reduction of an array, and what it took.

    Attributes:
        result: The values and the counts, in C order.
        dimensions: The names of the dimensions of the result; None for one without a name.
        labels: The values of coordinates and the names of groups, by the name of the dimension.
        units: The units of the values; None if they are unknown, or the result has others.
        missing_chunks: The number of absent chunks; None in a description.
        requests: The number of requests to the store.
        bytes_read: The bytes that were read from the store.
        etag: Tells the reduction and the versions of all that was read. Weak if one of the objects has no strong ETag;
            None if one has neither an ETag nor a date, and in a description.
    """

    result: Result
    dimensions: tuple[str | None, ...]
    labels: Mapping[str, Sequence[Any]]
    units: str | None
    missing_chunks: int | None
    requests: int
    bytes_read: int
    etag: ETag | None


@dataclass(frozen=True, slots=True)
class ResultForm:
    """What a result will look like.

    Attributes:
        dtype: The data type of its values, a name in ``DTYPES``.
        shape: Its shape.
        dimensions: The names of its dimensions; None for one without a name.
        labels: The values of coordinates and the names of groups, by the name of the dimension.
        units: The units of the values; None if they are unknown, or the result has others.
    """

    dtype: str
    shape: tuple[int, ...]
    dimensions: tuple[str | None, ...]
    labels: Mapping[str, Sequence[Any]]
    units: str | None


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a reduction will take.

    Attributes:
        digest: Identifies the plan.
        sections: The number of sections.
        chunks: The number of touched chunks.
        shape: The shape of the array.
        dimensions: The names of its dimensions.
        dtype: The data type of its elements, as they are stored.
        chunk_shape: The shape of a chunk; None if the parts of the array have different ones.
        stored_bytes: The size of the touched chunks as stored; None if it is not known before they are read.
        decoded_bytes: Their size decoded.
        requests: The number of requests for chunks.
        memory_bytes: The least memory that the reduction takes, beside that of the metadata: the result, the partial
            result of a section, and one unit of work. Of a quantile: that of the result and of what is sorted.
        etags: The ETags of the objects that hold the metadata.
        result: What the result will look like.
    """

    digest: str
    sections: int
    chunks: int
    shape: tuple[int, ...]
    dimensions: tuple[str | None, ...]
    dtype: str
    chunk_shape: tuple[int, ...] | None
    stored_bytes: int | None
    decoded_bytes: int
    requests: int
    memory_bytes: int
    etags: list[str]
    result: ResultForm


@dataclass(frozen=True, slots=True)
class GroupAnswer:
    """The arrays of a group, and what it took to list them.

    Attributes:
        listing: The arrays, as their metadata describes them.
        coordinates: The elements of coordinates as they are stored, by name: of arrays that have one dimension, and its
            name. Empty if they were not asked for.
        requests: The number of requests to the store.
        bytes_read: The bytes that were read from the store.
    """

    listing: Listing
    coordinates: Mapping[str, np.ndarray[Any, Any]]
    requests: int
    bytes_read: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a reduction is done. In several passes over the data it is the share of the whole work.

    Attributes:
        sections: The number of sections.
        chunks: The number of chunks.
        bytes_read: The bytes of chunks that were read, in all passes.
    """

    sections: int = 0
    chunks: int = 0
    bytes_read: int = 0


# Is called with a plan, and with what finds how much of it is done now: between two calls too.
Tell = Callable[[ArrayPlan, Callable[[], Progress]], None]


@dataclass(frozen=True, slots=True)
class ArrayLimits:
    """The limits of the reduction of an array.

    Attributes:
        reading: How much metadata may be read.
        chunks: The most chunks that a selection may touch.
        passes: The most passes over the data for a quantile.
    """

    reading: ReadLimits = field(default_factory=ReadLimits)
    chunks: int = 10_000_000
    passes: int = 4


class ArrayEngine:
    """Makes the reductions of arrays of a process.

    Args:
        engine: The engine of single objects, whose memory gate and sizes count here too.
        limits: The limits of one reduction.
        fetchers: The threads that fetch chunks.
    """

    def __init__(
        self, engine: Engine, limits: ArrayLimits | None = None, fetchers: ChunkFetchers | None = None
    ) -> None:
        self._gate = engine.gate
        self._sizes = engine.sizes
        self._limits = limits or ArrayLimits()
        self._fetchers = fetchers or ChunkFetchers()
        self._cache = MetadataCache(engine.kept)
        self._kept = engine.kept

    def reduce(
        self, reduction: ArrayReduction, container: Container, scope: Scope, tell: Tell | None = None
    ) -> ArrayAnswer:
        """Reduce an array. If an object changes meanwhile, start over, once.

        Args:
            reduction: The reduction.
            container: Where the array lies.
            scope: The deadline.
            tell: Called with the plan after each section, and before the first.

        Raises:
            ArrayChanged: It changed again.
            ActiveStorageError: There is no result that can be trusted.
        """
        with suppress(ObjectChanged):
            return self._reduce(reduction, container, scope, tell)
        scope.record.add(started_over=True)
        try:
            return self._reduce(reduction, container, scope, tell)
        except ObjectChanged as error:
            raise ArrayChanged(f"array {reduction.array!r}: {error.message}, twice") from None

    def describe(self, reduction: ArrayReduction, container: Container, scope: Scope) -> ArrayAnswer:
        """The answer of ``reduce`` without data, counts and ETag: from the metadata alone.

        Raises:
            ActiveStorageError: The array cannot be read, or the reduction does not fit it.
        """
        with self._gate.account() as account:
            reader, plan = self._open(reduction, container, scope, account)
        form = _describe_result(plan)
        return ArrayAnswer(
            Result(form.dtype, form.shape, None, None, None),
            form.dimensions,
            form.labels,
            form.units,
            None,
            reader.requests,
            reader.bytes_read,
            None,
        )

    def list_group(
        self, kind: ContainerType, group: str, container: Container, scope: Scope, reads_coordinates: bool
    ) -> GroupAnswer:
        """The arrays of a group, from the metadata alone, with coordinates if they are asked for.

        Args:
            kind: The type of the container.
            group: The path of the group; "" for the root.
            container: Where it lies.
            scope: The deadline.
            reads_coordinates: Whether the elements of coordinates are read.

        Raises:
            ActiveStorageError: The group cannot be read, or nothing lists its arrays.
        """
        with self._gate.account() as account:
            reader = self._make_reader(container, scope, account)
            with scope.record.stage("metadata"):
                listing = list_group(kind, reader, group)
                named = {name: array for name, array in listing.arrays.items() if array.dimensions == (name,)}
                coordinates = {}
                for name, array in named.items() if reads_coordinates else ():
                    coordinates[name] = self._read_stored(reader, array)
                    account.hold(coordinates[name].nbytes)
            return GroupAnswer(listing, coordinates, reader.requests, reader.bytes_read)

    def plan(self, reduction: ArrayReduction, container: Container, scope: Scope) -> PlanSummary:
        """What a reduction will take.

        Raises:
            ActiveStorageError: The array cannot be read, or the reduction does not fit it.
        """
        with self._gate.account() as account:
            _, plan = self._open(reduction, container, scope, account)
            stored, requests = self._locate_all(plan, scope)
        if plan.is_quantile:
            work_bytes = count_quantile_bytes(plan, self._gate.request_limit_bytes)
        else:
            work_bytes = count_section_bytes(plan)
        array, chunk_shapes = plan.array, {part.array.chunks for part in plan.parts}
        return PlanSummary(
            digest=plan.digest,
            sections=plan.sections,
            chunks=plan.chunks,
            shape=array.shape,
            dimensions=array.dimensions,
            dtype=array.dtype,
            chunk_shape=chunk_shapes.pop() if len(chunk_shapes) == 1 else None,
            stored_bytes=stored,
            decoded_bytes=plan.decoded_bytes,
            requests=requests,
            memory_bytes=plan.result_bytes + work_bytes,
            etags=[str(each.facts.etag) for each in plan.metadata if each.facts and each.facts.etag],
            result=_describe_result(plan),
        )

    def _locate_all(self, plan: ArrayPlan, scope: Scope) -> tuple[int | None, int]:
        """The stored bytes of the touched chunks, None if they are not known; and the number of requests for them."""
        stored, is_known, requests = 0, True, 0
        for section in range(plan.sections):
            scope.check()
            for located in map_side_by_side(self._fetchers.pool, locate, plan.section(section)):
                for places in (located.places, *located.others):
                    requests += count_runs(places, most_rows=unit_chunks(plan, located.stretch.part))
                    stored += int(places.sizes[places.sizes >= 0].sum())
                    is_known = is_known and not (places.sizes == WHOLE_OBJECT).any()
        return stored if is_known else None, requests

    def reduce_sections(
        self,
        reduction: ArrayReduction,
        container: Container,
        scope: Scope,
        sections: range | None = None,
        digest: str | None = None,
    ) -> tuple[ArrayPlan, Iterator[SectionPartial]]:
        """The plan, and the partial results of some sections, in order.

        Args:
            reduction: The reduction.
            container: Where the array lies.
            scope: The deadline.
            sections: The numbers of sections; None for all.
            digest: The digest of the plan that the caller knows; None for any plan.

        Raises:
            PlanOutdated: The plan is another one than the caller knows.
            InvalidArgument: There are no such sections, or the reducer has no partial results.
            ActiveStorageError: A section cannot be reduced.
        """
        with self._gate.account() as account:
            reader, plan = self._open(reduction, container, scope, account)
        if plan.is_quantile:
            raise InvalidArgument(
                "answer",
                f"partials of {reduction.reducer} do not exist: the data is read in several passes; ask for result, or "
                "for partials of histogram",
            )
        if digest is not None and digest != plan.digest:
            raise PlanOutdated("the plan does not hold any more: ask for a new one")
        return plan, self._reduce_sections(plan, plan.ensure_sections(sections), scope, reader.memory)

    def _reduce_sections(
        self, plan: ArrayPlan, sections: range, scope: Scope, metadata: MetadataMemory
    ) -> Iterator[SectionPartial]:
        """The partial results, of an array whose metadata is at the end of the version that was read."""
        reducer = SectionReducer(plan, self._fetchers, self._gate, scope)
        with self._gate.account() as account:
            account.hold(metadata.bytes)
            # The index goes on to read.
            metadata.hold = account.hold
            yield from reducer.reduce(sections, account)
        self._ensure_unchanged(plan)

    def _open(
        self, reduction: ArrayReduction, container: Container, scope: Scope, account: Account
    ) -> tuple[ContainerReader, ArrayPlan]:
        """The reader of an array, and the plan. The account counts the memory of the metadata."""
        reader = self._make_reader(container, scope, account)
        with scope.record.stage("metadata"):
            array = self._open_array(reduction, reader)
            coordinates = self._find_coordinates(reduction, array, reader)
            plan = ArrayPlan.of(reduction, array, self._sizes, self._limits.chunks, coordinates)
        scope.record.add(container=reduction.container, chunks=plan.chunks)
        return reader, plan

    def _make_reader(self, container: Container, scope: Scope, account: Account) -> ContainerReader:
        """A reader of a container for one request, whose account counts the memory."""
        pool, limits = self._fetchers.pool, self._limits.reading
        return ContainerReader(container, limits, scope, pool, self._cache, MetadataMemory(account.hold))

    def _open_array(self, reduction: ArrayReduction, reader: ContainerReader) -> AnyArray:
        if reduction.concat is None:
            return open_array(reduction.container, reader, reduction.array)
        return open_concatenated(reduction.container, reader, reduction.array, reduction.concat, self._read_stored)

    def _find_coordinates(
        self, reduction: ArrayReduction, array: AnyArray, reader: ContainerReader
    ) -> Coordinates | None:
        """What finds the coordinates of an array; None if a reduction needs none."""
        fields = {
            "where": reduction.where,
            "group": reduction.group,
            "weights": reduction.weights,
            "other": reduction.other,
            "expr": reduction.expression,
        }
        asked = {field: value for field, value in fields.items() if value}
        if not asked:
            return None
        named = [field for field, value in asked.items() if value not in reduction.given]
        if named and reduction.container == "table":
            raise InvalidArgument(named[0], "names another variable, and a table of chunks has one array")
        return Coordinates.beside(array, reader, reduction.array, OPENERS[reduction.container], self._read_stored)

    def _read_stored(self, reader: ContainerReader, array: StoredArray) -> np.ndarray[Any, Any]:
        """All elements of an array as they are stored. They count as metadata."""
        reader.ensure_room(math.prod(array.shape) * DTYPES[array.dtype].itemsize)
        plan = ArrayPlan.of(_AS_STORED, array, self._sizes, self._limits.chunks)
        reducer = SectionReducer(plan, self._fetchers, self._gate, reader.scope)
        bytes_read = 0
        with self._gate.account() as account:
            account.hold(plan.result_bytes)
            whole = plan.algebra.start(plan.selection.cells)
            for section in reducer.reduce(range(plan.sections), account):
                join_section(plan, whole, section)
                bytes_read += section.bytes_read
        reader.count_chunks(reducer.requests, bytes_read)
        values: np.ndarray[Any, Any] = plan.algebra.finish_partial(whole).values
        return values

    def _reduce(self, reduction: ArrayReduction, container: Container, scope: Scope, tell: Tell | None) -> ArrayAnswer:
        """The answer that was kept of an earlier request, if nothing has changed, or a new one, which is kept."""
        with self._gate.account() as account, self._gate.account() as seen_account:
            reader, plan = self._open(reduction, container, scope, account)
            answers = KeptAnswers[ArrayAnswer](self._kept, self._fetchers.pool, plan, seen_account)
            reading = _Reading(plan, self._fetchers, self._gate, scope, tell, answers.see)
            with scope.record.stage("kept"):
                found = answers.find(scope, reading.tell_done)
            if found is not None:
                answer, requests = found
                if not answers.is_of_one_object:
                    # One object could have changed while another one was asked for.
                    self._ensure_unchanged(plan)
                    requests += len(plan.metadata)
                scope.record.add(kept=True)
                return replace(answer, requests=reader.requests + requests, bytes_read=reader.bytes_read)
            answer = self._compute(plan, reader, reading, account, scope)
            answers.keep(answer, _count_bytes(answer))
            return answer

    def _compute(
        self, plan: ArrayPlan, reader: ContainerReader, reading: "_Reading", account: Account, scope: Scope
    ) -> ArrayAnswer:
        # Counted before it is made: a selection can have more cells than there is memory.
        hold_for_array(account, plan, plan.result_bytes)
        try:
            with scope.record.stage("reduce"):
                make = self._find_quantiles if plan.is_quantile else self._join_sections
                result = make(plan, reading, account, scope)
        except (DeadlineExceeded, StoreTimeout) as error:
            if isinstance(error, StoreTimeout) and not scope.is_over:
                raise
            raise DeadlineExceeded(
                f"the time for this request was over after {reading.chunks_done} of {plan.chunks} chunks"
                + (f" in pass {reading.passes}" if reading.passes > 1 else "")
            ) from None
        with scope.record.stage("result"):
            self._ensure_unchanged(plan)
            made = result()
        return ArrayAnswer(
            made,
            _name_dimensions(plan),
            plan.labels,
            find_units(plan),
            reading.missing_chunks,
            reader.requests + reading.requests + len(plan.metadata),
            reader.bytes_read + reading.bytes_read,
            reading.etag,
        )

    def _join_sections(
        self, plan: ArrayPlan, reading: "_Reading", account: Account, _scope: Scope
    ) -> Callable[[], Result]:
        """Join the partial results of all sections. Returns what makes the result of them."""
        whole = plan.algebra.start(plan.selection.cells)
        for section in reading.read(range(plan.sections), account):
            join_section(plan, whole, section)
        return lambda: finish(plan, whole)

    def _find_quantiles(
        self, plan: ArrayPlan, reading: "_Reading", account: Account, scope: Scope
    ) -> Callable[[], Result]:
        """Find the elements that quantiles lie between. Returns what makes the result of them."""

        def read(sections: Sequence[int], taker: Taker, held: Account, passes_left: int) -> None:
            for _ in reading.read(sections, held, taker, passes_left):
                pass

        finder = QuantileFinder(
            plan,
            read,
            account,
            lambda: self._gate.account(account.total_bytes),
            self._limits.passes,
            self._fetchers.pool,
            scope.check,
        )
        found = finder.find()
        return lambda: finish_quantiles(plan, found)

    def _ensure_unchanged(self, plan: ArrayPlan) -> None:
        """Pass if the metadata of an array is of the version that was read.

        Raises:
            ObjectChanged: It is not.
            ActiveStorageError: The store does not answer.
        """
        map_side_by_side(self._fetchers.pool, _ensure_same, plan.located_metadata)


class _Reading:
    """The sections that a request has read, once or in several passes.

    Args:
        plan: The plan.
        fetchers: The threads that help.
        gate: Counts memory.
        scope: The deadline of the request.
        tell: Called with the plan after each section, and before the first; None for nobody.
        see: Told of each answer about an object of chunks.

    Attributes:
        passes: The number of passes that were begun.
        missing_chunks: The number of absent chunks.
        bytes_read: The bytes of chunks that were read, in all passes.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what one request has
        self, plan: ArrayPlan, fetchers: ChunkFetchers, gate: MemoryGate, scope: Scope, tell: Tell | None, see: See
    ) -> None:
        self.passes = 0
        self.missing_chunks = 0
        self.bytes_read = 0
        self._plan = plan
        self._fetchers = fetchers
        self._gate = gate
        self._scope = scope
        self._tell = tell
        self._see = see
        self._reducer: SectionReducer | None = None
        self._earlier_requests = 0
        self._versions: dict[int, bytes] = {}
        self._strength = min(
            (read_version(each.facts)[1] for each in plan.metadata if each.facts), default=Strength.STRONG
        )
        # The share of the work that was done before this section, and before this pass; and that of this pass.
        self._done = self._begin = self._share = 0.0
        self._pass_chunks = 0
        self._earlier_bytes = 0
        self.tell_done()

    @property
    def chunks_done(self) -> int:
        """The number of chunks that were reduced in this pass."""
        return self._reducer.chunks_done if self._reducer else 0

    @property
    def requests(self) -> int:
        """The number of requests for chunks, in all passes."""
        return self._earlier_requests + (self._reducer.requests if self._reducer else 0)

    @property
    def etag(self) -> ETag | None:
        """The ETag of the answer, once all sections were read."""
        if not self._strength:
            return None
        plan, digest = self._plan, hashlib.sha256(self._plan.digest.encode())
        for number in sorted(self._versions):
            digest.update(self._versions[number])
        digest.update(plan.reduction.reducer.encode())
        if plan.reduction.q:
            digest.update(f"{plan.reduction.q} {plan.reduction.method}".encode())
        return ETag(digest.hexdigest()[:32], is_weak=self._strength < Strength.STRONG)

    def read(
        self, sections: Sequence[int], account: Account, taker: Taker | None = None, passes_left: int = 1
    ) -> Iterator[SectionPartial]:
        """Read sections.

        Args:
            sections: Their numbers.
            account: Counts the memory.
            taker: Takes the elements; None to reduce them.
            passes_left: How many passes are expected, this one included; 0 for one that is not counted.

        Raises:
            ObjectChanged: A section is of another version than in an earlier pass.
            UnsupportedArray: It is read again, and the store tells nothing by which to compare versions.
            ActiveStorageError: A section cannot be read.
        """
        self._earlier_requests, self._earlier_bytes = self.requests, self.bytes_read
        self._begin, self._share = self._done, (1 - self._done) / passes_left if passes_left else 0.0
        self._pass_chunks = self._plan.count_chunks(sections)
        self._reducer = SectionReducer(self._plan, self._fetchers, self._gate, self._scope, taker, self._see)
        self.passes += passes_left > 0
        for number, section in enumerate(self._reducer.reduce(sections, account), start=1):
            self._note(section)
            yield section
            self._done = self._begin + self._share * number / len(sections)
            self.tell_done()

    def _note(self, section: SectionPartial) -> None:
        version = section.versions.digest()
        known = self._versions.setdefault(section.number, version)
        self._strength = min(self._strength, section.strength)
        self.bytes_read += section.bytes_read
        if known is version:
            self.missing_chunks += section.missing_chunks
        elif not section.strength:
            raise UnsupportedArray(
                self._plan.array.name, "chunks that are read in several passes and have neither an ETag nor a date"
            )
        elif known != version:
            raise ObjectChanged

    def find_progress(self) -> Progress:
        """How much is done now. Other threads may ask."""
        reducer, sections = self._reducer, int(self._done * self._plan.sections + _NEARLY)
        if reducer is None:
            return Progress(sections)
        chunks = self._begin + self._share * reducer.chunks_done / max(1, self._pass_chunks)
        return Progress(sections, int(chunks * self._plan.chunks + _NEARLY), self._earlier_bytes + reducer.bytes_read)

    def tell_done(self) -> None:
        """Tell how much is done."""
        if self._tell is not None:
            self._tell(self._plan, self.find_progress)


# The memory of an answer that is kept, in addition to its data, counts and units, and that of a label: at most what
# Python's objects take.
_KEPT_BYTES = 4096
_LABEL_BYTES = 128

# Rounding must not lose the last section.
_NEARLY = 1e-6

# The reducers whose result has the units of the elements.
_KEEP_UNITS = frozenset(
    {"max", "min", "mean", "sum", "std", "select", "first", "last", "range", "rms", "norm", "quantile", "median"}
)


# All elements of an array that lies in any container.
_AS_STORED = ArrayReduction("select", "netcdf", decode="none")


def _count_bytes(answer: ArrayAnswer) -> int:
    """The memory of an answer that is kept."""
    labels = _LABEL_BYTES * sum(map(len, answer.labels.values()))
    return _KEPT_BYTES + answer.result.memory_bytes + labels + len(answer.units or "")


def _ensure_same(pair: tuple[ChunkObject, int | None]) -> None:
    """Pass if an object of metadata, which lies in the file with this number, is of the version that was read."""
    chunk_object, file = pair
    try:
        if chunk_object.facts is not None:
            _ask_again(chunk_object.source, chunk_object.facts)
    except ActiveStorageError as error:
        raise in_file(error, file) from error.__cause__


def _ask_again(source: Source, facts: ObjectFacts) -> None:
    try:
        # One byte: a signature for GET cannot be used for HEAD.
        source.finish(source.open(ByteRange(0, 0), facts))
    except StoreProtocolError:
        # Simple web servers ignore ranges, which whole objects do not need.
        source.finish(source.open(None, facts))


def _describe_result(plan: ArrayPlan) -> ResultForm:
    shape = (*plan.leading, *plan.selection.cells, *plan.spec.trailing)
    return ResultForm(plan.result_dtype, shape, _name_dimensions(plan), plan.labels, find_units(plan))


def _name_dimensions(plan: ArrayPlan) -> tuple[str | None, ...]:
    """The names of the dimensions of the result. The leading dimension of ``stats`` has no name."""
    leading = ("quantile" if plan.is_quantile else None,) * len(plan.leading)
    trailing = ("bin",) * len(plan.spec.trailing)
    return (*leading, *plan.dimensions, *trailing)


def find_units(plan: ArrayPlan) -> str | None:
    """The units of the result; None if they are unknown, or not those of the elements."""
    return plan.decoding.units if plan.reduction.reducer in _KEEP_UNITS else None


def join_section(plan: ArrayPlan, whole: Partial[Any], section: SectionPartial) -> None:
    """Join the partial result of a section to that of the sections before it."""
    for found in section.pieces:
        plan.algebra.join_quietly(whole, found.cells, found.partial)


def finish(plan: ArrayPlan, whole: Partial[Any]) -> Result:
    """The result of all sections."""
    reducer = plan.reduction.reducer
    reduced = finish_packed(plan.algebra, whole, reducer, plan.packing)
    return Result.of_numbers(reducer, reduced.values, reduced.counts)

"""The engine: from a spec and a source to a result, for every door. The stages are in ``Engine._reduce``, in order.

The engine receives everything that it works with. It knows neither the caller nor the store.
"""

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from active_storage.algebra import Algebra, Partial, make_algebra
from active_storage.errors import InvalidArgument, InvalidRange, TornRead
from active_storage.model.ranges import ByteRange
from active_storage.model.spec import ReductionSpec
from handler.codecs.base import Budget
from handler.codecs.chain import open_decoded
from handler.engine.blocks import BlockReader, Buffers
from handler.engine.executor import Executor, Fetchers, Resources
from handler.engine.extent import Extent
from handler.engine.memory import Account, MemoryGate
from handler.engine.result import Result
from handler.engine.tasks import Task, TaskSource, cut
from handler.kernels.missing import Marker
from handler.kernels.reducer import Reducer, state_bytes
from handler.kernels.sizes import Sizes
from handler.kernels.walk import Walk
from handler.scope import Scope
from handler.stores.kept import Kept
from handler.stores.source import ObjectFacts, Source, Stream

_Asked = TypeVar("_Asked")

# The memory of a result that is kept, in addition to its data, its counts and the texts of its facts: measured.
_KEPT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Reduction:
    """A result, and the store's facts of the object that was reduced."""

    result: Result
    facts: ObjectFacts


@dataclass(frozen=True, slots=True)
class _Elements:
    """The elements to walk through.

    Attributes:
        spec: The reduction, which says how the elements are stored.
        reader: Reads the elements front to back.
        shape: The shape of the array.
        first: The element at the stream's first byte; None for decoded data.
    """

    spec: ReductionSpec
    reader: BlockReader
    shape: tuple[int, ...]
    first: int | None = None

    def origin(self, source: Source, facts: ObjectFacts) -> TaskSource | None:
        """Where tasks can read ranges of them; None if they come from one stream only."""
        return None if self.first is None else TaskSource(source, facts, self.spec, self.first)


class Engine:
    """Makes the reductions of a process.

    Args:
        gate: Counts the memory that requests hold.
        fetchers: The threads that read ranges of large objects.
        sizes: The sizes of blocks and tasks.
        kept: Keeps results for later requests; None to keep nothing.

    Attributes:
        gate: The same.
        kept: The same.
    """

    def __init__(
        self,
        gate: MemoryGate,
        fetchers: Fetchers | None = None,
        sizes: Sizes | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.gate = gate
        self.kept = kept or Kept(0, gate)
        self.sizes = sizes or Sizes()
        self.fetchers = fetchers or Fetchers()
        self.resources = Resources(gate, Buffers(self.sizes.block_bytes))

    def reduce(self, spec: ReductionSpec, source: Source, scope: Scope) -> Reduction:
        """Reduce the bytes of the source while they stream, or find a result of the same version that was kept.

        If ranges that are read in parallel are from two versions of the object, the reduction starts over, once.

        Raises:
            ActiveStorageError: There is no result that can be trusted.
        """
        # Equal specs have equal results: they say everything that decides the result of an object's bytes.
        key = (Reduction, spec, source.identity)
        kept: Reduction | None = self.kept.find(key)
        try:
            with suppress(TornRead):
                return self._keep(key, self._reduce(spec, source, scope, kept))
            scope.record.add(started_over=True)
            return self._keep(key, self._reduce(spec, source, scope))
        finally:
            scope.record.add(bytes_read=source.bytes_read)

    def describe(self, spec: ReductionSpec, source: Source, scope: Scope) -> Reduction:
        """The result of ``reduce`` without its data, from the store's facts of the object.

        Raises:
            ActiveStorageError: ``reduce`` would fail, as far as the facts tell.
        """
        with scope.record.stage("open"):
            extent = Extent.of(spec, source.takes_range, self.sizes)
            facts = _ask(extent, source.head)
        facts.ensure_plain(spec.compression)
        first, last = extent.locate(facts.start, facts.stop, facts.total)
        if spec.shape is None and spec.steps:
            raise InvalidArgument("shape", "is required to describe the result of encoded data without reading it")
        walk = Walk.of(spec, _shape_of(spec, last - first), self.sizes)
        return Reduction(Result.describe(spec, walk), facts)

    def _keep(self, key: tuple[type, ReductionSpec, str | None], reduction: Reduction) -> Reduction:
        """Keep a reduction if it may be found by others, whom the store allows to read the same version."""
        result, facts, (_, spec, identity) = reduction.result, reduction.facts, key
        if self.kept.limit_bytes and identity is not None and facts.can_be_kept:
            texts = len(identity) + facts.header_bytes + (0 if spec.missing is None else 64 * len(spec.missing.values))
            size = _KEPT_BYTES + texts + result.memory_bytes
            if size <= self.kept.largest_result_bytes:
                self.kept.keep(key, reduction, size)
        return reduction

    def _reduce(self, spec: ReductionSpec, source: Source, scope: Scope, kept: Reduction | None = None) -> Reduction:
        stage, algebra = scope.record.stage, make_algebra(spec)
        with self.resources.gate.account() as account, self.fetchers:
            with stage("admit"):
                account.hold(self.sizes.block_bytes)
            with stage("open"):
                extent = Extent.of(spec, source.takes_range, self.sizes)
                stream = _ask(extent, source.open if kept is None else partial(source.open_unless, kept.facts))
            if stream is None:
                assert kept is not None  # noqa: S101  # open gives a stream
                scope.record.add(kept=True)
                return kept
            with stream:
                with stage("decode"):
                    elements = self._decode(extent, stream, account, scope)
                with closing(elements.reader):
                    with stage("reduce"):
                        walk = Walk.of(spec, elements.shape, self.sizes)
                        account.hold(state_bytes(algebra, spec.leading, walk.cells))
                        tasks = cut(walk, elements.origin(source, stream.facts))
                        marker = Marker(spec.missing, algebra.dtype) if spec.missing else None
                        executor = Executor(partial(Reducer, algebra, marker), self.fetchers, scope, self.resources)
                        whole = _join(algebra, walk, executor.run(tasks, elements.reader))
                        if spec.steps:
                            elements.reader.finish()
                    with stage("result"):
                        return Reduction(Result.of(spec, walk, algebra.finish_partial(whole)), stream.facts)

    def _decode(self, extent: Extent, stream: Stream, account: Account, scope: Scope) -> _Elements:
        spec, facts = extent.spec, stream.facts
        facts.ensure_plain(spec.compression)
        start, stop = extent.locate(facts.start, facts.stop, facts.total)
        if not spec.steps:
            reader = BlockReader(stream, spec, start, stop, self.resources.buffers)
            return _Elements(spec, reader, _shape_of(spec, stop - start), start)
        budget = Budget(self.resources.gate.request_limit_bytes, account.hold, scope.check)
        decoded, count = open_decoded(stream, stop - start, spec, budget)
        reader = BlockReader(decoded, spec, 0, count, self.resources.buffers)
        return _Elements(spec, reader, _shape_of(spec, count))


def _join(algebra: Algebra[Any], walk: Walk, partials: Iterable[tuple[Task, Partial[Any]]]) -> Partial[Any]:
    """The result of all tasks of a walk, joined in their order."""
    whole = None
    for task, partial_result in partials:
        if task.stretch is None:
            return partial_result
        whole = whole or algebra.start(walk.cells)
        algebra.join_quietly(whole, task.cells, partial_result)
    return whole or algebra.start(walk.cells)


def _ask(extent: Extent, ask: Callable[[ByteRange | None], _Asked]) -> _Asked:
    """Call ``ask`` with the range of an extent. The error for a range outside the object names the offset."""
    try:
        return ask(extent.byte_range)
    except InvalidRange as outside:
        if extent.starts_at_offset and extent.byte_range is not None:
            raise InvalidArgument("offset", f"lies outside the object, which has {outside.length} bytes") from None
        raise


def _shape_of(spec: ReductionSpec, elements: int) -> tuple[int, ...]:
    """The shape of data with this number of elements."""
    return (elements,) if spec.shape is None else spec.shape

"""A spec and a source become a result: the one way, whatever the door. Read it downwards.

It is given everything that it works with, and knows neither who asked nor where the bytes come from.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from handler.core.blocks import BLOCK_BYTES, BlockReader
from handler.core.codecs.base import Budget
from handler.core.decode import open_decoded
from handler.core.extent import Extent
from handler.core.result import Result
from handler.core.select import Plan
from handler.errors import InvalidArgument, InvalidRange, NothingToReduce, PartsDiffer
from handler.kernels.reducer import state_bytes
from handler.logs import note
from handler.memory import Account, MemoryGate
from handler.parts import Helpers, OpenSpan, reduce_parts
from handler.spec import REDUCERS, ByteRange, ReductionSpec
from handler.upstream.source import ObjectFacts, Source, Stream

_Given = TypeVar("_Given")


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and the object that it is of."""

    result: Result
    facts: ObjectFacts


@dataclass(frozen=True, slots=True)
class _Data:
    """The elements to walk through: a reader of them, and the shape that they are an array of.

    Attributes:
        first: The element at the stream's first byte; None where they were decoded.
    """

    reader: BlockReader
    shape: tuple[int, ...]
    first: int | None = None


def run(spec: ReductionSpec, source: Source, gate: MemoryGate, helpers: Helpers) -> Answer:
    """Reduce the bytes of the source while they stream.

    Where parts that are read side by side turn out to be of two objects, all of it starts over, once. The blocks of
    helpers, who help one request at a time, are not counted at the gate.

    Raises:
        ActiveStorageError: There is no result, or none that can be trusted.
    """
    try:
        with suppress(PartsDiffer):
            return _reduce(spec, source, gate, helpers)
        note(started_over=True)
        return _reduce(spec, source, gate, helpers)
    finally:
        note(bytes_read=source.bytes_read)


def describe(spec: ReductionSpec, source: Source) -> Answer:
    """What ``run`` would give, all but the data, from what the store says of the object.

    Raises:
        ActiveStorageError: ``run`` would have no result, as far as can be told without the bytes.
    """
    extent = Extent.of(spec, source.takes_range)
    facts = _ask(extent, source.head)
    facts.ensure_plain(spec.codec_id)
    first, last = extent.locate(facts.start, facts.stop, facts.total)
    if spec.shape is None and spec.is_encoded:
        raise InvalidArgument("shape", "is needed to tell what encoded data is without reading it")
    return Answer(Result.describe(spec, Plan.of(spec, _shape_of(spec, last - first))), facts)


def ensure_not_empty(spec: ReductionSpec, result: Result) -> None:
    """Pass unless the result is a single value of no elements, of a reducer that has no such value.

    For doors whose replies cannot say that there is nothing.

    Raises:
        NothingToReduce: It is the maximum, say, of no elements.
    """
    if REDUCERS[spec.reducer].needs_elements and result.empty_total and not result.shape:
        raise NothingToReduce(f"there are no elements to take the {spec.reducer} of")


def _reduce(spec: ReductionSpec, source: Source, gate: MemoryGate, helpers: Helpers) -> Answer:
    stage = "admit"
    try:
        with gate.account() as account, helpers:
            account.hold(BLOCK_BYTES)
            stage = "open"
            extent = Extent.of(spec, source.takes_range)
            with _ask(extent, source.open) as stream:
                stage = "decode"
                data = _decode(extent, stream, account, gate)
                with closing(data.reader):
                    stage = "reduce"
                    plan = Plan.of(spec, data.shape)
                    account.hold(state_bytes(spec, plan))
                    open_span = _bring_spans(spec, data.first, source, stream.facts)
                    reduced = reduce_parts(spec, plan, data.reader, open_span, helpers)
                    if spec.is_encoded:
                        data.reader.finish()
                    stage = "result"
                    return Answer(Result.of(spec, plan, reduced), stream.facts)
    except Exception:
        note(stage=stage)
        raise


def _ask(extent: Extent, ask: Callable[[ByteRange | None], _Given]) -> _Given:
    """What a source, asked in one of its ways, gives for the range of an extent; an offset outside is named."""
    try:
        return ask(extent.byte_range)
    except InvalidRange as outside:
        if extent.is_placed and extent.byte_range is not None:
            raise InvalidArgument("offset", f"lies outside the object, which has {outside.length} bytes") from None
        raise


def _decode(extent: Extent, stream: Stream, account: Account, gate: MemoryGate) -> _Data:
    spec, facts = extent.spec, stream.facts
    facts.ensure_plain(spec.codec_id)
    start, stop = extent.locate(facts.start, facts.stop, facts.total)
    if not spec.is_encoded:
        return _Data(BlockReader(stream, spec, start, stop), _shape_of(spec, stop - start), start)
    stored_bytes = stop - start
    budget = Budget(gate.request_limit_bytes, account.hold, stream.ensure_wanted)
    decoded, elements = open_decoded(stream, stored_bytes, spec, budget)
    return _Data(BlockReader(decoded, spec, 0, elements), _shape_of(spec, elements))


def _shape_of(spec: ReductionSpec, elements: int) -> tuple[int, ...]:
    """The shape of the data, which has so many elements."""
    return (elements,) if spec.shape is None else spec.shape


@dataclass(frozen=True, slots=True)
class _Spans:
    """Brings any span of the elements, of the same object as the facts, which begin at the element ``first``."""

    spec: ReductionSpec
    first: int
    source: Source
    facts: ObjectFacts

    @contextmanager
    def __call__(self, start: int, stop: int) -> Iterator[BlockReader]:
        facts = self.facts
        begin, end = (facts.start + (element - self.first) * self.spec.element_bytes for element in (start, stop))
        with (
            self.source.open(ByteRange(begin, end - 1), same_as=facts) as stream,
            closing(BlockReader(stream, self.spec, start, stop)) as reader,
        ):
            yield reader


def _bring_spans(spec: ReductionSpec, first: int | None, source: Source, facts: ObjectFacts) -> OpenSpan | None:
    """What brings spans; None where nothing can."""
    if first is None or facts.strong_etag is None or not source.takes_range:
        return None
    return _Spans(spec, first, source, facts)

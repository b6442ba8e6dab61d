"""Tasks: units of work that can be reduced side by side, and are joined in their order.

A task has everything that is needed to reduce it: where its bytes come from, how they become elements, the walk through
the elements, and the cells of the result. A large object is cut into tasks here; a small one is a single task. Where
the cuts lie depends on the array alone, and not on which thread reads what: same bytes, same bits.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from active_storage.algebra import Index
from active_storage.model.ranges import ByteRange
from active_storage.model.spec import ReductionSpec
from handler.engine.blocks import BlockReader, Buffers
from handler.kernels.walk import Stretch, Walk
from handler.stores.source import ObjectFacts, Source


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Where the bytes of tasks come from, and how they become elements.

    Attributes:
        source: The object.
        facts: The store's facts of it. Later answers must agree with them.
        spec: How the elements are stored.
        first: The element at the first byte of ``facts``.
    """

    source: Source
    facts: ObjectFacts
    spec: ReductionSpec
    first: int

    @property
    def can_be_read_anywhere(self) -> bool:
        """Whether any range can be asked for, and is certain to be of the same version of the object."""
        return self.source.takes_range and self.facts.strong_etag is not None

    def byte_range(self, start: int, stop: int) -> ByteRange:
        """The bytes of the elements from ``start`` to before ``stop``."""
        size = self.spec.element_bytes
        begin, end = (self.facts.start + (element - self.first) * size for element in (start, stop))
        return ByteRange(begin, end - 1)


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work.

    Attributes:
        number: Its number in the order of joining, from 0.
        walk: The walk through the array.
        stretch: The stretch of the walk to reduce; None for the whole walk.
        cells: The cells of the result that it belongs to; () for all.
        origin: Where its bytes can be read as a range of their own; None if only the request's stream has them.
    """

    number: int
    walk: Walk
    stretch: Stretch | None = None
    cells: Index = ()
    origin: TaskSource | None = None


def cut(walk: Walk, origin: TaskSource | None) -> Sequence[Task]:
    """The tasks of a walk through one object: several for a large object that is reduced to one value, else one."""
    stretches = walk.cut()
    if not stretches:
        return [Task(0, walk)]
    apart = origin if origin and origin.can_be_read_anywhere else None
    return [Task(number, walk, stretch, (), apart) for number, stretch in enumerate(stretches)]


@contextmanager
def open_run(tasks: Sequence[Task], buffers: Buffers) -> Iterator[BlockReader]:
    """A reader of the elements of neighbouring tasks, by one request to the store.

    Raises:
        ObjectChanged: The object was replaced.
        ActiveStorageError: The store does not deliver the bytes.
    """
    origin, walk = tasks[0].origin, tasks[0].walk
    assert origin is not None  # noqa: S101  # tasks without an origin are not read by fetchers
    first, last = tasks[0].stretch, tasks[-1].stretch
    assert first is not None and last is not None  # noqa: S101, PT018  # whole walks are not read by fetchers
    start, stop = walk.span(range(first.start, last.stop))
    with (
        origin.source.open(origin.byte_range(start, stop), expected=origin.facts) as stream,
        closing(BlockReader(stream, origin.spec, start, stop, buffers)) as reader,
    ):
        yield reader

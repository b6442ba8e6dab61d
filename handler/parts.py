"""The parts of a large object, read side by side while nobody else needs the processor.

A request reads its object front to back as one stream. Where it is the only one of its process, and either does little
but wait for the store or has a processor to itself that cannot keep up with it, helpers take parts from the back, each
as a range of its own, until the two meet. Where the cuts lie depends on the array alone, and partial results join in
the order of the parts, whoever read them: same bytes, same bits.

A helper saves time and has no say. Whatever a store does to one, its parts are left to the request's own stream, which
finds out itself what is wrong with them; one that brings nothing is waited for no longer than the request took so far.
Only where it meets another object than the stream's, which the store no longer has, are they no parts of one whole.
Where ranges come from is not known here.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

from active_storage.algebra import Partial, Reduced
from handler.affinity import roam
from handler.core.blocks import BlockReader
from handler.core.select import Part, Plan
from handler.errors import ActiveStorageError, ObjectChanged, PartsDiffer
from handler.kernels.reducer import Reducer
from handler.spec import ReductionSpec

# A store that shares its speed out over connections gives three times as much to three.
HELPERS = 2

# How busy a stream keeps its thread where helpers pay: hardly, since it waits for a distant store (S3: a twentieth), or
# mostly, since the store sends faster than one thread takes, and nobody else wants that thread's processor. In between
# it takes turns with others, such as a store on the same machine (SeaweedFS: a third), and helpers would want theirs.
_HARDLY_BUSY, _MOSTLY_BUSY = 0.2, 0.75

# A reader of the elements from the first to before the second number, that others than the request's own stream bring.
OpenSpan = Callable[[int, int], AbstractContextManager[BlockReader]]


class Helpers:
    """The threads that help, shared by the requests of a process. They start with the first who needs them.

    A context manager that any number may be in at a time: each counts as a request.

    Args:
        count: How many; 0 for none.
        always: Whether they come however busy a stream is.
    """

    def __init__(self, count: int = HELPERS, always: bool = False) -> None:
        self.count = count
        self._always = always
        # They are for cores that are idle, whichever the thread that starts them keeps to.
        self._pool = ThreadPoolExecutor(count or 1, thread_name_prefix="helper", initializer=roam)
        self._requests = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._requests += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._requests -= 1

    @property
    def are_free(self) -> bool:
        """Whether there is one request only, so that helping it takes nothing from another."""
        return self._requests == 1

    def pay(self, worked_seconds: float, all_seconds: float) -> bool:
        """Whether a stream is worth helping, by what its first part took of the processor and in all."""
        is_between = _HARDLY_BUSY * all_seconds < worked_seconds < _MOSTLY_BUSY * all_seconds
        return self.are_free and (self._always or not is_between)

    def call(self, task: Callable[[], None]) -> list[Future[None]]:
        """Have every helper do the same task."""
        return [self._pool.submit(task) for _ in range(self.count)]


def reduce_parts(
    spec: ReductionSpec, plan: Plan, reader: BlockReader, open_span: OpenSpan | None, helpers: Helpers
) -> Reduced:
    """The reduction of everything that the reader brings.

    Args:
        spec: What to compute.
        plan: The walk.
        reader: The request's own, of all the elements.
        open_span: Brings others, for helpers; None where there can be none.
        helpers: Who helps.

    Raises:
        PartsDiffer: A helper met another object than the request's own reader is of.
        ActiveStorageError: The request's own reader failed.
    """
    total = Reducer(spec, plan)
    parts = plan.cut()
    if not parts:
        total.consume(reader.read, plan.walk())
        return total.result()
    work, called = _Work(spec, plan, parts), list[Future[None]]()
    started, worked = time.monotonic(), time.thread_time()
    try:
        while (number := work.take_first()) is not None:
            work.reduce(number, reader)
            # Not before a part has come: what a store only promises is worth no other request. And after each, since a
            # single one says little, and others who were in the way may be gone.
            if not called and open_span and helpers.pay(time.thread_time() - worked, time.monotonic() - started):
                called = helpers.call(partial(_help_out, work, open_span, helpers))
        _await(called, time.monotonic() - started)
        if work.is_torn:
            raise PartsDiffer
        for number in range(len(parts)):
            if number not in work.done:
                work.reduce(number, reader)
            total.join(work.done.pop(number))
    finally:
        work.end()
    return total.result()


class _Work:
    """The parts of one reduction: one reader takes them from the front, helpers from the back.

    Attributes:
        done: What is known of a part, by its number.
        is_over: Whether nobody waits for parts any more.
        is_torn: Whether a helper met another object.
    """

    def __init__(self, spec: ReductionSpec, plan: Plan, parts: Sequence[Part]) -> None:
        self.done: dict[int, Partial[Any]] = {}
        self.is_over = False
        self.is_torn = False
        self._spec = spec
        self._plan = plan
        self._parts = parts
        self._open = range(len(parts))
        self._lock = threading.Lock()

    def take_first(self) -> int | None:
        """The next part; None where all are taken."""
        with self._lock:
            first, self._open = self._open[:1], self._open[1:]
        return first[0] if first else None

    def take_last(self, readers: int) -> range:
        """The last parts, so many that as many readers end at the same time; none where all are taken."""
        with self._lock:
            place = len(self._open) - -(-len(self._open) // (2 * readers))
            last, self._open = self._open[place:], self._open[:place]
        return last

    def tear(self) -> None:
        """The object was replaced, so that the parts will never be one whole: all readers end with theirs."""
        self.is_torn = True
        self.end()

    def end(self) -> None:
        """Nobody waits for parts any more: helpers end with the one that they are at."""
        with self._lock:
            self.is_over, self._open = True, range(0)

    def span(self, numbers: range) -> tuple[int, int]:
        """The first element of these parts, and the one after their last."""
        return self._plan.span(range(self._parts[numbers[0]].start, self._parts[numbers[-1]].stop))

    def reduce(self, number: int, reader: BlockReader) -> None:
        """Find out about a part, which the reader has not passed yet."""
        reducer = Reducer(self._spec, self._plan)
        reducer.consume(reader.read, self._plan.walk(self._parts[number]))
        self.done[number] = reducer.partial


def _await(called: Sequence[Future[None]], most_seconds: float) -> None:
    """Wait for the helpers who have begun, and pass on what none should have raised."""
    # Those who have not are still with the store of another request, and nothing is left for them here.
    begun = [helper for helper in called if not helper.cancel()]
    for helper in wait(begun, most_seconds).done:
        helper.result()


def _help_out(work: _Work, open_span: OpenSpan, helpers: Helpers) -> None:
    while helpers.are_free and (numbers := work.take_last(helpers.count + 1)):
        try:
            with open_span(*work.span(numbers)) as reader:
                for number in numbers:
                    if work.is_over:
                        return
                    work.reduce(number, reader)
        except ObjectChanged:
            work.tear()
        except ActiveStorageError:
            return

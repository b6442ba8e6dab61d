"""The executor: reduces tasks, serially or with the help of fetchers, and gives their partial results in order.

A request reads its object front to back as one stream. Fetchers help if the request is the only one of its process, and
either mostly waits for the store, or keeps one processor busy while the store could send faster. They take runs of
tasks from the back, and read each run as a range of its own, until they meet the stream. Partial results are joined in
the order of the tasks, whichever thread made them: same bytes, same bits.

A fetcher can save time, and cannot fail a request. If a fetcher gets an error, its tasks are left to the request's own
stream, which gets the error itself if it persists. The request waits for a slow fetcher no longer than it took so far.
There is one exception: if a fetcher reads another version of the object, the partial results cannot be joined.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from active_storage.algebra import Partial
from active_storage.errors import ActiveStorageError, ObjectChanged, TornRead
from handler.affinity import roam
from handler.engine.blocks import BlockReader, Buffers
from handler.engine.memory import MemoryGate
from handler.engine.tasks import Task, open_run
from handler.kernels.reducer import Reducer
from handler.kernels.walk import Walk
from handler.scope import Scope

# A store that divides its speed among connections is three times as fast with three.
FETCHERS = 2

# Fetchers save time if the stream's thread is hardly busy, since it waits for a distant store (S3: busy a twentieth of
# the time), or mostly busy, since the store sends faster than one thread can reduce. In between, the thread shares its
# processor with others, such as a store on the same machine (SeaweedFS: a third), and fetchers would take from them.
_HARDLY_BUSY, _MOSTLY_BUSY = 0.2, 0.75


class Resources(NamedTuple):
    """What all requests of a process use: the gate that counts memory, and the memory of blocks."""

    gate: MemoryGate
    buffers: Buffers


class Fetchers:
    """The threads that read ranges of large objects, shared by the requests of a process. They start when first used.

    A context manager, which every request enters: it counts the requests.

    Args:
        count: The number of threads; 0 for no help.
        always: Whether they help every stream, busy or not.
    """

    def __init__(self, count: int = FETCHERS, always: bool = False) -> None:
        self.count = count
        self._always = always
        # Fetchers use idle cores, also if the thread that starts them keeps to one core.
        self._pool = ThreadPoolExecutor(count or 1, thread_name_prefix="fetcher", initializer=roam)
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
        """Whether there is one request only, so that helping it slows down no other."""
        return self._requests == 1

    def pay(self, worked_seconds: float, all_seconds: float) -> bool:
        """Whether helping a stream saves time, by the processor time and the time of its tasks so far."""
        is_between = _HARDLY_BUSY * all_seconds < worked_seconds < _MOSTLY_BUSY * all_seconds
        return self.are_free and (self._always or not is_between)

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Run a call on one of the threads."""
        return self._pool.submit(call)


class Executor:
    """Reduces the tasks of one request.

    Args:
        start: Makes the reducer of a walk.
        fetchers: The threads that may help.
        scope: The deadline of the request.
        resources: The memory of blocks, and the gate that counts it.
    """

    def __init__(
        self, start: Callable[[Walk], Reducer], fetchers: Fetchers, scope: Scope, resources: Resources
    ) -> None:
        self._start = start
        self._fetchers = fetchers
        self._scope = scope
        self._resources = resources

    def run(self, tasks: Sequence[Task], reader: BlockReader) -> Iterator[tuple[Task, Partial[Any]]]:
        """The partial result of each task, in the order of the tasks.

        Args:
            tasks: What to reduce.
            reader: The request's own reader, of all elements.

        Raises:
            TornRead: A fetcher read another version of the object than the request's own reader.
            ActiveStorageError: The request's own reader failed, its deadline has passed, or the caller has gone.
        """
        if len(tasks) == 1:
            yield tasks[0], self._reduce(tasks[0], reader)
            return
        work = _Work(tasks)
        try:
            self._reduce_all(work, reader)
            for task in tasks:
                yield task, work.take_done(task) or self._reduce(task, reader)
        finally:
            work.end()

    def help_out(self, work: "_Work") -> None:
        """Take runs of tasks from the back while the request is the only one."""
        try:
            with self._resources.gate.account() as account:
                account.hold(self._resources.buffers.block_bytes)
                while self._fetchers.are_free and (tasks := work.take_last(self._fetchers.count + 1)):
                    self._fetch(work, tasks)
        except ObjectChanged:
            work.tear()
        except ActiveStorageError:
            return

    def _fetch(self, work: "_Work", tasks: Sequence[Task]) -> None:
        with open_run(tasks, self._resources.buffers) as reader:
            for task in tasks:
                if work.is_over:
                    return
                work.done[task.number] = self._reduce(task, reader)

    def _reduce_all(self, work: "_Work", reader: BlockReader) -> None:
        """Reduce from the front until all tasks are taken, and call fetchers if that saves time."""
        called = list[Future[None]]()
        started, worked = time.monotonic(), time.thread_time()
        while (task := work.take_first()) is not None:
            work.done[task.number] = self._reduce(task, reader)
            # After the first task, when the store has proved that it delivers. And after each later one, since a single
            # measurement says little, and other requests may have ended.
            if called or task.origin is None:
                continue
            if self._fetchers.pay(time.thread_time() - worked, time.monotonic() - started):
                called = [self._fetchers.submit(partial(self.help_out, work)) for _ in range(self._fetchers.count)]
        _await(called, time.monotonic() - started)
        if work.is_torn:
            raise TornRead

    def _reduce(self, task: Task, reader: BlockReader) -> Partial[Any]:
        reducer = self._start(task.walk)
        reducer.consume(reader.read, task.walk.stops(task.stretch), self._scope.check)
        return reducer.partial


class _Work:
    """The tasks of one request: one reader takes them from the front, fetchers from the back.

    Attributes:
        done: The partial results so far, by the number of the task.
        is_over: Whether no more results are needed.
        is_torn: Whether a fetcher read another version of the object.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.done: dict[int, Partial[Any]] = {}
        self.is_over = False
        self.is_torn = False
        self._open = tasks
        self._lock = threading.Lock()

    def take_first(self) -> Task | None:
        """The next task; None if all are taken."""
        with self._lock:
            first, self._open = self._open[:1], self._open[1:]
        return first[0] if first else None

    def take_last(self, readers: int) -> Sequence[Task]:
        """The last tasks, as many as let all readers end at about the same time; empty if all are taken."""
        with self._lock:
            split = len(self._open) - -(-len(self._open) // (2 * readers))
            last, self._open = self._open[split:], self._open[:split]
        return last

    def take_done(self, task: Task) -> Partial[Any] | None:
        """The partial result of a task; None if it is not done."""
        return self.done.pop(task.number, None)

    def tear(self) -> None:
        """End the work because the object was replaced: its partial results cannot be joined."""
        self.is_torn = True
        self.end()

    def end(self) -> None:
        """End the work: each fetcher stops after its current task."""
        with self._lock:
            self.is_over, self._open = True, ()


def _await(called: Sequence[Future[None]], most_seconds: float) -> None:
    """Wait for the fetchers that have begun. An exception in a fetcher is a fault of this service, and is raised."""
    # Fetchers that have not begun are busy for another request, and no task is left for them.
    begun = [fetcher for fetcher in called if not fetcher.cancel()]
    for fetcher in wait(begun, most_seconds).done:
        fetcher.result()

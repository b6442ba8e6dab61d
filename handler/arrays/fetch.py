"""Fetching: from the places of chunks to their stored bytes, by as few requests as pay.

Neighbours in one object become one ranged request (a *run*). The object is always asked for in the version that the
index was made for; where the index names none, the first answer of the request counts.
"""

import math
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from active_storage.errors import ActiveStorageError, InvalidRange, StoreError, UndecodableData
from active_storage.model.ranges import ByteRange
from handler.codecs.readable import Readable
from handler.containers.reader import ensure_comparable, is_absent
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, ChunkObject, Numbers, Places
from handler.stores.source import UNKNOWN_BYTES, ObjectFacts, Source, Stream

Flags = npt.NDArray[np.bool_]

# Reading a gap costs less than another request, up to 0.5 to 1 MiB for a store 20 ms away; this is cautious.
_MOST_GAP_BYTES = 128 << 10

# Long enough that a request's fixed cost is small; short enough that several fetchers share the work.
MOST_RUN_BYTES = 16 << 20

# One thread decodes a run, and decoding takes ten times as long as fetching: shorter runs keep more cores busy.
MOST_ENCODED_RUN_BYTES = 4 << 20

# The most bytes of a run for each byte that is needed.
_MOST_OVER_READ = 1.25

_SCRATCH_BYTES = 64 << 10

# How many runs of a distant store are asked for while one is read: a shard of 20 chunks of 64 KiB is decoded in a tenth
# of a round trip of 20 ms.
_MOST_AHEAD = 3

_WHY_DOUBTFUL = "the store's document about the error is cut off or damaged, so that it is not certain what is absent"

_WHY_FORBIDDEN = (
    "S3 answers so for an absent object too, unless s3:ListBucket is allowed; absent=403 counts such chunks as absent"
)


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks that are read by one request.

    Attributes:
        rows: Their rows in ``Places``, in the order of their offsets.
        start: The first byte; 0 for a whole object.
        stop: The byte after the last; ``WHOLE_OBJECT`` for a whole object.
    """

    rows: Sequence[int]
    start: int
    stop: int


def cut_runs(places: Places, rows: range, most_bytes: int = MOST_RUN_BYTES, most_rows: int = sys.maxsize) -> list[Run]:
    """The runs of some rows, which are neighbours in the order of the grid. Absent and inline chunks need none.

    A run goes on while the next row lies behind the last one in the same object, so that the chunks come in the order
    in which they are reduced.

    Args:
        places: The places of the chunks.
        rows: The rows, one after the other.
        most_bytes: The largest run of several chunks.
        most_rows: A run ends before each row whose number is a multiple of this.
    """
    read, starts = _find_runs(places, rows, most_bytes, most_rows)
    cuts = np.append(starts, len(read))
    first, last = read[starts], read[cuts[1:] - 1]
    is_whole = places.sizes[first] == WHOLE_OBJECT
    begins = np.where(is_whole, 0, places.offsets[first])
    ends = np.where(is_whole, WHOLE_OBJECT, places.offsets[last] + places.sizes[last])
    listed, edges = read.tolist(), pairwise(cuts.tolist())
    columns = zip(edges, begins.tolist(), ends.tolist(), strict=True)
    return [Run(listed[start:stop], begin, end) for (start, stop), begin, end in columns]


def count_runs(places: Places, most_bytes: int = MOST_RUN_BYTES, most_rows: int = sys.maxsize) -> int:
    """The number of runs of all rows: ``cut_runs`` without making them. A million chunks take 0.03 to 0.2 s."""
    _, starts = _find_runs(places, range(len(places.sizes)), most_bytes, most_rows)
    return len(starts)


def _find_runs(places: Places, rows: range, most_bytes: int, most_rows: int) -> tuple[Numbers, Numbers]:
    """The rows that are read, and where runs start among them; see ``cut_runs``."""
    read = np.arange(rows.start, rows.stop)
    is_read = places.sizes[read] != ABSENT
    if places.inline:
        is_read &= ~np.isin(read, list(places.inline))
    read = read[is_read]
    sizes, offsets, owners = places.sizes[read], places.offsets[read], places.object_numbers[read]
    is_whole, groups, stops = sizes == WHOLE_OBJECT, read // most_rows, offsets + sizes
    gaps = offsets[1:] - stops[:-1]
    starts = np.ones(len(read), bool)
    # Neighbours that no run can hold, whatever lies before them.
    starts[1:] = is_whole[1:] | is_whole[:-1] | (owners[1:] != owners[:-1]) | (groups[1:] != groups[:-1])
    starts[1:] |= (gaps < 0) | (gaps > _MOST_GAP_BYTES) | (stops[1:] - offsets[:-1] > most_bytes)
    # For each row, the first one of its stretch of neighbours that one run may hold. Whether it does depends on all.
    first = np.maximum.accumulate(np.where(starts, np.arange(len(read)), 0))
    before = np.cumsum(sizes) - sizes
    spans, used = stops - offsets[first], before + sizes - before[first]
    is_over = ~starts & ((spans > most_bytes) | (spans > _MOST_OVER_READ * used))
    if is_over.any():
        has_over = np.zeros(len(read), bool)
        has_over[first[is_over]] = True
        crowded = np.flatnonzero(has_over[first])
        starts[crowded] = _cut_crowded(starts[crowded], offsets[crowded], sizes[crowded], most_bytes)
    return read, np.flatnonzero(starts)


def _cut_crowded(starts: Flags, offsets: Numbers, sizes: Numbers, most_bytes: int) -> list[bool]:
    """Where runs start in stretches of neighbours that one run cannot hold: each run takes what it can.

    Args:
        starts: Where the stretches start.
        offsets: The first byte of each chunk.
        sizes: The size of each chunk.
        most_bytes: The largest run of several chunks.
    """
    found = []
    begin = used = 0
    for is_start, offset, size in zip(starts.tolist(), offsets.tolist(), sizes.tolist(), strict=True):
        span, used = offset + size - begin, used + size
        is_new = is_start or span > most_bytes or span > _MOST_OVER_READ * used
        if is_new:
            begin, used = offset, size
        found.append(is_new)
    return found


def split_run(run: Run, row: int, places: Places) -> tuple[Run, Run]:
    """The two runs of the rows before ``row``, and of ``row`` and those after it. Neither is empty."""
    place = bisect_left(run.rows, row)
    head, tail = run.rows[:place], run.rows[place:]
    stop = int(places.offsets[head[-1]] + places.sizes[head[-1]])
    return Run(head, run.start, stop), Run(tail, int(places.offsets[tail[0]]), run.stop)


class Strength(IntEnum):
    """The strength of the header that names an object's version: its validator (RFC 9110, section 8.8.1)."""

    NONE = 0
    WEAK = 1
    STRONG = 2


def read_version(facts: ObjectFacts) -> tuple[bytes, Strength]:
    """The version of an object, and its strength: the ETag, or else the date and the size."""
    if facts.etag is not None:
        return str(facts.etag).encode(), Strength.WEAK if facts.strong_etag is None else Strength.STRONG
    date = facts.headers.get("last-modified")
    return f"{date} {facts.total}".encode(), Strength.NONE if date is None else Strength.WEAK


# Hears the name of an object, and the facts in an answer about it; None for facts says that it is absent.
See = Callable[[str, ObjectFacts | None], None]


def see_nothing(_name: str, _facts: ObjectFacts | None) -> None:
    """For requests of which no answer is kept."""


class Versions:
    """The versions of the objects of one request. All that is read of an object is of the same version.

    Threads may share it.

    Args:
        see: Told of each answer about an object.
    """

    def __init__(self, see: See = see_nothing) -> None:
        self.see = see
        # With the source, so that its id is not used again.
        self._known: dict[int, tuple[Source, ObjectFacts]] = {}
        self._lock = threading.Lock()

    def find(self, chunk_object: ChunkObject) -> ObjectFacts | None:
        """The facts that the next answer about the object must agree with; None for the first one.

        Raises:
            UnsupportedArray: It is not the first, and the store tells nothing by which to compare versions.
        """
        with self._lock:
            _, known = self._known.get(id(chunk_object.source), (None, None))
        facts = chunk_object.facts or known
        if facts is not None:
            ensure_comparable(chunk_object.name, facts)
        return facts

    def keep(self, chunk_object: ChunkObject, facts: ObjectFacts) -> None:
        """Keep what the first answer says: a strong ETag if there is one, since there can be many objects.

        Raises:
            ObjectChanged: Another thread got an answer of another version at the same time.
        """
        if facts.strong_etag is not None:
            facts = ObjectFacts.named_by(facts.strong_etag)
        with self._lock:
            _, first = self._known.setdefault(id(chunk_object.source), (chunk_object.source, facts))
        first.ensure_same(facts)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A run that the store has begun to send.

    Attributes:
        number: The number of the run.
        source: The object.
        stream: Its bytes; None if the object is absent.
    """

    number: int
    source: Source
    stream: Stream | None

    @property
    def wait_seconds(self) -> float:
        """How long the store took at least to begin an answer about the object."""
        return self.source.wait_seconds

    def close(self) -> None:
        """Close the stream. Idempotent."""
        if self.stream is not None:
            self.source.finish(self.stream)


class RunReader:
    """Reads the chunks of some runs, run after run.

    Args:
        places: The places of the chunks.
        runs: How they are read.
        versions: The versions of the objects.
        absent_is_forbidden: Whether 403 AccessDenied means that a chunk is absent.
        check: Raises an error if the bytes are not needed any more; called between reads.
        pool: Threads that ask for the next runs while one is read, from a distant store; None to ask for each in turn.

    Attributes:
        version: The version of the object that is being read.
        strength: The strength of the version.
        wait_seconds: How long the store took at least to begin an answer; infinite before the first.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # all but the pool say what is read
        self,
        places: Places,
        runs: Sequence[Run],
        versions: Versions,
        absent_is_forbidden: bool,
        check: Callable[[], None],
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self.version = b""
        self.strength = Strength.STRONG
        self.wait_seconds = math.inf
        self._places = places
        self._runs = runs
        self._number_of = {row: number for number, run in enumerate(runs) for row in run.rows}
        self._versions = versions
        self._absent_is_forbidden = absent_is_forbidden
        self._check = check
        self._pool = pool
        self._ahead: dict[int, Future[_Opened]] = {}
        self._opened: _Opened | None = None
        self._scratch: memoryview | None = None

    def has(self, row: int) -> bool:
        """Whether the chunk of a row exists. Opens its run.

        Raises:
            UndecodableData: It lies outside its object.
            ActiveStorageError: It cannot be read.
        """
        number = self._number_of.get(row)
        if number is None:
            return False
        if self._opened is None or self._opened.number != number:
            self._finish()
            opened = self._opened = self._take(number)
            self.wait_seconds = min(self.wait_seconds, opened.wait_seconds)
            if opened.stream is not None:
                self.version, self.strength = read_version(opened.stream.facts)
            self._open_ahead(number)
        return self._opened.stream is not None

    def count_adjacent(self, row: int, stop: int, size: int) -> int:
        """The number of chunks of this size that lie back to back in one run, from ``row`` on; 1 at least.

        Args:
            row: The first row.
            stop: The row after the last one that can count.
            size: The size of a chunk.
        """
        number, places = self._number_of.get(row), self._places
        if number is None or self._runs[number].stop == WHOLE_OBJECT or places.inline:
            return 1
        run = self._runs[number]
        stop = min(stop, run.rows[-1] + 1)
        expected = int(places.offsets[row]) + size * np.arange(stop - row)
        differs = (places.sizes[row:stop] != size) | (places.offsets[row:stop] != expected)
        return max(1, int(differs.argmax()) if differs.any() else stop - row)

    def window(self, row: int, count: int = 1) -> "Window":
        """The bytes of the chunk of a row that exists, whose earlier neighbours in its run were read.

        Args:
            row: The row.
            count: The number of chunks that lie back to back.
        """
        opened = self._opened
        assert opened is not None and opened.stream is not None  # noqa: S101, PT018  # has() was asked
        run, stream = self._runs[opened.number], opened.stream
        if run.stop == WHOLE_OBJECT:
            return self._window(stream, stream.facts.length)
        gap = int(self._places.offsets[row]) - run.start - stream.bytes_read
        if gap:
            self._window(stream, gap).skip()
        return self._window(stream, count * int(self._places.sizes[row]))

    def close(self) -> None:
        """Close the runs that are open. Idempotent."""
        self._finish()
        for future in self._ahead.values():
            if not future.cancel():
                with suppress(ActiveStorageError):
                    future.result().close()
        self._ahead.clear()

    def _finish(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def _take(self, number: int) -> "_Opened":
        """A run, which may have been asked for already."""
        future = self._ahead.pop(number, None)
        return self._open(number) if future is None or future.cancel() else future.result()

    def _open_ahead(self, number: int) -> None:
        """Ask for the runs that follow."""
        if self._pool is None:
            return
        for following in range(number + 1, min(number + 1 + _MOST_AHEAD, len(self._runs))):
            if following not in self._ahead:
                self._ahead[following] = self._pool.submit(self._open, following)

    def _open(self, number: int) -> "_Opened":
        run = self._runs[number]
        # A key among millions becomes an object here, and only once.
        chunk_object = self._places.object_of(run.rows[0])
        try:
            stream = open_run(run, chunk_object, self._versions)
        except StoreError as error:
            is_key = run.stop == WHOLE_OBJECT and not chunk_object.must_exist
            if is_key and means_absent(error, self._absent_is_forbidden):
                self._versions.see(chunk_object.name, None)
                return _Opened(number, chunk_object.source, None)
            if error.is_doubtful and error.status == 404:
                raise error.explained(_WHY_DOUBTFUL) from None
            if is_key and error.status == 403:
                raise error.explained(_WHY_FORBIDDEN) from None
            raise
        self._versions.see(chunk_object.name, stream.facts)
        return _Opened(number, chunk_object.source, stream)

    def _window(self, stream: Stream, size: int) -> "Window":
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        return Window(stream, size, self._scratch, self._check)


def open_run(run: Run, chunk_object: ChunkObject, versions: Versions) -> Stream:
    """The bytes of a run.

    Raises:
        UndecodableData: They lie outside the object.
        ActiveStorageError: They cannot be had.
    """
    is_whole = run.stop == WHOLE_OBJECT
    byte_range = None if is_whole else ByteRange(run.start, run.stop - 1)
    # A whole object is of one version by itself. The key of a chunk is read once, and its version is not kept: there
    # can be millions. Several references can name one object, and the memory for its version is counted with it.
    may_be_read_again = not is_whole or chunk_object.must_exist
    known = versions.find(chunk_object) if may_be_read_again else chunk_object.facts
    if known is not None and UNKNOWN_BYTES != known.total < run.stop:
        raise UndecodableData("index", f"bytes {run.start} to {run.stop} lie outside the object of {known.total} bytes")
    try:
        stream = chunk_object.source.open(byte_range, known)
    except InvalidRange:
        raise UndecodableData("index", f"byte {run.start} lies outside the object") from None
    try:
        stream.facts.ensure_plain()
        if not is_whole and stream.facts.length != run.stop - run.start:
            raise UndecodableData("index", f"bytes {run.start} to {run.stop} lie outside the object")
        if known is None and may_be_read_again:
            versions.keep(chunk_object, stream.facts)
    except ActiveStorageError:
        chunk_object.source.finish(stream)
        raise
    return stream


class Window:
    """The next bytes of a stream, for a decoder that reads to the end.

    Args:
        stream: The stream.
        size: The number of bytes.
        scratch: Memory for bytes that are skipped.
        check: Raises an error if the bytes are not needed any more.

    Attributes:
        left: How many of them were not read yet.
    """

    def __init__(self, stream: Readable, size: int, scratch: memoryview, check: Callable[[], None]) -> None:
        self.left = size
        self._check = check
        self._stream = stream
        self._scratch = scratch

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 only at the end of the window."""
        if not self.left:
            return 0
        read = self._stream.readinto(buffer[: self.left])
        self.left -= read
        if self.left:
            self._check()
        return read

    def skip(self) -> None:
        """Read what is left, and drop it."""
        while self.left and self.readinto(self._scratch):
            pass


def means_absent(error: StoreError, absent_is_forbidden: bool) -> bool:
    """Whether an error of the store means that a chunk is absent."""
    is_forbidden = error.status == 403 and error.code == "AccessDenied" and not error.is_doubtful
    return is_absent(error) or (absent_is_forbidden and is_forbidden)

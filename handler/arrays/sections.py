"""Sections: the chunks of a section are fetched side by side, and their partial results are joined in order.

A *unit* is what one thread does: some batches that a run of chunks spans. The thread of the request hands out units, as
many ahead as ``pace.py`` says, and joins what they give in order. It does itself what no fetcher has begun, so that a
request always goes on, however busy the fetchers are. The results have the same bits, however the work is shared.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from active_storage.errors import ActiveStorageError, CallerGone, EntityTooLarge, SlowDown, shown, shown_end
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.affinity import count_cores, roam
from handler.arrays.batches import BatchReducer, ChunkDecoder, Found, Workspace
from handler.arrays.elements import ElementReader, count_piece_bytes
from handler.arrays.fetch import (
    MOST_ENCODED_RUN_BYTES,
    MOST_RUN_BYTES,
    Run,
    RunReader,
    See,
    Strength,
    Versions,
    cut_runs,
    see_nothing,
    split_run,
)
from handler.arrays.grid import unravel
from handler.arrays.pace import Pace, read_clocks
from handler.arrays.plan import ArrayPlan, PartPlan, Stretch
from handler.codecs.base import Budget
from handler.codecs.readable import MemoryReader, Readable
from handler.containers.concat import in_file
from handler.containers.side_by_side import map_side_by_side
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, Numbers, Places, StoredArray
from handler.engine.memory import Account, MemoryGate
from handler.kernels.order_statistics import Taker
from handler.kernels.pieces import Array
from handler.scope import Scope

# The threads of a process that fetch chunks, and how many units of one request are under way. They mostly wait for the
# store: 1,000 objects of 64 KiB 20 ms away take 0.55 s with 64 threads, 0.9 s with 32, and no less with 96.
CHUNK_FETCHERS = 64
_MOST_UNITS = 16

# The memory that all units of one request may take, unless one needs more.
_UNITS_BYTES = 48 << 20

# The most batches of a unit, and how much memory its partial results may take, which wait for those of the units before
# it.
_MOST_UNIT_BATCHES = 16
_UNIT_RESULT_BYTES = 4 << 20


def unit_chunks(plan: ArrayPlan, part: PartPlan) -> int:
    """The most chunks of a unit, whole batches. Runs do not go on from one such number of chunks to the next."""
    batches = _UNIT_RESULT_BYTES // max(1, plan.count_result_bytes(part))
    return max(1, min(batches, _MOST_UNIT_BATCHES)) * part.batch_chunks


def count_unit_bytes(plan: ArrayPlan) -> int:
    """The most memory that a unit takes: its chunks, what decodes them, and its partial results."""
    blocks = plan.most_arrays * (2 if plan.has_lists else 1) + (1 if plan.has_steps else 0)
    chunk_bytes = plan.batch_bytes * blocks
    results = (unit_chunks(plan, part) // part.batch_chunks * plan.count_result_bytes(part) for part in plan.parts)
    return chunk_bytes + max(results)


def count_section_bytes(plan: ArrayPlan) -> int:
    """The least memory that reducing a section takes: its partial result, and one unit."""
    return plan.result_bytes + count_unit_bytes(plan)


def hold_for_array(account: Account, plan: ArrayPlan, count_bytes: int) -> None:
    """Hold memory for the reduction of an array.

    Raises:
        EntityTooLarge: It is more than a request may hold. The message names the array.
        SlowDown: Other requests hold too much at the moment.
    """
    try:
        account.hold(count_bytes)
    except EntityTooLarge as error:
        raise error.located(f"array {shown(plan.array.name)}") from None


class ChunkFetchers:
    """The threads that fetch chunks, shared by the requests of a process. They start when first used.

    Args:
        count: The number of threads; 0 for none.
    """

    def __init__(self, count: int = CHUNK_FETCHERS) -> None:
        self.count = count
        self.pool = ThreadPoolExecutor(count or 1, thread_name_prefix="chunks", initializer=roam)


@dataclass(frozen=True, slots=True)
class Located:
    """Touched chunks whose places are known. A row is the number of a chunk among them.

    Attributes:
        stretch: The chunks.
        numbers: Their numbers in the whole grid.
        places: Their places.
        others: Those of the chunks of each operand.
    """

    stretch: Stretch
    numbers: Numbers
    places: Places
    others: Sequence[Places]


def locate(stretch: Stretch) -> Located:
    """The places of the chunks of a stretch.

    Raises:
        ActiveStorageError: The index cannot be read, or it lies.
    """
    part, touched = stretch.part, stretch.touched
    numbers = part.grid.numbers(touched.start, touched.stop)
    try:
        places, *others = (array.index.locate(numbers) for array in part.arrays)
    except ActiveStorageError as error:
        raise in_file(error, part.file) from error.__cause__
    return Located(stretch, numbers, places, others)


@dataclass(frozen=True, slots=True)
class _PartTools:
    """What decodes and reduces the chunks of a part: a decoder for the array, and one for each operand."""

    part: PartPlan
    decoders: Sequence[ChunkDecoder]
    reducer: BatchReducer


@dataclass(frozen=True, slots=True)
class _ArrayChunks:
    """The chunks of one array that a unit reads.

    Attributes:
        array: The array.
        file: The number of the file that it lies in; None if the request names one container.
        decoder: Decodes them.
        numbers: Their numbers in the whole grid, by their row.
        places: Their places, by their row.
        runs: How the rows are read.
    """

    array: StoredArray
    file: int | None
    decoder: ChunkDecoder
    numbers: Numbers
    places: Places
    runs: Sequence[Run]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one thread does.

    Attributes:
        section: The number of the section.
        tools: What decodes and reduces its chunks.
        first: The number of row 0 among the touched chunks of the part.
        batches: The rows of each batch.
        chunks: The chunks of the array, and of each operand.
        is_last: Whether it is the last one of its section.
    """

    section: int
    tools: _PartTools
    first: int
    batches: Sequence[range]
    chunks: Sequence[_ArrayChunks]
    is_last: bool


@dataclass(slots=True)
class _UnitResult:
    """What a unit gives.

    Attributes:
        found: The partial results, in order.
        versions: The version of each chunk's object, by the row of the chunk.
        strength: The strength of the weakest version.
        missing_chunks: The number of absent chunks.
        bytes_read: The number of bytes that were read.
    """

    found: list[Found] = field(default_factory=list)
    versions: dict[int, bytes] = field(default_factory=dict)
    strength: Strength = Strength.STRONG
    missing_chunks: int = 0
    bytes_read: int = 0


@dataclass(slots=True)
class SectionPartial:
    """The partial result of a section.

    Attributes:
        number: The number of the section.
        pieces: The partial results with the cells of the result that they belong to: one, but for ``select``.
        versions: A digest of the versions of its chunks.
        strength: The strength of the weakest version.
        missing_chunks: The number of absent chunks.
        bytes_read: The bytes of chunks that were read.
    """

    number: int
    pieces: list[Found]
    versions: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    strength: Strength = Strength.STRONG
    missing_chunks: int = 0
    bytes_read: int = 0


class SectionReducer:
    """Reduces the sections of one request.

    Args:
        plan: The plan.
        fetchers: The threads that help.
        gate: Counts memory.
        scope: The deadline of the request.
        taker: Takes the elements, of which there are no partial results then; None to reduce them.
        see: Told of each answer about an object.

    Attributes:
        versions: The versions of the objects that were read.
        chunks_done: The number of chunks that were reduced so far.
        bytes_read: The number of their bytes.
        requests: The number of requests for them.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what one request has
        self,
        plan: ArrayPlan,
        fetchers: ChunkFetchers,
        gate: MemoryGate,
        scope: Scope,
        taker: Taker | None = None,
        see: See = see_nothing,
    ) -> None:
        self.versions = Versions(see)
        self.chunks_done = 0
        self.bytes_read = 0
        self.requests = 0
        self._plan = plan
        self._fetchers = fetchers
        self._gate = gate
        self._scope = scope
        self._taker = taker
        self._tools: _PartTools | None = None
        self._workspaces: list[Workspace] = []
        self._is_over = threading.Event()
        # Raw chunks are reduced as fast as they are read. Decoding keeps a core busy.
        self._pace = Pace(_MOST_UNITS, count_cores() if plan.has_steps else 1)
        for each in plan.metadata:
            self._pace.see_answer(each.source.wait_seconds)

    def reduce(self, sections: Sequence[int], account: Account) -> Iterator[SectionPartial]:
        """The partial results of sections, in order. At the end no thread works for them any more.

        Args:
            sections: The numbers of the sections.
            account: Counts their memory, until the caller closes it.

        Raises:
            ActiveStorageError: A chunk cannot be read or decoded. The message names array, chunk and object.
        """
        current: SectionPartial | None = None
        for unit, result in self._in_order(sections, self._admit(account)):
            current = current or self._start(unit.section)
            self._join(current, result)
            if unit.is_last:
                yield current
                current = None

    def _admit(self, account: Account) -> int:
        """Count the memory of the units that are under way, and say how many there can be: fewer if memory is short."""
        unit_bytes, section_bytes = count_unit_bytes(self._plan), self._plan.result_bytes
        if self._taker is not None:
            unit_bytes, section_bytes = unit_bytes + count_piece_bytes(self._plan, self._taker.element_bytes), 0
        hold_for_array(account, self._plan, section_bytes + unit_bytes)
        most = 1
        while most < min(_MOST_UNITS, self._fetchers.count, _UNITS_BYTES // max(1, unit_bytes)):
            try:
                account.hold(unit_bytes)
            except (EntityTooLarge, SlowDown):
                break
            most += 1
        return most

    def _in_order(self, sections: Sequence[int], most: int) -> Iterator[tuple[_Unit, _UnitResult]]:
        """Each unit and its result, in order. At most ``most`` units are under way."""
        units = (unit for section in sections for unit in self._cut(section))
        pending: deque[tuple[_Unit, Future[_UnitResult] | None]] = deque()
        try:
            while True:
                ahead = min(most, self._pace.units)
                while len(pending) < ahead and (unit := next(units, None)) is not None:
                    pending.append((unit, self._fetchers.pool.submit(self._work, unit) if ahead > 1 else None))
                if not pending:
                    return
                unit, future = pending.popleft()
                is_mine = future is None or future.cancel()
                result = self._work(unit) if is_mine or future is None else future.result()
                self.chunks_done += sum(len(batch) for batch in unit.batches)
                self.bytes_read += result.bytes_read
                self.requests += sum(len(each.runs) for each in unit.chunks)
                yield unit, result
        finally:
            self._is_over.set()
            # Their memory is counted until they have ended.
            wait([future for _, future in pending if future is not None and not future.cancel()])

    def _cut(self, section: int) -> Iterator[_Unit]:
        """The units of a section: batches, and several together if a run spans them.

        Runs and batches may nowhere end together. Then a unit ends with a batch once it has a run of full length. The
        run that spans its end is split, so that the section has several units.
        """
        stretches = self._plan.section(section)
        for number, located in enumerate(map_side_by_side(self._fetchers.pool, locate, stretches), start=1):
            stretch, part = located.stretch, located.stretch.part
            tools, size, count = self._find_tools(part), part.batch_chunks, len(stretch.touched)
            most_rows, is_encoded = unit_chunks(self._plan, part), bool(part.array.steps)
            for batches, runs in _cut_units(located.places, count, size, most_rows, is_encoded):
                is_last = number == len(stretches) and batches[-1].stop == count
                rows = range(batches[0].start, batches[-1].stop)
                others = (cut_runs(places, rows, MOST_RUN_BYTES) for places in located.others)
                read = zip(part.arrays, tools.decoders, (located.places, *located.others), (runs, *others), strict=True)
                chunks = [
                    _ArrayChunks(array, part.file, decoder, located.numbers, places, its_runs)
                    for array, decoder, places, its_runs in read
                ]
                yield _Unit(section, tools, stretch.touched.start, batches, chunks, is_last)

    def _find_tools(self, part: PartPlan) -> _PartTools:
        """The tools of a part. Parts come in order, and those of one are kept."""
        if self._tools is None or self._tools.part is not part:
            plan, taker = self._plan, self._taker
            reducer = BatchReducer(plan, part) if taker is None else ElementReader(plan, part, taker)
            self._tools = _PartTools(part, [ChunkDecoder(array) for array in part.arrays], reducer)
        return self._tools

    def _work(self, unit: _Unit) -> _UnitResult:
        """Fetch, decode and reduce the chunks of a unit."""
        started, cpu_started = read_clocks()
        workspaces = [self._take_workspace() for _ in unit.chunks]
        for workspace, chunks in zip(workspaces, unit.chunks, strict=True):
            workspace.prepare(chunks.array, unit.tools.part.batch_chunks)
        results = [_UnitResult() for _ in unit.chunks]
        try:
            if len(unit.batches) == 1 and len(unit.chunks[0].runs) > 1:
                for each in zip(unit.chunks, workspaces, results, strict=True):
                    self._fetch_batch(unit.batches[0], *each)
                self._reduce(unit, unit.batches[0], workspaces, results[0])
            else:
                self._fetch_in_turn(unit, workspaces, results)
        finally:
            self._workspaces += workspaces
        ended, cpu_ended = read_clocks()
        self._pace.see_unit(ended - started, cpu_ended - cpu_started)
        return _join_results(*results)

    def _fetch_in_turn(self, unit: _Unit, workspaces: Sequence[Workspace], results: Sequence[_UnitResult]) -> None:
        """Read the runs one after the other, and reduce each batch when it is complete."""
        with ExitStack() as held:
            readers = [held.enter_context(self._reader(chunks, chunks.runs)) for chunks in unit.chunks]
            for batch in unit.batches:
                for each in zip(unit.chunks, workspaces, readers, results, strict=True):
                    self._place_batch(batch, *each)
                self._reduce(unit, batch, workspaces, results[0])

    def _fetch_batch(self, batch: range, chunks: _ArrayChunks, workspace: Workspace, result: _UnitResult) -> None:
        """Read the runs of one batch, side by side as soon as the store turns out to be distant."""
        starts = {run.rows[0]: number for number, run in enumerate(chunks.runs)}
        with self._reader(chunks, chunks.runs) as reader:
            for row in batch:
                if row in starts and self._pace.is_distant:
                    rows = range(row, batch.stop)
                    self._fetch_side_by_side(batch, rows, chunks, chunks.runs[starts[row] :], workspace, result)
                    break
                self._place(chunks, row, workspace.slot(row - batch.start), reader, result)

    def _fetch_side_by_side(  # noqa: PLR0913, PLR0917  # what is read, and where it goes
        self,
        batch: range,
        rows: range,
        chunks: _ArrayChunks,
        runs: Sequence[Run],
        workspace: Workspace,
        result: _UnitResult,
    ) -> None:
        """Read these runs of one batch by several threads, and what is left of its rows."""
        parts = [_UnitResult() for _ in runs]

        def read(number: int) -> None:
            with self._reader(chunks, [runs[number]]) as reader:
                for row in runs[number].rows:
                    self._place(chunks, row, workspace.slot(row - batch.start), reader, parts[number])

        map_side_by_side(self._fetchers.pool, read, range(len(parts)))
        read_rows = {row for run in runs for row in run.rows}
        with self._reader(chunks, ()) as reader:
            for row in rows:
                if row not in read_rows:
                    self._place(chunks, row, workspace.slot(row - batch.start), reader, result)
        for part in parts:
            result.missing_chunks += part.missing_chunks
            result.bytes_read += part.bytes_read
            result.versions.update(part.versions)
            result.strength = min(result.strength, part.strength)

    def _reduce(self, unit: _Unit, batch: range, workspaces: Sequence[Workspace], result: _UnitResult) -> None:
        grid, numbers = unit.tools.part.grid, unit.chunks[0].numbers
        chunks = [grid.chunk(unit.first + row, int(numbers[row])) for row in batch]
        result.found += unit.tools.reducer.reduce(chunks, workspaces, self._check)

    def _place_batch(
        self, batch: range, chunks: _ArrayChunks, workspace: Workspace, reader: RunReader, result: _UnitResult
    ) -> None:
        """Decode the chunks of a batch into their slots; raw ones that lie back to back at once."""
        decoder, row = chunks.decoder, batch.start
        while row < batch.stop:
            count = reader.count_adjacent(row, batch.stop, decoder.chunk_bytes) if decoder.is_raw else 1
            block = workspace.block(row - batch.start, row - batch.start + count)
            if count == 1:
                self._place(chunks, row, block, reader, result)
            else:
                self._place_adjacent(chunks, range(row, row + count), block, reader, result)
            row += count

    def _place_adjacent(
        self, chunks: _ArrayChunks, rows: range, block: Array, reader: RunReader, result: _UnitResult
    ) -> None:
        """Read raw chunks that lie back to back.

        Raises:
            ActiveStorageError: They cannot be read. The message names the one at which it failed.
        """
        self._check()
        done = 0
        try:
            reader.has(rows.start)
            window = reader.window(rows.start, len(rows))
            try:
                chunks.decoder.read_raw(window, block)
            finally:
                done = block.nbytes - window.left
        except ActiveStorageError as error:
            row = rows[min(done // chunks.decoder.chunk_bytes, len(rows) - 1)]
            raise in_file(error.located(_name(chunks, row)), chunks.file) from error.__cause__
        self._pace.see_answer(reader.wait_seconds)
        result.bytes_read += block.nbytes
        result.versions.update(dict.fromkeys(rows, reader.version))
        result.strength = min(result.strength, reader.strength)

    def _place(self, chunks: _ArrayChunks, row: int, slot: Array, reader: RunReader, result: _UnitResult) -> None:
        """Decode the chunk of a row into its slot.

        Raises:
            ActiveStorageError: It cannot be decoded. The message names it.
        """
        self._check()
        places = chunks.places
        mask = 0 if places.masks is None else int(places.masks[row])
        try:
            if row in places.inline:
                data = places.inline[row]
                result.versions[row] = hashlib.sha256(data).digest()
                self._decode(chunks, MemoryReader(memoryview(data)), len(data), False, mask, slot)
            elif not reader.has(row):
                result.versions[row] = b"absent"
                result.missing_chunks += 1
                chunks.decoder.fill(slot)
            else:
                window = reader.window(row)
                stored_bytes = window.left
                self._decode(chunks, window, stored_bytes, places.sizes[row] == WHOLE_OBJECT, mask, slot)
                window.skip()
                result.bytes_read += stored_bytes
                result.versions[row] = reader.version
                result.strength = min(result.strength, reader.strength)
        except ActiveStorageError as error:
            raise in_file(error.located(_name(chunks, row)), chunks.file) from error.__cause__
        self._pace.see_answer(reader.wait_seconds)

    @contextmanager
    def _reader(self, chunks: _ArrayChunks, runs: Sequence[Run]) -> Iterator[RunReader]:
        """Reads some runs of a unit."""
        pool = self._fetchers.pool if self._pace.is_distant else None
        is_forbidden = self._plan.reduction.absent_is_forbidden
        reader = RunReader(chunks.places, runs, self.versions, is_forbidden, self._check, pool)
        try:
            yield reader
        finally:
            reader.close()

    def _decode(  # noqa: PLR0913, PLR0917  # what makes a chunk
        self, chunks: _ArrayChunks, stored: Readable, size: int, is_whole: bool, mask: int, slot: Array
    ) -> None:
        with self._gate.account() as account:
            budget = Budget(self._gate.request_limit_bytes, account.hold, self._check)
            chunks.decoder.decode(stored, size, is_whole, mask, slot, budget)

    def _start(self, section: int) -> SectionPartial:
        plan = self._plan
        if ARRAY_REDUCERS[plan.spec.reducer].keeps_elements:
            return SectionPartial(section, [])
        box = plan.box(section)
        shape = tuple(each.stop - each.start for each in box)
        return SectionPartial(section, [Found(box, plan.algebra.start(shape))])

    def _join(self, section: SectionPartial, result: _UnitResult) -> None:
        section.missing_chunks += result.missing_chunks
        section.bytes_read += result.bytes_read
        section.strength = min(section.strength, result.strength)
        for row in sorted(result.versions):
            section.versions.update(result.versions[row])
        if ARRAY_REDUCERS[self._plan.spec.reducer].keeps_elements:
            section.pieces += result.found
            return
        box, whole = section.pieces[0].cells, section.pieces[0].partial
        for found in result.found:
            cells = tuple(_within(*each) for each in zip(found.cells, box, strict=True))
            self._plan.algebra.join_quietly(whole, cells, found.partial)

    def _check(self) -> None:
        """Pass if the request goes on.

        Raises:
            DeadlineExceeded: Its time is over.
            CallerGone: The caller has gone, or the request failed.
        """
        self._scope.check()
        if self._is_over.is_set():
            raise CallerGone("the request ended before all chunks were read")

    def _take_workspace(self) -> Workspace:
        try:
            return self._workspaces.pop()
        except IndexError:
            return Workspace(self._plan.batch_bytes)


def _within(cells: int | slice | Numbers, outer: int | slice | Numbers) -> int | slice | Numbers:
    """Cells along a dimension, counted from the beginning of a section's."""
    start = outer.start if isinstance(outer, slice) else outer
    return slice(cells.start - start, cells.stop - start) if isinstance(cells, slice) else cells - start


def _join_results(result: _UnitResult, *others: _UnitResult) -> _UnitResult:
    """The result of a unit, with what was read of operands."""
    for other in others:
        result.missing_chunks += other.missing_chunks
        result.bytes_read += other.bytes_read
        result.strength = min(result.strength, other.strength)
        for row, version in other.versions.items():
            result.versions[row] += b" " + version
    return result


def _name(chunks: _ArrayChunks, row: int) -> str:
    """The array, the chunk and the object of a row, for messages."""
    array, places = chunks.array, chunks.places
    chunk = ",".join(map(str, unravel(int(chunks.numbers[row]), array.grid)))
    has_object = row not in places.inline and places.sizes[row] != ABSENT
    # The root of a container has no name of its own.
    name = places.object_of(row).name if has_object else ""
    where = f", object {shown_end(name)}" if name else ""
    return f"array {shown(array.name)}, chunk ({chunk}){where}"


def _cut_units(
    places: Places, count: int, size: int, most_rows: int, is_encoded: bool
) -> Iterator[tuple[Sequence[range], Sequence[Run]]]:
    """The batches and the runs of each unit.

    Args:
        places: The places of the chunks.
        count: The number of chunks.
        size: The number of chunks of a batch.
        most_rows: The most chunks of a unit.
        is_encoded: Whether the chunks are encoded: runs are shorter then, so that more cores decode them.
    """
    most_bytes = MOST_ENCODED_RUN_BYTES if is_encoded else MOST_RUN_BYTES
    runs = deque(cut_runs(places, range(count), most_bytes, most_rows))
    first = 0
    while first < count:
        stop, mine, unit_bytes = min(first + size, count), list[Run](), 0
        while runs and runs[0].rows[0] < stop:
            run = runs.popleft()
            unit_bytes += run.stop - run.start
            if run.rows[-1] >= stop and unit_bytes > most_bytes and mine:
                run, rest = split_run(run, stop, places)
                runs.appendleft(rest)
            mine.append(run)
            stop = max(stop, min(-(-(run.rows[-1] + 1) // size) * size, count))
        yield [range(row, min(row + size, stop)) for row in range(first, stop, size)], mine
        first = stop

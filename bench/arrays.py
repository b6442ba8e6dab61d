"""docs/whole-arrays-speed.md: whole arrays by one request, beside a request a chunk, zarr, dask, zarrs and the peer.

It needs nginx and Reductionist (``programs.py``); a quick run does without Reductionist. zarrs is measured if ``ZARRS``
names a program that reads with it: it gets URLs of Zarr arrays of float32 from its input, one a line, and answers each
line with the mean.
The round trips for an index, and memory, are measured before the rounds.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import link
from bench.array_data import (
    MAP,
    QUANTILE,
    ArrayFile,
    DailyFile,
    make_values,
    write_daily_zarr,
    write_hdf5,
    write_many_variables,
    write_packed_zarr,
    write_repeated_hdf5,
    write_repeated_zarr,
    write_shards,
    write_zarr,
)
from bench.array_turns import (
    CLIENTS,
    PEER_TOLERANCE,
    TOLERANCE,
    Reduce,
    ask_array,
    count_opening,
    find_monthly_means,
    find_quantile,
    mean_by_active,
    mean_by_chunks,
    mean_by_zarr,
    mean_by_zarrs,
    mean_over_time,
    open_asker,
    read_only,
    reduce_at_once,
    reduce_by_dask,
)
from bench.machine import find_workers, watching
from bench.programs import PEER, find, peer, tell_missing, web_server
from bench.rounds import GIB, MIB, Page, Row, Run, Target, format_mib, format_size, run_rounds, table
from bench.scene import DTYPE, KEEPING, SETTINGS, StoredObject, put_file, store_objects
from bench.turns import fetch_sum
from deploy.local.service import service
from deploy.local.store import Store
from handler.settings import Settings

SERVICE = "one request"
CHUNKS = "a request a chunk"
PEER_CHUNKS = f"{PEER}, a request a chunk"
ACTIVE = f"PyActiveStorage and {PEER}"
ZARR, ZARR_64 = "zarr", "zarr, concurrency 64"
DASK, DASK_50 = "dask, a chunk a task", "dask, 50 chunks a task"
_DASKS = {1: DASK, 50: DASK_50}
FLOX_50 = "dask and flox, 50 chunks a task"
PLAIN = "one request, without weights"
FIRST = "the first time"
ZARRS = "zarrs"
READ = "only reading"
DUCK = "xarray with this service"

_STORE_PROGRAM, _PEER_PROGRAM = "nginx", "reductionist"

_ROUNDS = 9
# Of rows whose turns read nearly a GiB, some of them across the link.
_LONG_ROUNDS = 3
# No round begins later. A run takes some fifteen minutes.
_LAST_ROUND_SECONDS = 840

# A worker's first requests make it larger once, by connections and threads. The kernel decides which worker gets a
# connection, so that it takes several requests to reach all of them.
_WARM_UP_REQUESTS = 16

_QUANTILE: Mapping[str, Any] = {"reducer": "quantile", "axis": ["time"], "q": QUANTILE}

_MOST_ROUND_TRIPS = 20
_MOST_DUCK_TIME = 1.1
_MOST_CPU = 1.5
# The code, connections and blocks, beside the result or what is sorted.
_GROWTH_BEYOND_DATA = 64 * MIB


@dataclass(frozen=True)
class Sizes:
    """The sizes of the arrays, in chunks."""

    chunks: int = 1000
    checked: int = 256
    indexed: int = 10_000
    large: int = 2500
    days: int = 3650
    again: int = 256
    variables: int = 100
    plain_bytes: int = GIB


_QUICK = Sizes(chunks=40, checked=2, indexed=500, large=8, days=60, again=4, variables=5, plain_bytes=MIB)


@dataclass(frozen=True)
class Files:
    """The arrays.

    Attributes:
        raw: 64 KiB a chunk, raw, in one HDF5 file.
        objects: The same values in Zarr, an object a chunk.
        shards: The same in Zarr, 20 chunks in zstd in each shard.
        packed: The same in HDF5, 256 KiB a chunk in zlib and shuffle.
        packed_objects: The same in Zarr.
        checked: 4 MiB a chunk in zlib, shuffle and fletcher32, in one HDF5 file.
        indexed: 1 KiB a chunk, raw, in one HDF5 file.
        large: 4 MiB a chunk, raw, in Zarr.
        daily: The map of a day in each chunk of 253 KiB, raw, in Zarr, an object a chunk.
        again: 4 MiB a chunk, raw, in Zarr, an object a chunk.
        variables: A Zarr store of many small variables, and their number.
        plain: Numbers without metadata in one object.
    """

    raw: ArrayFile
    objects: ArrayFile
    shards: ArrayFile
    packed: ArrayFile
    packed_objects: ArrayFile
    checked: ArrayFile
    indexed: ArrayFile
    large: ArrayFile
    daily: DailyFile
    again: ArrayFile
    variables: tuple[str, int]
    plain: StoredObject

    @classmethod
    def write(cls, root: Path, sizes: Sizes) -> "Files":
        """Write them to the folder that the store serves."""
        values = make_values(sizes.chunks)
        return cls(
            raw=write_hdf5(root, "raw.nc", values, 1),
            objects=write_zarr(root, "objects.zarr", values, 1),
            shards=write_shards(root, "shards.zarr", values, 20),
            packed=write_hdf5(root, "packed.nc", values, 4, is_packed=True),
            packed_objects=write_packed_zarr(root, "packed.zarr", values, 4),
            checked=write_repeated_hdf5(root, "checked.nc", make_values(64), sizes.checked),
            indexed=write_hdf5(root, "indexed.nc", make_values(sizes.indexed, (16, 16)), 1),
            large=write_repeated_zarr(root, "large.zarr", make_values(16, MAP), sizes.large),
            daily=write_daily_zarr(root, "daily.zarr", make_values(sizes.days, MAP)),
            again=write_repeated_zarr(root, "again.zarr", make_values(64), sizes.again),
            variables=(write_many_variables(root, "variables.zarr", sizes.variables), sizes.variables),
            plain=store_objects([sizes.plain_bytes], partial(put_file, root))[sizes.plain_bytes],
        )


@dataclass(frozen=True)
class Places:
    """The addresses of the programs that take part.

    Attributes:
        service: The service, which keeps nothing from one request to the next.
        keeping: The service with its default, by which it keeps results.
        near: The store.
        far: The store, seen from a round trip away.
        peer: The peer, or None if it is not measured.
        linked_service: The service, seen from the other end of a link.
        linked_near: The store, seen from there.
        linked_peer: The peer, seen from there.
        zarrs: The program that reads with zarrs, or None if it is not measured.
    """

    service: str
    keeping: str
    near: str
    far: str
    peer: str | None
    linked_service: str
    linked_near: str
    linked_peer: str | None
    zarrs: Path | None


@dataclass(frozen=True)
class Case:
    """A row of the page: an array, and the contenders that reduce it.

    Attributes:
        name: Its name on the page.
        asks: For each contender, by name, the function that computes the answer.
        targets: For other contenders, by name, the smallest ratio of the service's rate to theirs.
        expected: The answer that is right.
        is_cpu: Whether CPU time is measured in place of time.
        rounds: The number of rounds.
        other_answers: For contenders that are asked for something else, by name, the answer that is right.
    """

    name: str
    asks: Mapping[str, Reduce] = field(repr=False)
    targets: Mapping[str, float]
    expected: npt.ArrayLike = field(repr=False)
    is_cpu: bool = False
    rounds: int = _ROUNDS
    other_answers: Mapping[str, npt.ArrayLike] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Finding:
    """A row that was measured, and its targets."""

    row: Row
    targets: Mapping[str, float]
    is_cpu: bool = False


@dataclass
class Findings:
    """The results of a run.

    Attributes:
        rows: The rows that were measured in rounds.
        round_trips: Requests to the store, one after the other, for one chunk of the array with the large index.
        growth: By how many bytes a worker grew while it computed the mean over time of the large array.
        result_bytes: The size of the reply, with its counts.
        quantile_growth: By how many bytes a worker grew while it computed the quantile over time.
        opening: The number of variables of a store, and the requests to the store that opening it takes, by the client
            and by xarray.
        has_zarrs: Whether zarrs took part.
    """

    rows: list[Finding] = field(default_factory=list)
    round_trips: int = 0
    growth: int = 0
    result_bytes: int = 0
    quantile_growth: int = 0
    opening: tuple[int, int, int] = (0, 0, 0)
    has_zarrs: bool = False


def measure(run: Run) -> Page:
    """Measure everything.

    Raises:
        RuntimeError: A program is missing, or does not start.
        WrongReply: A reply is not what it must be.
    """
    if missing := tell_missing([_STORE_PROGRAM] if run.is_quick else [_STORE_PROGRAM, _PEER_PROGRAM]):
        raise RuntimeError(missing)
    sizes = _QUICK if run.is_quick else Sizes()
    with ExitStack() as held:
        near, root = held.enter_context(web_server())
        run.tell("the arrays")
        files = Files.write(root, sizes)
        (far,) = held.enter_context(link.distant(near))
        origins = {"ACTIVE_STORAGE_ALLOWED_ORIGINS": f"{near},{far}"}
        ours = held.enter_context(service(Store(near), {**SETTINGS, **origins}))
        run.tell("an index, memory")
        # Before everything else, since a worker that was large once stays so.
        findings = Findings(has_zarrs=find("zarrs") is not None)
        at_once = partial(ask_array, ours, near)
        findings.round_trips = _count_round_trips(at_once, files.indexed)
        folder, variables = files.variables
        findings.opening = variables, *count_opening(ours, f"{near}/{folder}")
        findings.growth, findings.result_bytes = _measure_growth(at_once, files.objects, files.large, axis=[0])
        findings.quantile_growth, _ = _measure_growth(at_once, files.objects, files.daily.file, **_QUANTILE)
        asker = held.enter_context(open_asker([worker.pid for worker in find_workers()]))
        keeping = held.enter_context(service(Store(near), {**KEEPING, **origins}))
        theirs = held.enter_context(peer())[0] if find(_PEER_PROGRAM) else None
        linked = held.enter_context(link.linked([ours, near, theirs or near]))
        linked_peer = linked[2] if theirs else None
        places = Places(ours, keeping, near, far, theirs, linked[0], linked[1], linked_peer, find("zarrs"))
        for case in make_cases(places, files):
            take = asker.take_cpu if case.is_cpu else asker.take_time
            takes = {
                name: partial(
                    take,
                    ask,
                    case.other_answers.get(name, case.expected),
                    PEER_TOLERANCE if name in (PEER_CHUNKS, ACTIVE) else TOLERANCE,
                )
                for name, ask in case.asks.items()
            }
            row = Row(case.name, takes, rounds=1 if run.is_quick else case.rounds)
            findings.rows.append(Finding(row, case.targets, case.is_cpu))
        run.tell("each contender once, to warm up and to compare with numpy")
        for finding in findings.rows:
            for name, take_turn in finding.row.takes.items():
                # Each worker keeps results of its own.
                for _ in range(_WARM_UP_REQUESTS if name == SERVICE and FIRST in finding.row.takes else 1):
                    take_turn()
        run_rounds([finding.row for finding in findings.rows], run.tell, run.started + _LAST_ROUND_SECONDS)
    return render(findings)


def make_cases(places: Places, files: Files) -> list[Case]:
    """The rows of the page."""
    raw, objects, shards, packed, checked = files.raw, files.objects, files.shards, files.packed, files.checked
    raw_name = f"{_count(raw)} of 64 KiB, raw, in one HDF5 file"
    objects_name = f"{_count(objects)} of 64 KiB, raw, an object each, Zarr"
    shards_name = f"{_count(shards)} of 64 KiB in zstd, 20 a shard, Zarr"
    at = partial(_ask_service, places.service)
    zarrs = partial(_ask_zarrs, places.zarrs)
    by_peer = partial(_ask_peer, places.peer, places.near)
    return [
        Case(
            raw_name,
            {
                **at(places.near, raw),
                **by_peer(raw),
                **_ask_active(places.peer, places.near, places.near, raw),
            },
            {CHUNKS: 15, PEER_CHUNKS: 1.5},
            raw.mean,
        ),
        Case(
            f"{raw_name}, CPU",
            {**at(places.near, raw), READ: partial(read_only, places.near, raw)},
            {CHUNKS: 25},
            raw.mean,
            is_cpu=True,
        ),
        Case(
            objects_name,
            {**at(places.near, objects), **_ask_zarr(places.near, objects), **zarrs(places.near, objects)},
            {CHUNKS: 3, DASK: 4},
            objects.mean,
        ),
        Case(
            f"{objects_name}, store 20 ms away",
            {**at(places.far, objects), **_ask_zarr(places.far, objects), **zarrs(places.far, objects)},
            {CHUNKS: 1.7, DASK: 4, ZARR: 4, ZARR_64: 1.3},
            objects.mean,
        ),
        Case(
            shards_name,
            {**at(places.near, shards), **_ask_zarr(places.near, shards), **zarrs(places.near, shards)},
            {ZARR: 1.8, ZARRS: 0.8},
            shards.mean,
        ),
        Case(
            f"{shards_name}, store 20 ms away",
            # dask with a chunk a task would take 20 seconds here.
            {**at(places.far, shards), **_ask_zarr(places.far, shards, (50,)), **zarrs(places.far, shards)},
            {ZARRS: 1.3},
            shards.mean,
        ),
        Case(
            f"{_count(packed)} of 256 KiB in zlib and shuffle, HDF5; the others from Zarr",
            {**at(places.near, packed), **_ask_zarr(places.near, files.packed_objects)},
            {ZARR: 1.4, DASK: 2.3, CHUNKS: 1},
            packed.mean,
        ),
        Case(
            f"{_count(checked)} of 4 MiB in zlib, shuffle and fletcher32, HDF5",
            {**at(places.near, checked), **by_peer(checked)},
            {PEER_CHUNKS: 1.5},
            checked.mean,
        ),
        Case(
            f"{raw_name}, client 20 ms away",
            {
                **_ask_once(places.linked_service, places.near, raw),
                **_ask_active(places.linked_peer, places.near, places.linked_near, raw),
            },
            {ACTIVE: 20},
            raw.mean,
        ),
        Case(
            f"{objects_name}, mean over time",
            {
                **_ask_once(places.service, places.near, objects, axis=[0]),
                DUCK: partial(mean_over_time, places.service, f"{places.near}/{objects.path}"),
            },
            {},
            objects.mean_over_time,
        ),
        *_make_daily_cases(places, files.daily),
        Case(
            f"{_count(files.again)} of 4 MiB, raw, an object each, Zarr, asked again",
            {
                **_ask_once(places.keeping, places.near, files.again),
                FIRST: partial(reduce_at_once, places.service, places.near, files.again),
            },
            {FIRST: 10},
            files.again.mean,
        ),
        Case(
            f"{format_size(files.plain.size)} in one object, the sum by a link, asked again",
            {
                SERVICE: partial(fetch_sum, places.keeping, files.plain),
                FIRST: partial(fetch_sum, places.service, files.plain),
            },
            {FIRST: 100},
            np.frombuffer(files.plain.total, DTYPE)[0],
        ),
    ]


def _make_daily_cases(places: Places, daily: DailyFile) -> list[Case]:
    """The rows about years of days."""
    name = f"{_count(daily.file)} of 253 KiB, raw, an object each, Zarr"
    at_once = partial(_ask_once, file=daily.file)
    by_month = partial(at_once, axis=["time"], group={"time": "month"})
    by_dask = partial(reduce_by_dask, file=daily.file, chunks_a_task=50)
    by_flox = partial(by_dask, find=find_monthly_means)
    by_day = partial(at_once, places.service, places.near, axis=["lat", "lon"])
    return [
        Case(
            f"{name}: monthly means",
            {**by_month(places.service, places.near), FLOX_50: partial(by_flox, places.near)},
            {FLOX_50: 2},
            daily.monthly_means,
            rounds=_LONG_ROUNDS,
        ),
        Case(
            f"{name}: monthly means, client 20 ms away",
            {**by_month(places.linked_service, places.near), FLOX_50: partial(by_flox, places.linked_near)},
            {FLOX_50: 20},
            daily.monthly_means,
            rounds=_LONG_ROUNDS,
        ),
        Case(
            f"{name}: area-weighted mean of each day",
            {**by_day(weights={"cos": "lat"}), PLAIN: by_day()[SERVICE]},
            {PLAIN: 0.6},
            daily.area_means,
            rounds=_LONG_ROUNDS,
            other_answers={PLAIN: daily.global_means},
        ),
        Case(
            f"{name}: {QUANTILE} quantile over time",
            {
                **at_once(places.service, places.near, **_QUANTILE),
                DASK_50: partial(by_dask, places.near, find=partial(find_quantile, quantile=QUANTILE)),
            },
            {DASK_50: 1.5},
            daily.quantiles,
            rounds=_LONG_ROUNDS,
        ),
    ]


def _count(file: ArrayFile) -> str:
    count = math.prod(-(-size // chunk) for size, chunk in zip(file.shape, file.chunk, strict=True))
    return f"{count:,} chunks"


def _ask_once(endpoint: str, store: str, file: ArrayFile, **members: Any) -> dict[str, Reduce]:
    return {SERVICE: partial(reduce_at_once, endpoint, store, file, **members)}


def _ask_service(endpoint: str, store: str, file: ArrayFile) -> dict[str, Reduce]:
    asks = _ask_once(endpoint, store, file)
    if file.places:
        asks[CHUNKS] = partial(mean_by_chunks, endpoint, store, file)
    return asks


def _ask_zarr(store: str, file: ArrayFile, chunks_a_task: Sequence[int] = (1, 50)) -> dict[str, Reduce]:
    return {
        ZARR: partial(mean_by_zarr, store, file),
        ZARR_64: partial(mean_by_zarr, store, file, 64),
        **{_DASKS[count]: partial(reduce_by_dask, store, file, count) for count in chunks_a_task},
    }


def _ask_peer(endpoint: str | None, store: str, file: ArrayFile) -> dict[str, Reduce]:
    return {} if endpoint is None else {PEER_CHUNKS: partial(mean_by_chunks, endpoint, store, file)}


def _ask_active(endpoint: str | None, store: str, seen_store: str, file: ArrayFile) -> dict[str, Reduce]:
    return {} if endpoint is None else {ACTIVE: partial(mean_by_active, endpoint, store, seen_store, file)}


def _ask_zarrs(program: Path | None, store: str, file: ArrayFile) -> dict[str, Reduce]:
    return {} if program is None else {ZARRS: partial(mean_by_zarrs, program, store, file)}


# Round trips and memory


def _count_round_trips(at_once: Callable[..., dict[str, Any]], file: ArrayFile) -> int:
    """The number of requests to the store for one chunk of an array, without the request for the chunk itself.

    The service has not read the file before. The number of round trips is at most that of the requests.
    """
    return int(at_once(file, selection=[[0, 1, None], *[[None] * 3] * 2])["requests"]) - 1


def _measure_growth(
    at_once: Callable[..., dict[str, Any]], small: ArrayFile, file: ArrayFile, **asked: Any
) -> tuple[int, int]:
    """The growth of the worker that grows most while an array is reduced, and the size of the reply.

    Args:
        at_once: Asks the service.
        small: The array of the requests before.
        file: The array.
        asked: Members of the request.
    """
    for _ in range(_WARM_UP_REQUESTS):
        at_once(small)
    with watching(find_workers()) as watched:
        reply = at_once(file, **asked)
    return watched[0].growth, len(reply["bytes"]) + 8 * len(reply["count"])


# The page


def render(findings: Findings) -> Page:
    """The page with these results."""
    return Page(
        "whole-arrays-speed",
        [*_find_targets(findings)],
        {
            "races": table(
                ("case", "beside", "ratio", "rounds"),
                (line for finding in findings.rows for line in _list_ratios(finding)),
            ),
            "clients": str(CLIENTS),
            "peer_tolerance": f"{PEER_TOLERANCE:.0%}",
            "round_trips": str(findings.round_trips),
            "growth": format_mib(findings.growth),
            "quantile_growth": format_mib(findings.quantile_growth),
            "result": format_mib(findings.result_bytes),
            "zarrs": _WITH_ZARRS if findings.has_zarrs else _WITHOUT_ZARRS,
        },
    )


_WITH_ZARRS = (
    "a program in Rust that reads chunks or shards with zarrs and its HTTP store, 32 at a time, and adds up each in"
    " float64"
)
_WITHOUT_ZARRS = "not measured: no program that reads with it was there"


def _list_ratios(finding: Finding) -> Iterator[tuple[object, ...]]:
    name = finding.row.name
    for other in finding.row.takes or finding.row.rates:
        if other != SERVICE:
            spread = finding.row.beside(SERVICE, other)
            yield name, other, spread, len(finding.row.rates[other])
            name = ""


def _find_targets(findings: Findings) -> Iterator[Target]:
    for finding in findings.rows:
        name = finding.row.name
        for other, least in finding.targets.items():
            row = replace(finding.row, target=least)
            yield from Target.of_row(row, SERVICE, other, f"{name}: beside {other}")
        if spread := finding.row.beside(READ, SERVICE):
            what = f"{name}: CPU for each byte, divided by that of only reading"
            yield Target(what, f"at most {_MOST_CPU:g}", str(spread), spread.median <= _MOST_CPU)
        if spread := finding.row.beside(SERVICE, DUCK):
            what = f"{name}: time by xarray, divided by that of the request itself"
            yield Target(what, f"at most {_MOST_DUCK_TIME:g}", str(spread), spread.median <= _MOST_DUCK_TIME)
    variables, ours, theirs = findings.opening
    what = f"opening a store of {variables} variables: requests to the store"
    yield Target(what, f"at most xarray's {theirs}", str(ours), ours <= theirs)
    trips = findings.round_trips
    what = "10,000 chunks in one HDF5 file: round trips for the index"
    yield Target(what, f"at most {_MOST_ROUND_TRIPS}", str(trips), trips <= _MOST_ROUND_TRIPS)
    most = findings.result_bytes + _GROWTH_BEYOND_DATA
    what = "mean over time of 10 GiB: growth of a worker, the result and 64 MiB"
    yield Target(what, f"at most {format_mib(most)}", format_mib(findings.growth), findings.growth <= most)
    most = Settings.model_construct().max_object_memory + _GROWTH_BEYOND_DATA
    what = f"{QUANTILE} quantile over time of 0.9 GiB: growth of a worker, MAX_OBJECT_MEMORY and 64 MiB"
    yield Target.at_most(what, most, findings.quantile_growth)

"""docs/performance.md: the store alone, the proxy, and a client that downloads; memory; the error of float32 sums."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import psutil

from bench.machine import Watched, find_workers, watching
from bench.rounds import GIB, KIB, MIB, Page, Row, Run, Target, format_mib, format_size, run_rounds, table
from bench.scene import WORKERS, Scene, make_temperatures, open_scene
from bench.turns import CLIENT, PROXY, STORE, Clients, fetch_sum, open_clients

# By size: how often each of 1, 8 and 32 clients asks in a round, and the number of rounds. A turn takes a few tenths of
# a second, which is long compared with the noise of the clock. The whole run takes less than ten minutes on two cores,
# half of it for 1 GiB with 8 and 32 clients.
_CLIENTS = (1, 8, 32)
_CASES: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    64 * KIB: ((128, 32, 16), (11, 7, 7)),
    1 * MIB: ((64, 16, 8), (11, 7, 7)),
    4 * MIB: ((32, 8, 4), (11, 7, 7)),
    16 * MIB: ((16, 4, 2), (11, 7, 7)),
    64 * MIB: ((8, 1, 1), (11, 7, 5)),
    1 * GIB: ((1, 1, 1), (11, 2, 1)),
}
_QUICK: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    64 * KIB: ((4, 4), (2, 2)),
    1 * MIB: ((4, 4), (2, 2)),
}
_ACCURACY_SIZES, _QUICK_ACCURACY_SIZES = (16 * MIB, 64 * MIB), (1 * MIB,)

# No round begins later, so that the run takes some ten minutes on a slower machine too.
_LAST_ROUND_SECONDS = 480

# The targets: for one client and objects of at least this size, the smallest ratio of the proxy's speed to the store's;
# and the largest growth of a worker.
_TARGET_SPEED, _TARGET_SIZE = 0.6, 16 * MIB
_TARGET_GROWTH = 16 * MIB

# The share of the machine's memory that a turn may take. The store, the service and the file cache need the rest.
_MEMORY_SHARE = 0.5

# For each worker. The kernel decides which of them gets a connection, so that one request each would not reach all.
_WARM_UP_REQUESTS = 8

# Ways in which a client can add up, by their names on the page.
_SUMS: Mapping[str, Callable[[npt.NDArray[np.float32]], np.float32]] = {
    "numpy's `sum` of float32": lambda values: values.sum(),
    # The last element of numpy's running total is the result of a loop over the numbers.
    "a running total in float32": lambda values: np.cumsum(values, dtype=np.float32)[-1],
}


def measure(run: Run) -> Page:
    """Start a store and a service, and measure everything.

    Raises:
        RuntimeError: The store or the service does not start.
        WrongReply: A reply is not what it must be.
    """
    cases = _QUICK if run.is_quick else _CASES
    run.tell("starting the store, writing the objects")
    with open_scene(cases) as scene:
        run.tell("memory")
        grown = _measure_memory(scene)
        with open_clients(scene) as clients:
            rows = [
                _make_row(scene, clients, size, case)
                for size, often in cases.items()
                for case in zip(_CLIENTS, *often, strict=False)
            ]
            run_rounds(rows, run.tell, time.monotonic() + _LAST_ROUND_SECONDS)
        run.tell("accuracy")
        sizes = _QUICK_ACCURACY_SIZES if run.is_quick else _ACCURACY_SIZES
        errors = {size: _find_errors(scene, size) for size in sizes}
    return Page("performance", [*_find_targets(rows, grown)], _make_tables(rows, grown, errors))


def _make_row(scene: Scene, clients: Clients, size: int, case: tuple[int, int, int]) -> Row:
    count, requests, rounds = case
    most = psutil.virtual_memory().total * _MEMORY_SHARE
    takes = {
        way.name: partial(clients.take, way, scene.objects[size], count, requests)
        for way in (STORE, PROXY, CLIENT)
        if way.copies * size * count <= most
    }
    target = _TARGET_SPEED if count == 1 and size >= _TARGET_SIZE else None
    return Row(format_size(size), takes, count, rounds, target)


def _measure_memory(scene: Scene) -> dict[tuple[str, int, int], Watched]:
    """The process that grew most, by contender, size and clients: the service's workers, and a client."""
    second, largest = sorted(scene.objects)[-2:]
    grown = {}
    for size, count in ((largest, 1), (second, 32)):
        with open_clients(scene) as asking:
            for _ in range(_WARM_UP_REQUESTS * WORKERS):
                asking.take(PROXY, scene.smallest, 1, 1)
            with watching(find_workers()) as watched:
                asking.take(PROXY, scene.objects[size], count, 1)
        grown[PROXY.name, size, count] = watched[0]
    with open_clients(scene, processes=1) as asking:
        asking.take(CLIENT, scene.smallest, 1, 1)
        with watching([psutil.Process(asking.pid())]) as watched:
            asking.take(CLIENT, scene.objects[largest], 1, 1)
    return {**grown, (CLIENT.name, largest, 1): watched[0]}


def _find_errors(scene: Scene, size: int) -> dict[str, float]:
    """The relative errors of sums of one object, by the way in which they were computed."""
    values = make_temperatures(size)
    exact = math.fsum(values.tolist())
    totals = {
        "the service": fetch_sum(scene.service, scene.objects[size]),
        **{name: float(add(values)) for name, add in _SUMS.items()},
    }
    return {name: abs(total - exact) / exact for name, total in totals.items()}


def _find_targets(rows: Iterable[Row], grown: Mapping[tuple[str, int, int], Watched]) -> Iterator[Target]:
    for row in rows:
        yield from Target.of_row(row, PROXY.name, STORE.name, f"speed of the proxy, {row}")
    (_, size, _), worker = next(iter(grown.items()))
    what = f"growth of the service's process while it sums {format_size(size)}"
    yield Target.at_most(what, _TARGET_GROWTH, worker.growth)


def _make_tables(
    rows: Sequence[Row],
    grown: Mapping[tuple[str, int, int], Watched],
    errors: Mapping[int, Mapping[str, float]],
) -> dict[str, str]:
    pairs = ((PROXY, STORE), (CLIENT, STORE), (PROXY, CLIENT))
    return {
        "speeds": table(
            ("object", "at a time", "rounds", "proxy: speed", "client: speed", "proxy beside client"),
            (
                (row.name, row.clients, len(row.rates[STORE.name]), *(row.beside(a.name, b.name) for a, b in pairs))
                for row in rows
            ),
        ),
        "left_out": "\n\n".join(
            f"Not measured: client, {row}, since the downloads alone would take more than {_MEMORY_SHARE:.0%} of this"
            " machine's memory."
            for row in rows
            if CLIENT.name not in row.takes
        ),
        "growths": table(
            ("contender", "object", "at a time", "idle", "growth"),
            (
                (name, format_size(size), clients, format_mib(process.idle), format_mib(process.growth))
                for (name, size, clients), process in grown.items()
            ),
        ),
        "errors": table(
            ("object", *next(iter(errors.values()))),
            ((format_size(size), *(f"{error:.1e}" for error in each.values())) for size, each in errors.items()),
        ),
    }

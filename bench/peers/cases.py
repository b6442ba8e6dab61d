"""What is asked for beside the peer: objects, reductions, how many clients at a time, and what has to be reached."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from bench.cases import GIB, KIB, MIB, format_size
from bench.peers import link
from bench.scene import DTYPE, make_temperatures

# As models write them.
FILL = np.float32(1e20)
CUBE = (256, 64, 64)
# Clients name the shape of a chunk (PyActiveStorage, always).
CHUNK = (64, 128, 128)

_SEED = 7
_ZLIB_LEVEL = 4


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        name: What the page calls it.
        key: The object's.
        clients: How many ask at a time.
        target: How many times the peer's rate is to be reached, None where nothing was asked for.
        members: Of the JSON request, beside where the object is and its data type.
        seconds: For how long wrk asks; 0 where each client asks ``requests`` times instead.
        requests: How often.
    """

    name: str
    key: str
    clients: int
    target: float | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    seconds: int = 0
    requests: int = 0

    def __str__(self) -> str:
        return f"{self.name}, {self.clients} at a time"


# By the size: what must be reached at 1, 8 and 32 clients (the issue's own), and how long or how often is asked.
_PLAIN: tuple[tuple[int, tuple[float | None, float, float], int, tuple[int, int, int]], ...] = (
    (64 * KIB, (None, 0.15, 0.15), 1, (0, 0, 0)),
    (1 * MIB, (0.9, 0.9, 0.9), 1, (0, 0, 0)),
    (4 * MIB, (1.8, 1.3, 1.1), 1, (0, 0, 0)),
    (16 * MIB, (2, 1.3, 1.1), 2, (0, 0, 0)),
    (64 * MIB, (6, 2.5, 2.5), 0, (4, 2, 1)),
    (154 * MIB, (8, 2.5, 8), 0, (3, 1, 1)),
)

# Name, key, how many seconds are asked (so that 32 at a time have their answers several times), members.
_OTHERS: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    (
        "4 MiB in zlib and shuffle",
        "zlib-shuffle",
        5,
        {"shape": CHUNK, "compression": {"id": "zlib"}, "filters": [{"id": "shuffle", "element_size": 4}]},
    ),
    ("axis 0 of (256, 64, 64)", "4194304", 2, {"shape": CUBE, "axis": [0]}),
    (
        "every second row and column of (256, 64, 64)",
        "4194304",
        2,
        {"shape": CUBE, "selection": [[0, 256, 2], [0, 64, 2], [0, 64, 1]]},
    ),
    ("4 MiB, 10 % missing", "missing", 2, {"missing": {"missing_value": float(FILL)}}),
)
_OTHERS_TARGET = 1.2

CLIENTS = (1, 8, 32)

_CASES = (
    *(
        Case(format_size(size), str(size), clients, target, seconds=seconds, requests=times)
        for size, targets, seconds, requests in _PLAIN
        for clients, target, times in zip(CLIENTS, targets, requests, strict=True)
    ),
    *(
        Case(name, key, clients, _OTHERS_TARGET, members, seconds=seconds)
        for name, key, seconds, members in _OTHERS
        for clients in CLIENTS
    ),
)

# One at a time, beside a plain download of it.
LARGE = Case("1 GiB", str(GIB), 1, target=1.1, requests=1)
LARGE_GROWTH = 16 * MIB
LARGE_ROUNDS = 7

# The same from a store that gives each connection a share of its speed.
SHARED = Case("1 GiB from a store that shares its speed out", str(GIB), 1, requests=1)
SHARED_ROUNDS = 3

# A flood: so many requests in all, so many at a time, and what each worker may have resident.
FLOOD = Case("154 MiB", str(154 * MIB), 32)
FLOOD_REQUESTS = 100
FLOOD_RESIDENT = 120 * MIB


@dataclass(frozen=True)
class Plan:
    """What a run measures.

    Attributes:
        cases: The rates of what, beside the peer.
        has_large: Whether 1 GiB and the flood come too.
        door_sizes: The doors beside each other, with what objects.
        door_rounds: How often.
        link_sizes: What is fetched across the link.
        link_rounds: How often.
    """

    cases: tuple[Case, ...]
    has_large: bool
    door_sizes: tuple[int, ...]
    door_rounds: int
    link_sizes: tuple[int, ...]
    link_rounds: int

    @property
    def stored(self) -> tuple[Case, ...]:
        """All cases whose objects have to be in the store."""
        return (*self.cases, LARGE, FLOOD) if self.has_large else self.cases


FULL = Plan(
    _CASES,
    has_large=True,
    door_sizes=(64 * KIB, 4 * MIB),
    # Their turns take a second each: medians of five rounds were 0.79 and 1.06 of one and the same ratio.
    door_rounds=15,
    link_sizes=link.SIZES,
    link_rounds=3,
)
# Everything once, and small: it takes half a minute.
QUICK = Plan(
    tuple(case for case in _CASES if case.key in ("65536", "zlib-shuffle") and case.clients == 8),
    has_large=False,
    door_sizes=(64 * KIB,),
    door_rounds=1,
    link_sizes=(64 * KIB,),
    link_rounds=1,
)


def make_objects(cases: tuple[Case, ...]) -> dict[str, Callable[[], bytes]]:
    """What makes the objects of these cases, by key."""
    return {case.key: _MAKERS.get(case.key) or (lambda key=case.key: _plain(int(key))) for case in cases}  # type: ignore[misc]


def _plain(size: int) -> bytes:
    return make_temperatures(size).tobytes()


def _zlib_shuffle() -> bytes:
    """A smooth field in steps of a hundredth, as measurements and models have them: it shrinks to two fifths."""
    random = np.random.default_rng(_SEED)
    steps = random.normal(0, 0.05, CHUNK)
    field_ = np.round(np.cumsum(np.cumsum(steps, axis=1), axis=2) + 285, 2).astype(DTYPE)
    planes = np.frombuffer(field_.tobytes(), np.uint8).reshape(-1, DTYPE.itemsize).T
    return zlib.compress(planes.tobytes(), _ZLIB_LEVEL)


def _missing() -> bytes:
    values = make_temperatures(4 * MIB)
    values[np.random.default_rng(_SEED).random(len(values)) < 0.1] = FILL
    return values.tobytes()


_MAKERS: Mapping[str, Callable[[], bytes]] = MappingProxyType({"zlib-shuffle": _zlib_shuffle, "missing": _missing})

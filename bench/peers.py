"""docs/peers.md: the service beside Reductionist, the same interface in Rust, and beside downloads.

It needs other programs (``programs.py``): nginx is the store, wrk sends requests, Reductionist is the peer. Beside the
rounds it measures memory under load, signed requests to a real S3 store, and a slow link.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from types import MappingProxyType
from typing import Any

import cbor2
import numpy as np
import psutil
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench import link
from bench.machine import find_workers, watching
from bench.programs import PEER, SHARE_BYTES, SHARED_PATH, peer, tell_missing, web_server
from bench.rounds import GIB, KIB, MIB, Page, Row, Run, Target, format_mib, format_size, run_rounds, table
from bench.scene import BUCKET, DTYPE, SETTINGS, Scene, make_temperatures, open_scene, put_file, store_objects
from bench.turns import (
    CLIENT,
    PROXY,
    Ask,
    WrongReply,
    ask_by_threads,
    ask_by_wrk,
    ask_json,
    download_by_requests,
    fetch,
)
from deploy.local.service import service
from deploy.local.store import REGION, Store

SERVICE, STORE = "service", "store"

# A large object as programs download it. For the store's own rate, a loop receives the same bytes and drops them.
DOWNLOAD = "download with requests"

# The stores at the end of the link.
NGINX, SEAWEEDFS = "nginx", "SeaweedFS"

# No round begins later. With the other measurements, a run takes some ten minutes.
_LAST_ROUND_SECONDS = 360
_MOST_ROUNDS = 100

# The fill value and an array such as climate models write them.
_FILL = np.float32(1e20)
_CUBE = (256, 64, 64)
_SECONDS = [[0, 256, 2], [0, 64, 2], [0, 64, 1]]
_SHUFFLE = {"id": "shuffle", "element_size": 4}
# The shape of a chunk, which PyActiveStorage always sends.
_CHUNK = (64, 128, 128)

_SEED = 7
_ZLIB_LEVEL = 4


@dataclass(frozen=True)
class Case:
    """A request that is measured with several numbers of clients.

    Attributes:
        name: Its name on the page.
        key: The key of the object.
        targets: For each number of clients, the smallest ratio of the service's rate to the peer's; None for no target.
        turns: The seconds of a turn of wrk; or for each number of clients, how often each client asks in a turn.
        members: Members of the JSON request, in addition to the location and the data type of the object.
    """

    name: str
    key: str
    targets: tuple[float | None, ...]
    turns: int | tuple[int, ...]
    members: Mapping[str, Any] = field(default_factory=dict)


CLIENTS = (1, 8, 32)


def _whole(size: int, targets: tuple[float | None, ...], turns: int | tuple[int, ...]) -> Case:
    return Case(format_size(size), str(size), targets, turns)


def _part(name: str, key: str, seconds: int, **members: Any) -> Case:
    return Case(name, key, (1.2, 1.2, 1.2), seconds, members)


# Slow requests have longer turns, so that each of 32 clients gets several answers.
CASES = (
    _whole(64 * KIB, (None, 0.15, 0.15), 1),
    _whole(1 * MIB, (0.9, 0.9, 0.9), 1),
    _whole(4 * MIB, (1.8, 1.3, 1.1), 1),
    _whole(16 * MIB, (2, 1.3, 1.1), 2),
    _whole(64 * MIB, (6, 2.5, 2.5), (4, 2, 1)),
    _whole(154 * MIB, (8, 2.5, 8), (3, 1, 1)),
    _part("4 MiB in zlib and shuffle", "zlib-shuffle", 5, shape=_CHUNK, compression={"id": "zlib"}, filters=[_SHUFFLE]),
    _part("axis 0 of (256, 64, 64)", str(4 * MIB), 2, shape=_CUBE, axis=[0]),
    _part("every second row and column of (256, 64, 64)", str(4 * MIB), 2, shape=_CUBE, selection=_SECONDS),
    _part("4 MiB, 10 % missing", "missing", 2, missing={"missing_value": float(_FILL)}),
)
_QUICK_CASES = (CASES[0], CASES[6])

# One request at a time, beside a plain download; and the same from a store that limits the rate of each connection.
LARGE = _whole(GIB, (1.1,), (1,))
_LARGE_ROUNDS, _SHARED_ROUNDS = 7, 3
_LARGE_GROWTH = 16 * MIB

# A flood: the number of requests, how many of them are concurrent, and the largest resident size of a worker.
_FLOOD = CASES[5]
_FLOOD_REQUESTS, _FLOOD_CLIENTS = 100, 32
_FLOOD_RESIDENT = 120 * MIB


# A door's turns take a second each. With five rounds, two medians of the same ratio were 0.79 and 1.06.
_DOOR_SIZES, _DOOR_ROUNDS, _LINK_ROUNDS = (64 * KIB, 4 * MIB), 15, 3


@dataclass(frozen=True)
class Flood:
    """The result of many concurrent large requests: the number of failures, and the largest resident size."""

    contender: str
    failures: int
    resident: int


@dataclass
class Findings:
    """The results of a run."""

    rows: list[Row] = field(default_factory=list)
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    floods: list[Flood] = field(default_factory=list)
    large: Row = field(default_factory=lambda: Row(LARGE.name, {}))
    large_growth: int = 0
    shared: Row = field(default_factory=lambda: Row(LARGE.name, {}))
    doors: list[Row] = field(default_factory=list)
    links: dict[str, list[Row]] = field(default_factory=dict)


def measure(run: Run) -> Page:
    """Measure everything beside the peer.

    Raises:
        RuntimeError: A program is missing, or does not start.
        WrongReply: A reply is not what it must be.
    """
    if missing := tell_missing():
        raise RuntimeError(missing)
    findings = Findings()
    cases, clients = (_QUICK_CASES, CLIENTS[1:2]) if run.is_quick else (CASES, CLIENTS)
    door_sizes, link_sizes = ((64 * KIB,),) * 2 if run.is_quick else (_DOOR_SIZES, link.SIZES)
    link_rounds = 1 if run.is_quick else _LINK_ROUNDS
    with web_server() as (store, folder), service(Store(store), SETTINGS) as ours:
        for case in (*cases, LARGE)[: -1 if run.is_quick else None]:
            (folder / case.key).write_bytes(_MAKERS.get(case.key, partial(_make_plain, case.key))())
        if not run.is_quick:
            run.tell("1 GiB")
            # Before everything else, since a worker that was large once stays so.
            findings.large_growth = _measure_growth(ours, store)
            findings.large = _make_download_row(_LARGE_ROUNDS, ours, store)
            findings.shared = _make_download_row(_SHARED_ROUNDS, ours, f"{store}{SHARED_PATH}")
            for row in (findings.large, findings.shared):
                run_rounds([row], run.tell)
        with peer() as (theirs, pid):
            run.tell("the answers")
            endpoints = {SERVICE: ours, PEER: theirs}
            findings.errors = _find_errors(endpoints, store, cases)
            if not run.is_quick:
                run.tell("a flood")
                findings.floods = [
                    _flood(SERVICE, _ask(_FLOOD, ours, store), find_workers()),
                    _flood(PEER, _ask(_FLOOD, theirs, store), [psutil.Process(pid)]),
                ]
            findings.rows = [_make_row(case, count, endpoints, store) for case in cases for count in clients]
            run_rounds(findings.rows, run.tell, run.started + (0 if run.is_quick else _LAST_ROUND_SECONDS))
        run.tell(f"the link, {NGINX}")
        scene = Scene(Store(store), ours, store_objects(link_sizes, partial(put_file, folder)))
        findings.links[NGINX] = link.measure(scene, link_sizes, link_rounds, run.tell)
    run.tell("the doors")
    with open_scene((*door_sizes, *link_sizes)) as scene:
        findings.doors = _make_door_rows(scene, door_sizes, 1 if run.is_quick else _DOOR_ROUNDS)
        run_rounds(findings.doors, run.tell)
        run.tell(f"the link, {SEAWEEDFS}")
        findings.links[SEAWEEDFS] = link.measure(scene, link_sizes, link_rounds, run.tell)
    return render(findings)


# Objects


def _make_plain(key: str) -> bytes:
    return make_temperatures(int(key)).tobytes()


def _make_zlib_shuffle() -> bytes:
    """A smooth field in steps of a hundredth, as measurements and models have them: it shrinks to two fifths."""
    random = np.random.default_rng(_SEED)
    steps = random.normal(0, 0.05, _CHUNK)
    values = np.round(np.cumsum(np.cumsum(steps, axis=1), axis=2) + 285, 2).astype(DTYPE)
    planes = np.frombuffer(values.tobytes(), np.uint8).reshape(-1, DTYPE.itemsize).T
    return zlib.compress(planes.tobytes(), _ZLIB_LEVEL)


def _make_missing() -> bytes:
    values = make_temperatures(4 * MIB)
    values[np.random.default_rng(_SEED).random(len(values)) < 0.1] = _FILL
    return values.tobytes()


_MAKERS: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {"zlib-shuffle": _make_zlib_shuffle, "missing": _make_missing}
)


# Rates


def _ask(case: Case, endpoint: str, store: str, **members: object) -> Ask:
    where = {"interface_type": "http", "url": f"{store}/{case.key}", "dtype": "float32", "byte_order": "little"}
    return ask_json(endpoint, "sum", {**where, **case.members, **members})


def _make_row(case: Case, clients: int, endpoints: Mapping[str, str], store: str) -> Row:
    asks = {name: _ask(case, endpoint, store) for name, endpoint in endpoints.items()}
    asks[STORE] = Ask(f"{store}/{case.key}")
    place = CLIENTS.index(clients)
    take: Callable[[Ask], float]
    if isinstance(case.turns, int):
        take = partial(ask_by_wrk, clients=clients, seconds=case.turns)
    else:
        take = partial(ask_by_threads, clients=clients, times=case.turns[place])
    takes = {name: partial(take, ask) for name, ask in asks.items()}
    return Row(case.name, takes, clients, rounds=_MOST_ROUNDS, target=case.targets[place])


def _find_errors(endpoints: Mapping[str, str], store: str, cases: tuple[Case, ...]) -> dict[str, dict[str, float]]:
    """The relative errors of sums of whole objects, compared with numpy's in float64, by case and contender.

    Raises:
        WrongReply: The error of the service's sum is larger than that of rounding to float32.
    """
    errors: dict[str, dict[str, float]] = {}
    for case in cases:
        if case.members:
            continue
        total = make_temperatures(int(case.key)).sum(dtype=np.float64)
        errors[case.name] = {
            name: float(abs(_read_sum(fetch(_ask(case, endpoint, store))) / total - 1))
            for name, endpoint in endpoints.items()
        }
        if errors[case.name][SERVICE] > np.finfo(np.float32).eps:
            raise WrongReply(f"the service's sum of {case.name} is wrong")
    return errors


def _read_sum(body: bytes) -> np.float32:
    return np.float32(np.frombuffer(cbor2.loads(body)["bytes"], "<f4")[0])


# Large objects


def _measure_growth(ours: str, store: str) -> int:
    """The growth of the worker that grows most while the large object is summed.

    Small requests come first: the first requests of a worker make it some 4 MiB larger, by its threads, whatever the
    size of the objects. The kernel decides which worker gets a connection, so that it takes many requests to reach all
    of them.
    """
    ask_by_threads(_ask(LARGE, ours, store, size=4 * KIB), 32, 2)
    with watching(find_workers()) as watched:
        ask_by_threads(_ask(LARGE, ours, store), 1, 1)
    return watched[0].growth


def _make_download_row(rounds: int, ours: str, store: str) -> Row:
    """The service, a plain download, and a download whose bytes are dropped."""
    plain = Ask(f"{store}/{LARGE.key}")
    takes: dict[str, Callable[[], float]] = {
        SERVICE: partial(ask_by_threads, _ask(LARGE, ours, store), 1, 1),
        DOWNLOAD: partial(download_by_requests, plain, GIB),
        STORE: partial(ask_by_threads, plain, 1, 1),
    }
    return Row(LARGE.name, takes, rounds=rounds, target=LARGE.targets[0])


def _flood(name: str, ask: Ask, processes: list[psutil.Process]) -> Flood:
    with watching(processes) as watched, ThreadPoolExecutor(_FLOOD_CLIENTS) as pool:
        answered = list(pool.map(lambda _: _is_answered(ask), range(_FLOOD_REQUESTS)))
    return Flood(name, answered.count(False), max(each.peak for each in watched))


def _is_answered(ask: Ask) -> bool:
    try:
        fetch(ask)
    except (WrongReply, OSError, HTTPException):
        return False
    return True


# The doors: the same object by signed requests and by anonymous ones

ANONYMOUS, SIGNED, PRESIGNED = "anonymous http", "header-signed", "presigned"

_DOOR_CLIENTS, _DOOR_SECONDS, _DOOR_TARGET = 8, 1, 0.9


def _straight(name: str) -> str:
    """The name of the same request if it goes straight to the store."""
    return f"{name}, straight"


def _make_door_rows(scene: Scene, sizes: tuple[int, ...], rounds: int) -> list[Row]:
    resources = [f"arn:aws:s3:::{BUCKET}/*"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    scene.store.client().put_bucket_policy(Bucket=BUCKET, Policy=policy)
    return [
        Row(
            format_size(size),
            {
                name: partial(ask_by_wrk, ask, _DOOR_CLIENTS, _DOOR_SECONDS)
                for name, ask in _ask_doors(scene, size).items()
            },
            _DOOR_CLIENTS,
            rounds,
            _DOOR_TARGET,
        )
        for size in sizes
    ]


def _ask_doors(scene: Scene, size: int) -> dict[str, Ask]:
    stored = scene.objects[size]
    url = f"{scene.store.endpoint}/{BUCKET}/{stored.key}"
    request = AWSRequest("GET", url)
    S3SigV4Auth(Credentials(scene.store.access_key, scene.store.secret_key), "s3", REGION).add_auth(request)
    signed = dict(request.headers.items())
    members = {"interface_type": "http", "url": url, "dtype": "float32"}
    return {
        ANONYMOUS: ask_json(scene.service, "sum", members),
        SIGNED: Ask(f"{scene.service}/sum/float32/{BUCKET}/{stored.key}", headers=signed),
        PRESIGNED: Ask(f"{scene.service}/sum/float32{stored.target}"),
        _straight(ANONYMOUS): Ask(url),
        _straight(SIGNED): Ask(url, headers=signed),
        _straight(PRESIGNED): Ask(f"{scene.store.endpoint}{stored.target}"),
    }


# The page

# The ratios in the table of rates; and those in the table of doors, by the title of their column.
_PAIRS = ((SERVICE, PEER), (SERVICE, STORE), (PEER, STORE))
_DOORS = {
    **{f"{name} beside {ANONYMOUS}": (name, ANONYMOUS) for name in (SIGNED, PRESIGNED)},
    **{f"straight, {name}": (_straight(name), _straight(ANONYMOUS)) for name in (SIGNED, PRESIGNED)},
}


def render(findings: Findings) -> Page:
    """The page with these results."""
    return Page(
        "peers",
        [*_find_targets(findings)],
        {
            "rates": table(
                ("case", "at a time", "rounds", "beside the peer", "beside the store", "the peer beside the store"),
                (
                    (row.name, row.clients, len(row.rates[SERVICE]), *(row.beside(*pair) for pair in _PAIRS))
                    for row in findings.rows
                ),
            ),
            "errors": table(
                ("object", "the service", "the peer"),
                ((name, *(f"{each[who]:.1e}" for who in (SERVICE, PEER))) for name, each in findings.errors.items()),
            ),
            "floods": table(
                ("contender", "failures", "most resident in one process"),
                ((each.contender, each.failures, f"{each.resident / MIB:,.0f} MiB") for each in findings.floods),
            ),
            "growth": format_mib(findings.large_growth),
            "large": str(findings.large.beside(SERVICE, DOWNLOAD) or "-"),
            "bare": str(findings.large.beside(STORE, DOWNLOAD) or "-"),
            "share": format_size(SHARE_BYTES),
            "shared": str(findings.shared.beside(SERVICE, STORE) or "-"),
            "doors": table(
                ("object", *_DOORS),
                ((row.name, *(row.beside(*pair) for pair in _DOORS.values())) for row in findings.doors),
            ),
            "links": table(
                ("object", *(f"the service beside a download, {store}" for store in findings.links)),
                (
                    (rows[0].name, *(row.beside(PROXY.name, CLIENT.name) for row in rows))
                    for rows in zip(*findings.links.values(), strict=True)
                ),
            ),
        },
    )


def _find_targets(findings: Findings) -> Iterator[Target]:
    """The targets of all that was measured."""
    for row in findings.rows:
        yield from Target.of_row(row, SERVICE, PEER, f"{row}, beside the peer")
    yield from Target.of_row(findings.large, SERVICE, DOWNLOAD, f"{findings.large}, beside one plain download stream")
    if findings.large_growth:
        yield Target.at_most("growth of a worker while it sums 1 GiB", _LARGE_GROWTH, findings.large_growth)
    for flood in findings.floods:
        if flood.contender == SERVICE:
            what = f"{_FLOOD_REQUESTS} times {_FLOOD.name}, {_FLOOD_CLIENTS} at a time"
            yield Target(f"{what}: failures", "none", str(flood.failures), not flood.failures)
            yield Target.at_most(f"{what}: resident size of a worker", _FLOOD_RESIDENT, flood.resident)
    for row in findings.doors:
        for name in (SIGNED, PRESIGNED):
            yield from Target.of_row(row, name, ANONYMOUS, f"{row}, {name} beside {ANONYMOUS}")
    for row in findings.links.get(NGINX, ()):
        yield from Target.of_row(row, PROXY.name, CLIENT.name, f"{row.name} across the link, beside a download")

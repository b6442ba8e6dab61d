"""The measuring: rounds beside the peer, then memory, doors, ranges side by side, the link, the profile."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from itertools import count
from pathlib import Path

import cbor2
import numpy as np
import psutil
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.cases import KIB, format_size
from bench.contenders import WrongReply
from bench.memory import find_workers, watching
from bench.peers import cases, link, profile
from bench.peers.cases import Case, Plan
from bench.peers.programs import PEER, SHARED_PATH, SKETCH, peer, sketch, web_server
from bench.peers.turns import Ask, ask_json, fetch, take_by_ranges, take_by_requests, take_by_threads, take_by_wrk
from bench.scene import BUCKET, SETTINGS, Scene, make_temperatures, open_scene, store_objects
from bench.tables import Spread, rotated
from deploy.local.service import service
from deploy.local.store import REGION, Store

SERVICE, STORE = "service", "store"

# A large object as programs fetch it, beside the store's own rate: the loop that takes that one drops what it receives.
DOWNLOAD = "download with requests"

# The stores that the link ends at.
NGINX, SEAWEEDFS = "nginx", "SeaweedFS"

# How many ranges the large object is cut into.
STREAMS = (2, 4)

_DOOR_CLIENTS = 8


@dataclass
class Row:
    """What was measured of one case: requests per second of every round, by the contender's name."""

    case: Case
    rates: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, rate: float) -> None:
        """The rate of a contender in one more round."""
        self.rates.setdefault(name, []).append(rate)

    def beside(self, ours: str, theirs: str) -> Spread | None:
        """How many times the rate of another one; None where one of them was not measured."""
        if not self.rates.get(ours) or not self.rates.get(theirs):
            return None
        return Spread.of_ratios(self.rates[ours], self.rates[theirs])


@dataclass(frozen=True)
class Flood:
    """What became of many large requests at a time: how many failed, and the most that one process had resident."""

    contender: str
    failures: int
    resident: int
    seconds: float


@dataclass
class Findings:
    """All that a run found out."""

    rows: list[Row] = field(default_factory=list)
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    floods: list[Flood] = field(default_factory=list)
    large: Row = field(default_factory=lambda: Row(cases.LARGE))
    large_growth: int = 0
    shared: Row = field(default_factory=lambda: Row(cases.SHARED))
    doors: list[Row] = field(default_factory=list)
    links: dict[str, list[link.Crossing]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


def measure(plan: Plan, ends_at: float, tell: Callable[[str], None]) -> Findings:
    """Measure everything that the plan names.

    Args:
        plan: What.
        ends_at: The moment of ``time.monotonic`` after which no other round begins.
        tell: Told how far it has come.

    Raises:
        RuntimeError: A program is missing, or does not start.
        WrongReply: A reply is not what it must be.
    """
    findings = Findings()
    with web_server() as (store, folder), service(Store(store), SETTINGS) as ours:
        for key, make in cases.make_objects(plan.stored).items():
            (folder / key).write_bytes(make())
        if plan.has_large:
            tell("1 GiB")
            # Before everything else, while no worker has been large yet.
            findings.large_growth = _measure_growth(ours, store)
            findings.large = _measure_download(cases.LARGE, cases.LARGE_ROUNDS, ours, store, STREAMS)
            findings.shared = _measure_download(cases.SHARED, cases.SHARED_ROUNDS, ours, f"{store}{SHARED_PATH}")
        with peer() as (theirs, pid), sketch() as least:
            tell("the answers")
            findings.errors = _find_errors({SERVICE: ours, PEER: theirs}, store, plan.cases)
            if plan.has_large:
                tell("a flood")
                findings.floods = [
                    _flood(SERVICE, ours, store, find_workers()),
                    _flood(PEER, theirs, store, [psutil.Process(pid)]),
                ]
            asks = {SERVICE: ours, PEER: theirs, STORE: store, SKETCH: least}
            findings.rows = [Row(case) for case in plan.cases]
            _run_rounds(findings.rows, lambda case, name: _ask(case, asks[name], store, name), ends_at, tell)
        tell("where the time goes")
        findings.shares = profile.measure(ask_json(ours, "sum", _members(plan.cases[0], store)), find_workers()[0].pid)
        tell(f"the link, {NGINX}")
        scene = Scene(Store(store), ours, store_objects(plan.link_sizes, partial(_put_file, folder)))
        findings.links[NGINX] = link.measure(scene, plan.link_sizes, plan.link_rounds)
    tell("the doors")
    with open_scene((*plan.door_sizes, *plan.link_sizes)) as scene:
        findings.doors = _measure_doors(scene, plan.door_sizes, plan.door_rounds, tell)
        tell(f"the link, {SEAWEEDFS}")
        findings.links[SEAWEEDFS] = link.measure(scene, plan.link_sizes, plan.link_rounds)
    return findings


def _put_file(folder: Path, key: str, data: bytes) -> str:
    (folder / BUCKET).mkdir(exist_ok=True)
    (folder / BUCKET / key).write_bytes(data)
    return f"/{BUCKET}/{key}"


def _members(case: Case, store: str) -> dict[str, object]:
    where = {"interface_type": "http", "url": f"{store}/{case.key}"}
    return {**where, "dtype": "float32", "byte_order": "little", **case.members}


def _ask(case: Case, endpoint: str, store: str, name: str) -> Ask:
    if name == STORE:
        return Ask(f"{store}/{case.key}")
    return ask_json(endpoint, "sum", _members(case, store))


def _run_rounds(rows: list[Row], ask: Callable[[Case, str], Ask], ends_at: float, tell: Callable[[str], None]) -> None:
    for number in count():
        if number and time.monotonic() > ends_at:
            return
        for place, row in enumerate(rows):
            tell(f"round {number + 1}: {row.case}")
            # The sketch can do nothing else than add up.
            names = (SERVICE, PEER, STORE) if row.case.members else (SERVICE, PEER, STORE, SKETCH)
            for name in rotated(names, number + place):
                row.add(name, _take(ask(row.case, name), row.case))


def _take(ask: Ask, case: Case) -> float:
    if case.seconds:
        return take_by_wrk(ask, case.clients, case.seconds)
    return take_by_threads(ask, case.clients, case.requests)


def _find_errors(endpoints: Mapping[str, str], store: str, asked: tuple[Case, ...]) -> dict[str, dict[str, float]]:
    """How far the sums of whole objects are from numpy's, in float64: relative, by case and contender.

    Raises:
        WrongReply: The service's is.
    """
    errors: dict[str, dict[str, float]] = {}
    for case in asked:
        if case.name in errors or case.members:
            continue
        total = make_temperatures(int(case.key)).sum(dtype=np.float64)
        errors[case.name] = {
            name: float(abs(_read_sum(fetch(_ask(case, endpoint, store, name))) / total - 1))
            for name, endpoint in endpoints.items()
        }
        if errors[case.name][SERVICE] > np.finfo(np.float32).eps:
            raise WrongReply(f"the service's sum of {case.name} is wrong")
    return errors


def _read_sum(body: bytes) -> np.float32:
    return np.float32(np.frombuffer(cbor2.loads(body)["bytes"], "<f4")[0])


def _flood(name: str, endpoint: str, store: str, processes: list[psutil.Process]) -> Flood:
    """Many large requests, so many at a time; the most that one of the processes had resident meanwhile."""
    ask, started = _ask(cases.FLOOD, endpoint, store, name), time.monotonic()
    with watching(processes) as watch, ThreadPoolExecutor(cases.FLOOD.clients) as pool:
        answered = list(pool.map(lambda _: _is_answered(ask), range(cases.FLOOD_REQUESTS)))
    return Flood(name, answered.count(False), max(each.peak for each in watch.watched), time.monotonic() - started)


def _is_answered(ask: Ask) -> bool:
    try:
        fetch(ask)
    except (WrongReply, OSError, HTTPException):
        return False
    return True


def _measure_growth(ours: str, store: str) -> int:
    """How far the worker that grows most grows while it sums the large object.

    Small requests come before it: the first that a worker answers make it some 4 MiB larger for good, with threads and
    what they keep, whatever the size of an object. The kernel decides which worker gets a connection, and each should
    have had some; hence so many.
    """
    small = ask_json(ours, "sum", {**_members(cases.LARGE, store), "size": 4 * KIB})
    take_by_threads(small, 32, 2)
    with watching(find_workers()) as watch:
        take_by_threads(_ask(cases.LARGE, ours, store, SERVICE), 1, 1)
    return max(each.peak - each.idle for each in watch.watched)


def _measure_download(case: Case, rounds: int, ours: str, store: str, streams: tuple[int, ...] = ()) -> Row:
    """The service beside one plain download stream, and beside so many ranges that are received at once."""
    row, size = Row(case), int(case.key)
    ask, plain = _ask(case, ours, store, SERVICE), _ask(case, store, store, STORE)
    takes: dict[str, Callable[[], float]] = {
        SERVICE: lambda: _take(ask, case),
        DOWNLOAD: lambda: take_by_requests(plain, size),
        STORE: lambda: _take(plain, case),
        **{ranges(number): partial(take_by_ranges, plain, size, number) for number in streams},
    }
    for number in range(rounds):
        for name in rotated([*takes], number):
            row.add(name, takes[name]())
    return row


def ranges(streams: int) -> str:
    """What a loop that receives so many ranges at once is called."""
    return f"{streams} ranges at once, received and dropped"


# The doors: the same object through signed requests and through none

ANONYMOUS, SIGNED, PRESIGNED = "anonymous http", "header-signed", "presigned"


def straight(name: str) -> str:
    """What the same request is called that goes straight to the store."""
    return f"{name}, straight"


def _measure_doors(scene: Scene, sizes: tuple[int, ...], rounds: int, tell: Callable[[str], None]) -> list[Row]:
    _open_to_all(scene.store)
    rows = [
        Row(Case(format_size(size), scene.objects[size].key, _DOOR_CLIENTS, target=0.9, seconds=1)) for size in sizes
    ]
    for number in range(rounds):
        for row, size in zip(rows, sizes, strict=True):
            tell(f"the doors, round {number + 1}: {row.case}")
            asks = _ask_doors(scene, size)
            for name in rotated([*asks], number):
                row.add(name, _take(asks[name], row.case))
    return rows


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
        straight(ANONYMOUS): Ask(url),
        straight(SIGNED): Ask(url, headers=signed),
        straight(PRESIGNED): Ask(f"{scene.store.endpoint}{stored.target}"),
    }


def _open_to_all(store: Store) -> None:
    resources = [f"arn:aws:s3:::{BUCKET}/*"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    store.client().put_bucket_policy(Bucket=BUCKET, Policy=policy)

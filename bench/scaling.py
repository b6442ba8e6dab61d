"""docs/scaling.md: one reduction by one, two and four services, with as many workers of dask.

Each service is held to a share of a core, so that a machine with two cores can show what more machines would do. It
needs nginx, and a user who may make control groups; a quick run does without control groups.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from operator import truediv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import zarr
from distributed import Client as Workers
from distributed import LocalCluster
from isal import isal_zlib
from zarr.codecs import GzipCodec

from active_storage import Client
from active_storage.client.dask_arrays import DaskClient
from bench.array_data import MAP, VARIABLE, ArrayFile, make_values, write_repeated_zarr
from bench.array_turns import TOLERANCE
from bench.limits import limited
from bench.programs import tell_missing, web_server
from bench.rounds import GIB, KIB, Page, Row, Run, Spread, Target, format_mib, run_rounds, table
from bench.scene import BUCKET, DTYPE, SETTINGS
from bench.turns import WrongReply
from deploy.local.processes import LOOPBACK
from deploy.local.service import service
from deploy.local.store import Store

SHARE = 0.4

# Tasks wait for services and take no CPU. With fewer of them, all can wait for the same service.
THREADS = 8

_COUNTS = (1, 2, 4)
_QUICK_COUNTS = (1, 2)
_TARGET = 1.7

# Each chunk is a section: two of them are more than what a section has.
_PLANES = 68
_CHUNKS, _QUICK_CHUNKS = 320, 8
_ROUNDS = 3

_GRAPH_CHUNKS = 100_000
_GRAPH_PLANES = 16
_GRAPH_ROUNDS = 5
_MOST_GRAPH_SECONDS = 1.0

# zlib's number for the format of gzip.
_GZIP_BITS = 31

_EMPTY = f"{BUCKET}/empty.zarr"


@dataclass(frozen=True)
class Server:
    """A service, its processes, and its log."""

    url: str
    processes: Sequence[psutil.Process]
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of its processes so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self.processes)

    def read_log(self) -> "Moved":
        """The bytes of all requests so far."""
        moved = Moved()
        for line in self.log.read_text().splitlines():
            facts = json.loads(line) if line.startswith("{") else {}
            moved = Moved(moved.read + facts.get("bytes_read", 0), moved.sent + facts.get("bytes_sent", 0))
        return moved


@dataclass(frozen=True)
class Moved:
    """The bytes that services read from the store, and those that they sent."""

    read: int = 0
    sent: int = 0


@dataclass
class Findings:
    """The results of a run.

    Attributes:
        row: The rates by the number of services, as a text.
        file: The array.
        sections: How many tasks ask for its sections.
        shares: For each number of services, the share of a core that each took in a turn.
        moved: What one turn moved, by the number of services.
        decoding_share: The share of the CPU of one service that decoding a chunk as often as there are chunks takes.
        answer: The mean, which must have the same bits in each turn.
        graph_seconds: The times in which a graph was built.
        graph_tasks: How many tasks it has.
    """

    row: Row
    file: ArrayFile
    sections: int = 0
    shares: dict[str, list[float]] = field(default_factory=dict)
    moved: dict[str, Moved] = field(default_factory=dict)
    decoding_share: float = 0.0
    answer: Any = None
    graph_seconds: list[float] = field(default_factory=list)
    graph_tasks: int = 0


def measure(run: Run) -> Page:
    """Measure everything.

    Raises:
        RuntimeError: A program is missing, does not start, or no control group can be made.
        WrongReply: An answer is not that of numpy, or has other bits with more services.
    """
    if missing := tell_missing(["nginx"]):
        raise RuntimeError(missing)
    counts = _QUICK_COUNTS if run.is_quick else _COUNTS
    with ExitStack() as held:
        near, root = held.enter_context(web_server())
        run.tell("the arrays")
        values = make_values(_PLANES, MAP)
        chunks = _QUICK_CHUNKS if run.is_quick else _CHUNKS
        file = write_repeated_zarr(root, f"{BUCKET}/packed.zarr", values, chunks, GzipCodec())
        _write_empty(root)
        run.tell("the services and the workers")
        folder = Path(held.enter_context(TemporaryDirectory(prefix="active-storage-")))
        servers = [held.enter_context(_serve(near, folder / f"{number}.log")) for number in range(counts[-1])]
        findings = Findings(Row("", {}, rounds=1 if run.is_quick else _ROUNDS), file)
        with Client(servers[0].url, anon=True) as client:
            _measure_graph(client, near, findings)
            for server in servers:
                held.enter_context(nullcontext() if run.is_quick else limited(server.processes, SHARE))
            workers = held.enter_context(_start_workers(counts[-1], folder))
            takes = {
                str(count): partial(_take_turn, workers, client, servers[:count], f"{near}/{file.path}", findings)
                for count in counts
            }
            run.tell("each number of services once, to warm up and to compare with numpy")
            _warm_up(takes, servers, findings)
            findings.row = Row(f"{_describe(file)}, mean", takes, rounds=findings.row.rounds)
            run_rounds([findings.row], run.tell)
        chunk = (root / file.path / VARIABLE / "c" / "0" / "0" / "0").read_bytes()
        taken = statistics.median(map(truediv, findings.shares["1"], findings.row.rates["1"]))
        findings.decoding_share = chunks * _time_decoding(chunk) / taken
    return render(findings)


def _write_empty(root: Path) -> None:
    """An array of which no chunk is there: a graph is built from its metadata."""
    shape = (_GRAPH_CHUNKS * _GRAPH_PLANES, *MAP)
    zarr.create_array(root / _EMPTY / VARIABLE, shape=shape, chunks=(_GRAPH_PLANES, *MAP), dtype=DTYPE)


@contextmanager
def _serve(near: str, log: Path) -> Iterator[Server]:
    before = set(psutil.Process().children(recursive=True))
    with service(Store(near), {**SETTINGS, "ACTIVE_STORAGE_WORKERS": "1"}, log) as url:
        yield Server(
            url, sorted(set(psutil.Process().children(recursive=True)) - before, key=lambda each: each.pid), log
        )


@contextmanager
def _start_workers(count: int, folder: Path) -> Iterator[Workers]:
    """Workers of dask, a process each."""
    with (
        LocalCluster(
            count,
            threads_per_worker=THREADS,
            processes=True,
            host=LOOPBACK,
            dashboard_address=None,
            worker_dashboard_address=None,
            local_directory=str(folder),
        ) as cluster,
        Workers(cluster) as workers,
    ):
        yield workers


def _measure_graph(client: Client, near: str, findings: Findings) -> None:
    lazy = DaskClient(client, ["http://localhost:1"], anon=True)
    for _ in range(_GRAPH_ROUNDS):
        started = time.perf_counter()
        values = lazy.reduce("mean", f"{near}/{_EMPTY}", VARIABLE, axis=0).values
        findings.graph_seconds.append(time.perf_counter() - started)
        findings.graph_tasks = len(values.dask)


def _take_turn(workers: Workers, client: Client, servers: Sequence[Server], url: str, findings: Findings) -> float:
    """Compute the mean by as many workers as there are services. Returns the rate.

    Raises:
        WrongReply: It is not the mean.
    """
    addresses = sorted(workers.scheduler_info(n_workers=-1)["workers"])[: len(servers)]
    lazy = DaskClient(client, [each.url for each in servers], anon=True)
    before, started = sum(each.cpu_seconds for each in servers), time.perf_counter()
    values = lazy.reduce("mean", url, VARIABLE).values
    mean = workers.compute(values, workers=addresses, allow_other_workers=False).result()
    seconds = time.perf_counter() - started
    if not np.isclose(mean, findings.file.mean, rtol=TOLERANCE, atol=0):
        raise WrongReply(f"the mean is {mean}, not {findings.file.mean}")
    findings.answer = mean if findings.answer is None else findings.answer
    if mean != findings.answer:
        raise WrongReply(f"the mean is {mean}, and was {findings.answer} in another turn")
    taken = sum(each.cpu_seconds for each in servers) - before
    findings.shares.setdefault(str(len(servers)), []).append(taken / seconds / len(servers))
    findings.sections = sum("sections" in key for key in values.dask)
    return 1 / seconds


def _warm_up(takes: Mapping[str, Callable[[], float]], servers: Sequence[Server], findings: Findings) -> None:
    for name, take in takes.items():
        before = [each.read_log() for each in servers]
        take()
        after = [each.read_log() for each in servers]
        findings.moved[name] = Moved(
            sum(each.read for each in after) - sum(each.read for each in before),
            sum(each.sent for each in after) - sum(each.sent for each in before),
        )
    findings.shares.clear()


def _time_decoding(chunk: bytes) -> float:
    """The CPU time in which the library of the service decodes a chunk, the median of some."""
    seconds = []
    for _ in range(_GRAPH_ROUNDS):
        started = time.thread_time()
        isal_zlib.decompress(chunk, wbits=_GZIP_BITS)
        seconds.append(time.thread_time() - started)
    return statistics.median(seconds)


def render(findings: Findings) -> Page:
    """The page of what was measured."""
    row, seconds = findings.row, statistics.median(findings.graph_seconds)
    row.target = _TARGET
    graph = Target(
        f"the graph of a mean over {_GRAPH_CHUNKS:,} chunks",
        f"at most {_MOST_GRAPH_SECONDS:g} s",
        f"{seconds:.2f} s",
        seconds <= _MOST_GRAPH_SECONDS,
    )
    targets = [*Target.of_row(row, "2", "1", "two services and two workers, beside one of each"), graph]
    return Page(
        "scaling",
        targets,
        {
            "share": f"{SHARE:g}",
            "threads": str(THREADS),
            "array": _describe(findings.file),
            "sections": str(findings.sections),
            "decoding": f"{findings.decoding_share:.0%}",
            "scaling": table(
                (
                    "services and workers",
                    "seconds",
                    "times as fast as one",
                    "CPU of each service",
                    "read from the store",
                    "sent to workers",
                ),
                (_list_cells(findings, name) for name in row.rates),
            ),
            "graph_chunks": f"{_GRAPH_CHUNKS:,}",
            "graph_tasks": f"{findings.graph_tasks:,}",
            "graph_seconds": f"{seconds:.2f}",
        },
    )


def _list_cells(findings: Findings, name: str) -> list[Any]:
    row, moved = findings.row, findings.moved[name]
    seconds = statistics.median(1 / rate for rate in row.rates[name])
    share = statistics.median(findings.shares[name])
    beside: Spread | None = row.beside(name, "1")
    return [name, f"{seconds:.1f}", beside, f"{share:.2f}", format_mib(moved.read), f"{moved.sent / KIB:,.0f} KiB"]


def _describe(file: ArrayFile) -> str:
    decoded = int(np.prod(file.shape)) * DTYPE.itemsize
    count = file.shape[0] // file.chunk[0]
    return f"{decoded / GIB:.1f} GiB of float32 in {count:,} chunks in gzip"

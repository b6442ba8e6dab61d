"""Ways to come by the mean of a whole array, and how much time and CPU they take.

Everything is asked from one process of its own (``open_asker``), which keeps its connections from turn to turn. Its CPU
counts, and that of the service; the store's does not.
"""

import io
import json
import math
import multiprocessing
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import dask
import fsspec
import numpy as np
import pyfive
import xarray as xr
import zarr
from activestorage.active import Active
from zarr.storage import FsspecStore

from bench.array_data import VARIABLE, ArrayFile
from bench.scene import DTYPE
from bench.turns import Ask, Connection, WrongReply, ask_json, fetch

# How many requests or tasks are under way, for each contender that can be told.
CLIENTS = 32

# As far from numpy's, relative, as a mean may be: sums of float32 chunks come rounded to float32. The peer also adds up
# in float32, which loses half a percent of 4 MiB.
TOLERANCE, PEER_TOLERANCE = 1e-6, 2e-2

# Large enough that the fixed cost of a read is small, small enough for the processor's cache.
_BUFFER_BYTES = 64 << 10

MeanOf = Callable[[], float]


# The service, whole arrays


def ask_array(endpoint: str, store: str, file: ArrayFile, **members: object) -> dict[str, Any]:
    """The service's reply for the mean of a whole array.

    Args:
        endpoint: The service.
        store: Where the store is for the service.
        file: The array.
        members: Further members of the request.
    """
    where = {"type": file.container, "interface_type": "http", "url": f"{store}/{file.path}", "array": VARIABLE}
    body = json.dumps({"store": where, **members})
    ask = Ask(f"{endpoint}/arrays/v1/mean", "POST", {"Content-Type": "application/json"}, body)
    reply: dict[str, Any] = cbor2.loads(fetch(ask))
    return reply


def mean_at_once(endpoint: str, store: str, file: ArrayFile) -> float:
    """By one request for the array."""
    reply = ask_array(endpoint, store, file)
    return float(np.frombuffer(reply["bytes"], reply["dtype"])[0])


# The service and the peer, chunk by chunk


def mean_by_chunks(endpoint: str, store: str, file: ArrayFile) -> float:
    """By a request for the sum of each chunk, from threads with a connection each."""
    where = {"interface_type": "http", "dtype": "float32", "byte_order": "little"}
    asks = [
        ask_json(endpoint, "sum", {**where, "url": f"{store}/{place.path}", **place.part, **file.codecs})
        for place in file.places
    ]
    # Each thread takes the next one.
    left = iter(asks)
    with ThreadPoolExecutor(CLIENTS) as pool:
        sums = pool.map(lambda _: _add_up(endpoint, left), range(CLIENTS))
        return sum(sums) / math.prod(file.shape)


def _add_up(endpoint: str, asks: Iterator[Ask]) -> float:
    total, body = 0.0, bytearray()
    with closing(Connection(endpoint)) as connection:
        for ask in asks:
            body.clear()
            connection.fetch(ask, body.extend)
            total += float(np.frombuffer(cbor2.loads(body)["bytes"], DTYPE)[0])
    return total


def mean_by_active(peer: str, store: str, seen_store: str, file: ArrayFile) -> float:
    """By PyActiveStorage, which reads the index of an HDF5 file and asks the peer for each chunk.

    Args:
        peer: The peer's endpoint.
        store: Where the store is for the peer.
        seen_store: Where it is for this process.
        file: The array.
    """
    with redirect_stdout(io.StringIO()), fsspec.open(f"{seen_store}/{file.path}") as opened:
        # "https" is its name for a web server, whether by TLS or not.
        active = Active(
            f"{store}/{file.path}", VARIABLE, interface_type="https", max_threads=CLIENTS, active_storage_url=peer
        )
        # What it opens by itself it opens by the URL that it gives the peer.
        active.ds, active.filename = pyfive.File(opened)[VARIABLE], active.uri
        active._version = 2  # noqa: SLF001  # its documentation says so
        return float(active.mean()[...].squeeze())


# zarr, xarray and dask


def mean_by_zarr(store: str, file: ArrayFile, side_by_side: int | None = None) -> float:
    """By zarr-python and numpy.

    Args:
        store: Where the store is.
        file: The array.
        side_by_side: How many chunks are under way; None for zarr's default.
    """
    with zarr.config.set({} if side_by_side is None else {"async.concurrency": side_by_side}):
        array = zarr.open_array(FsspecStore.from_url(f"{store}/{file.path}", read_only=True), path=VARIABLE, mode="r")
        return float(np.asarray(array[...]).mean(dtype=np.float64))


def mean_by_dask(store: str, file: ArrayFile, chunks_a_task: int) -> float:
    """By xarray, with dask's threads, as many as there are cores."""
    chunks = dict(zip(("time", "lat", "lon"), (file.chunk[0] * chunks_a_task, *file.chunk[1:]), strict=True))
    with (
        dask.config.set(scheduler="threads"),
        xr.open_zarr(f"{store}/{file.path}", chunks=chunks, consolidated=True) as dataset,
    ):
        return float(dataset[VARIABLE].mean(dtype=np.float64).compute())


# zarrs, and no reduction


def mean_by_zarrs(program: Path, store: str, file: ArrayFile) -> float:
    """By a program in Rust that gets URLs, and answers each with the mean."""
    process = _zarrs(program)
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
    process.stdin.write(f"{store}/{file.path}/{VARIABLE}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise WrongReply("zarrs: it gave no answer")
    return float(answer)


@cache
def _zarrs(program: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def read_only(store: str, file: ArrayFile) -> float:
    """Read the object into one small buffer again and again, and reduce nothing."""
    with closing(Connection(store, _BUFFER_BYTES)) as connection:
        connection.fetch(Ask(f"{store}/{file.path}"))
    return file.mean


# Turns


class Asker:
    """The process that asks. See ``open_asker``."""

    def __init__(self, pool: ProcessPoolExecutor, workers: Sequence[int]) -> None:
        self._pool = pool
        self._workers = workers

    def take_time(self, mean_of: MeanOf, mean: float, tolerance: float) -> float:
        """How often per second.

        Args:
            mean_of: What is asked.
            mean: numpy's mean.
            tolerance: How far from it the answer may be, relative.

        Raises:
            WrongReply: The mean is not numpy's.
        """
        return 1 / self._take(mean_of, mean, tolerance).seconds

    def take_cpu(self, mean_of: MeanOf, mean: float, tolerance: float) -> float:
        """How often per second of CPU, of this process and the service together.

        Args:
            mean_of: What is asked.
            mean: numpy's mean.
            tolerance: How far from it the answer may be, relative.

        Raises:
            WrongReply: The mean is not numpy's.
        """
        before = self._read_clocks()
        turn = self._take(mean_of, mean, tolerance)
        return 1 / (self._read_clocks() - before + turn.cpu_seconds)

    def _take(self, mean_of: MeanOf, mean: float, tolerance: float) -> "_Turn":
        turn = self._pool.submit(_take, mean_of).result()
        if not math.isclose(turn.mean, mean, rel_tol=tolerance):
            raise WrongReply(f"the mean is {turn.mean!r}, not {mean!r}: {mean_of}")
        return turn

    def _read_clocks(self) -> float:
        # <linux/posix-timers.h>: the clock of a process, with all its threads. /proc counts hundredths of a second.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self._workers)


@contextmanager
def open_asker(workers: Sequence[int]) -> Iterator[Asker]:
    """A process that is ready to ask.

    Args:
        workers: The processes of the service.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield Asker(pool, workers)


@dataclass(frozen=True)
class _Turn:
    """The mean that came of a turn, and what it took."""

    mean: float
    seconds: float
    cpu_seconds: float


def _take(mean_of: MeanOf) -> _Turn:
    started, cpu_started = time.perf_counter(), time.process_time()
    mean = mean_of()
    return _Turn(mean, time.perf_counter() - started, time.process_time() - cpu_started)

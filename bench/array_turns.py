"""Ways to reduce a whole array, mostly to its mean, and how much time and CPU they take.

A process of its own (``open_asker``) sends all requests, and keeps its connections from turn to turn. Its CPU time and
that of the service count; that of the store does not.
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
import numpy.typing as npt
import pyfive
import xarray as xr
import zarr
from activestorage.active import Active
from zarr.storage import FsspecStore, WrapperStore

import active_storage
from bench.array_data import VARIABLE, ArrayFile
from bench.scene import DTYPE
from bench.turns import Ask, Connection, WrongReply, ask_json, fetch

# The number of concurrent requests or tasks, for each contender that has such an option.
CLIENTS = 32

# The largest relative error of an answer, compared with numpy's: sums of float32 chunks are rounded to float32. The
# peer also adds up in float32, with an error of half a percent for 4 MiB.
TOLERANCE, PEER_TOLERANCE = 1e-6, 2e-2

# Large enough that the fixed cost of a read is small, small enough for the processor's cache.
_BUFFER_BYTES = 64 << 10

Reduce = Callable[[], npt.ArrayLike]


# The service, whole arrays


def ask_array(endpoint: str, store: str, file: ArrayFile, reducer: str = "mean", **members: Any) -> dict[str, Any]:
    """The service's reply for a reduction of a whole array.

    Args:
        endpoint: The service.
        store: The address of the store, as the service reaches it.
        file: The array.
        reducer: The reducer.
        members: Further members of the request.
    """
    where = {"type": file.container, "interface_type": "http", "url": f"{store}/{file.path}", "array": VARIABLE}
    body = json.dumps({"store": where, **members})
    ask = Ask(f"{endpoint}/arrays/v1/{reducer}", "POST", {"Content-Type": "application/json"}, body)
    reply: dict[str, Any] = cbor2.loads(fetch(ask))
    return reply


def reduce_at_once(
    endpoint: str, store: str, file: ArrayFile, reducer: str = "mean", **members: Any
) -> npt.NDArray[Any]:
    """The result of one request for the array, with the arguments of ``ask_array``."""
    reply = ask_array(endpoint, store, file, reducer, **members)
    return np.frombuffer(reply["bytes"], reply["dtype"]).reshape(reply["shape"])


# The service and the peer, chunk by chunk


def mean_by_chunks(endpoint: str, store: str, file: ArrayFile) -> float:
    """The mean, by a request for the sum of each chunk, from threads with a connection each."""
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
    """The mean, by PyActiveStorage, which reads the index of an HDF5 file and asks the peer for each chunk.

    Args:
        peer: The peer's endpoint.
        store: The address of the store, as the peer reaches it.
        seen_store: The address of the store, as this process reaches it.
        file: The array.
    """
    with redirect_stdout(io.StringIO()), fsspec.open(f"{seen_store}/{file.path}") as opened:
        # "https" is its name for a web server, whether by TLS or not.
        active = Active(
            f"{store}/{file.path}", VARIABLE, interface_type="https", max_threads=CLIENTS, active_storage_url=peer
        )
        # By default it opens the file at the URL that it sends to the peer.
        active.ds, active.filename = pyfive.File(opened)[VARIABLE], active.uri
        active._version = 2  # noqa: SLF001  # as its documentation says
        return float(active.mean()[...].squeeze())


# zarr, xarray and dask


def mean_by_zarr(store: str, file: ArrayFile, side_by_side: int | None = None) -> float:
    """The mean, by zarr-python and numpy.

    Args:
        store: The address of the store.
        file: The array.
        side_by_side: The number of concurrent reads; None for zarr's default.
    """
    with zarr.config.set({} if side_by_side is None else {"async.concurrency": side_by_side}):
        array = zarr.open_array(FsspecStore.from_url(f"{store}/{file.path}", read_only=True), path=VARIABLE, mode="r")
        return float(np.asarray(array[...]).mean(dtype=np.float64))


def find_mean(array: xr.DataArray) -> xr.DataArray:
    """The mean of all elements."""
    return array.mean(dtype=np.float64)


def find_monthly_means(array: xr.DataArray) -> xr.DataArray:
    """For each month of the year, the mean of each cell: computed by flox, which xarray uses if it is there."""
    return array.groupby("time.month").mean()


def find_quantile(array: xr.DataArray, quantile: float) -> xr.DataArray:
    """A quantile over time of each cell, for which dask lays the data out anew. NaN is not left out, as here."""
    return array.chunk(time=-1, lat="auto", lon="auto").quantile(quantile, "time", skipna=False)


def reduce_by_dask(
    store: str, file: ArrayFile, chunks_a_task: int, find: Callable[[xr.DataArray], xr.DataArray] = find_mean
) -> npt.NDArray[Any]:
    """A reduction by xarray with a thread of dask for each core.

    Args:
        store: The address of the store.
        file: The array.
        chunks_a_task: The number of chunks that each task reads.
        find: The reduction.
    """
    chunks = dict(zip(("time", "lat", "lon"), (file.chunk[0] * chunks_a_task, *file.chunk[1:]), strict=True))
    with (
        dask.config.set(scheduler="threads"),
        xr.open_zarr(f"{store}/{file.path}", chunks=chunks, consolidated=True) as dataset,
    ):
        return find(dataset[VARIABLE]).to_numpy()


# xarray with the service


def mean_over_time(endpoint: str, url: str) -> npt.NDArray[Any]:
    """The mean over time, by ``Dataset.mean`` of a dataset of the client, which was opened before.

    Args:
        endpoint: The service.
        url: The address of the Zarr store.
    """
    return _open(endpoint, url).mean("time")[VARIABLE].to_numpy()


def count_opening(endpoint: str, url: str) -> tuple[int, int]:
    """The number of requests to the store for opening a Zarr store, by the service and by xarray.

    Args:
        endpoint: The service, which has not read the store before.
        url: The address of the store, which has consolidated metadata.
    """
    with active_storage.Client(endpoint, anon=True) as client:
        ours = client.describe(url, coordinates=True, interface_type="http").requests
    store = _CountingStore(FsspecStore.from_url(url, read_only=True))
    xr.open_zarr(store, consolidated=True, chunks=None).close()
    return ours, store.requests


class _CountingStore(WrapperStore[FsspecStore]):
    """A store that counts what is read of it."""

    requests = 0

    async def get(self, *args: Any, **options: Any) -> Any:
        self.requests += 1
        return await super().get(*args, **options)


@cache
def _open(endpoint: str, url: str) -> xr.Dataset:
    return active_storage.open_dataset(url, endpoint, anon=True, interface_type="http")


# zarrs, and no reduction


def mean_by_zarrs(program: Path, store: str, file: ArrayFile) -> float:
    """The mean, by a program in Rust that reads URLs from its input, and writes the mean for each."""
    process = _zarrs(program)
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
    process.stdin.write(f"{store}/{file.path}/{VARIABLE}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise WrongReply("zarrs: the program gave no answer")
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
    """The process that sends the requests. See ``open_asker``."""

    def __init__(self, pool: ProcessPoolExecutor, workers: Sequence[int]) -> None:
        self._pool = pool
        self._workers = workers

    def take_time(self, reduce: Reduce, expected: npt.ArrayLike, tolerance: float) -> float:
        """The rate of one turn: answers per second.

        Args:
            reduce: Computes the answer.
            expected: numpy's answer.
            tolerance: The largest relative error of the answer.

        Raises:
            WrongReply: The answer is not numpy's.
        """
        return 1 / self._take(reduce, expected, tolerance).seconds

    def take_cpu(self, reduce: Reduce, expected: npt.ArrayLike, tolerance: float) -> float:
        """The rate of one turn: answers per second of CPU time, of this process and the service together.

        Args:
            reduce: Computes the answer.
            expected: numpy's answer.
            tolerance: The largest relative error of the answer.

        Raises:
            WrongReply: The answer is not numpy's.
        """
        before = self._read_clocks()
        turn = self._take(reduce, expected, tolerance)
        return 1 / (self._read_clocks() - before + turn.cpu_seconds)

    def _take(self, reduce: Reduce, expected: npt.ArrayLike, tolerance: float) -> "_Turn":
        turn = self._pool.submit(_take, reduce).result()
        if np.shape(turn.answer) != np.shape(expected) or not np.allclose(turn.answer, expected, tolerance, 0):
            raise WrongReply(f"the answer is {turn.answer!r}, not {expected!r}: {reduce}")
        return turn

    def _read_clocks(self) -> float:
        # <linux/posix-timers.h>: the clock of a process, with all its threads. /proc counts hundredths of a second.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self._workers)


@contextmanager
def open_asker(workers: Sequence[int]) -> Iterator[Asker]:
    """Start the process that sends the requests.

    Args:
        workers: The processes of the service.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield Asker(pool, workers)


@dataclass(frozen=True)
class _Turn:
    """The answer that a turn computed, and how long that took."""

    answer: npt.ArrayLike
    seconds: float
    cpu_seconds: float


def _take(reduce: Reduce) -> _Turn:
    started, cpu_started = time.perf_counter(), time.process_time()
    answer = reduce()
    return _Turn(answer, time.perf_counter() - started, time.process_time() - cpu_started)

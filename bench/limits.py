"""A share of a core for some processes, by a control group of Linux: cgroups(7), of version 1 or 2."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")

# Shorter than a request takes, so that the work of a request is slowed down evenly.
_PERIOD_MICROSECONDS = 20_000

# Ten times that of a program, so that other programs do not take the share.
_SHARES, _WEIGHT = 10_240, 1_000


@contextmanager
def limited(processes: Sequence[psutil.Process], share: float) -> Iterator[None]:
    """Hold processes, and those that they start, to a share of one core, all together, until the context ends.

    Raises:
        RuntimeError: This user may not make a control group, or the system has none.
    """
    # Version 1 has a tree for each resource.
    is_first = (_ROOT / "cpu").is_dir()
    root = _ROOT / "cpu" if is_first else _ROOT
    group = root / f"bench-{os.getpid()}-{processes[0].pid}"
    quota = int(_PERIOD_MICROSECONDS * share)
    try:
        group.mkdir()
        if is_first:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
            (group / "cpu.shares").write_text(str(_SHARES))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
            (group / "cpu.weight").write_text(str(_WEIGHT))
        _move(processes, group)
    except OSError as error:
        raise RuntimeError(f"no control group can be made, which root may do on Linux: {error}") from error
    try:
        yield
    finally:
        _move(processes, root)
        group.rmdir()


def _move(processes: Sequence[psutil.Process], group: Path) -> None:
    for each in processes:
        if each.is_running():
            (group / "cgroup.procs").write_text(str(each.pid))

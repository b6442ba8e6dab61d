"""The assignment of cores to workers, tested on the cores of this machine."""

import os
import threading
from collections.abc import Callable

import pytest

from handler.affinity import count_cores, roam
from handler.engine.executor import Fetchers
from handler.server.cores import Core, Cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity exists on Linux only")


@pytest.fixture
def mine() -> list[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def in_a_thread(do: Callable[[], None]) -> list[int]:
    """The cores that a new thread may run on after it has called a function."""
    found: list[int] = []

    def run() -> None:
        do()
        found.extend(sorted(os.sched_getaffinity(0)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


def test_the_default_is_one_worker_for_each_core(mine: list[int]) -> None:
    assert count_cores() == len(mine)


def test_threads_keep_to_their_core_while_all_workers_are_busy(mine: list[int]) -> None:
    cores = Cores(len(mine))
    workers = [Core(cores, slot) for slot in range(len(mine))]
    for core, worker in zip(mine, workers, strict=True):
        for other in workers:
            other.__enter__()
        assert in_a_thread(worker.pin_or_release) == [core]
        for other in workers:
            other.__exit__(None, None, None)


def test_a_thread_roams_when_another_worker_is_idle(mine: list[int]) -> None:
    cores = Cores(len(mine))
    first, *others = (Core(cores, slot) for slot in range(len(mine)))
    for core in (first, *others):
        core.__enter__()

    def pin_twice() -> None:
        first.pin_or_release()
        (others[-1] if others else first).__exit__(None, None, None)
        first.pin_or_release()

    assert in_a_thread(pin_twice) == mine


def test_a_worker_is_busy_until_its_last_thread_has_ended(mine: list[int]) -> None:
    cores = Cores(len(mine))
    for slot in range(1, len(mine)):
        cores.set_busy(slot, is_busy=True)
    core = Core(cores, 0)
    with core:
        with core:
            assert cores.choose(0) == {mine[0]}
        assert cores.choose(0) == {mine[0]}
    assert cores.choose(0) == set()


def test_no_worker_keeps_to_a_core_if_their_numbers_differ(mine: list[int]) -> None:
    cores = Cores(len(mine) + 1)
    for slot in range(len(mine) + 1):
        cores.set_busy(slot, is_busy=True)
    assert cores.choose(0) == set()


def test_a_worker_that_was_killed_leaves_an_idle_slot(mine: list[int]) -> None:
    cores = Cores(len(mine))
    for slot in range(len(mine)):
        cores.set_busy(slot, is_busy=True)
    assert cores.pick_slot([slot for slot in range(len(mine)) if slot]) == 0
    Core(cores, 0)
    assert cores.choose(0) == set()


@pytest.mark.parametrize(("taken", "slot"), [([], 0), ([0], 1), ([1, 2], 0), ([0, 1, 2], 0), ([0, 2, 1, 0], 1)])
def test_a_worker_gets_the_least_used_slot(taken: list[int], slot: int) -> None:
    assert Cores(3).pick_slot(taken) == slot


def test_a_fetcher_runs_on_every_core(mine: list[int]) -> None:
    found: list[set[int]] = []

    def call() -> None:
        os.sched_setaffinity(0, mine[:1])
        Fetchers(1).submit(lambda: found.append(os.sched_getaffinity(0))).result()

    assert in_a_thread(call) == mine[:1]
    assert found == [set(mine)]


def test_a_core_that_is_removed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    roam()

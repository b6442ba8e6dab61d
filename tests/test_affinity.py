"""Which cores threads keep to: a rule for workers that know of each other, tried on this machine's cores."""

import os
import threading
from collections.abc import Callable

import pytest

from handler.affinity import Core, Cores, count_cores, roam
from handler.parts import Helpers

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux keeps threads to cores")


@pytest.fixture
def mine() -> list[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def in_a_thread(do: Callable[[], None]) -> list[int]:
    """Where a new thread may run after it has done something."""
    found: list[int] = []

    def run() -> None:
        do()
        found.extend(sorted(os.sched_getaffinity(0)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


def test_a_service_has_a_worker_for_each_core_that_it_may_run_on(mine: list[int]) -> None:
    assert count_cores() == len(mine)


def test_threads_keep_to_their_own_core_while_all_are_busy(mine: list[int]) -> None:
    cores = Cores(len(mine))
    places = [Core(cores, place) for place in range(len(mine))]
    for core, place in zip(mine, places, strict=True):
        for other in places:
            other.__enter__()
        assert in_a_thread(place.settle) == [core]
        for other in places:
            other.__exit__(None, None, None)


def test_a_thread_roams_again_once_another_worker_is_idle(mine: list[int]) -> None:
    cores = Cores(len(mine))
    first, *others = (Core(cores, place) for place in range(len(mine)))
    for core in (first, *others):
        core.__enter__()

    def settle_twice() -> None:
        first.settle()
        (others[-1] if others else first).__exit__(None, None, None)
        first.settle()

    assert in_a_thread(settle_twice) == mine


def test_a_worker_is_busy_until_its_last_thread_is_done(mine: list[int]) -> None:
    cores = Cores(len(mine))
    for place in range(1, len(mine)):
        cores.note(place, is_busy=True)
    core = Core(cores, 0)
    with core:
        with core:
            assert cores.choose(0) == {mine[0]}
        assert cores.choose(0) == {mine[0]}
    assert cores.choose(0) == set()


def test_nobody_keeps_to_a_core_where_there_are_more_or_fewer_of_them(mine: list[int]) -> None:
    cores = Cores(len(mine) + 1)
    for place in range(len(mine) + 1):
        cores.note(place, is_busy=True)
    assert cores.choose(0) == set()


def test_a_worker_that_was_killed_leaves_an_idle_place(mine: list[int]) -> None:
    cores = Cores(len(mine))
    for place in range(len(mine)):
        cores.note(place, is_busy=True)
    assert cores.pick_place([place for place in range(len(mine)) if place]) == 0
    Core(cores, 0)
    assert cores.choose(0) == set()


@pytest.mark.parametrize(("taken", "place"), [([], 0), ([0], 1), ([1, 2], 0), ([0, 1, 2], 0), ([0, 2, 1, 0], 1)])
def test_a_worker_gets_the_place_that_the_fewest_have(taken: list[int], place: int) -> None:
    assert Cores(3).pick_place(taken) == place


def test_a_helper_runs_anywhere_whoever_calls_it(mine: list[int]) -> None:
    found: list[set[int]] = []

    def call() -> None:
        os.sched_setaffinity(0, mine[:1])
        for helper in Helpers(1).call(lambda: found.append(os.sched_getaffinity(0))):
            helper.result()

    assert in_a_thread(call) == mine[:1]
    assert found == [set(mine)]


def test_a_core_that_is_taken_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    roam()

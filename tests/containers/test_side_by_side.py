"""Calls side by side: in order, without waiting for each other, and over when one fails."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from handler.containers.side_by_side import map_side_by_side


@pytest.fixture(params=[1, 2, 8])
def pool(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(request.param) as made:
        yield made


def test_results_are_in_the_order_of_the_items(pool: ThreadPoolExecutor) -> None:
    assert map_side_by_side(pool, lambda item: item * 2, range(100)) == list(range(0, 200, 2))
    assert map_side_by_side(None, lambda item: item * 2, range(3)) == [0, 2, 4]
    assert map_side_by_side(pool, lambda item: item, ()) == []


def test_calls_can_call_for_more(pool: ThreadPoolExecutor) -> None:
    def add_up(depth: int) -> int:
        return 1 if not depth else sum(map_side_by_side(pool, add_up, [depth - 1] * 5))

    assert add_up(4) == 5**4


def test_a_pool_that_is_busy_is_not_waited_for() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait)
        me = threading.get_ident()
        assert map_side_by_side(pool, lambda _: threading.get_ident(), range(5)) == [me] * 5
        gate.set()


def test_all_calls_have_ended_when_one_fails(pool: ThreadPoolExecutor) -> None:
    running = 0
    lock = threading.Lock()

    def call(item: int) -> None:
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.001)
        with lock:
            running -= 1
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        map_side_by_side(pool, call, range(50))
    assert running == 0

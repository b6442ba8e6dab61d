"""What a process keeps between requests, and its memory."""

import threading

import pytest

from active_storage.errors import SlowDown
from handler.engine.memory import MemoryGate
from handler.stores.kept import Kept


def test_the_least_recently_used_entry_is_dropped_first() -> None:
    gate = MemoryGate(1000, 1000)
    kept = Kept(100, gate)
    for name in ("a", "b"):
        kept.keep(name, name, 40)
    assert kept.find("a") == "a"
    kept.keep("c", "c", 40)
    assert [kept.find(name) for name in ("a", "b", "c")] == ["a", None, "c"]
    assert gate.kept_bytes == 80


def test_an_entry_takes_the_place_of_an_older_one() -> None:
    gate = MemoryGate(1000, 1000)
    kept = Kept(100, gate)
    kept.keep("a", "old", 40)
    kept.keep("a", "new", 60)
    assert kept.find("a") == "new"
    assert gate.kept_bytes == 60
    kept.keep("a", "too large", 101)
    assert kept.find("a") is None
    assert gate.kept_bytes == 0


def test_requests_get_the_memory_of_what_is_kept_before_they_are_refused() -> None:
    gate = MemoryGate(100, 100)
    kept = Kept(100, gate)
    for name in ("a", "b", "c"):
        kept.keep(name, name, 30)
    with gate.account() as account:
        account.hold(35)
        assert [kept.find(name) for name in ("a", "b", "c")] == [None, "b", "c"]
        account.hold(65)
        assert (gate.held_bytes, gate.kept_bytes) == (100, 0)
        kept.keep("d", "d", 1)
        assert kept.find("d") is None
        with pytest.raises(SlowDown), gate.account() as other:
            other.hold(1)
    kept.keep("d", "d", 1)
    assert kept.find("d") == "d"


def test_a_request_that_cannot_be_had_room_for_drops_nothing() -> None:
    gate = MemoryGate(100, 100)
    kept = Kept(100, gate)
    with gate.account() as account, gate.account() as other:
        account.hold(50)
        kept.keep("a", "a", 30)
        with pytest.raises(SlowDown):
            other.hold(60)
    assert kept.find("a") == "a"


def test_a_limit_of_zero_keeps_nothing() -> None:
    kept = Kept(0, MemoryGate(100, 100))
    kept.keep("a", "a", 1)
    assert kept.find("a") is None


def test_memory_is_counted_right_by_many_threads() -> None:
    gate = MemoryGate(500, 500)
    kept = Kept(300, gate)

    def work(number: int) -> None:
        for step in range(300):
            kept.keep((number, step % 7), step, 10 + step % 50)
            with gate.account() as account:
                account.hold(60)
            kept.find((number, 0))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.held_bytes == 0
    assert gate.kept_bytes <= 300
    with gate.account() as account:
        account.hold(500)
        assert gate.kept_bytes == 0

"""The memory gate."""

import pytest

from active_storage.errors import EntityTooLarge, SlowDown
from handler.engine.memory import MemoryGate


def test_held_memory_is_given_back_after_errors_too() -> None:
    gate = MemoryGate(100, 100)
    with gate.account() as account:
        account.hold(60)
        with pytest.raises(EntityTooLarge):
            account.hold(60)
    with gate.account() as one, gate.account() as other:
        one.hold(60)
        other.hold(30)
        other.hold(10)
        assert gate.held_bytes == 100
    assert gate.held_bytes == 0


def test_memory_that_is_in_use_is_slow_down() -> None:
    gate = MemoryGate(100, 100)
    with gate.account() as one, gate.account() as other:
        one.hold(60)
        with pytest.raises(SlowDown):
            other.hold(41)
        other.hold(40)
    assert gate.held_bytes == 0


@pytest.mark.parametrize(("limit", "request_limit"), [(100, 50), (50, 100)])
def test_memory_beyond_a_limit_is_too_large(limit: int, request_limit: int) -> None:
    with MemoryGate(limit, request_limit).account() as account:
        account.hold(30)
        with pytest.raises(EntityTooLarge, match="needs 51 bytes of memory; the limit is 50"):
            account.hold(21)

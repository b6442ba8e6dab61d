"""The gate for memory."""

import pytest

from handler.errors import EntityTooLarge, SlowDown
from handler.memory import MemoryGate


def test_what_is_held_is_given_back_whatever_happens() -> None:
    gate = MemoryGate(100, 100, 1)
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


def test_what_does_not_fit_now_is_asked_to_come_back() -> None:
    gate = MemoryGate(100, 100, 1)
    with gate.account() as one, gate.account() as other:
        one.hold(60)
        with pytest.raises(SlowDown):
            other.hold(41)
        other.hold(40)
    assert gate.held_bytes == 0


@pytest.mark.parametrize(("limit", "request_limit"), [(100, 50), (50, 100)])
def test_what_can_never_fit_is_too_large(limit: int, request_limit: int) -> None:
    with MemoryGate(limit, request_limit, 1).account() as account:
        account.hold(30)
        with pytest.raises(EntityTooLarge, match="needs 51 bytes of memory; it may have 50"):
            account.hold(21)


def test_compressed_data_may_become_so_many_times_its_size_and_no_more_than_a_request_may_hold() -> None:
    mebi = 1 << 20
    gate = MemoryGate(1000 * mebi, 500 * mebi, 10)
    assert gate.decoded_limit(20 * mebi) == 200 * mebi
    assert gate.decoded_limit(80 * mebi) == 500 * mebi


def test_a_ratio_says_nothing_of_small_data() -> None:
    mebi = 1 << 20
    assert MemoryGate(1000 * mebi, 500 * mebi, 10).decoded_limit(50) == 64 * mebi
    assert MemoryGate(1000 * mebi, 30 * mebi, 10).decoded_limit(50) == 30 * mebi

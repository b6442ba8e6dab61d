"""The gate for memory."""

import pytest

from handler.errors import EntityTooLarge, SlowDown
from handler.memory import MemoryGate


def test_what_is_held_is_given_back_whatever_happens() -> None:
    gate = MemoryGate(100, 100)
    with pytest.raises(ZeroDivisionError), gate.hold(60):
        raise ZeroDivisionError
    with gate.hold(60), gate.hold(40):
        assert gate.held_bytes == 100
    assert gate.held_bytes == 0


def test_what_does_not_fit_now_is_asked_to_come_back() -> None:
    gate = MemoryGate(100, 100)
    with gate.hold(60), pytest.raises(SlowDown), gate.hold(41):
        pass
    assert gate.held_bytes == 0


@pytest.mark.parametrize(("limit", "request_limit"), [(100, 50), (50, 100)])
def test_what_can_never_fit_is_too_large(limit: int, request_limit: int) -> None:
    with (
        pytest.raises(EntityTooLarge, match="needs 51 bytes of memory; it may have 50"),
        MemoryGate(limit, request_limit).hold(51),
    ):
        pass

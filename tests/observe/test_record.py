"""The record of a request: its facts and stages, its subscribers, and its log line."""

import json
from collections.abc import Callable

import pytest

from active_storage.model.spec import ReductionSpec
from handler.observe.log import RequestLog
from handler.observe.record import Record, Subscribers
from handler.scope import Scope
from handler.stores.fake import FakeSource
from tests.helpers import make_engine, make_settings, reduce_source


class Listener:
    """A subscriber that keeps its calls."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def hear_stage(self, record: Record, stage: str, seconds: float, error: BaseException | None) -> None:
        self.heard.append((record.id, stage, seconds, type(error).__name__ if error else None))

    def hear_end(self, record: Record) -> None:
        self.heard.append((record.id, dict(record.facts), record.seconds))


def ticking() -> Callable[[], float]:
    """A clock that advances by a second with each call."""
    seconds = iter(range(1000))
    return lambda: float(next(seconds))


def test_every_subscriber_is_called_for_stages_and_for_the_end() -> None:
    listeners = Listener(), Listener()
    stages = tuple(listener.hear_stage for listener in listeners)
    ends = tuple(listener.hear_end for listener in listeners)
    record = Record("1", Subscribers(stages, ends), ticking())
    with record.stage("open"):
        record.add(dtype="int8")
    record.end(200, 4)
    facts = {"dtype": "int8", "status": 200, "bytes_sent": 4}
    for listener in listeners:
        assert listener.heard == [("1", "open", 1.0, None), ("1", facts, 3.0)]


def test_the_times_of_a_repeated_stage_are_added() -> None:
    record = Record("1", clock=ticking())
    for _ in range(2):
        with record.stage("open"):
            pass
    assert record.stages == {"open": 2.0}


def test_the_innermost_stage_of_an_error_is_a_fact() -> None:
    listener = Listener()
    record = Record("1", Subscribers(stages=(listener.hear_stage,)), ticking())
    with pytest.raises(ValueError, match="no"), record.stage("outer"), record.stage("inner"):
        raise ValueError("no")
    assert record.facts == {"stage": "inner"}
    assert [heard[1::2] for heard in listener.heard] == [("inner", "ValueError"), ("outer", "ValueError")]


def test_a_reduction_has_its_stages_in_order() -> None:
    record = Record("1")
    reduce_source(ReductionSpec("sum", "int8"), FakeSource(bytes(4)), make_engine(), Scope.after(60, record=record))
    assert list(record.stages) == ["admit", "open", "decode", "reduce", "result"]
    assert record.facts == {"bytes_read": 4}


def test_the_log_line_has_the_facts_and_the_milliseconds_of_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    record = Record("1", Subscribers(ends=(RequestLog(make_settings()).write,)), ticking())
    with record.stage("open"):
        record.add(dtype="int8")
    record.end(200, 4)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp")
    assert line == {
        "id": "1", "dtype": "int8", "status": 200, "bytes_sent": 4, "milliseconds": 3000.0, "stages": {"open": 1000.0},
        "event": "request", "level": "info",
    }  # fmt: skip


@pytest.mark.parametrize(("status", "level", "is_written"), [(200, "info", False), (500, "error", True)])
def test_an_internal_error_is_logged_as_an_error(
    status: int, level: str, is_written: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Record("1", Subscribers(ends=(RequestLog(make_settings(log_level="error")).write,))).end(status, 0)
    written = capsys.readouterr().err
    assert bool(written) == is_written
    assert not written or json.loads(written)["level"] == level

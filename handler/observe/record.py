"""The record of one request: its facts and stages, and the subscribers that receive them.

A stage is a step of the work that takes time: ``with record.stage("open"): ...``. A fact never contains text from the
caller: no path, no query, no header.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True, slots=True)
class Subscribers:
    """The functions that are called for each request. They must not raise or block.

    Attributes:
        stages: Called when a stage has ended, with its name, its seconds, and the error that ended it or None.
        ends: Called when a request has ended. Its record no longer changes.
    """

    stages: tuple[Callable[["Record", str, float, BaseException | None], None], ...] = ()
    ends: tuple[Callable[["Record"], None], ...] = ()


NOBODY = Subscribers()


class Record:
    """The facts and the stages of one request. One thread at a time writes to it.

    Args:
        request_id: The id of the request, in the reply and in the log.
        subscribers: The functions to call.
        clock: Returns the time in seconds.

    Attributes:
        id: The id of the request.
        facts: The facts, by name.
        stages: The duration of each stage in seconds, by name; the sum if a stage was entered several times.
        seconds: The duration of the whole request; 0 before its end.
    """

    __slots__ = ("_clock", "_started", "_subscribers", "facts", "id", "seconds", "stages")

    def __init__(
        self, request_id: str, subscribers: Subscribers = NOBODY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.id = request_id
        self.facts: dict[str, Any] = {}
        self.stages: dict[str, float] = {}
        self.seconds = 0.0
        self._subscribers = subscribers
        self._clock = clock
        self._started = clock()

    def add(self, **facts: Any) -> None:
        """Add facts, or replace them."""
        self.facts.update(facts)

    def stage(self, name: str) -> "_Stage":
        """The context manager of a stage. If an error ends nested stages, the fact ``stage`` names the innermost."""
        return _Stage(self, name)

    def end(self, status: int, bytes_sent: int) -> None:
        """End the request.

        Args:
            status: The status of the reply.
            bytes_sent: The number of bytes of the body that were sent.
        """
        self.facts["status"], self.facts["bytes_sent"] = status, bytes_sent
        self.seconds = self._clock() - self._started
        for tell in self._subscribers.ends:
            tell(self)


class _Stage:
    """One stage, timed. It is a class, since a context manager made from a generator takes three times as long."""

    __slots__ = ("_name", "_record", "_started")

    def __init__(self, record: Record, name: str) -> None:
        self._record = record
        self._name = name

    def __enter__(self) -> None:
        self._started = self._record._clock()  # noqa: SLF001  # a part of the record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record, name = self._record, self._name
        seconds = record._clock() - self._started  # noqa: SLF001  # a part of the record
        record.stages[name] = record.stages.get(name, 0.0) + seconds
        if error is not None:
            record.facts.setdefault("stage", name)
        for tell in record._subscribers.stages:  # noqa: SLF001  # a part of the record
            tell(record, name, seconds, error)


def locate(error: BaseException) -> str:
    """The class of an error, and the innermost lines of code that raised it; no values, which could be secret."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {where}"

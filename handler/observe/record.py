"""The record of one request: facts and stages, and the subscribers that hear of them.

A stage is a step of the work that takes time: ``with record.stage("open"): ...``. Nothing that a caller sent becomes a
fact as it was sent: no path, no query, no header.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Who hears of requests. They raise nothing, and wait for nothing.

    Attributes:
        stages: Called when a stage has ended, with its name, its seconds and the error that ended it, if there is one.
        ends: Called when a request has ended: its record does not change any more.
    """

    stages: tuple[Callable[["Record", str, float, BaseException | None], None], ...] = ()
    ends: tuple[Callable[["Record"], None], ...] = ()


NOBODY = Subscribers()


class Record:
    """What is known of one request. One thread at a time writes to it.

    Args:
        request_id: What the reply and the log call the request.
        subscribers: Who hears of it.
        clock: Tells the time, in seconds.

    Attributes:
        id: The request's.
        facts: What was found out, by name.
        stages: How long each stage took, in seconds, by name; the sum where one was entered more than once.
        seconds: How long the whole request took; 0 before its end.
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
        """The context of a stage. The innermost one that an error ends is the fact ``stage``."""
        return _Stage(self, name)

    def end(self, status: int, bytes_sent: int) -> None:
        """End the request.

        Args:
            status: What the caller was told.
            bytes_sent: How many bytes of the body were sent.
        """
        self.facts["status"], self.facts["bytes_sent"] = status, bytes_sent
        self.seconds = self._clock() - self._started
        for tell in self._subscribers.ends:
            tell(self)


class _Stage:
    """One stage, timed. A class, since a generator's context takes three times as long."""

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
    """Where an error was raised: its class, and the innermost lines of code; no values, which could be secret."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {where}"

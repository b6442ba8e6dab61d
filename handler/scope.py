"""The scope of one request: its deadline, whether its caller still waits, and its record.

Work for a request checks the scope at short intervals: the transport between reads, decoders and reducers between
blocks. The clock is injected, so that tests do not wait.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from active_storage.errors import CallerGone, DeadlineExceeded
from handler.observe.record import Record


class Clock:
    """The time, in seconds, and waiting for it. Tests use a clock that they set."""

    def __call__(self) -> float:
        """The current time; only differences are meaningful."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, until: float) -> None:
        """Wait until the condition is notified or the time has come; ``inf`` for no time. The caller holds its lock."""
        changed.wait(None if until == float("inf") else max(0.0, until - self()))


CLOCK = Clock()


@dataclass(slots=True)
class Scope:
    """The limits of the work for a request, and its record.

    Attributes:
        expires_at: The deadline, in seconds on the clock.
        is_abandoned: Returns whether the caller has closed the connection.
        record: The record of the request.
        clock: The clock.
        latest: The limit of later deadlines, in seconds on the clock: the end of a Lambda function, for instance.
    """

    expires_at: float
    is_abandoned: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    record: Record = field(default_factory=lambda: Record("-"), repr=False, compare=False)
    clock: Clock = field(default=CLOCK, repr=False, compare=False)
    latest: float = math.inf

    @classmethod
    def after(
        cls,
        seconds: float,
        is_abandoned: Callable[[], bool] = lambda: False,
        record: Record | None = None,
        clock: Clock = CLOCK,
    ) -> "Scope":
        """The scope that ends ``seconds`` from now."""
        return cls(clock() + seconds, is_abandoned, record or Record("-"), clock)

    def in_sections(self, section_seconds: float, all_seconds: float) -> "Scope":
        """The scope of the same request for work in sections, each of which begins with ``renew``.

        Args:
            section_seconds: The time for the first section.
            all_seconds: The time for all sections.
        """
        now = self.clock()
        latest = min(self.latest, now + all_seconds)
        return replace(self, expires_at=min(now + section_seconds, latest), latest=latest)

    def renew(self, seconds: float) -> None:
        """Move the deadline: ``seconds`` from now, or ``latest`` if that is before."""
        self.expires_at = min(self.clock() + seconds, self.latest)

    @property
    def remaining_seconds(self) -> float:
        """The time until the deadline, at least 0."""
        return max(0.0, self.expires_at - self.clock())

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.expires_at <= self.clock()

    def check(self) -> None:
        """Pass if the result is still needed.

        Raises:
            DeadlineExceeded: The deadline has passed.
            CallerGone: The caller has closed the connection.
        """
        if self.is_over:
            raise DeadlineExceeded("the deadline of the request passed before all the data was reduced")
        if self.is_abandoned():
            raise CallerGone("the caller closed the connection before the reply")

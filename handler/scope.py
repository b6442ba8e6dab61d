"""The scope of one request: its deadline, whether its caller still waits, and its record.

Work for a request checks the scope at short intervals: the transport between reads, decoders and reducers between
blocks. The clock is injected, so that tests do not wait.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Scope:
    """The limits of the work for a request, and its record.

    Attributes:
        expires_at: The deadline, in seconds on the clock.
        is_abandoned: Returns whether the caller has closed the connection.
        record: The record of the request.
        clock: The clock.
    """

    expires_at: float
    is_abandoned: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    record: Record = field(default_factory=lambda: Record("-"), repr=False, compare=False)
    clock: Clock = field(default=CLOCK, repr=False, compare=False)

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

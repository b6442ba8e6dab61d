"""The scope of one request: how long it may take, whether its caller still waits, and its record.

Whoever works for a request looks at its scope between two pieces of work: the transport between reads, decoders and
reducers between blocks. The clock is injected, so that tests do not wait.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from active_storage.errors import CallerGone, DeadlineExceeded
from handler.observe.record import Record


class Clock:
    """The time, in seconds, and how to wait for it. Tests have one that they set."""

    def __call__(self) -> float:
        """The time now; only differences mean something."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, until: float) -> None:
        """Wait, with the condition's lock held, until it is notified or the time has come; ``inf`` for never."""
        changed.wait(None if until == float("inf") else max(0.0, until - self()))


CLOCK = Clock()


@dataclass(frozen=True, slots=True)
class Scope:
    """What bounds the work for a request.

    Attributes:
        expires_at: When the answer is of no use any more, in seconds on the clock.
        is_abandoned: Tells whether the caller has gone.
        record: What is watched of the request.
        clock: Tells the time.
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
        """How much time is left, at least 0."""
        return max(0.0, self.expires_at - self.clock())

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.expires_at <= self.clock()

    def check(self) -> None:
        """Pass where the answer is still worth working for.

        Raises:
            DeadlineExceeded: The deadline has passed.
            CallerGone: The caller has gone away.
        """
        if self.is_over:
            raise DeadlineExceeded("the time for this request was over before all the data was reduced")
        if self.is_abandoned():
            raise CallerGone("the caller closed the connection before the answer was there")

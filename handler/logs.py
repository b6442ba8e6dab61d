"""The log: one structured line a request, and what goes into it.

Nothing that a caller sent goes into a line as it was sent: no path, no query, no header. ``note`` adds a fact to the
line of the request that the current thread is answering.
"""

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from functools import cache
from typing import Any

import structlog

from handler.settings import Settings

_LEVELS = logging.getLevelNamesMapping()

# Made once; structlog would make one for each line.
_ENCODER = json.JSONEncoder(default=repr)

# What is known of the request so far, in one dictionary: a context variable for each fact, as structlog has it, takes
# longer than all that is done with them.
_facts: ContextVar[dict[str, Any]] = ContextVar("facts")


def configure(settings: Settings) -> None:
    """Make lines go to standard error, in the format and from the level that the settings say."""
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=lambda line, **_: _ENCODER.encode(line))
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level.upper()]),
        logger_factory=lambda *_: structlog.WriteLogger(_StandardError()),  # type: ignore[arg-type]  # as far as needed
    )
    _logger.cache_clear()


class _StandardError:
    """Standard error as it is when a line is written: whoever runs this may have put another in its place."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@cache
def _logger() -> Any:
    """What lines are written by, put together once."""
    return structlog.get_logger().bind()


def begin(request_id: str) -> None:
    """Start the line of a request."""
    _facts.set({"id": request_id})


def note(**facts: Any) -> None:
    """Add facts to the line of the request that the current thread is answering."""
    _facts.get({}).update(facts)


def finish(status: int, bytes_sent: int, started: float) -> None:
    """Write the line.

    Args:
        status: What the caller was told.
        bytes_sent: Of the body.
        started: When the request came, on the clock of ``time.monotonic``.
    """
    _logger().log(
        logging.ERROR if status == 500 else logging.INFO,
        "request",
        status=status,
        bytes_sent=bytes_sent,
        milliseconds=round((time.monotonic() - started) * 1000, 3),
        **_facts.get({}),
    )
    _facts.set({})


def locate(error: BaseException) -> str:
    """Where an error was raised: its class, and the innermost lines of code; no values, which could be secret."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {where}"

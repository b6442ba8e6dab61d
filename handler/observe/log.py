"""The log: one structured line for each request, on standard error, with its facts and the duration of each stage."""

import json
import logging
import sys
from typing import Any

import structlog

from handler.observe.record import Record
from handler.settings import Settings

_LEVELS = logging.getLevelNamesMapping()

# Made once. structlog would make an encoder for each line.
_ENCODER = json.JSONEncoder(default=repr)


class RequestLog:
    """Writes a line for each request.

    Args:
        settings: The settings, with the format and the level of the log.
    """

    def __init__(self, settings: Settings) -> None:
        renderer: Any = (
            structlog.processors.JSONRenderer(serializer=lambda line, **_: _ENCODER.encode(line))
            if settings.log_format == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        )
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(_StandardError()),  # type: ignore[arg-type]  # it has the methods that are called
            processors=[structlog.processors.add_log_level, stamp, renderer],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level.upper()]),
        ).bind()

    def write(self, record: Record) -> None:
        """Write the line of a request that has ended."""
        self._logger.log(
            logging.ERROR if record.facts["status"] == 500 else logging.INFO,
            "request",
            id=record.id,
            **record.facts,
            milliseconds=round(record.seconds * 1000, 3),
            stages={name: round(seconds * 1000, 3) for name, seconds in record.stages.items()},
        )


class _StandardError:
    """The current ``sys.stderr``, looked up for each line, since a program can replace it."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

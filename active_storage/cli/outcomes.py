"""How a command ends: exit codes, and errors in one line on the standard error."""

import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

import typer

from active_storage.cli.parts import NotInstalled
from active_storage.client.failures import IncompleteReply, InsecureService, NoCredentials, ServiceUnreachable
from active_storage.errors import ActiveStorageError, InvalidArgument, SlowDown, UnknownReducer

OK, FAILED, WRONG_USAGE, NO_SERVICE, INTERRUPTED, NO_READER = 0, 1, 2, 3, 130, 141

# What each code says. docs/command-line.md has the same table.
EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        OK: "done",
        FAILED: "the request failed: the data cannot be read or reduced",
        WRONG_USAGE: "wrong usage: an option, a name, keys, or something that is not installed",
        NO_SERVICE: "no service answers: it cannot be reached, is full, or was lost on the way",
        INTERRUPTED: "interrupted by Ctrl+C",
        NO_READER: "what reads the output has ended, as with | head",
    }
)

_WRONG_USAGE = (InvalidArgument, UnknownReducer, InsecureService, NoCredentials)
_NO_SERVICE = (ServiceUnreachable, SlowDown, IncompleteReply)

# The error of a command line that cannot be parsed. typer names only its kinds.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class OutputClosed(Exception):
    """What reads the output has ended."""


def end_in_order(work: Callable[[], int | None]) -> int:
    """The exit code of a command. An error is one line on the standard error, without a traceback."""
    try:
        return work() or OK
    except ActiveStorageError as error:
        code = (
            WRONG_USAGE if isinstance(error, _WRONG_USAGE) else NO_SERVICE if isinstance(error, _NO_SERVICE) else FAILED
        )
        return _fail(code, "; ".join([str(error), *getattr(error, "__notes__", ())]))
    except NotInstalled as error:
        return _fail(WRONG_USAGE, str(error))
    except OutputClosed:
        # So that Python's last flush does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except _UsageError as error:
        # Without any argument, the help was printed.
        message: str = error.format_message()  # type: ignore[attr-defined]  # see above
        return _fail(WRONG_USAGE, message) if message else WRONG_USAGE
    except OSError as error:
        return _fail(FAILED, f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror or error))


def write(text: str) -> None:
    """Write to the standard output.

    Raises:
        OutputClosed: Nobody reads it any more.
    """
    write_bytes(text.encode(sys.stdout.encoding or "utf-8", "replace"))


def write_bytes(data: bytes) -> None:
    """Write bytes to the standard output.

    Raises:
        OutputClosed: Nobody reads it any more.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"active-storage: {' '.join(message.split())}\n")
    return code

"""Progress: which requests are under way in this process, how much of each is done, and a bar that shows it.

    with ProgressBar():
        client.mean("s3://bucket/store.zarr", "tas", axis="time")

Any number of requests, of any threads, share a bar. Requests of other processes, such as the workers of
dask.distributed, are not seen.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from active_storage.client.failures import BadReply
from active_storage.client.results import format_bytes

# A bar is drawn at most as often.
_DRAW_SECONDS = 0.1

_WIDTH = 24


# What reading numbers raises if they are absent, or something else.
_NO_NUMBERS = (KeyError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Done:
    """How much of one or several requests is done.

    Attributes:
        chunks: The number of chunks; of sections, if the service is older and does not tell the chunks.
        of: How many there are.
        bytes_read: The bytes that services have read.
    """

    chunks: int = 0
    of: int = 0
    bytes_read: int = 0

    def __add__(self, other: "Done") -> "Done":
        return Done(self.chunks + other.chunks, self.of + other.of, self.bytes_read + other.bytes_read)


def read_done(item: Mapping[str, Any]) -> Done:
    """How much is done by an item: of the whole reply by a header or an item of progress, or one section by its own.

    An older service tells the number of sections instead of that of chunks.

    Raises:
        BadReply: It does not say it in numbers.
    """
    try:
        match item["type"]:
            case "section":
                return Done(int(item.get("chunks", 1)), 0, int(item.get("bytes_read", 0)))
            case "header":
                first, stop = item.get("sections", (0, 0))
                return Done(0, int(item.get("of_chunks", stop - first)))
        if "of_chunks" in item:
            return Done(int(item.get("chunks", 0)), int(item["of_chunks"]), int(item.get("bytes_read", 0)))
        return Done(int(item.get("sections", 0)), int(item.get("of", 0)))
    except _NO_NUMBERS:
        raise BadReply("an item of the reply does not say how much is done") from None


def read_progress(item: Mapping[str, Any]) -> tuple[int, int]:
    """How many sections are done by an item of progress, and how many there are.

    Raises:
        BadReply: It does not say it in numbers.
    """
    try:
        return int(item["sections"]), int(item["of"])
    except _NO_NUMBERS:
        raise BadReply("an item of the reply does not say how many sections are done") from None


class Listener(Protocol):
    """Is told how far requests are. Several threads can call it at the same time."""

    def see(self, request: object, done: Done | None) -> None:
        """A request goes on, or has failed and counts no more if ``done`` is None."""


_listeners: tuple[Listener, ...] = ()
_lock = threading.Lock()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of all requests of this process."""
    global _listeners  # noqa: PLW0603  # as many as there are
    with _lock:
        _listeners = (*_listeners, listener)
    try:
        yield
    finally:
        with _lock:
            _listeners = tuple(each for each in _listeners if each is not listener)


@contextmanager
def watching() -> Iterator[Callable[[Done], None]]:
    """A request, which tells by the function how much of it is done. If it fails, it counts no more."""
    request = object()

    def tell(done: Done | None) -> None:
        for listener in _listeners:
            listener.see(request, done)

    try:
        yield tell
    except BaseException:
        tell(None)
        raise


class ProgressBar:
    """Shows the progress of requests on a terminal or in a notebook: chunks, their rate, and the time that is left.

    It shows nothing if the standard error is no terminal, and for what takes no longer than ``minimum``. It is a
    context manager, and can be used again.

    Args:
        minimum: The seconds after which it appears.
        file: The file that it is written to, even if it is no terminal; None for the standard error.
        clock: The time in seconds.
    """

    def __init__(
        self, minimum: float = 1.0, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._minimum = minimum
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: dict[object, Done] = {}
        self._show: Callable[[str], None] | None = None
        self._started = self._drawn = 0.0
        self._is_visible = False
        self._listening: Any = None

    def __enter__(self) -> Self:
        self._requests.clear()
        self._is_visible = False
        self._started = self._clock()
        self._drawn = self._started + self._minimum - _DRAW_SECONDS
        self._show = self._find_display()
        self._listening = listening(self)
        self._listening.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.__exit__(None, None, None)
        with self._lock:
            if self._is_visible and self._show is not None:
                self._show(f"{self._describe()}\n")

    def see(self, request: object, done: Done | None) -> None:
        """Note how much of a request is done; None if it has failed."""
        with self._lock:
            if done is None:
                self._requests.pop(request, None)
            else:
                self._requests[request] = done
            now = self._clock()
            if self._show is not None and now >= self._drawn + _DRAW_SECONDS:
                self._drawn = now
                self._is_visible = True
                self._show(self._describe())

    def _describe(self) -> str:
        """One line about all requests."""
        done, seconds = sum(self._requests.values(), Done()), max(self._clock() - self._started, 1e-9)
        share = min(1.0, done.chunks / done.of) if done.of else 0.0
        filled = round(share * _WIDTH)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        rate = f"{done.chunks / seconds:,.1f} chunks/s, {format_bytes(done.bytes_read / seconds)}/s"
        took = f"in {_format_seconds(seconds)}"
        left = f"{_format_seconds((done.of - done.chunks) * seconds / done.chunks)} left" if done.chunks else "starting"
        return f"{bar} {done.chunks:,} of {done.of:,} chunks, {rate}, {took if share == 1 else left}"

    def _find_display(self) -> Callable[[str], None] | None:
        """What shows a line in the place of the one before; None if nobody would see it."""
        if self._file is not None:
            return _TerminalLine(self._file).show
        if (display := _find_notebook()) is not None:
            return display
        return _TerminalLine(sys.stderr).show if sys.stderr is not None and sys.stderr.isatty() else None


class _TerminalLine:
    """A line of a terminal that is written over."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._length = 0

    def show(self, line: str) -> None:
        text = line.rstrip("\n")
        # What is left of a longer line before is overwritten.
        self._file.write(f"\r{text.ljust(self._length)}{line[len(text) :]}")
        self._file.flush()
        self._length = len(text)


def _find_notebook() -> Callable[[str], None] | None:
    """What shows a line in the output of a notebook's cell; None outside a notebook."""
    # Without IPython in the process there is no notebook, and nothing is imported.
    if "IPython" not in sys.modules:
        return None
    if getattr(sys.modules["IPython"].get_ipython(), "kernel", None) is None:
        return None
    notebook = import_module("IPython.display")
    shown: Any = None

    def show(line: str) -> None:
        nonlocal shown
        # It has no characters of HTML.
        content = notebook.HTML(f"<pre>{line.strip()}</pre>")
        if shown is None:
            shown = notebook.display(content, display_id=True)
        else:
            shown.update(content)

    return show


def _format_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Progress: what a bar shows of requests, in a terminal and in a notebook."""

import io
import sys
import types
from typing import Any

import pytest

from active_storage import ProgressBar
from active_storage.client.progress import Done, read_done, watching


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_appears_after_a_second_with_chunks_rate_and_time_left() -> None:
    clock, file = Clock(), io.StringIO()
    with ProgressBar(file=file, clock=clock), watching() as tell:
        tell(Done(0, 40))
        clock.now += 0.9
        tell(Done(4, 40, 4096))
        assert file.getvalue() == ""
        clock.now += 1.1
        tell(Done(10, 40, 10240))
        assert file.getvalue() == "\r" + "█" * 6 + "░" * 18 + " 10 of 40 chunks, 5.0 chunks/s, 5.0 KiB/s, 0:06 left"
        clock.now += 6
        tell(Done(40, 40, 40960))
    last = file.getvalue().split("\r")[-1]
    assert last.rstrip(" \n") == "█" * 24 + " 40 of 40 chunks, 5.0 chunks/s, 5.0 KiB/s, in 0:08"
    assert last.endswith("\n")


def test_what_is_quick_shows_nothing() -> None:
    file = io.StringIO()
    with ProgressBar(file=file, clock=Clock()), watching() as tell:
        tell(Done(0, 2))
        tell(Done(2, 2))
    assert file.getvalue() == ""


def test_requests_share_a_bar_and_one_that_failed_counts_no_more() -> None:
    clock, file = Clock(), io.StringIO()
    with ProgressBar(minimum=0, file=file, clock=clock):
        with watching() as tell:
            tell(Done(3, 3))
        with pytest.raises(KeyboardInterrupt):
            _interrupt()
        with watching() as tell:
            clock.now += 1
            tell(Done(0, 7))
    assert "3 of 10 chunks" in file.getvalue().split("\r")[-1]


def _interrupt() -> None:
    with watching() as tell:
        tell(Done(1, 100))
        raise KeyboardInterrupt


def test_a_bar_that_is_over_hears_nothing_more() -> None:
    file = io.StringIO()
    with ProgressBar(minimum=0, file=file):
        pass
    with watching() as tell:
        tell(Done(1, 2))
    assert file.getvalue() == ""


@pytest.mark.parametrize("file", [io.StringIO(), Terminal()])
def test_only_a_terminal_is_written_to(monkeypatch: pytest.MonkeyPatch, file: io.StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", file)
    with ProgressBar(minimum=0), watching() as tell:
        tell(Done(1, 2))
    assert bool(file.getvalue()) == file.isatty()


def test_a_notebook_shows_one_line_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, content: str) -> None:
            shown[-1] = content

    def display(content: str, display_id: bool) -> Handle:
        assert display_id
        shown.append(content)
        return Handle()

    python: Any = types.ModuleType("IPython")
    python.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    python.display = types.ModuleType("IPython.display")
    python.display.HTML, python.display.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", python.display)
    with ProgressBar(minimum=0), watching() as tell:
        tell(Done(1, 2))
        tell(Done(2, 2))
    assert len(shown) == 1
    assert shown[0].startswith("<pre>")
    assert "2 of 2 chunks" in shown[0]


@pytest.mark.parametrize(
    ("item", "done"),
    [
        ({"type": "header", "sections": [2, 5], "of": 9, "of_chunks": 30}, Done(0, 30)),
        ({"type": "header", "sections": [2, 5], "of": 9}, Done(0, 3)),
        ({"type": "progress", "sections": 1, "of": 3, "chunks": 7, "of_chunks": 30, "bytes_read": 9}, Done(7, 30, 9)),
        ({"type": "progress", "sections": 1, "of": 3}, Done(1, 3)),
        ({"type": "section", "chunks": 4, "bytes_read": 9}, Done(4, 0, 9)),
        ({"type": "section", "bytes_read": 9}, Done(1, 0, 9)),
    ],
)
def test_an_older_service_tells_sections_in_place_of_chunks(item: dict[str, Any], done: Done) -> None:
    assert read_done(item) == done

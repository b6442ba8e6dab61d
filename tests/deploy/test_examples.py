"""The page of the examples: it has the programs as they are, and the README the same numbers."""

import importlib
import re
import socket
from typing import Any

import pytest
import xarray as xr

from deploy.local.examples import NAMES, PAGE, PICTURES, PROGRAMS, README, read_program

SHARED = {"both_ways", "sample_data"}


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the programs share. It sets variables of the environment."""
    for name in ("SERVICE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
    monkeypatch.syspath_prepend(PROGRAMS)
    return importlib.import_module("both_ways")


def test_received_bytes_are_counted_and_results_compared(both_ways: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def receive(value: float) -> xr.DataArray:
        here, there = socket.socketpair()
        with here, there, here.makefile("rb") as stream:
            there.sendall(bytes(1500))
            assert len(here.recv(1000)) == 1000
            assert len(stream.read(500)) == 500
        return xr.DataArray(value)

    assert both_ways.compare(lambda: receive(1.0), lambda: receive(1.0)).item() == 1
    (costs,) = both_ways.costs
    assert [cost.received for cost in costs] == [1500, 1500]
    assert capsys.readouterr().out.count(" 1,500 bytes received") == 2
    with pytest.raises(AssertionError, match="not close"):
        both_ways.compare(lambda: receive(1.0), lambda: receive(1.1))
    with pytest.raises(AssertionError, match="not counted"):
        both_ways.compare(lambda: receive(1.0), lambda: xr.DataArray(1.0))
    assert "recv" not in vars(socket.socket)


def test_each_program_is_run() -> None:
    assert {path.stem for path in PROGRAMS.glob("*.py")} - SHARED == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_program_and_what_it_took(name: str) -> None:
    documentation, program = read_program(name)
    page = PAGE.read_text()
    assert f"```py\n{program}\n```\n" in page
    assert documentation.rpartition(": ")[2].rstrip(".").lower() in page.lower()
    assert f"| `{name}` | " in page
    assert "compare(" in program
    for picture in re.findall(r"\w+\.png", program):
        assert (PICTURES / picture).exists()


def test_the_readme_has_the_bytes_of_the_page() -> None:
    found = re.search(r"^Of ([0-9,]+) bytes, ([0-9,]+) were moved", README.read_text(), re.MULTILINE)
    assert found
    assert f"| `map_of_mean` | {found[1]} bytes | {found[2]} bytes | " in PAGE.read_text()

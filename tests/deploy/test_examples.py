"""The page of the examples: it has the programs as they are, and the README the same numbers."""

import re

import pytest

from deploy.local.examples import NAMES, PAGE, PICTURES, PROGRAMS, README, read_program

SHARED = {"both_ways", "sample_data"}


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

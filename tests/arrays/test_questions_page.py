"""The page of questions: what each example costs is what the page says. tests/live/test_docs.py runs them."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from active_storage.grammar.arrays import build_array_reduction
from active_storage.grammar.reductions import parse_reduction
from handler.scope import Scope
from tests.arrays.memory_array import make_engine
from tests.containers.memory import MemoryContainer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "questions.md").read_text()
FILE = ROOT / "deploy" / "local" / "arrays" / "tas.nc"

EXAMPLES = [unquote(each) for each in re.findall(r'"http://localhost:8000/([a-z0-9_]+/netcdf;[^"]*)/\$file"', PAGE)]
COSTS = re.findall(r"^\| `([^`]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)


def test_the_page_has_the_cost_of_each_example() -> None:
    assert len(EXAMPLES) >= 12
    assert [segment for segment, *_ in COSTS] == [example.replace("netcdf;var=tas", "…") for example in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_costs_what_the_page_says(example: str) -> None:
    reduction = build_array_reduction(parse_reduction(example))
    answer = make_engine().reduce(reduction, MemoryContainer({"": FILE.read_bytes()}), Scope.after(60))
    short = example.replace("netcdf;var=tas", "…")
    figures = next(figures for segment, *figures in COSTS if segment == short)
    assert figures == [f"{each:,}" for each in (answer.requests, answer.bytes_read, answer.result.length)]

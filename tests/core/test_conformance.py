"""The table of cases, asked of the pipeline with an object in memory."""

import pytest

from handler.memory import MemoryGate
from handler.pipeline import run
from handler.spec import REDUCERS
from handler.upstream.fake import FakeSource
from tests.conformance import Case, cases, check


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_core_agrees_with_numpy(case: Case) -> None:
    source = FakeSource(case.data())
    for reducer in REDUCERS:
        check(case, reducer, run(case.spec(reducer), source, MemoryGate(1 << 20, 1 << 20)).result.data)

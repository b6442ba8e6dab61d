"""The table of cases, asked of the pipeline with an object in memory."""

import pytest

from handler.memory import MemoryGate
from handler.parts import Helpers
from handler.pipeline import run
from handler.spec import DTYPES
from handler.upstream.fake import FakeSource
from tests.conformance import check, questions
from tests.helpers import ROOMY


@pytest.mark.parametrize("dtype", DTYPES)
def test_core_agrees_with_numpy(dtype: str) -> None:
    gate = MemoryGate(ROOMY, ROOMY)
    for case, reducer in questions():
        if case.dtype == dtype:
            check(case, reducer, run(case.spec(reducer), FakeSource(case.data()), gate, Helpers(0)).result.data)

"""The table of cases with the engine and objects in memory."""

import pytest

from active_storage.model.dtypes import DTYPES
from handler.stores.fake import FakeSource
from tests.conformance import SMALL, check, questions
from tests.helpers import make_engine, reduce_source


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_engine_agrees_with_numpy(dtype: str) -> None:
    engine = make_engine(sizes=SMALL)
    for case, reducer in questions(SMALL.block_bytes):
        if case.dtype == dtype:
            check(case, reducer, reduce_source(case.spec(reducer), FakeSource(case.data()), engine).result.data)

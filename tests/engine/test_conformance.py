"""The table of cases with the engine and objects in memory."""

import pytest

from active_storage.model.dtypes import DTYPES
from handler.stores.fake import FakeSource
from tests.conformance import check, questions
from tests.helpers import reduce_source


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_engine_agrees_with_numpy(dtype: str) -> None:
    for case, reducer in questions():
        if case.dtype == dtype:
            check(case, reducer, reduce_source(case.spec(reducer), FakeSource(case.data())).result.data)

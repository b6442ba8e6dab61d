"""Results equal those in the frozen table; see ``tests/frozen.py``."""

import base64
import json
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tests.frozen import TABLE, describe_machine, freeze, list_reductions, make_data, reduce_text

FROZEN: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))

_data = lru_cache(maxsize=4)(make_data)


def test_the_table_has_every_reduction() -> None:
    assert {name for name, _, _ in list_reductions()} == FROZEN["results"].keys()


@pytest.mark.parametrize("reducer", sorted({text.partition("/")[0] for text in FROZEN["results"]}))
def test_results_equal_the_frozen_ones(reducer: str) -> None:
    is_same_machine = FROZEN["machine"] == describe_machine()
    for name, text, elements in list_reductions():
        if text.startswith(f"{reducer}/"):
            result = reduce_text(text, _data(text.partition("/")[2].partition(";")[0], elements))
            entry, known = freeze(result), FROZEN["results"][name]
            if not is_same_machine and "values" in known:
                expected = np.frombuffer(base64.b64decode(known["values"]), known["dtype"])
                found = np.frombuffer(result.data, known["dtype"])
                np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)
                entry, known = ({part: each[part] for part in ("dtype", "shape", "counts")} for each in (entry, known))
            assert entry == known, name

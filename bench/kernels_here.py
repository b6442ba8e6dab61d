"""The kernels by pytest-benchmark: how long each takes here, to be compared with another state of the code.

``make bench-kernels BENCH=--benchmark-autosave`` before a change, ``BENCH=--benchmark-compare`` after it. The page
(``kernels.py``) has the ratios of one interleaved run, which is all that can be told of a kernel by itself.
"""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from active_storage.model.spec import ReductionSpec
from bench.kernels import ELEMENTS, FILL, make_cases, make_run

_CASES = make_cases()


@pytest.mark.parametrize(("spec", "data"), _CASES.values(), ids=_CASES.keys())
def test_kernel(benchmark: BenchmarkFixture, spec: ReductionSpec, data: bytes) -> None:
    """Every element that is selected and not missing is behind the result."""
    selected = np.frombuffer(data, np.float32).reshape(spec.shape or (ELEMENTS,))
    if spec.selection:
        selected = selected[tuple(slice(chosen.start, chosen.stop, chosen.step) for chosen in spec.selection)]
    missing = np.count_nonzero(selected == np.float32(FILL)) if spec.missing else 0
    assert benchmark(make_run(spec, data)).counts.sum() == selected.size - missing

"""docs/kernels.md: the cost of the arithmetic, without any network.

Every case reduces the same 4 MiB from memory, block by block, through the reader and the reducer that the service uses.
Cases take turns in rounds. The page shows the time of each case divided by that of the plain sum in the same round.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from active_storage.algebra import Reduced, make_algebra
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.missing import Missing
from active_storage.model.ranges import Slice
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from bench.rounds import Page, Row, Run, Spread, Target, run_rounds, table
from handler.codecs.readable import MemoryReader
from handler.engine.blocks import BlockReader, Buffers
from handler.kernels.missing import Marker
from handler.kernels.reducer import Reducer
from handler.kernels.sizes import Sizes
from handler.kernels.walk import Walk

ELEMENTS = 1 << 20
FILL = -1e20

_ROUNDS, _QUICK_ROUNDS = 41, 2
_PLAIN = "sum"

# The targets: the case, its name on the page, and its longest time as a multiple of the plain sum's. With a tenth
# missing, the promise is 2 GB/s on a core that sums 8 GB/s without a rule. It is a ratio here, since cores differ.
_TARGETS = (
    ("sum, a rule, nothing missing", "a rule, nothing missing", 1.3),
    ("sum, 10 % missing", "10 % missing at random", 8 / 2),
)


def _sample(missing_share: float) -> bytes:
    random = np.random.default_rng(7)
    values = random.normal(285, 12, ELEMENTS).astype(np.float32)
    values[random.random(ELEMENTS) < missing_share] = FILL
    return values.tobytes()


def make_cases() -> dict[str, tuple[ReductionSpec, bytes]]:
    """The cases by name: the reduction, and its data."""
    # Cases with the same numbers share their memory, so that the processor's cache does not favour one of them.
    plain, tenth = _sample(0), _sample(0.1)
    rule = Missing((FILL,))
    shape = (64, 128, 128)
    cases = {_PLAIN: (ReductionSpec("sum", "float32"), plain)}
    cases |= {name: (ReductionSpec(name, "float32"), plain) for name in REDUCERS if name not in ("sum", "select")}
    cases["sum, a rule, nothing missing"] = (ReductionSpec("sum", "float32", missing=rule), plain)
    cases["sum, 10 % missing"] = (ReductionSpec("sum", "float32", missing=rule), tenth)
    cases["max, 10 % missing"] = (ReductionSpec("max", "float32", missing=rule), tenth)
    cases["sum over axis 0"] = (ReductionSpec("sum", "float32", shape=shape, axis=(0,)), plain)
    cases["sum over axis 2"] = (ReductionSpec("sum", "float32", shape=shape, axis=(2,)), plain)
    cases["sum over axis 0, F order"] = (ReductionSpec("sum", "float32", shape=shape, axis=(0,), order="F"), plain)
    steps = (Slice(), Slice(None, None, 2), Slice())
    cases["sum, every second row"] = (ReductionSpec("sum", "float32", shape=shape, selection=steps), plain)
    other: ByteOrder = "big" if sys.byteorder == "little" else "little"
    cases["sum, bytes swapped"] = (ReductionSpec("sum", "float32", other), plain)
    return cases


def make_reduction(spec: ReductionSpec, data: bytes) -> Callable[[], Reduced]:
    """A function that reduces a case once, from its bytes to its result."""
    sizes = Sizes()
    walk, buffers = Walk.of(spec, spec.shape or (ELEMENTS,), sizes), Buffers(sizes.block_bytes)

    def reduce() -> Reduced:
        reader = BlockReader(MemoryReader(memoryview(data)), spec, 0, ELEMENTS, buffers)
        marker = Marker(spec.missing, DTYPES[spec.dtype]) if spec.missing else None
        reducer = Reducer(make_algebra(spec), marker, walk)
        reducer.consume(reader.read, walk.stops(), lambda: None)
        reader.close()
        return reducer.result()

    return reduce


def _time(reduce: Callable[[], Reduced]) -> float:
    started = time.perf_counter()
    reduce()
    return 1 / (time.perf_counter() - started)


def measure(run: Run) -> Page:
    """Measure each case beside the plain sum."""
    reductions = {name: make_reduction(*case) for name, case in make_cases().items()}
    for reduce in reductions.values():
        reduce()
    row = Row(
        "4 MiB",
        {name: partial(_time, reduce) for name, reduce in reductions.items()},
        rounds=_QUICK_ROUNDS if run.is_quick else _ROUNDS,
    )
    run_rounds([row], run.tell)
    return render(row)


def render(row: Row) -> Page:
    """The page with these results: a row whose contenders are the cases."""
    costs = {name: Spread.of_ratios(row.rates[_PLAIN], rates) for name, rates in row.rates.items()}
    targets = [
        Target(what, f"at most {most:g} plain sums", f"{costs[name].median:.2f}", costs[name].median <= most)
        for name, what, most in _TARGETS
    ]
    ratios = table(("case", "time beside the plain sum"), costs.items())
    return Page("kernels", targets, {"rounds": str(len(row.rates[_PLAIN])), "ratios": ratios})

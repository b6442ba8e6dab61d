"""The frozen table: reductions, and digests of their results.

A change of the code must not change a bit of any result, unless ``ARITHMETIC_VERSION`` is raised. ``python -m
tests.frozen`` writes the table again, which is correct only together with that. Sums of floats use the processor's
vectors, so that the last bits can differ on another kind of machine. There, floats are compared as numbers.
"""

import base64
import hashlib
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from active_storage.grammar.reductions import build_spec, parse_reduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.reducers import REDUCERS
from handler.engine.result import Result
from tests.helpers import reduce_bytes

TABLE = Path(__file__).parent / "data" / "frozen.json"

# The values of larger results are not kept, only their digests.
_MOST_BYTES = 512

_SHAPE = (37, 53, 51)
_ARRANGEMENTS = (
    "",
    "missing_values=-99,7",
    "shape=37,53,51;axis=0;selection=1:33:3,10:20,::-7;missing_value=-99",
    "shape=37,53,51;axis=2;selection=:9,::6,:",
    "shape=37,53,51;axis=1;selection=3:,:,5:11;order=F;valid_min=-90",
    "shape=37,53,51;axis=0,2;order=F;selection=::-1,:,::2",
    "shape=37,53,51;axis=;selection=::7,::9,::11",
)

# Parameters of reducers. Without edges, the bins of each cell take half a megabyte.
_PARAMETERS = {"histogram": "edges=-98,0,17.5,100,285,300"}

# Objects of several blocks and tasks. Their results depend on the order of joining.
_LARGE = (
    ("sum", "float32", 10 << 20),
    ("mean", "float64", 5 << 20),
    ("var", "float32", 10 << 20),
    ("stats", "float32", 10 << 20),
    ("sum", "int16", 20 << 20),
    ("max", "float32", 10 << 20),
    ("argmin", "float64", 5 << 20),
    ("sum", "complex64", 5 << 20),
    ("histogram", "float32", 5 << 20),
    ("kurtosis", "float32", 5 << 20),
    ("last", "int16", 10 << 20),
)
_LARGE_ARRANGEMENTS = ("", "missing_value=-99", "shape=-1,1024;axis=0", "shape=-1,1024;axis=1;selection=::97,:")


def describe_machine() -> str:
    """The kind of the machine, on which the last bits of floats can depend."""
    found = np.show_config(mode="dicts")
    return f"{platform.machine()} {' '.join(found['SIMD Extensions']['found'])}"


def list_reductions() -> Iterator[tuple[str, str, int]]:
    """Every reduction of the table: its name, its text, and the number of elements."""
    for text, elements in _list_texts():
        yield f"{text} of {elements}", text, elements


def _list_texts() -> Iterator[tuple[str, int]]:
    for reducer, rule in REDUCERS.items():
        for name, dtype in DTYPES.items():
            if dtype.kind in rule.kinds:
                for arrangement in _ARRANGEMENTS:
                    if _fits(reducer, name, arrangement):
                        parameters = f"{arrangement};{_PARAMETERS.get(reducer, '')}".strip(";")
                        yield _join(reducer, name, parameters), int(np.prod(_SHAPE))
    for reducer, name, elements in _LARGE:
        for arrangement in _LARGE_ARRANGEMENTS[: 2 if reducer == "histogram" else None]:
            if _fits(reducer, name, arrangement):
                yield _join(reducer, name, arrangement.replace("-1", str(elements // 1024))), elements


def _join(reducer: str, dtype: str, arrangement: str) -> str:
    return ";".join(filter(None, (f"{reducer}/{dtype}", "byte_order=little", arrangement)))


def _fits(reducer: str, dtype: str, arrangement: str) -> bool:
    kind, has_rule = DTYPES[dtype].kind, "missing_" in arrangement or "valid_" in arrangement
    has_one_axis = "axis" not in arrangement or any(f"axis={axis};" in f"{arrangement};" for axis in range(3))
    return not (has_rule and kind in "bcu") and not (REDUCERS[reducer].one_axis and not has_one_axis)


def make_data(dtype: str, elements: int) -> bytes:
    """Elements of a data type. They never change: numpy guarantees the stream of its legacy generator."""
    random = np.random.RandomState(elements % 1000)  # its streams are frozen
    kind = DTYPES[dtype].kind
    if kind == "b":
        values: Any = random.randint(0, 2, elements)
    elif kind == "u":
        values = random.randint(0, 256, elements)
    elif kind == "i":
        values = random.randint(-98, 128, elements)
    else:
        values = random.standard_normal(elements) * 12 + 285
    if kind in "if":
        values[::17] = -99
    if kind == "c":
        values = values + 1j * values[::-1]
    return np.ascontiguousarray(values.astype(dtype)).tobytes()


def reduce_text(text: str, data: bytes) -> Result:
    """The result of a reduction, given as its text."""
    return reduce_bytes(build_spec(parse_reduction(text), None), data)


def freeze(result: Result) -> dict[str, Any]:
    """The entry of a result in the table."""
    counts = np.asarray(result.counts, np.int64).tobytes()
    entry = {
        "dtype": result.dtype,
        "shape": list(result.shape),
        "data": hashlib.sha256(result.data).hexdigest()[:16],
        "counts": hashlib.sha256(counts).hexdigest()[:16],
    }
    if DTYPES[result.dtype].kind in "fc" and len(result.data) <= _MOST_BYTES:
        entry["values"] = base64.b64encode(result.data).decode()
    return entry


def _make_table() -> dict[str, Any]:
    data: dict[tuple[str, int], bytes] = {}
    results = {}
    for name, text, elements in list_reductions():
        dtype = parse_reduction(text)["dtype"]
        if (dtype, elements) not in data:
            data[dtype, elements] = make_data(dtype, elements)
        results[name] = freeze(reduce_text(text, data[dtype, elements]))
    return {"machine": describe_machine(), "results": results}


def _write(table: dict[str, Any]) -> str:
    """The table as JSON, with one line for each reduction."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(table["results"].items()))
    return f'{{"machine": {json.dumps(table["machine"])}, "results": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    TABLE.write_text(_write(_make_table()), encoding="utf-8")

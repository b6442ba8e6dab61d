"""Arrays like those of archives, in one table for all doors: orders, selections, missing data, codecs and reducers.

Each case is a spec and its object; ``tests.judge`` has the expected result. ``as_json`` is the spec as members of a
JSON request.
"""

import bz2
import dataclasses
import gzip
import lzma
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import blosc2
import hdf5plugin
import numcodecs
import numpy as np

from active_storage.model.codecs import CODECS
from active_storage.model.missing import Missing
from active_storage.model.ranges import Slice
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from tests.codecs.chunks import write_chunk

Array = np.ndarray[Any, Any]

ENCODE: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "zstd": lambda data: bytes(numcodecs.Zstd().encode(data)),
    "lz4": lambda data: bytes(numcodecs.LZ4().encode(data)),
    "blosc": lambda data: bytes(numcodecs.Blosc().encode(data)),
    "blosc2": lambda data: bytes(blosc2.compress2(data)),
    "bz2": bz2.compress,
    "lzma": lzma.compress,
}


@dataclass(frozen=True, slots=True)
class ArrayCase:
    """A reduction and its object."""

    name: str
    spec: ReductionSpec
    array: Array
    stored: bytes

    @property
    def key(self) -> str:
        """The object's key."""
        return f"{self.name}.dat"


def sample(shape: tuple[int, ...], dtype: str) -> Array:
    """Random numbers, with some missing values: -99, or 99 for unsigned types."""
    values = np.random.default_rng(math.prod(shape)).integers(0 if dtype.startswith("u") else -50, 50, shape)
    array = values.astype(dtype)
    array.ravel()[::7] = 99 if dtype.startswith("u") else -99
    return array


def store(spec: ReductionSpec, array: Array) -> bytes:
    """The object with ``array`` encoded as the spec says, after ``spec.offset`` other bytes."""
    data = array.astype(array.dtype.newbyteorder(spec.byte_order)).tobytes(order=spec.order)
    for each in spec.steps:
        encode = ENCODE.get(each.id)
        data = encode(data) if encode else _filter(each, data, spec)
    return b"\xff" * spec.offset + data


def _filter(each: Step, data: bytes, spec: ReductionSpec) -> bytes:
    size = each.element_size or spec.element_bytes
    if each.id == "shuffle":
        return np.frombuffer(data, np.uint8).reshape(-1, size).T.tobytes()
    if each.id == "fletcher32":
        return bytes(numcodecs.Fletcher32().encode(data))
    dtype = np.dtype(spec.dtype).newbyteorder(spec.byte_order)
    if each.id == "bitshuffle":
        return write_chunk(np.frombuffer(data, dtype), **hdf5plugin.Bitshuffle(cname="lz4"))[0]
    members: dict[str, Any] = dict(each.parameters)
    if "astype" in CODECS[each.id].parameters:
        members["dtype"] = dtype
    encoded = numcodecs.get_codec({"id": each.id, **members}).encode(
        np.frombuffer(data, dtype if "dtype" in members else np.uint8)
    )
    return encoded.tobytes() if isinstance(encoded, np.ndarray) else bytes(encoded)


def _case(name: str, reducer: str, dtype: str, shape: tuple[int, ...], **fields: Any) -> ArrayCase:
    has_tail = fields.pop("has_tail", False)
    spec = ReductionSpec(reducer, dtype, shape=shape, **{"byte_order": "little", **fields})
    array = sample(shape, dtype)
    stored = store(spec, array)
    if has_tail:
        spec = dataclasses.replace(spec, size=len(stored) - spec.offset)
        stored += b"\xff" * 5
    return ArrayCase(name, spec, array, stored)


_LESS = Missing((-99,))
_SEVERAL = Missing((-99, 7, 8), valid_min=-30, valid_max=30)
_STEPS = (Slice(1, 19, 3), Slice(None, None, -2))

CASES = [
    *(
        _case(f"{reducer}-axis-{name}", reducer, "float32", (20, 5, 3), axis=axis, missing=missing)
        for reducer in ("count", "sum", "max", "min", "mean", "var", "stats", "any", "all")
        for name, axis in (("all", None), ("0", (0,)), ("1-2", (1, 2)), ("none", ()))
        for missing in (_LESS,)
    ),
    *(
        _case(f"{reducer}-axis-1", reducer, "int16", (20, 5), axis=(1,), missing=_LESS)
        for reducer in ("argmax", "argmin")
    ),
    *(_case(f"{reducer}-flat", reducer, "int16", (20, 5), selection=_STEPS) for reducer in ("argmax", "argmin")),
    *(
        _case(f"{reducer}-{order}", reducer, "float64", (20, 6), order=order, selection=_STEPS, axis=axis)
        for reducer, axis in (("select", None), ("sum", (0,)), ("sum", ()), ("argmax", None))
        for order in ("C", "F")
    ),
    *(
        _case(f"missing-{name}", "sum", "int32", (40, 7), missing=missing, axis=(0,))
        for name, missing in (
            ("value", _LESS),
            ("values", Missing((-99, 3, 4))),
            ("below", Missing(valid_min=-20)),
            ("above", Missing(valid_max=20)),
            ("outside", Missing(valid_min=-20, valid_max=20)),
        )
    ),
    *(
        _case(f"codec-{codec}", "mean", "float32", (64, 33), steps=(Step(codec),), selection=(Slice(3, 60), Slice()))
        for codec in ENCODE
    ),
    _case("hdf5-chunk", "sum", "float32", (8, 16, 16), steps=(Step("shuffle", 4), Step("zlib")), missing=_LESS),
    _case(
        "hdf5-checksum",
        "max",
        "int16",
        (64, 16),
        steps=(Step("shuffle", 2), Step("fletcher32"), Step("gzip")),
    ),
    _case(
        "numbers-as-others",
        "sum",
        "float64",
        (50, 4),
        steps=(
            Step("fixedscaleoffset", None, (("offset", -0.5), ("scale", 2), ("astype", "<i2"))),
            Step("crc32c", None, (("location", "start"),)),
            Step("zlib"),
        ),
        axis=(0,),
    ),
    _case(
        "bitshuffle-lz4",
        "sum",
        "int32",
        (50, 4),
        steps=(Step("bitshuffle", 4, (("cname", "lz4"),)),),
        axis=(0,),
    ),
    _case("delta", "sum", "int32", (100,), steps=(Step("delta"),)),
    _case("big-endian", "sum", "int64", (30, 4), byte_order="big", axis=(1,)),
    _case("offset", "min", "uint16", (30, 4), offset=6, axis=(1,)),
    _case("offset-size", "max", "uint8", (30, 4), offset=3, has_tail=True),
    _case("compressed-size", "sum", "float32", (30, 4), offset=3, has_tail=True, steps=(Step("zlib"),)),
    _case("std-ddof", "std", "float64", (30, 4), axis=(0,), ddof=1),
    *(
        _case(f"several-rules-{reducer}", reducer, "float32", (40, 7), missing=_SEVERAL, axis=(0,))
        for reducer in ("count", "max", "mean")
    ),
    *(
        _case(f"some-cells-empty-{reducer}-{dtype}", reducer, dtype, (4, 3), missing=Missing(valid_min=40), axis=axis)
        for reducer in ("max", "min")
        for dtype, axis in (("float32", (0,)), ("float64", ()), ("int16", (1,)))
    ),
    _case("wide-sum", "sum", "int8", (40, 7), axis=(0,), sum_dtype="int64"),
    _case("float-sum", "sum", "uint16", (40, 7), axis=(0,), sum_dtype="float64"),
    _case("scalar", "sum", "float32", ()),
    _case("scalar-select", "select", "int16", (), byte_order="big"),
    _case("scalar-place", "argmax", "float32", (), steps=(Step("zlib"),)),
    _case("all-missing", "max", "float32", (4, 3), axis=(0,), missing=Missing(valid_min=1000)),
    _case("nothing-selected", "sum", "float32", (4, 3), selection=(Slice(2, 2), Slice())),
    _case("complex", "sum", "complex64", (9, 4), axis=(0,)),
]


def as_json(spec: ReductionSpec, url: str) -> dict[str, Any]:
    """What a client of the second version sends for a spec."""
    body: dict[str, Any] = {"interface_type": "s3", "url": url, "dtype": spec.dtype, "byte_order": spec.byte_order}
    body |= {"offset": spec.offset, "order": spec.order, "shape": None if spec.shape is None else list(spec.shape)}
    if spec.size is not None:
        body["size"] = spec.size
    if spec.selection is not None and spec.shape is not None:
        body["selection"] = [
            [s.start if s.start is not None else (0 if step > 0 else n), _stop(s, n, step), step]
            for s, n in zip(spec.selection, spec.shape, strict=True)
            for step in [s.step or 1]
        ]
    if spec.axis is not None:
        body["axis"] = list(spec.axis)
    if spec.steps:
        body["filters"] = [_as_members(each) for each in spec.steps]
    if spec.compression:
        body["compression"] = body["filters"].pop()
    if spec.missing is not None:
        body["missing"] = _as_rule(spec.missing)
    return body


def is_in_json(spec: ReductionSpec) -> bool:
    """Whether the JSON doors can say it."""
    rule = spec.missing
    has_limit = rule is not None and (rule.valid_min is not None or rule.valid_max is not None)
    has_several_rules = rule is not None and bool(rule.values) and has_limit
    return spec.shape != () and spec.sum_dtype is None and not spec.ddof and not has_several_rules


def _as_rule(rule: Missing) -> dict[str, Any]:
    if rule.values:
        return {"missing_values": list(rule.values)}
    if rule.valid_min is None or rule.valid_max is None:
        return {"valid_min": rule.valid_min, "valid_max": rule.valid_max}
    return {"valid_range": [rule.valid_min, rule.valid_max]}


def _stop(chosen: Slice, size: int, step: int) -> int:
    if chosen.stop is not None:
        return chosen.stop
    return size if step > 0 else -size - 1


def _as_members(each: Step) -> dict[str, Any]:
    size = {} if each.element_size is None else {"element_size": each.element_size}
    return {"id": each.id, **size, **dict(each.parameters)}

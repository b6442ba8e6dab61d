"""Plain objects: from the arguments of a method to a request to the direct proxy, and from its reply to a result.

The direct proxy takes a signature for the object in its store. The secret stays here.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from active_storage.client.arguments import ObjectArguments
from active_storage.client.failures import BadReply
from active_storage.client.questions import as_plain, build_position
from active_storage.client.results import Array, Result, arrange
from active_storage.errors import InvalidArgument, ObjectChanged
from active_storage.grammar.parameters import PARAMETERS, parse_dtype
from active_storage.grammar.reductions import format_segment
from active_storage.grammar.text import encode
from active_storage.model.dtypes import DTYPES, Order
from active_storage.model.etag import ETag
from active_storage.model.missing import MISSING_RULES, Missing
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step


def build_spec(reducer: str, dtype: Any, arguments: ObjectArguments) -> ReductionSpec:
    """The reduction that the arguments of a method ask for.

    Args:
        reducer: A name in ``REDUCERS``.
        dtype: The data type of the elements: a name, or one of numpy's.
        arguments: The arguments that were given.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: An argument has a wrong value.
    """
    given: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}
    name, byte_order = parse_dtype(dtype if isinstance(dtype, str) else np.dtype(dtype).str)
    rules = {rule: _list(given.pop(rule)) for rule in MISSING_RULES if rule in given}
    steps = (*_read_filters(given.pop("filters", ())), *_read_steps("compression", given.pop("compression", None)))
    fields = {PARAMETERS[each].field: _BUILD.get(each, as_plain)(value) for each, value in given.items()}
    order = fields.pop("byte_order", byte_order)
    if byte_order is not None and order != byte_order:
        raise InvalidArgument("byte_order", f"is {order}, but dtype is {byte_order}-endian")
    # A file of numbers without a byte order is little-endian nearly always, wherever this program runs.
    fields["byte_order"] = order or "little"
    if rules and name in DTYPES:
        fields["missing"] = Missing.of(rules, name)
    return ReductionSpec(reducer, name, steps=steps, **fields)


def write_target(spec: ReductionSpec, bucket: str, key: str) -> tuple[str, str]:
    """The target of the request, and that of the object in its store; both are percent-encoded."""
    for field, name in (("bucket", bucket), ("key", key)):
        if not name:
            raise InvalidArgument(field, "is empty")
    target = f"/{encode(bucket)}/{encode(key)}"
    return f"/{spec.reducer}/{encode(format_segment(spec), safe='')}{target}", target


def read_result(
    spec: ReductionSpec, headers: Mapping[str, str], body: bytes, count: Callable[[], tuple[Mapping[str, str], bytes]]
) -> Result:
    """The result in a reply.

    Args:
        spec: The reduction.
        headers: The headers, by names in lower case.
        body: The bytes of the values.
        count: Asks for the counts, if the reply has too many for a header: headers and body of their reply.

    Raises:
        BadReply: Headers and body do not fit together.
        ObjectChanged: The object was replaced between the two requests.
    """
    try:
        shape = tuple(json.loads(headers["x-activestorage-shape"]))
        dtype = np.dtype(headers["x-activestorage-dtype"])
        # Data that is not reduced keeps its order.
        order: Order = "C" if spec.reduced_axes else spec.order
        values = np.frombuffer(body, dtype.newbyteorder("<")).reshape(shape, order=order).astype(dtype)
        counts = _read_counts(spec, headers, values.shape, order)
        if counts is None:
            counted, content = count()
            _ensure_same_object(headers, counted)
            counts = np.frombuffer(content, "<i8").astype(np.int64)
            counts = counts.reshape(json.loads(counted["x-activestorage-shape"]), order=order)
        arranged = arrange(spec.reducer, values, counts)
        return Result(*arranged, dims=(None,) * values.ndim, etag=headers.get("etag"))
    except (KeyError, TypeError, ValueError) as error:
        raise BadReply(f"the result cannot be read ({error})") from None


def make_empty_result(spec: ReductionSpec) -> Result:
    """The single result of no elements, for a reducer that has no value for them: masked."""
    values, counts = arrange(spec.reducer, np.zeros((), spec.result_dtype), np.zeros((), np.int64))
    return Result(values, counts)


def _read_counts(spec: ReductionSpec, headers: Mapping[str, str], shape: tuple[int, ...], order: Order) -> Array | None:
    """The counts of the cells; None if only another request tells them."""
    cells = shape[len(spec.leading) : len(shape) - len(spec.trailing)]
    if "x-activestorage-count" in headers:
        counts = np.array(json.loads(headers["x-activestorage-count"]), np.int64)
        return counts.reshape(cells, order=order) if counts.size == math.prod(cells) else counts
    total, number = int(headers["x-activestorage-count-total"]), math.prod(cells)
    if ARRAY_REDUCERS[spec.reducer].keeps_elements:
        return np.array([total])
    # If no element is missing, all cells have as many.
    selected = number if spec.shape is None else _count_selected(spec)
    return np.full(cells, total // number) if total == selected else None


def _count_selected(spec: ReductionSpec) -> int:
    shape = spec.shape or ()
    if spec.selection is None:
        return math.prod(shape)
    return math.prod(len(each.resolve(size)) for each, size in zip(spec.selection, shape, strict=True))


def _ensure_same_object(first: Mapping[str, str], second: Mapping[str, str]) -> None:
    """Pass if the headers of two results are of one version of the object.

    Raises:
        ObjectChanged: They are not.
    """
    if _find_version(first) != _find_version(second):
        raise ObjectChanged


def _find_version(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    etag = ETag.from_header(headers.get("etag"))
    # The ETag of a result begins with that of the object.
    return None if etag is None else etag.opaque.rpartition("-")[0], headers.get("last-modified")


def _read_filters(filters: Any) -> Iterable[Step]:
    if isinstance(filters, str | Mapping):
        return _read_steps("filters", filters)
    return [step for each in filters for step in _read_steps("filters", each)]


def _read_steps(field: str, step: str | Mapping[str, Any] | None) -> Iterable[Step]:
    if step is None:
        return ()
    if isinstance(step, str):
        steps: Iterable[Step] = PARAMETERS[field].parse(field, step)
        return steps
    members = dict(step)
    return (Step.of(str(members.pop("id", "")), members),)


def _list(value: Any) -> tuple[Any, ...]:
    return tuple(as_plain(each) for each in (value if isinstance(value, Sequence | np.ndarray) else (value,)))


def _list_integers(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value if isinstance(value, Sequence | np.ndarray) else (value,)))


_BUILD: Mapping[str, Callable[[Any], Any]] = {
    "shape": _list_integers,
    "axis": _list_integers,
    "selection": lambda selection: tuple(Slice(*build_position(each)) for each in selection),
    "edges": _list,
}

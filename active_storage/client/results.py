"""What a client returns: results that behave like numpy arrays, and plans; both are shown by notebooks as tables."""

import html
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from active_storage.client.failures import BadReply
from active_storage.model.reducers import ARRAY_REDUCERS, ReducerRule

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    """The result of a reduction. numpy takes it for its values.

    Attributes:
        values: The values: an array, or a scalar of numpy if there is one. An array of ``numpy.ma`` if the value of a
            cell means nothing, since it has no elements: those cells are masked.
        counts: The number of elements in each cell, int64; for ``select`` that of all present elements; None if they
            were not asked for.
        dims: The names of the dimensions; None for one without a name.
        labels: The values of coordinates and the names of groups, by the name of the dimension.
        units: The units of the values; None if they are unknown, or others than those of the data.
        etag: The ETag of the result of a plain object; None if the service sent no ETag, and for whole arrays.
        requests: The number of requests from the service to the store; None if it is not known.
        bytes_read: The bytes that the service read; None if it is not known.
        missing_chunks: The number of absent chunks; None for a plain object.
    """

    values: Any
    counts: Any
    dims: tuple[str | None, ...] = ()
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    units: str | None = None
    etag: str | None = None
    requests: int | None = None
    bytes_read: int | None = None
    missing_chunks: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return np.shape(self.values)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of the values."""
        dtype: np.dtype[Any] = self.values.dtype
        return dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions of the values."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        # A plain array has no mask: NaN is the nearest to it.
        values = self.values
        if np.ma.isMaskedArray(values):
            values = values.filled(np.nan) if values.dtype.kind in "fc" else values.data
        made = np.asarray(values, dtype)
        return made.copy() if copy else made

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __float__(self) -> float:
        return float(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __repr__(self) -> str:
        return "\n".join([f"<Result {self._head()}>", self._print(), *self._describe()])

    def _repr_html_(self) -> str:
        facts = dict(each.split(": ", 1) for each in self._describe())
        return write_table(f"Result {self._head()}", facts) + f"<pre>{html.escape(self._print())}</pre>"

    def _print(self) -> str:
        with np.printoptions(threshold=100):
            return str(self.values)

    def _head(self) -> str:
        named = ", ".join(
            f"{name or f'dim_{number}'}: {size}"
            for number, (name, size) in enumerate(zip(self.dims, self.shape, strict=True))
        )
        return f"({named}) {self.dtype}" if self.shape else f"{self.dtype}"

    def _describe(self) -> list[str]:
        facts = {
            "units": self.units,
            "elements": None if self.counts is None else f"{int(np.sum(self.counts)):,}",
            "read": None if self.bytes_read is None else f"{format_bytes(self.bytes_read)} in {self.requests} requests",
            "absent chunks": self.missing_chunks or None,
            "labels": ", ".join(self.labels) or None,
        }
        return [f"{name}: {value}" for name, value in facts.items() if value is not None]


@dataclass(frozen=True, slots=True)
class ResultForm:
    """What a result will look like.

    Attributes:
        dtype: The data type of its values.
        shape: Its shape.
        dims: The names of its dimensions; None for one without a name.
        labels: The values of coordinates and the names of groups, by the name of the dimension.
        units: The units of the values; None if they are unknown, or others than those of the data.
    """

    dtype: str
    shape: tuple[int, ...]
    dims: tuple[str | None, ...]
    labels: Mapping[str, Sequence[Any]]
    units: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a reduction of an array will take.

    Attributes:
        digest: Identifies the plan: the array, its version, and what is selected, but not the reducer.
        sections: The number of sections, which can be asked for one by one.
        chunks: The number of chunks that are touched.
        shape: The shape of the array.
        dims: The names of its dimensions; None for one without a name.
        dtype: The data type of its elements, as they are stored.
        chunk_shape: The shape of a chunk; None if files have different ones.
        stored_bytes: The size of the touched chunks as stored; None if it is not known before they are read.
        decoded_bytes: Their size decoded.
        requests: The number of requests for chunks.
        memory_bytes: The least memory that the reducer takes; None if none was named.
        etags: The ETags of the objects that hold the metadata.
        result: What the result will look like; None if no reducer was named, and from an older service.
    """

    digest: str
    sections: int
    chunks: int
    shape: tuple[int, ...]
    dims: tuple[str | None, ...]
    dtype: str
    chunk_shape: tuple[int, ...] | None
    stored_bytes: int | None
    decoded_bytes: int
    requests: int
    memory_bytes: int | None
    etags: tuple[str, ...]
    result: ResultForm | None = None

    def __repr__(self) -> str:
        lines = [f"  {name}: {value}" for name, value in self._describe().items()]
        return "\n".join(["<Plan", *lines, ">"])

    def _repr_html_(self) -> str:
        return write_table("Plan", self._describe())

    def _describe(self) -> dict[str, str]:
        named = zip(self.dims, self.shape, strict=True)
        array = ", ".join(f"{name or f'dim_{number}'}: {size}" for number, (name, size) in enumerate(named))
        stored = "unknown before it is read" if self.stored_bytes is None else format_bytes(self.stored_bytes)
        facts = {
            "array": f"({array}) {self.dtype}",
            "chunks": f"{self.chunks:,}" + (f" of {self.chunk_shape}" if self.chunk_shape else ""),
            "stored": stored,
            "decoded": format_bytes(self.decoded_bytes),
            "requests": f"{self.requests:,}",
            "sections": f"{self.sections:,}",
            "memory": None if self.memory_bytes is None else format_bytes(self.memory_bytes),
            "digest": self.digest,
        }
        return {name: value for name, value in facts.items() if value is not None}


def read_plan(members: Mapping[str, Any]) -> Plan:
    """The plan of the members of a reply.

    Raises:
        BadReply: A member is absent.
    """
    members = {"result": None, **members}
    try:
        values = _read_fields(Plan, members)
        if values["result"] is not None:
            values["result"] = ResultForm(**_read_fields(ResultForm, values["result"]))
    except KeyError as error:
        raise BadReply(f"the plan has no {error.args[0]}") from None
    return Plan(**values)


def _read_fields(kind: type[Plan | ResultForm], members: Mapping[str, Any]) -> dict[str, Any]:
    """The members by the names of the fields, with tuples for lists.

    Raises:
        KeyError: A member is absent.
    """
    values = {each.name: members[each.name] for each in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def read_result(reducer: str, members: Mapping[str, Any]) -> Result:
    """The result of the members of a reply.

    Raises:
        BadReply: They do not fit together.
    """
    try:
        dims = tuple(members["dims"])
        values = read_numbers(members)
        counts = _read_counts(members["count"], find_cells(reducer, values.shape, dims))
        return Result(
            *arrange(reducer, values, counts, dims),
            dims=dims,
            labels=members["labels"],
            units=members["units"],
            requests=members["requests"],
            bytes_read=members["bytes_read"],
            missing_chunks=members["missing_chunks"],
        )
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise BadReply(f"the result cannot be read ({error})") from None


def _read_counts(count: Any, cells: tuple[int, ...]) -> Array | None:
    """The counts of a reply: a list, packed, or none.

    Raises:
        ValueError: They are not as many as they should be.
    """
    if count is None:
        return None
    if not isinstance(count, Mapping):
        return np.array(count, np.int64)
    # No more than what there should be.
    size = np.dtype(count["dtype"]).itemsize * math.prod(count["shape"])
    if count["shape"] and math.prod(count["shape"]) != math.prod(cells):
        raise ValueError("there is not a count for each cell")
    counts = read_numbers({**count, "bytes": zlib.decompressobj().decompress(count["bytes"], size)})
    return np.broadcast_to(counts.astype(np.int64), counts.shape or cells)


def read_numbers(members: Mapping[str, Any]) -> Array:
    """The array of the members ``dtype``, ``shape`` and ``bytes``, in native byte order and in memory of its own."""
    little = np.frombuffer(members["bytes"], np.dtype(members["dtype"]).newbyteorder("<"))
    return little.reshape(members["shape"]).astype(members["dtype"])


def arrange(reducer: str, values: Array, counts: Array | None, dims: Iterable[str | None] = ()) -> tuple[Any, Any]:
    """Values and counts as numpy has them: single ones as scalars, and values of no elements masked.

    Args:
        reducer: The reducer.
        values: The values.
        counts: The counts of the cells, in any shape of as many elements; None if they were not asked for.
        dims: The names of the dimensions of the values.

    Raises:
        ValueError: There is not a count for each cell.
    """
    if counts is None:
        return values[()], None
    rule = find_rule(reducer)
    if rule.keeps_elements:
        return values[()], counts.sum()
    counts = counts.reshape(find_cells(reducer, values.shape, dims))
    is_empty = counts == 0
    if not find_rule(reducer).has_empty_value and is_empty.any():
        return np.ma.array(values, mask=np.broadcast_to(is_empty, values.shape)), counts[()]
    return values[()], counts[()]


def find_cells(reducer: str, shape: tuple[int, ...], dims: Iterable[str | None]) -> tuple[int, ...]:
    """The shape of the cells of a result, of which each has a count.

    Args:
        reducer: The reducer.
        shape: The shape of the values.
        dims: The names of the dimensions of the values.
    """
    rule = find_rule(reducer)
    if rule.keeps_elements:
        return ()
    # Several quantiles are a dimension before those of the cells.
    if rule.leading or tuple(dims)[:1] == ("quantile",):
        return shape[1:]
    return shape[:-1] if rule.has_bins else shape


def find_rule(reducer: str) -> ReducerRule:
    """The properties of a reducer; the usual ones for one that only a newer service knows."""
    return ARRAY_REDUCERS.get(reducer, ReducerRule())


def format_bytes(number: float) -> str:
    """A number of bytes for people, such as 1.5 MiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"


def write_table(title: str, facts: Mapping[str, str]) -> str:
    """A table of HTML, as notebooks show it."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption><tbody>{rows}</tbody></table>"

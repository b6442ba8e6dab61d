"""Results as text for people, and as JSON, CSV, ``.npy`` and NetCDF."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from active_storage.cli.labels import Coordinate, Labelled
from active_storage.client.results import format_bytes

# A table for people has at most so many rows. The other formats have all.
_MOST_ROWS = 60

# The formats by the suffix of a file.
SUFFIXES: Mapping[str, str] = MappingProxyType(
    {".json": "json", ".csv": "csv", ".npy": "npy", ".nc": "netcdf", ".txt": "text"}
)


def write_text(labelled: Labelled) -> str:
    """A table of labels, values and counts, and below it what was read."""
    result, units = labelled.result, f" {labelled.result.units}" if labelled.result.units else ""
    facts = [f"{int(np.sum(result.counts)):,} elements"]
    if result.bytes_read is not None:
        facts.append(f"{format_bytes(result.bytes_read)} read")
    if result.missing_chunks:
        facts.append(f"{result.missing_chunks:,} chunks absent")
    if not labelled.dims:
        return f"{_write_number(_first(labelled))}{units} ({', '.join(facts)})\n"
    rows, size = list(_head(labelled.iterate(), _MOST_ROWS)), result.size
    named = [
        f"{dim} ({each.units})" if (each := labelled.coordinates.get(dim)) and each.units else dim
        for dim in labelled.dims
    ]
    has_counts = labelled.counts is not None
    head = [*named, f"{labelled.name} ({result.units})" if units else labelled.name, *(["count"] if has_counts else [])]
    lines = [
        head,
        *([*labels, _write_number(value), *([f"{count:,}"] if has_counts else [])] for labels, value, count in rows),
    ]
    table = align(lines)
    more = f"... {size - len(rows):,} more rows, which -o FILE.csv has\n" if size > len(rows) else ""
    return f"{table}{more}({', '.join(facts)})\n"


def write_json(labelled: Labelled) -> str:
    """All of a result as one JSON object."""
    result, counts = labelled.result, labelled.counts
    document = {
        "reducer": labelled.reducer,
        "name": labelled.name,
        "dims": list(labelled.dims),
        "shape": list(result.shape),
        "dtype": str(result.dtype),
        "units": result.units,
        "labels": {dim: each.list_plain() for dim, each in labelled.coordinates.items()},
        "values": _list_plain(labelled.values),
        "counts": None if counts is None else counts.tolist(),
        "elements": int(np.sum(result.counts)),
        "requests": result.requests,
        "bytes_read": result.bytes_read,
        "missing_chunks": result.missing_chunks,
    }
    return f"{json.dumps(document, allow_nan=False)}\n"


def write_csv(labelled: Labelled) -> str:
    """A row for each cell: labels, value, count. A value that means nothing is empty."""
    file, has_counts = io.StringIO(), labelled.counts is not None
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*labelled.dims, labelled.name, *(["count"] if has_counts else [])])
    for labels, value, count in labelled.iterate():
        writer.writerow([*labels, "" if value is None else value, *([count] if has_counts else [])])
    return file.getvalue()


def write_npy(labelled: Labelled) -> bytes:
    """The values in numpy's format. Masked floats are NaN."""
    file = io.BytesIO()
    np.save(file, np.asarray(labelled.result))
    return file.getvalue()


def write_netcdf(labelled: Labelled, path: Path) -> None:
    """The values, the counts and the coordinates as a NetCDF-4 file."""
    import xarray as xr  # noqa: PLC0415  # takes longer to import than the rest

    result, counts, values = labelled.result, labelled.counts, labelled.values
    encoding: dict[str, Any] = {}
    if np.ma.isMaskedArray(values):
        is_float = values.dtype.kind in "fc"
        fill: Any = (
            np.nan
            if is_float
            else np.iinfo(values.dtype).min
            if values.dtype.kind == "i"
            else np.iinfo(values.dtype).max
        )
        values, encoding = values.filled(fill), {"_FillValue": fill}
    attributes = {"units": result.units} if result.units else {}
    variables = {labelled.name: xr.Variable(labelled.dims, values, attributes, encoding)}
    if counts is not None:
        variables["count"] = xr.Variable(labelled.dims, np.array(counts), {"long_name": "number of elements"})
    coordinates = {dim: _make_variable(dim, each) for dim, each in labelled.coordinates.items()}
    dataset = xr.Dataset(variables, coordinates, {"reducer": labelled.reducer})
    dataset.to_netcdf(path, engine="h5netcdf")


WRITERS: Mapping[str, Callable[[Labelled], str | bytes]] = MappingProxyType(
    {"text": write_text, "json": write_json, "csv": write_csv, "npy": write_npy}
)

FORMATS = (*WRITERS, "netcdf")


def align(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a table, whose columns are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join("  ".join(map(str.rjust, line, widths)).rstrip() + "\n" for line in lines)


def _make_variable(dim: str, coordinate: Coordinate) -> Any:
    import xarray as xr  # noqa: PLC0415  # imported by the caller

    values: Any = list(coordinate.stored)
    if values and isinstance(values[0], list | tuple):
        return xr.Variable((dim,), coordinate.list_texts())
    array = np.asarray(values)
    if array.dtype.kind == "U" and not coordinate.attributes:
        # Dates of the calendar that numpy has.
        try:
            return xr.Variable((dim,), array.astype("datetime64[ns]"))
        except ValueError:
            pass
    return xr.Variable((dim,), array, dict(coordinate.attributes))


def _head(rows: Iterable[Any], most: int) -> Iterable[Any]:
    return (row for row, _ in zip(rows, range(most), strict=False))


def _first(labelled: Labelled) -> Any:
    return next(value for _, value, _ in labelled.iterate())


def _write_number(value: Any) -> str:
    if value is None:
        return "--"
    return f"{value:.7g}" if isinstance(value, float | np.floating) else str(value)


def _list_plain(values: Any) -> Any:
    """Values as lists of JSON: null for what is masked or NaN, texts for infinity, pairs for complex numbers."""
    if isinstance(values, np.ndarray) and values.ndim:
        return [_list_plain(each) for each in values]
    if values is np.ma.masked or (np.ma.isMaskedArray(values) and values.mask.any()):
        return None
    plain = np.asarray(values).item()
    if isinstance(plain, complex):
        return [_list_plain(plain.real), _list_plain(plain.imag)]
    if isinstance(plain, float) and not math.isfinite(plain):
        return None if math.isnan(plain) else str(plain)
    return plain

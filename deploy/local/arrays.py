"""Whole arrays in the demo: means over time of a NetCDF file and of a Zarr store, compared with xarray's.

The files and the means of xarray are in ``arrays/``, which ``tests/deploy/sample_arrays.py`` wrote: 24 months of
temperature on a small grid, packed as int16, with missing data. The demo itself needs neither xarray nor netCDF4.
"""

import base64
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cbor2
import numpy as np

from deploy.local.samples import BUCKET
from deploy.local.store import Store

FOLDER = Path(__file__).with_suffix("")
PREFIX = "arrays/"
NETCDF, ZARR = f"{PREFIX}tas.nc", f"{PREFIX}tas.zarr"
EXPECTED = FOLDER / "expected.json"

# The largest difference between a mean of the service and xarray's, relative to the mean.
TOLERANCE = 1e-12

_TIMEOUT_SECONDS = 60

Numbers = np.ndarray[tuple[int, ...], np.dtype[Any]]

TO_TRY = """\
# A mean over time of a whole array, packed and with missing data, in one request:
.venv/bin/python - <<'END'
import cbor2, json, numpy as np, urllib.request

store = {{"type": "zarr", "url": "{store}/{bucket}/{zarr}", "array": "tas"}}
request = urllib.request.Request(
    "{service}/arrays/v1/mean", json.dumps({{"store": store, "axis": ["time"]}}).encode(),
    {{"Authorization": "Basic {basic}"}},
)
answer = cbor2.load(urllib.request.urlopen(request))
print(answer["dims"], np.frombuffer(answer["bytes"], answer["dtype"]).reshape(answer["shape"]).round(1))
END
"""


@dataclass(frozen=True)
class ArrayRow:
    """A mean over time, as the service computed it.

    Attributes:
        question: What was requested.
        cells: The number of cells of the result.
        is_equal: Whether each cell equals that of xarray, and is missing where that of xarray is.
        stored_bytes: The size of the array's objects in the store.
        received_bytes: The size of the reply's body.
        requests: The number of requests that the service made to the store; None if the reply does not say.
    """

    question: str
    cells: int
    is_equal: bool
    stored_bytes: int
    received_bytes: int
    requests: int | None


def write_arrays(store: Store) -> None:
    """Put the arrays into the bucket of the sample data, which exists."""
    client = store.client()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path != EXPECTED:
            key = PREFIX + path.relative_to(FOLDER).as_posix()
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())


def compare_arrays(store: Store, endpoint: str) -> list[ArrayRow]:
    """The mean over time of each array: by JSON, and of the NetCDF file by a presigned link as well.

    Args:
        store: The store, which has the arrays.
        endpoint: The address of the service.

    Raises:
        RuntimeError: The service replies with an error.
    """
    return [
        _ask_by_json(store, endpoint, "netcdf", NETCDF),
        _ask_by_json(store, endpoint, "zarr", ZARR),
        _ask_by_link(store, endpoint),
    ]


def format_arrays(rows: Sequence[ArrayRow]) -> str:
    """A line for each row, below a line of headings."""
    lines = [
        ("mean over time of a whole array", "cells", "equal", "bytes in store", "bytes received", "store requests")
    ]
    lines += [
        (
            row.question,
            str(row.cells),
            "yes" if row.is_equal else "NO",
            f"{row.stored_bytes:,}",
            f"{row.received_bytes:,}",
            "" if row.requests is None else str(row.requests),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )


def format_to_try(store: Store, endpoint: str) -> str:
    """A command to try."""
    basic = _basic_credentials(store)
    return TO_TRY.format(store=store.readers_endpoint, service=endpoint, bucket=BUCKET, zarr=ZARR, basic=basic)


def _ask_by_json(store: Store, endpoint: str, kind: str, key: str) -> ArrayRow:
    body = {
        "store": {"type": kind, "url": f"{store.endpoint}/{BUCKET}/{key}", "array": "tas"},
        "axis": ["time"],
    }
    headers = {"Authorization": f"Basic {_basic_credentials(store)}", "Content-Type": "application/json"}
    reply, _ = _ask("POST", f"{endpoint}/arrays/v1/mean", json.dumps(body), headers)
    answer = cbor2.loads(reply)
    # The group of a Zarr store has more arrays, such as coordinates.
    prefix = f"{key}/tas/" if kind == "zarr" else key
    means = np.frombuffer(answer["bytes"], np.dtype(answer["dtype"]).newbyteorder("<"))
    return ArrayRow(
        question=f"POST /arrays/v1/mean, {kind} {key}",
        cells=means.size,
        is_equal=equals_expected(means, answer["count"]),
        stored_bytes=_measure(store, prefix),
        received_bytes=len(reply),
        requests=answer["requests"],
    )


def _ask_by_link(store: Store, endpoint: str) -> ArrayRow:
    # Signed for the name of the store that the service signs for.
    client = Store(store.readers_endpoint, store.access_key, store.secret_key).client()
    link = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": NETCDF}))
    segment = "mean/netcdf;var=tas;axis=time"
    reply, headers = _ask("GET", f"{endpoint}/{segment}{link.path}?{link.query}")
    means = np.frombuffer(reply, np.dtype(headers["x-activestorage-dtype"]).newbyteorder("<"))
    return ArrayRow(
        question=f"GET /{segment}/{BUCKET}/{NETCDF}, presigned",
        cells=means.size,
        is_equal=equals_expected(means, json.loads(headers["x-activestorage-count"])),
        stored_bytes=_measure(store, NETCDF),
        received_bytes=len(reply),
        requests=None,
    )


def equals_expected(means: Numbers, counts: Sequence[int]) -> bool:
    """Whether means and counts of all cells are those of xarray, and the same cells are missing."""
    expected = json.loads(EXPECTED.read_text())
    wanted = np.array(expected["mean"], np.float64)  # null becomes NaN
    if means.shape != wanted.shape or list(counts) != expected["count"]:
        return False
    return bool(np.allclose(means, wanted, rtol=TOLERANCE, atol=0, equal_nan=True))


def _measure(store: Store, prefix: str) -> int:
    """The size of all objects whose keys begin with a prefix."""
    found = store.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return sum(each["Size"] for each in found["Contents"])


def _ask(
    method: str, url: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a reply, names in lower case.

    ``http.client``, since it ignores the network proxies of the environment.
    """
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)) as connection:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers or {})
        response = connection.getresponse()
        reply = response.read()
        if response.status != 200:
            raise RuntimeError(f"the service replied to {method} {parts.path} with {response.status}: {reply.decode()}")
        return reply, {name.lower(): value for name, value in response.getheaders()}


def _basic_credentials(store: Store) -> str:
    return base64.b64encode(f"{store.access_key}:{store.secret_key}".encode()).decode()

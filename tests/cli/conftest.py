"""The command in this process, with a service in this process in front of the store in memory."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from active_storage import Client
from active_storage.cli.command import main
from active_storage.cli.services import ServiceOptions
from handler.doors.service import Service
from handler.local import make_answer
from handler.stores.fake import FakeStore
from tests.cli.installed import write_entry_points
from tests.conftest import NUMBERS
from tests.doors.test_describe import make_dataset, write_group
from tests.helpers import make_settings

STORE = "http://store.test:9000"

Reduce = Callable[..., Any]


@dataclass(frozen=True)
class Ran:
    """How a command ended.

    Attributes:
        code: The exit code.
        out: What it wrote to the standard output.
        err: What it wrote to the standard error.
        raw: The bytes of ``out``.
    """

    code: int
    out: str
    err: str
    raw: bytes = b""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment of this test's own, in an empty folder."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("ACTIVE_STORAGE_SERVICE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(write_entry_points(tmp_path / "installed")))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs the command with these arguments."""

    def run_command(*arguments: str) -> Ran:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            code = main(arguments)
        out, err = (stream.buffer.getvalue() for stream in streams)
        return Ran(code, out.decode("utf-8", "replace"), err.decode(), out)

    return run_command


@pytest.fixture
def store() -> FakeStore:
    """``/bucket/two.zarr`` and ``/bucket/four.nc``, which xarray has written, and plain numbers."""
    stream = io.BytesIO()
    make_dataset().to_netcdf(stream, engine="h5netcdf", encoding={"tas": {"_FillValue": -1, "chunksizes": (2, 3)}})
    objects = {**write_group(2, "/bucket/two.zarr"), "/bucket/four.nc": stream.getvalue()}
    objects["/bucket/key"] = NUMBERS.tobytes()
    return FakeStore(objects)


@pytest.fixture
def client(store: FakeStore) -> Client:
    """A client of a service in this process."""
    service = Service.of(make_settings(s3_endpoint=STORE), store)
    return Client("http://localhost", anon=True, answer=make_answer(service))


@pytest.fixture
def reduce(run: Callable[..., Ran], client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs the command with a service that answers in this process."""

    def open_clients(self: ServiceOptions, urls: Sequence[str], held: ExitStack) -> list[Client]:
        return [client]

    monkeypatch.setattr(ServiceOptions, "open_clients", open_clients)
    return run


@pytest.fixture
def dataset() -> xr.Dataset:
    """The dataset in the store, as xarray decodes it."""
    return xr.decode_cf(make_dataset())

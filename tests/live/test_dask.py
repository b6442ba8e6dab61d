"""Results as dask arrays on the workers of dask.distributed, which are processes, with the real service.

Workers and services are killed, and others are added, while a reduction is under way.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import zarr
from distributed import Client as Workers
from distributed import LocalCluster
from zarr.codecs import GzipCodec

from active_storage import Client
from active_storage.client.dask_arrays import DaskClient
from active_storage.errors import StoreError
from deploy.local.processes import LOOPBACK
from deploy.local.service import service
from deploy.local.store import Store, make_bucket
from tests.live.processes import find_listeners

pytestmark = pytest.mark.live

BUCKET = "dask"
URL = f"s3://{BUCKET}/a.zarr"

# Each chunk is a section of its own: two of them are more than what a section has.
_SECTIONS = 10
_CHUNK = (1, 17 << 17)

_THREADS = 2

# The tasks that begin before the gate is opened, as many as two workers run: when another one waits, one has ended.
_BEFORE = 2 * _THREADS


@pytest.fixture(scope="module")
def array(live_store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An array of floats of which no partial sums are exact."""
    folder = tmp_path_factory.mktemp("dask")
    shape = (_SECTIONS, *_CHUNK[1:])
    made = zarr.create_array(folder / "a.zarr", shape=shape, chunks=_CHUNK, dtype="f8", compressors=GzipCodec(level=1))
    for number in range(_SECTIONS):
        made[number] = np.random.default_rng(number).normal(280, 1)
        made[number, :7] = np.random.default_rng(number).normal(280, 10, 7)
    client = live_store.client()
    make_bucket(client, BUCKET)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(
        1,
        threads_per_worker=_THREADS,
        processes=True,
        host=LOOPBACK,
        dashboard_address=None,
        worker_dashboard_address=None,
        local_directory=str(tmp_path_factory.mktemp("workers")),
    ) as made:
        yield made


@pytest.fixture
def workers(cluster: LocalCluster) -> Iterator[Workers]:
    with Workers(cluster) as made:
        yield made


@pytest.fixture
def keys(live_store: Store) -> dict[str, str]:
    return {"key": live_store.access_key, "secret": live_store.secret_key}


@pytest.fixture
def client(endpoint: str, array: None, keys: dict[str, Any]) -> Iterator[Client]:
    with Client(endpoint, **keys) as made:
        yield made


def list_services(folder: Path) -> Sequence[str]:
    """The services that the file ``services`` lists. Calls after the first ones wait for the file ``go``."""
    (folder / "calls" / f"{os.getpid()}-{uuid4().hex}").touch()
    while len([*(folder / "calls").iterdir()]) > _BEFORE and not (folder / "go").exists():
        time.sleep(0.01)
    return (folder / "services").read_text().split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "calls").mkdir()
    return tmp_path


def wait_at_gate(folder: Path) -> None:
    while len([*(folder / "calls").iterdir()]) <= _BEFORE:
        time.sleep(0.01)


def write_services(folder: Path, *urls: str) -> None:
    (folder / "new").write_text("\n".join(urls))
    (folder / "new").replace(folder / "services")


def test_workers_give_the_bits_of_one_request(
    client: Client, workers: Workers, endpoint: str, keys: dict[str, Any]
) -> None:
    lazy = DaskClient(client, [endpoint], **keys)
    questions: list[tuple[str, dict[str, Any]]] = [
        ("mean", {}),
        ("var", {"axis": 1}),
        ("sum", {"axis": 1, "selection": [slice(1, None, 2), slice(None)]}),
        ("quantile", {"selection": [slice(None), slice(0, 7)], "q": [0.1, 0.9]}),
        ("select", {"selection": [slice(None), slice(0, 7)]}),
    ]
    results = [lazy.reduce(reducer, URL, **arguments).values for reducer, arguments in questions]
    for (reducer, arguments), found in zip(questions, workers.gather(workers.compute(results)), strict=True):
        assert found.tobytes() == np.asarray(client.reduce(reducer, URL, **arguments)).tobytes()


def test_an_error_of_a_worker_has_its_class_and_no_secret(client: Client, workers: Workers, endpoint: str) -> None:
    lazy = DaskClient(client, [endpoint], key="canary-of-the-key", secret="canary-of-the-secret")
    with pytest.raises(StoreError) as caught:
        workers.compute(lazy.reduce("max", URL).values).result()
    assert caught.value.code in {"InvalidAccessKeyId", "AccessDenied"}
    assert "canary" not in f"{caught.value!r} {caught.value.__notes__}"


def test_a_service_dies_and_others_come_in_the_middle(
    client: Client,
    cluster: LocalCluster,
    workers: Workers,
    endpoint: str,
    live_store: Store,
    start_service: Callable[..., str],
    keys: dict[str, Any],
    folder: Path,
) -> None:
    dying = start_service()
    write_services(folder, dying)
    result = DaskClient(client, partial(list_services, folder), **keys).reduce("var", URL)
    future = workers.compute(result.values)
    wait_at_gate(folder)
    cluster.scale(2)
    workers.wait_for_workers(2)
    with service(live_store, {"ACTIVE_STORAGE_WORKERS": "1"}, folder / "log") as new:
        write_services(folder, dying, new)
        for process in find_listeners(dying):
            process.kill()
        (folder / "go").touch()
        assert future.result() == client.var(URL).values
    # The dead one was in the list all the time.
    assert '"door": "arrays_json"' in (folder / "log").read_text()


def test_a_worker_dies_in_the_middle(
    client: Client, cluster: LocalCluster, workers: Workers, endpoint: str, keys: dict[str, Any], folder: Path
) -> None:
    cluster.scale(2)
    workers.wait_for_workers(2)
    write_services(folder, endpoint)
    result = DaskClient(client, partial(list_services, folder), **keys).reduce("var", URL)
    future = workers.compute(result.values)
    wait_at_gate(folder)
    # The last one to call waits.
    last = max((folder / "calls").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    os.kill(int(last.name.partition("-")[0]), signal.SIGKILL)
    (folder / "go").touch()
    assert future.result() == client.var(URL).values
    # Its task began again.
    assert len([*(folder / "calls").iterdir()]) > _SECTIONS

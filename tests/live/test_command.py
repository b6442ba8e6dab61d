"""The command ``active-storage`` as users run it: with the real service, with ``--local``, and interrupted."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from active_storage import Client
from active_storage.cli.app import EXAMPLES
from deploy.local.processes import LOOPBACK, Program, free_ports, http_status, running
from deploy.local.store import Store
from tests.cli.installed import write_entry_points

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
ZARR = ("s3://sample-data/arrays/tas.zarr", "--var", "tas")

COMMAND = [sys.executable, "-m", "active_storage.cli"]


@pytest.fixture
def environment(live_store: Store, endpoint: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has installed everything."""
    return {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.defpath)),
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(write_entry_points(tmp_path / "installed")))),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": live_store.access_key,
        "AWS_SECRET_ACCESS_KEY": live_store.secret_key,
        "AWS_ENDPOINT_URL": live_store.endpoint,
        "ACTIVE_STORAGE_SERVICE": endpoint,
        "COLUMNS": "200",
        # The cache of fonts is made once.
        "MPLCONFIGDIR": mpl.get_cachedir(),
    }


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(environment: Mapping[str, str], tmp_path: Path) -> Run:
    """Runs the command in an empty folder."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def run_command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [*COMMAND, *arguments]
        env = {**environment, **variables}
        return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=False)

    return run_command


@pytest.mark.parametrize("example", [example for each in EXAMPLES.values() for example in each])
def test_an_example_of_the_help_runs(run: Run, example: str, endpoint: str) -> None:
    program, *arguments = shlex.split(example.replace("http://localhost:8000", endpoint))
    ran = run(*arguments)
    assert program == "active-storage"
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout or "-o" in arguments


def test_the_engine_in_this_process_gives_what_the_service_gives(run: Run) -> None:
    question = ("reduce", "mean", *ZARR, "--axis", "time", "--where", "lat=-30:30", "--output", "json")
    served, local = run(*question), run(*question, "--local", ACTIVE_STORAGE_SERVICE="")
    document = json.loads(local.stdout)
    assert document == json.loads(served.stdout)
    assert len(document["values"]) == 3
    plain = ("reduce", "sum", "s3://sample-data/data-int16.dat", "--dtype", "int16", "--local", "--output", "csv")
    assert run(*plain).stdout == "sum,count\n110,20\n"


def test_netcdf_is_the_result_of_the_client(run: Run, live_store: Store, endpoint: str, tmp_path: Path) -> None:
    assert run("reduce", "max", *ZARR, "--axis", "time", "--local", "-o", "max.nc").returncode == 0
    with Client(endpoint, key=live_store.access_key, secret=live_store.secret_key) as client:
        expected = client.max(ZARR[0], "tas", axis="time")
    with xr.open_dataset(tmp_path / "folder" / "max.nc", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found.tas.values, np.asarray(expected))
        np.testing.assert_array_equal(found["count"].values, expected.counts)
        assert (found.lat.attrs["units"], found.tas.attrs["units"]) == ("degrees_north", "K")


def test_the_next_service_is_asked_if_one_is_down(run: Run, endpoint: str) -> None:
    down = f"http://{LOOPBACK}:{free_ports(1)[0]}"
    assert run("reduce", "count", *ZARR, ACTIVE_STORAGE_SERVICE=f"{down}, {endpoint}").returncode == 0


def test_what_is_too_large_for_this_process_is_one_error_before_it_starts(run: Run) -> None:
    ran = run("reduce", "mean", *ZARR, "--axis", "time", "--local", ACTIVE_STORAGE_MAX_OBJECT_MEMORY="8KiB")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert "the limit is 8192 (MAX_OBJECT_MEMORY) (for --local, ACTIVE_STORAGE_MAX_OBJECT_MEMORY sets it;" in ran.stderr


def test_no_message_has_the_secret(run: Run) -> None:
    secret = "a-secret-that-nobody-should-see"
    for arguments in ((), ("--local",)):
        ran = run("reduce", "mean", *ZARR, *arguments, AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY=secret)
        assert (ran.returncode, secret in ran.stderr + ran.stdout) == (1, False)


def test_a_reader_that_ends_is_no_error(environment: Mapping[str, str]) -> None:
    command = f"{shlex.join(COMMAND)} reduce select {shlex.join(ZARR)} --output csv"
    script = f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["/bin/bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (141, "time,lat,lon,tas\n", "")


def test_progress_is_shown_where_it_is_asked_for(run: Run) -> None:
    ran = run("reduce", "mean", *ZARR, "--progress", "--local", "--output", "csv")
    assert (ran.returncode, ran.stdout.count("\n"), "\r" in ran.stdout) == (0, 2, False)


# Interrupted


@contextmanager
def silent_server() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A server that takes a request and does not answer: its address, when it was asked, and when it was left."""
    asked, left = threading.Event(), threading.Event()

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            asked.set()
            # The end of the stream, since the client has closed the connection.
            while connection.recv(1 << 16):
                pass
            left.set()

    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}", asked, left
        thread.join(30)


@pytest.mark.parametrize("options", [("--service",), ("--local", "--endpoint-url")], ids=["service", "local"])
def test_ctrl_c_closes_the_connection_and_leaves_no_file(
    environment: Mapping[str, str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with silent_server() as (url, asked, left):
        command = [*COMMAND, "reduce", "mean", *ZARR, *options, url, "-o", "mean.nc"]
        program: Any = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
        with program:
            assert asked.wait(30)
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=30)
        assert left.wait(30)
    assert (program.returncode, errors) == (130, "")
    assert list(folder.iterdir()) == []


def test_the_service_is_served_by_the_command(
    environment: Mapping[str, str], live_store: Store, tmp_path: Path
) -> None:
    address = f"{LOOPBACK}:{free_ports(1)[0]}"
    settings = {"ACTIVE_STORAGE_S3_ENDPOINT": live_store.endpoint, "ACTIVE_STORAGE_WORKERS": "1"}
    served = Program(
        name="the command",
        command=[*COMMAND, "serve", "--bind", address],
        env={**environment, **settings},
        ready=lambda: http_status(f"http://{address}/readyz") == 200,
        cwd=tmp_path,
    )
    with running(served):
        assert http_status(f"http://{address}/healthz") == 200

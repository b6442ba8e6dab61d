"""The command itself: what the service is and has, exit codes, errors, help, and what is not installed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_storage import Client
from active_storage.cli import app
from active_storage.cli.outcomes import EXIT_CODES
from active_storage.cli.tree import list_tree, write_tree
from active_storage.client.connection import Channel
from active_storage.client.failures import IncompleteReply, ServiceUnreachable
from active_storage.client.groups import Group
from active_storage.errors import SlowDown, StoreError
from active_storage.model.reducers import REDUCERS

ROOT = Path(__file__).resolve().parents[2]
ZARR = "s3://bucket/two.zarr"

Run = Callable[..., Any]


def test_discover_says_what_a_service_is(reduce: Run, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "Client", lambda url, anon: client)
    lines = reduce("discover", "http://localhost:8000").out.splitlines()
    assert lines[0].split() == ["active", "storage", "version", "v1"]
    assert "available reducers      " + ", ".join(REDUCERS) in lines
    document = json.loads(reduce("discover", "http://localhost:8000", "--json").out)
    assert document["s3_endpoint"] == "http://store.test:9000"
    assert "zlib" in document["supported_codecs"]


def test_info_is_a_tree(reduce: Run) -> None:
    text = reduce("info", ZARR).out
    assert text.startswith(f"{ZARR} {{\ndimensions:\n")
    assert "  int16 tas(time=6, lat=4)  chunks [6, 4]  48 bytes\n" in text
    assert '    tas:units = "K"\n' in text
    assert "  int32 flags()  4 bytes\n" in text
    assert '  title = "a test"\n' in text


def test_info_as_json(reduce: Run) -> None:
    document = json.loads(reduce("info", ZARR, "--json").out)
    assert document["dimensions"] == {"lat": 4, "time": 6}
    assert document["variables"]["tas"]["attributes"]["units"] == "K"
    assert document["attributes"] == {"title": "a test", "levels": [1, 2]}


def test_info_says_what_cannot_be_read_and_why() -> None:
    group = Group({"a": "x\n" + "y" * 200, "b": np.nan}, (), {"names": "texts are not supported"}, 1, 1)
    text = write_tree("f.nc", group)
    assert "cannot be read:\n  names: texts are not supported\n" in text
    assert f'  a = "x {"y" * 97}...\n  b = nan\n' in text
    assert list_tree(group)["unsupported"] == {"names": "texts are not supported"}


@pytest.mark.parametrize("arguments", [(f"{ZARR}/below",), (ZARR, "--group-path", "/below")])
def test_info_of_a_group(reduce: Run, arguments: tuple[str, ...]) -> None:
    assert "float32 deep(dim_0=2)" in reduce("info", *arguments).out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("reduce", "meen", ZARR, "--var", "tas"), 2, "no reducer 'meen' (did you mean 'mean' or "),
        (("reduce", "mean", ZARR, "--var", "tsa"), 1, "tsa"),
        (("reduce", "mean", ZARR, "--var", "tas", "--axis", "tim"), 2, "(did you mean 'time'?)"),
        (("reduce", "mean", ZARR, "--vra", "tas"), 2, "--vra"),
        (("reduse", "mean"), 2, "Did you mean 'reduce'?"),
        (("reduce", "mean"), 2, "URL"),
        (("reduce", "mean", ZARR, "--var", "tas", "--where", "lat=a:b"), 2, "'a' is not a number"),
        (("reduce", "mean", ZARR, ZARR, "--var", "tas"), 2, "--concat"),
        (("reduce", "mean", "s3://bucket/key"), 2, "a plain object needs --dtype"),
        (("reduce", "sum", "https://a/b", "--dtype", "int8"), 2, "should be s3://bucket/key"),
        (("reduce", "sum", "s3://bucket/key", "--dtype", "int8", "--plan"), 2, "plan: is of a whole array"),
        (("reduce", "mean", ZARR, "--var", "tas", "--output", "xml"), 2, "is 'xml', not one of text, json"),
        (("reduce", "mean", ZARR, "--var", "tas", "--output", "netcdf"), 2, "-o FILE.nc"),
        (("reduce", "mean", ZARR, "--var", "tas", "-o", "mean.xml"), 2, "ends in none of .json, .csv"),
        (("reduce", "mean", ZARR, "--var", "tas", "-o", "."), 2, "which is a folder"),
        (("info", "s3://bucket/nothing.zarr"), 1, "there is no Zarr group"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(
    reduce: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    if "-o" in arguments and arguments[-1] == ".":
        arguments = (*arguments[:-1], "installed", "--output", "csv")
    ran = reduce(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("active-storage: ")
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceUnreachable("no connection"), 3),
        (SlowDown("full", 1), 3),
        (IncompleteReply("it broke"), 3),
        (StoreError(403, "AccessDenied", "no"), 1),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "mean.nc"), 1),
    ],
)
def test_failures_have_exit_codes(
    reduce: Run, client: Client, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(client, "reduce", fail)
    ran = reduce("reduce", "mean", ZARR, "--var", "tas")
    assert ran.code == code
    assert "Traceback" not in ran.err
    assert code in EXIT_CODES


def test_services_that_are_down(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "pause", lambda *_: None)
    services = ("--service", "http://127.0.0.1:9", "--service", "http://127.0.0.1:1")
    ran = run("reduce", "mean", ZARR, "--var", "tas", "--anon", *services)
    assert (ran.code, ran.err) == (3, "active-storage: http://127.0.0.1:1 does not answer (NewConnectionError)\n")


def test_a_service_has_to_be_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("info", ZARR)
    assert (ran.code, "--local" in ran.err) == (2, True)
    ran = run("info", ZARR, "--service", "http://localhost:1", "--endpoint-url", "http://localhost:2")
    assert (ran.code, "endpoint-url: is for --local" in ran.err) == (2, True)
    ran = run("info", ZARR, "--service", "http://localhost:1", "--local")
    assert (ran.code, "local: asks no service" in ran.err) == (2, True)
    monkeypatch.setenv("ACTIVE_STORAGE_SERVICE", "http://example.org")
    ran = run("info", ZARR)
    assert (ran.code, "would receive the secret over http" in ran.err) == (2, True)


@pytest.mark.parametrize("region", ["us-east-1", ""])
def test_a_profile_that_is_not_there_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    ran = run("info", ZARR, "--local", "--profile", "nobody")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "The config profile (nobody) could not be found" in ran.err


def test_a_wrong_setting_of_the_engine_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_STORAGE_MEMORY_LIMIT", "much")
    ran = run("info", ZARR, "--local", "--anon", "--endpoint-url", "http://127.0.0.1:1")
    assert (ran.code, "ACTIVE_STORAGE_MEMORY_LIMIT" in ran.err, ran.err.count("\n")) == (2, True, 1)


@pytest.mark.parametrize("command", app.EXAMPLES)
def test_the_help_has_examples_and_exit_codes(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    for example in app.EXAMPLES[command]:
        assert example in ran.out
    text = " ".join(ran.out.split())
    assert all(f"{code} {what}" in text for code, what in EXIT_CODES.items())


def test_without_arguments_the_help_is_printed(run: Run) -> None:
    ran = run()
    assert (ran.code, ran.err) == (2, "")
    assert all(command in ran.out for command in ("discover", "info", "reduce", "serve", "check-config"))


def test_a_shell_completes_reducers() -> None:
    asked = {"_ACTIVE_STORAGE_COMPLETE": "complete_bash", "COMP_WORDS": "active-storage reduce me", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "active_storage.cli"]
    ran = subprocess.run(command, env={"PYTHONPATH": str(ROOT), **asked}, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["mean", "median"]


# What is installed


def test_check_config_is_that_of_the_service(run: Run) -> None:
    ran = run("check-config", "--workers", "3")
    assert "ACTIVE_STORAGE_WORKERS=3\n" in ran.out


@pytest.mark.parametrize("arguments", [("serve",), ("check-config",), ("info", ZARR, "--local")])
def test_without_the_service_the_command_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("active_storage.cli.parts.entry_points", lambda **_: ())
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.err.endswith("needs the service: install s3-active-storage-service[server]\n")


@pytest.mark.parametrize(
    ("library", "arguments", "code", "written"),
    [
        ("typer", ["info"], 2, "typer is not installed: install s3-active-storage[cli]"),
        ("typer", ["check-config"], 0, "ACTIVE_STORAGE_BIND="),
    ],
)
def test_only_the_services_commands_work_without_typer(
    library: str, arguments: list[str], code: int, written: str, tmp_path: Path
) -> None:
    program = f"""if True:
        import sys
        sys.modules[{library!r}] = None
        from active_storage.cli.command import main
        sys.exit(main({arguments!r}))
    """
    paths = f"{ROOT}:{tmp_path / 'installed'}"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": paths}, check=False
    )
    assert ran.returncode == code
    assert written in ran.stdout + ran.stderr

"""The two distributions of the tree: the client's contains no service code, and works alone."""

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from uv import find_uv_bin

from active_storage.cli.parts import GROUP, LOCAL, SERVICE_COMMANDS
from active_storage.client.datasets import ServiceBackend
from active_storage.model.reducers import REDUCERS
from tests.algebra import by_hand

ROOT = Path(__file__).resolve().parents[1]

# The folder of each distribution's pyproject.toml, by its package.
PROJECTS = {"active_storage": ROOT, "handler": ROOT / "handler"}


def read_project(package: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((PROJECTS[package] / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds the wheel of a distribution without the network, from the tree or from the source distribution."""

    def run(package: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp(package)
        command = [find_uv_bin(), "build", "--offline", "--no-build-isolation", "--out-dir", str(folder), *options]
        where = ["--python", sys.executable, str(PROJECTS[package])]
        subprocess.run([*command, *where], check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        return wheel

    return run


def test_both_have_the_same_version_and_the_service_requires_it_exactly() -> None:
    client, service = read_project("active_storage"), read_project("handler")
    assert service["version"] == client["version"]
    assert f"{client['name']}=={client['version']}" in service["dependencies"]
    assert service["requires-python"] == client["requires-python"]


def test_only_the_service_requires_the_other() -> None:
    client = read_project("active_storage")
    assert client["optional-dependencies"].keys() == {"xarray", "dask", "cli"}
    assert all(each.startswith("xarray") for each in client["optional-dependencies"]["xarray"])
    assert not any(requirement.startswith(client["name"]) for requirement in client["dependencies"])


def test_naming_the_client_loads_neither_botocore_nor_the_service() -> None:
    """Importing the package loads no HTTP library, and naming ``Client`` loads no botocore."""
    program = """if True:
        import sys, active_storage
        assert not {"urllib3", "cbor2"} & sys.modules.keys()
        from active_storage import Client
        Client("http://localhost:8000", anon=True)
        assert not {"botocore", "handler"} & sys.modules.keys()
        try:
            active_storage.Clients
        except AttributeError:
            print("no such name")
    """
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout == "no such name\n"


def test_xarray_finds_the_engine_by_the_entry_point_of_the_client() -> None:
    entries = read_project("active_storage")["entry-points"]["xarray.backends"]
    ((name, value),) = entries.items()
    assert name == "active_storage"
    assert EntryPoint(name, value, "xarray.backends").load() is ServiceBackend


def test_the_command_is_the_clients_and_the_service_brings_parts_of_it() -> None:
    client, service = read_project("active_storage"), read_project("handler")
    assert client["scripts"] == {"active-storage": "active_storage.cli.command:main"}
    assert "scripts" not in service
    parts = service["entry-points"][GROUP]
    assert parts.keys() == {*SERVICE_COMMANDS, LOCAL}
    for name, value in parts.items():
        assert callable(EntryPoint(name, value, GROUP).load())


def test_the_command_loads_neither_typer_nor_the_service_before_they_are_needed() -> None:
    program = """if True:
        import sys
        from active_storage.cli.command import main
        assert not {"typer", "numpy", "handler"} & sys.modules.keys()
        import active_storage.cli.app
        assert not {"handler", "matplotlib", "plotext", "xarray", "botocore"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.parametrize(("name", "package"), [("open_dataset", "xarray"), ("DaskClient", "dask")])
def test_a_client_without_a_package_says_what_to_install(name: str, package: str) -> None:
    program = f"""if True:
        import sys
        sys.modules["{package}"] = None
        try:
            from active_storage import {name}
        except ImportError as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout == f"{name} needs {package}: install s3-active-storage[{package}]\n"


def test_both_have_the_same_licence() -> None:
    licences = {(folder / "LICENSE").read_text() for folder in PROJECTS.values()}
    assert len(licences) == 1


# With --wheel, like pip builds it from a checkout; without, from the source distribution, like from an index.
@pytest.mark.parametrize("options", [["--wheel"], []], ids=["tree", "sdist"])
@pytest.mark.parametrize("package", PROJECTS)
def test_a_wheel_contains_its_package_only(build: Callable[..., Path], package: str, options: list[str]) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")} | {f"{package}/py.typed"}
    with zipfile.ZipFile(build(package, *options)) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
    assert held == files


def test_the_client_alone_joins_partials_without_the_service(build: Callable[..., Path], tmp_path: Path) -> None:
    # Without pip, and with numpy as the only package of this environment.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    with zipfile.ZipFile(build("active_storage", "--wheel")) as wheel:
        wheel.extractall(packages)
    installed = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists():
            (packages / name).symlink_to(installed / name)

    # Isolated: Python does not search the folder of the program or PYTHONPATH.
    command = [str(tmp_path / "bin" / "python"), "-I", "-B", by_hand.__file__]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split("\n") == [*REDUCERS, "no handler", ""]

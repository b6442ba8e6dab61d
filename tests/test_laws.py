"""The import laws in pyproject.toml cover every package: a new package must be in their lists."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAWS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def find_packages(name: str) -> set[str]:
    """The packages and modules directly inside a package."""
    return {
        f"{name}.{path.stem}"
        for path in (ROOT / name).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {f"{name}.__init__"}


SERVICE, SHARED = find_packages("handler"), find_packages("active_storage")

# The packages that each law does not restrict, by the beginning of the law's name.
EXEMPT = {
    "only app.py knows Flask": {"handler.app", "handler.cli", "handler.server", "handler.wsgi"},
    "only stores/ and the client know the HTTP library": {"handler.stores"},
    "only the client and the Lambda function know botocore": {"handler.doors"},
}


def find_law(name: str) -> dict[str, list[str]]:
    return next(law for law in LAWS if law["name"].startswith(name))


@pytest.mark.parametrize("name", EXEMPT)
def test_a_law_about_a_library_covers_every_other_package(name: str) -> None:
    packages = {module for module in find_law(name)["source_modules"] if module in SERVICE}
    assert packages == SERVICE - EXEMPT[name]


@pytest.mark.parametrize(
    ("name", "packages"), [("the service: imports", SERVICE), ("what both sides speak: imports", SHARED)]
)
def test_every_package_has_its_layer(name: str, packages: set[str]) -> None:
    layers = {module for layer in find_law(name)["layers"] for module in layer.split(" | ")}
    assert layers - {"active_storage"} == packages

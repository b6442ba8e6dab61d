"""The import laws of pyproject.toml hold for every module: a new one is in their lists, or one that they speak of."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAWS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
MODULES = {
    f"handler.{path.stem}"
    for path in (ROOT / "handler").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
} - {"handler.__init__"}

# Whom each law leaves out, since it is theirs to know, by the beginning of its name.
EXEMPT = {
    "only app.py knows Flask": {"handler.app", "handler.cli", "handler.server", "handler.wsgi"},
    "only upstream/ knows the HTTP library": {"handler.upstream"},
    "only the Lambda function knows botocore": {"handler.contracts"},
}


@pytest.mark.parametrize("name", EXEMPT)
def test_a_law_of_who_knows_a_library_holds_for_every_other_module(name: str) -> None:
    law = next(law for law in LAWS if law["name"].startswith(name))
    assert {module for module in law["source_modules"] if module in MODULES} == MODULES - EXEMPT[name]


def test_the_client_is_shared_no_more_than_it_is_said_to_be() -> None:
    law = next(law for law in LAWS if law["name"].startswith("the client shares"))
    shared = {"handler.codecs", "handler.errors", "handler.origins", "handler.params", "handler.spec"}
    assert set(law["forbidden_modules"]) == MODULES - shared


def test_every_module_has_its_layer() -> None:
    law = next(law for law in LAWS if law["type"] == "layers")
    assert {module for layer in law["layers"] for module in layer.split(" | ")} == MODULES

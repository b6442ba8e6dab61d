"""The template agrees with the function and its zip. bin/check validates the template itself with cfn-lint."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from active_storage.model.origins import Origin, OriginPattern
from deploy.aws.package import PLATFORMS, PYTHON, requirements, write_zip
from handler.settings import Settings

ROOT = Path(__file__).parents[2]


class CloudFormation(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: ``!Sub x`` is ``{"Fn::Sub": x}``."""


def read_short_form(loader: CloudFormation, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


CloudFormation.add_multi_constructor("!", read_short_form)


@pytest.fixture(scope="module")
def template() -> Any:
    # Nothing but data: the loader is a safe one.
    return yaml.load((ROOT / "deploy" / "aws" / "template.yaml").read_text(), CloudFormation)  # noqa: S506


@pytest.fixture(scope="module")
def function(template: Any) -> Any:
    return template["Resources"]["Function"]["Properties"]


def test_the_handler_can_be_imported(function: Any) -> None:
    module, _, name = function["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_image_has_the_same_handler(function: Any) -> None:
    assert f'CMD ["{function["Handler"]}"]' in (ROOT / "deploy" / "Containerfile").read_text()


def test_the_zip_is_for_the_functions_python_and_processors(template: Any, function: Any) -> None:
    assert function["Runtime"] == f"python{PYTHON}"
    assert template["Parameters"]["Architecture"]["AllowedValues"] == list(PLATFORMS)


def test_the_function_ends_after_the_services_own_deadline(function: Any) -> None:
    assert function["Timeout"] > Settings.model_fields["deadline"].default


def test_the_allowed_origins_are_the_endpoint_and_access_points(function: Any) -> None:
    text, parts = function["Environment"]["Variables"]["ACTIVE_STORAGE_ALLOWED_ORIGINS"]["Fn::Sub"]
    text = text.replace("${AccessPoints}", parts["AccessPoints"]["Fn::If"][1]["Fn::Sub"])
    text = text.replace("${AWS::Region}", "eu-west-1").replace("${AWS::URLSuffix}", "amazonaws.com")
    patterns = [OriginPattern.parse(pattern) for pattern in text.split(",")]
    good = ("https://s3.eu-west-1.amazonaws.com", "https://ap-1-111122223333.s3-accesspoint.eu-west-1.amazonaws.com")
    bad = ("http://s3.eu-west-1.amazonaws.com", "https://s3-accesspoint.eu-west-1.amazonaws.com.example.org")
    assert all(any(pattern.matches(Origin.parse(origin)) for pattern in patterns) for origin in good)
    assert not any(pattern.matches(Origin.parse(origin)) for pattern in patterns for origin in bad)


def test_the_functions_requirements_are_the_services_without_the_extras() -> None:
    client, service = (
        tomllib.loads((ROOT / path).read_text())["project"] for path in ("pyproject.toml", "handler/pyproject.toml")
    )
    named = {*client["dependencies"], *service["dependencies"]}
    assert {re.split(r"[>=;\[]", requirement)[0] for requirement in named - set(requirements())} == {client["name"]}
    assert set(requirements()) < named
    beyond = {re.split(r"[>=;\[]", requirement)[0] for requirement in service["optional-dependencies"]["server"]}
    assert beyond == {"flask", "gunicorn"}


def test_a_zip_does_not_depend_on_time_or_place(tmp_path: Path) -> None:
    for name, order in (("one", ("a", "b/c")), ("two", ("b/c", "a"))):
        for file in order:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(file)
        write_zip(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()

"""The programs in the documentation, run with the real service and a real store."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.local.store import Store
from tests.minio_lambda import Target

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
LAMBDA_PAGE = ROOT / "docs" / "object-lambda.md"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def listings(page: Path, language: str) -> list[str]:
    """The listings on a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


PROGRAMS = [
    pytest.param(program, id=f"{page.name}-{number}")
    for page in PAGES
    for number, program in enumerate(listings(page, "python"))
]
SCRIPTS = [script for script in listings(LAMBDA_PAGE, "sh") if "curl" in script]


def test_the_documentation_has_programs() -> None:
    assert len(PROGRAMS) >= 6
    assert len(SCRIPTS) == 1


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with the package, an AWS region, no other AWS settings, and no network proxies."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.defpath))
    return {
        "PATH": path,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "AWS_DEFAULT_REGION": "us-east-1",
        "no_proxy": "*",
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_documentation_runs(
    program: str, live_store: Store, lambda_store: Store, endpoint: str, environment: dict[str, str]
) -> None:
    store = lambda_store if "reducing(" in program or "lambdaArn" in program else live_store
    command = [sys.executable, "-c", placed(program, store, endpoint)]
    subprocess.run(command, check=True, env=environment, timeout=60)


def test_the_example_of_the_readme_prints_what_the_readme_shows(
    live_store: Store, endpoint: str, environment: dict[str, str]
) -> None:
    readme = ROOT / "README.md"
    (program,), (shown,) = listings(readme, "python"), listings(readme, "text")
    command = [sys.executable, "-c", placed(program, live_store, endpoint)]
    answer = subprocess.run(command, check=True, env=environment, timeout=60, capture_output=True, text=True)
    assert answer.stdout == shown


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_shell_script_of_the_documentation_runs(
    script: str, lambda_store: Store, endpoint: str, environment: dict[str, str]
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH")
    command = ["sh", "-euc", placed(script, lambda_store, endpoint)]
    answer = subprocess.run(command, check=True, env=environment, timeout=60, capture_output=True, text=True)
    # Ten numbers from -1, in steps of 0.25.
    assert answer.stdout.split() == ["1.25"]


def placed(program: str, store: Store, endpoint: str) -> str:
    """A program with its addresses replaced by those of this test."""
    addresses = {"localhost:8000": urlsplit(endpoint).netloc, "localhost:9000": urlsplit(store.endpoint).netloc}
    for written, here in addresses.items():
        program = program.replace(written, here)
    return program


def test_the_documented_variables_for_minio_are_those_of_the_tests() -> None:
    documented = dict(line.split("=", 1) for line in listings(LAMBDA_PAGE, "ini")[0].splitlines())
    targets = (
        Target("sum", "http://localhost:8000/sum/float32", "a-long-random-word"),
        Target("reduce", "http://localhost:8000/", "a-long-random-word"),
    )
    assert documented == {name: value for target in targets for name, value in target.environment.items()}

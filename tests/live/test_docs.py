"""The programs in the documentation, run with the real service and a real store."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from active_storage.cli.outcomes import EXIT_CODES
from deploy.local.climate import write_climate
from deploy.local.processes import LOOPBACK, Program, free_ports, http_status, running
from deploy.local.store import Store
from tests.cli.installed import write_entry_points
from tests.minio_lambda import Target

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
LAMBDA_PAGE = ROOT / "docs" / "object-lambda.md"
ARRAYS_PAGE = ROOT / "docs" / "whole-arrays.md"
COMMAND_PAGE = ROOT / "docs" / "command-line.md"
QUESTIONS_PAGE = ROOT / "docs" / "questions.md"
# The page of whole arrays joins partial results of two services.
SECOND_SERVICE = "localhost:8001"

# The tutorial is run as a whole by a test of its own.
PAGES = (ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "tutorial.md"}))


def listings(page: Path, language: str) -> list[str]:
    """The listings on a page in a language."""
    return [program for program, _ in programs(page, language)]


def programs(page: Path, language: str) -> list[tuple[str, str | None]]:
    """The listings on a page in that language, and what the page says that they print; None if it says nothing."""
    listing = rf"^```{language}\n(.*?)^```(?:\n+This prints:\n+```text\n(.*?)^```)?"
    found = re.finditer(listing, page.read_text(), re.MULTILINE | re.DOTALL)
    return [(match[1], match[2]) for match in found]


READMES = (ROOT / "README.md", ROOT / "handler" / "README.md")
# The other commands of the READMEs are make's, which CI runs, and pip's, which bin/test-dist runs.
SERVING = [
    line
    for page in READMES
    for script in listings(page, "sh")
    for line in script.splitlines()
    if line.endswith(" serve")
]

PROGRAMS = [
    pytest.param(program, shown, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (program, shown) in enumerate(programs(page, "python"))
]
SCRIPTS = [script for script in listings(LAMBDA_PAGE, "sh") if "curl" in script]
ARRAY_SCRIPTS = programs(ARRAYS_PAGE, "sh")
# The first one makes the link that the others use.
(LINK_SCRIPT, _), *QUESTION_SCRIPTS = programs(QUESTIONS_PAGE, "sh")

# The first one sets the variables that the others use.
(COMMAND_SETUP, _), *COMMAND_SCRIPTS = programs(COMMAND_PAGE, "sh")


def test_the_documentation_has_programs() -> None:
    assert len(COMMAND_SCRIPTS) >= 7
    assert len(PROGRAMS) >= 12
    assert len(SCRIPTS) == 1
    assert len(SERVING) == 2
    assert len(ARRAY_SCRIPTS) == 2
    assert len(QUESTION_SCRIPTS) >= 12
    assert all(shown for _, shown in (*ARRAY_SCRIPTS, *COMMAND_SCRIPTS, *QUESTION_SCRIPTS))
    # The last one is a function.
    assert [bool(shown) for _, shown in programs(ARRAYS_PAGE, "python")].count(False) == 1


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


@pytest.mark.parametrize(("program", "shown"), PROGRAMS)
def test_a_program_of_the_documentation_runs_and_prints_what_the_page_shows(
    program: str,
    shown: str | None,
    live_store: Store,
    lambda_store: Store,
    endpoint: str,
    environment: dict[str, str],
    start_service: Callable[..., str],
) -> None:
    store = lambda_store if "reducing(" in program or "lambdaArn" in program else live_store
    if SECOND_SERVICE in program:
        program = program.replace(SECOND_SERVICE, urlsplit(start_service()).netloc)
    if "climate/" in program:
        write_climate(store)
    command = [sys.executable, "-c", placed(program, store, endpoint)]
    answer = subprocess.run(command, check=True, env=environment, timeout=60, stdout=subprocess.PIPE, text=True)
    assert shown in (None, answer.stdout)


def test_partial_results_come_from_one_service_if_the_other_does_not_run(
    live_store: Store, endpoint: str, environment: dict[str, str]
) -> None:
    [(program, shown)] = [each for each in programs(ARRAYS_PAGE, "python") if SECOND_SERVICE in each[0]]
    program = program.replace(SECOND_SERVICE, f"{LOOPBACK}:{free_ports(1)[0]}")
    command = [sys.executable, "-c", placed(program, live_store, endpoint)]
    answer = subprocess.run(command, check=True, env=environment, timeout=60, stdout=subprocess.PIPE, text=True)
    assert shown
    assert re.fullmatch(rf"a service failed: .*\n{re.escape(shown)}", answer.stdout)


@pytest.mark.parametrize(
    ("script", "shown"), [*ARRAY_SCRIPTS, *((LINK_SCRIPT + script, shown) for script, shown in QUESTION_SCRIPTS)]
)
def test_a_script_for_whole_arrays_prints_what_the_page_shows(
    script: str, shown: str, live_store: Store, endpoint: str, environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH")
    command = ["sh", "-euc", placed(script, live_store, endpoint)]
    answer = subprocess.run(
        command, check=True, env=environment, timeout=60, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert answer.stdout == shown


@pytest.mark.parametrize(("script", "shown"), COMMAND_SCRIPTS)
def test_a_script_of_the_command_line_prints_what_the_page_shows(
    script: str, shown: str, live_store: Store, endpoint: str, environment: dict[str, str], tmp_path: Path
) -> None:
    # As if this tree were installed.
    program = tmp_path / "bin" / "active-storage"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m active_storage.cli "$@"\n')
    program.chmod(0o755)
    paths = {"PATH": program.parent, "PYTHONPATH": write_entry_points(tmp_path / "installed")}
    env = environment | {name: f"{path}{os.pathsep}{environment[name]}" for name, path in paths.items()}
    command = ["sh", "-euc", placed(COMMAND_SETUP + script, live_store, endpoint)]
    answer = subprocess.run(command, check=True, env=env, timeout=60, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert answer.stdout == shown


def test_the_page_of_the_command_line_has_its_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", COMMAND_PAGE.read_text(), re.MULTILINE)
    assert {int(code): meaning.replace("\\", "") for code, meaning in rows} == EXIT_CODES


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


@pytest.mark.parametrize("line", SERVING)
def test_the_commands_of_the_readmes_start_the_service(line: str, environment: dict[str, str], tmp_path: Path) -> None:
    address = f"{LOOPBACK}:{free_ports(1)[0]}"
    program = Program(
        name="the service",
        command=["sh", "-euc", line],
        env={**environment, "ACTIVE_STORAGE_BIND": address},
        ready=lambda: http_status(f"http://{address}/healthz") == 200,
        cwd=tmp_path,
    )
    with running(program):
        pass


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

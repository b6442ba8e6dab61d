"""The tutorial, run as written: its blocks in their order, in one shell, with a store of the tests as one's own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.climate import write_climate
from deploy.local.processes import LOOPBACK, free_ports
from deploy.local.store import Store

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"

# CI has run it before the tests, in an empty checkout.
DONE = "make demo\n"


def list_blocks() -> list[tuple[str, str]]:
    """The language and the text of each listing."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def write_script(folder: Path) -> str:
    """A shell script of the whole page; programs are saved under the names that the page gives them."""
    names = iter(re.findall(r"Save this as `(\w+\.py)`", PAGE.read_text()))
    script = ["trap 'kill $service 2>/dev/null || true' EXIT"]
    for language, text in list_blocks():
        if language == "python":
            (folder / next(names)).write_text(text)
        elif text != DONE:
            script.append(text)
    assert next(names, None) is None
    return "\n".join(script)


def test_ci_runs_the_first_step() -> None:
    assert list_blocks()[0] == ("sh", DONE)
    assert "\nstep make demo\n" in (ROOT / ".ci" / "run").read_text()


def test_the_tutorial_runs_as_written(live_store: Store, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH")
    write_climate(live_store)
    (port,) = free_ports(1)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "STORE": live_store.endpoint,
        "SERVICE": f"http://{LOOPBACK}:{port}",
        "no_proxy": "*",
    }
    command = ["sh", "-euc", write_script(tmp_path)]
    answer = subprocess.run(
        command,
        check=True,
        cwd=tmp_path,
        env=environment,
        timeout=100,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "t2m        (time, latitude, longitude)" in answer.stdout
    assert "t2m: 60,510,240 bytes, in 10 chunks that the service reads" in answer.stdout
    assert "the mean along time: 33,120 bytes, from 236.15 to 308.46" in answer.stdout

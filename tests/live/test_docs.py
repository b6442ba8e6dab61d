"""The documentation's programs, run as they stand against the real service and store."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.store import Store

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    pytest.param(program, id=f"{path.name}-{number}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, program in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL))
]


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 4


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_documentation_runs(program: str, live_store: Store, endpoint: str) -> None:
    program = program.replace("http://localhost:8000", endpoint).replace("http://localhost:9000", live_store.endpoint)
    # The second program of a page goes on where the first left off.
    start = "from active_storage.client.boto3 import S3ActiveStorageV4Auth\nS3ActiveStorageV4Auth.register()\n"
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "no_proxy": "*", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", start + program], check=True, env=environment, timeout=60)

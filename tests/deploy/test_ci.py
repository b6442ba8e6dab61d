"""Workflows, CI, and the pages that name targets, name targets that the Makefile has."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
YAML = [*sorted(ROOT.glob(".github/**/*.yml")), ROOT / ".pre-commit-config.yaml"]
NAMING = [*YAML, ROOT / ".ci" / "run", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_it_is_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.name)
def test_each_target_that_is_named_is_one(path: Path) -> None:
    called = re.findall(
        r"`make ([a-z-]+)|^(?:step |\s*- run: |\s*entry: )?make ([a-z-]+)", path.read_text(), re.MULTILINE
    )
    assert {one or other for one, other in called} <= TARGETS

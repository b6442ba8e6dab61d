"""The service's distribution as the command finds it: its entry points, as handler/pyproject.toml names them.

The tests run in the tree, where an older version of the distributions can be installed.
"""

import tomllib
from pathlib import Path

from active_storage.cli.parts import GROUP

PROJECT = Path(__file__).resolve().parents[2] / "handler" / "pyproject.toml"


def write_entry_points(folder: Path) -> Path:
    """Write what an installation writes, so that Python finds the entry points by this folder on its path."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    entries = project["entry-points"][GROUP]
    lines = [f"[{GROUP}]", *(f"{name} = {place}" for name, place in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder

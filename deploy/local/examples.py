"""Runs the examples of ``docs/examples/`` and the notebook, with a store and the service.

``python -m deploy.local.examples`` exits with 1 if one of them fails, or if xarray says something else than the
service. With ``--write`` it also writes what they print and what they took into ``docs/examples.md``, the first lines
of the README, the notebook and ``docs/pictures/``.
"""

import argparse
import ast
import contextlib
import importlib
import io
import os
import re
import runpy
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from deploy.local.climate import write_climate
from deploy.local.processes import ending_in_order
from deploy.local.samples import BUCKET
from deploy.local.service import ROOT, service
from deploy.local.store import DEMO_KEY, REGION, make_bucket, seaweedfs

DOCS = ROOT / "docs"
PROGRAMS = DOCS / "examples"
PAGE = DOCS / "examples.md"
PICTURES = DOCS / "pictures"
NOTEBOOK = DOCS / "notebook.ipynb"
README = ROOT / "README.md"

# In the order of the page. The other modules in the folder are what they share.
NAMES = (
    "map_of_mean", "climatology", "global_mean", "series", "anomalies", "histogram", "ensemble", "cmip", "era5",
)  # fmt: skip

# The program that makes the number and the picture of the README.
_FIRST = "map_of_mean"

_NOTEBOOK_SECONDS = 120


@dataclass(frozen=True)
class Run:
    """What a program did.

    Attributes:
        name: Its name.
        printed: What it printed.
        costs: What each of its comparisons took: with xarray alone, and with the service.
    """

    name: str
    printed: str
    costs: Sequence[tuple[Any, Any]]


class _Tee(io.StringIO):
    """Keeps what is written, and writes it to another stream as well."""

    def __init__(self, other: TextIO) -> None:
        super().__init__()
        self._other = other

    def write(self, text: str) -> int:
        self._other.write(text)
        return super().write(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the examples, and return the exit code: 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.examples", description="Run the examples of docs/.")
    parser.add_argument("--write", action="store_true", help="write their page, pictures and notebook")
    options = parser.parse_args(arguments)
    with ending_in_order(), _environment(), _folder(PICTURES if options.write else None):
        try:
            runs = [_run(name) for name in NAMES]
            with _folder(None):
                document = _run_notebook()
        except Exception:  # noqa: BLE001  # whatever an example raises is its failure
            traceback.print_exc()
            return 1
    if options.write:
        PAGE.write_text(format_page(runs))
        README.write_text(_replace_sentence(README.read_text(), runs))
        NOTEBOOK.write_text(document)
    return 0


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """A store with the data, and the service, at the addresses and with the keys that the examples find."""
    with seaweedfs() as store:
        make_bucket(store.client(), BUCKET)
        write_climate(store)
        # Nothing is kept from one example to the next.
        with service(store, {"ACTIVE_STORAGE_CACHE_BYTES": "0"}) as endpoint:
            os.environ |= {
                "SERVICE": endpoint,
                "AWS_ENDPOINT_URL": store.endpoint,
                "AWS_ACCESS_KEY_ID": DEMO_KEY,
                "AWS_SECRET_ACCESS_KEY": DEMO_KEY,
                "AWS_DEFAULT_REGION": REGION,
                "MPLBACKEND": "Agg",
                "no_proxy": "*",
            }
            yield


@contextlib.contextmanager
def _folder(folder: Path | None) -> Iterator[None]:
    """Pictures are drawn in the current folder: in this one, or in a temporary one."""
    with TemporaryDirectory() as temporary, contextlib.chdir(folder or temporary):
        yield


def _run(name: str) -> Run:
    # As Python does for a program.
    sys.path.insert(0, str(PROGRAMS))
    try:
        both_ways = importlib.import_module("both_ways")
        start = time.perf_counter()
        print(f"== {name}")
        with contextlib.redirect_stdout(_Tee(sys.stdout)) as output:
            runpy.run_path(str(PROGRAMS / f"{name}.py"), run_name="__main__")
        print(f"== {name}: {time.perf_counter() - start:.1f} s\n", flush=True)
        costs = list(both_ways.costs)
        both_ways.costs.clear()
    finally:
        sys.path.remove(str(PROGRAMS))
    return Run(name, output.getvalue(), costs)


def _run_notebook() -> str:
    """The notebook with the outputs of its cells, as the text of its file."""
    start = time.perf_counter()
    document = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    # What Jupyter keeps of a kernel goes away with the current folder.
    os.environ |= {"IPYTHONDIR": str(Path.cwd()), "JUPYTER_RUNTIME_DIR": str(Path.cwd())}
    # By sockets in the current folder, and not by ports that others can open.
    manager = AsyncKernelManager(transport="ipc")
    NotebookClient(document, km=manager, timeout=_NOTEBOOK_SECONDS, record_timing=False).execute()
    # Of the machine that it ran on.
    document.metadata.pop("language_info", None)
    print(f"== {NOTEBOOK.name}: {time.perf_counter() - start:.1f} s")
    text: str = nbformat.writes(document)  # type: ignore[no-untyped-call]
    return f"{text}\n"


# The page


def format_page(runs: Sequence[Run]) -> str:
    """The page of the examples."""
    return "\n".join([_HEAD, *_format_table(runs), "", *(_format_example(run) for run in runs)])


def _format_table(runs: Sequence[Run]) -> list[str]:
    lines = ["| example | received by xarray alone | with the service | time of xarray alone | with the service |"]
    lines.append("|---|---:|---:|---:|---:|")
    for run in runs:
        for plain, active in run.costs:
            received = f"{plain.received:,} bytes | {active.received:,} bytes"
            lines.append(f"| `{run.name}` | {received} | {plain.seconds:.2f} s | {active.seconds:.2f} s |")
    return lines


def _format_example(run: Run) -> str:
    documentation, program = read_program(run.name)
    title, _, rest = documentation.partition(": ")
    if not rest:
        title, _, rest = documentation.partition(". ")
    lines = [f"## {title.rstrip('.')}", ""]
    if rest:
        lines += [rest[0].upper() + rest[1:], ""]
    lines += [f"[{run.name}.py](examples/{run.name}.py):", "", "```py", program, "```", "", "It prints:", ""]
    lines += ["```text", run.printed.rstrip(), "```", ""]
    if (PICTURES / f"{run.name}.png").exists():
        lines += [f"![{title}](pictures/{run.name}.png)", ""]
    return "\n".join(lines)


def read_program(name: str) -> tuple[str, str]:
    """The first words of an example, in one line, and its lines behind them."""
    text = (PROGRAMS / f"{name}.py").read_text()
    documentation = ast.get_docstring(ast.parse(text)) or ""
    return " ".join(documentation.split()), text.split('"""', 2)[2].strip()


def _replace_sentence(readme: str, runs: Sequence[Run]) -> str:
    """The README with what its first lines took."""
    ((plain, active),) = next(run.costs for run in runs if run.name == _FIRST)
    sentence = (
        f"Of {plain.received:,} bytes, {active.received:,} were moved to the client, coordinates and all. "
        f"The other {plain.received - active.received:,} stayed where they are."
    )
    return re.sub(r"^Of [0-9,]+ bytes, .*$", sentence, readme, count=1, flags=re.MULTILINE)


_HEAD = """\
# Everyday uses

This page shows what scientists often compute, with xarray alone and with the service. It is for those who know xarray.
[xarray](xarray.md) explains how it works. The [notebook](notebook.ipynb) shows more of plans and results.

In each example one line changes, and is marked. Each computes both ways, compares the results, and prints what the
client received. `make examples` runs them all, and CI does so for every change. To run one, start `make serve` in one
terminal, and use another:

```sh
.venv/bin/python docs/examples/climatology.py
```

The data is made up: five years of days on a grid of 46 by 90 points, in the layout of ERA5, and NetCDF files in the
layout of CMIP. `both_ways.py` has the addresses and the keys of `make serve`, and the comparison.

`make examples-page` wrote this page, and measured what is in this table. Store, service and client ran on one machine,
so that nothing crossed a network: the times are those of computing. Over a network, the bytes take time as well. xarray
reads the data twice for a weighted mean. The first example counts the time of loading libraries too.
"""


if __name__ == "__main__":
    sys.exit(main())

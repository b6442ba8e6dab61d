"""What the commands do alike: options, saying how far they have come, exit codes, the files of a page."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import network
from bench.contenders import WrongReply
from deploy.local.processes import ending_in_order

Tell = Callable[[str], None]

# Given the options, and whom to tell how far it has come: what a person waits for, and the files by name.
Measure = Callable[[argparse.Namespace, Tell], tuple[str, Mapping[str, bytes]]]

_DOCS = Path(__file__).resolve().parents[1] / "docs"


def make_parser(prog: str, description: str, quick: str) -> argparse.ArgumentParser:
    """The options that all commands have; ``quick`` says what a short run is."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--quick", action="store_true", help=f"{quick}, nothing written")
    parser.add_argument("--output", type=Path, default=_DOCS, help="the folder to write to (default: docs)")
    return parser


def run(measure: Measure, options: argparse.Namespace) -> int:
    """Measure, and write the page; the exit code, 1 where a reply is wrong or missing, or something does not start.

    A quick run makes the page too, so that all of it is seen to work, and writes nothing.
    """
    started = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {what}", file=sys.stderr, flush=True)

    try:
        network.isolate()
        with ending_in_order():
            summary, files = measure(options, tell)
    except KeyboardInterrupt:
        return 130
    except (WrongReply, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(summary)
    if not options.quick:
        options.output.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (options.output / name).write_bytes(data)
            tell(f"written: {name}")
    return 0

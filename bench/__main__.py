"""``python -m bench``: measure, and write the page; ``--quick`` to see in seconds that all of it works."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import kernels
from bench.contenders import WrongReply
from bench.page import render, render_summary
from bench.run import PLAN, QUICK_PLAN, run
from deploy.local.processes import ending_in_order

_DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code, 1 where a reply is wrong or missing, or where something does not start."""
    options = _parse(arguments)
    started = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {what}", file=sys.stderr, flush=True)

    try:
        with ending_in_order():
            results = run(QUICK_PLAN if options.quick else PLAN, tell)
    except KeyboardInterrupt:
        return 130
    except (WrongReply, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    tell("kernels")
    seconds = kernels.measure(kernels.QUICK_ROUNDS if options.quick else kernels.ROUNDS)
    files = {**render(results), "kernels.md": kernels.render(seconds).encode()}
    print(render_summary(results))
    if options.quick:
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (options.output / name).write_bytes(data)
        tell(f"written: {name}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed, memory and accuracy.")
    parser.add_argument("--quick", action="store_true", help="small objects, two rounds, nothing written")
    parser.add_argument("--output", type=Path, default=_DOCS, help="the folder to write to (default: docs)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench``: measure, and write the page; ``--quick`` to see in seconds that all of it works."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from bench import command, kernels
from bench.page import render, render_summary
from bench.run import PLAN, QUICK_PLAN, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = command.make_parser(
        "python -m bench", "Measure speed, memory and accuracy.", quick="small objects, two rounds"
    )
    return command.run(_measure, parser.parse_args(arguments))


def _measure(options: argparse.Namespace, tell: command.Tell) -> tuple[str, Mapping[str, bytes]]:
    results = run(QUICK_PLAN if options.quick else PLAN, tell)
    tell("kernels")
    seconds = kernels.measure(kernels.QUICK_ROUNDS if options.quick else kernels.ROUNDS)
    return render_summary(results), {**render(results), "kernels.md": kernels.render(seconds).encode()}


if __name__ == "__main__":
    sys.exit(main())

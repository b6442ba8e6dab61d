"""``python -m bench.peers``: measure beside the peers, and write the page; ``--quick`` to see that all of it works."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from bench import command
from bench.machine import describe, watching_others
from bench.peers import cases
from bench.peers.measure import measure
from bench.peers.page import render, render_summary
from bench.peers.programs import tell_missing

# No round begins later: with what comes after the rounds, a run takes some ten minutes.
_LAST_ROUND_SECONDS = 360


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code, 2 where a program is missing."""
    parser = command.make_parser(
        "python -m bench.peers", "Measure beside nginx and Reductionist.", quick="a few cases, once"
    )
    parser.add_argument("--seconds", type=int, default=_LAST_ROUND_SECONDS, help="no round begins later")
    options = parser.parse_args(arguments)
    if missing := tell_missing():
        print(missing, file=sys.stderr)
        return 2
    return command.run(_measure, options)


def _measure(options: argparse.Namespace, tell: command.Tell) -> tuple[str, Mapping[str, bytes]]:
    ends_at = time.monotonic() + (0 if options.quick else options.seconds)
    with watching_others() as others:
        findings = measure(cases.QUICK if options.quick else cases.FULL, ends_at, tell)
    return render_summary(findings), render(findings, describe(others))


if __name__ == "__main__":
    sys.exit(main())

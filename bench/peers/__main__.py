"""``python -m bench.peers``: measure beside the peers, and write the page; ``--quick`` to see that all of it works."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contenders import WrongReply
from bench.machine import describe, watching_others
from bench.peers import cases
from bench.peers.measure import measure
from bench.peers.page import render, render_summary
from bench.peers.programs import tell_missing
from deploy.local.processes import ending_in_order

_DOCS = Path(__file__).resolve().parents[2] / "docs"

# No round begins later: with what comes after the rounds, a run takes some ten minutes.
_LAST_ROUND_SECONDS = 360


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code, 1 where a reply is wrong or missing, 2 where a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Measure beside nginx and Reductionist.")
    parser.add_argument("--quick", action="store_true", help="a few cases, once, nothing written")
    parser.add_argument("--seconds", type=int, default=_LAST_ROUND_SECONDS, help="no round begins later")
    parser.add_argument("--output", type=Path, default=_DOCS, help="the folder to write to (default: docs)")
    options = parser.parse_args(arguments)
    if missing := tell_missing():
        print(missing, file=sys.stderr)
        return 2
    started = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {what}", file=sys.stderr, flush=True)

    plan = cases.QUICK if options.quick else cases.FULL
    try:
        with ending_in_order(), watching_others() as others:
            findings = measure(plan, started + (0 if options.quick else options.seconds), options.quick, tell)
    except KeyboardInterrupt:
        return 130
    except (WrongReply, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    files = render(findings, {**describe(), "CPU taken by others during the run": f"{others.share:.0%}"})
    print(render_summary(findings))
    if not options.quick:
        options.output.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (options.output / name).write_bytes(data)
            tell(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

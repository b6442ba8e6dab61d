"""``python -m bench PAGE`` measures and writes the page; with ``--quick`` it only checks in seconds that this works."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from bench import arrays, kernels, machine, peers, performance, scaling
from bench.rounds import Page, Run
from bench.turns import WrongReply
from deploy.local.processes import ending_in_order

DOCS = Path(__file__).resolve().parents[1] / "docs"

PAGES: Mapping[str, Callable[[Run], Page]] = MappingProxyType(
    {
        "performance": performance.measure,
        "kernels": kernels.measure,
        "peers": peers.measure,
        "whole-arrays-speed": arrays.measure,
        "scaling": scaling.measure,
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the page. Returns the exit code: 1 if a reply is wrong or a program does not start."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write a page of docs/.")
    parser.add_argument("page", choices=PAGES)
    parser.add_argument("--quick", action="store_true", help="a few small cases, once; writes nothing")
    parser.add_argument("--output", type=Path, default=DOCS, help="the folder to write to (default: docs)")
    options = parser.parse_args(arguments)
    run = Run(options.quick, started=time.monotonic())
    try:
        machine.isolate()
        with ending_in_order(), machine.watching_others() as others:
            page = PAGES[options.page](run)
    except KeyboardInterrupt:
        return 130
    except (WrongReply, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    # A quick run makes the page as well, to check that code too.
    text = page.render(machine.describe(others))
    print(page.summary)
    if not options.quick:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / f"{options.page}.md").write_text(text)
        run.tell(f"written: {options.page}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

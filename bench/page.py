"""Results as files: data for machines, a page for people, the charts in it.

Every number on the page is put there by this module, except for those that say how it was measured.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.accuracy import Inaccuracy
from bench.cases import format_size
from bench.charts import draw_memory, draw_speed
from bench.contenders import CLIENT, CONTENDERS, PROXY, STORE
from bench.memory import TARGET_GROWTH, Growth
from bench.run import Results
from bench.scene import SETTINGS
from bench.speed import MEMORY_SHARE, TARGET_SPEED, Speed
from bench.tables import Target, format_mib, format_spread, format_targets, table, verdict

_SPEED_NOTE = """\
Requests are those of one round, of all clients together. "{proxy} beside {client}" is the {client}'s time divided by
the {proxy}'s. Bytes received are those of one reply's body. A number without quartiles is of a single round: a round
of 1 GiB at 32 at a time moves 32 GiB for each contender, and the whole run is to take no more than ten minutes.

What a request costs whatever its size, which is HTTP once more and some Python, weighs most on small objects: there
the proxy saves bytes, not time."""

_PAGE = """\
# Performance

`make bench` wrote this page, its charts and [its data](performance.json) in one run; no number here was typed in.
Times on a shared machine are noise, so there are none: every speed is a ratio of two times from the same round, the
median of the rounds, with the lower and upper quartile beside it.

{verdict}

{targets}

Beside another service, and across a slow link: [the page of the peers](peers.md). The arithmetic alone:
[the kernels](kernels.md).

## Speed

The sum of an object of float32. **Speed** is the time that the store alone takes, divided by the time of who is
measured: 1 is as fast as downloading the object and throwing it away. Higher is better.

![Speed by the size of the object, for each number of clients](performance-speed.svg)

{speeds}

{notes}

## Memory

How far the resident size of a process grows over its idle size while it sums: idle is after its first requests, and
the largest of all samples counts, of which one is taken every few milliseconds. This came before everything else in
the run, while the service had not yet had a chance to be large.

![Growth of processes while they sum](performance-memory.svg)

{growths}

## Accuracy

The relative error of the sum of temperatures (285 K, with a standard deviation of 12 K) in float32, against the exact
sum (`math.fsum`). The service adds float32 up in float64 and rounds once, so that its error is that of rounding:
at most 6e-08. A running total is what a plain loop ends with.

{inaccuracies}

## How it was measured

{contenders}

- Store, service and clients run on one machine and talk over loopback, so that they share its cores, and no network
  is slower than they are: the worst case for the proxy, whose purpose is to keep bytes off a network.
- A client asks again as soon as it has its answer. Several at a time are threads of several processes, one a core.
  When all cores are busy, which is so from a few clients on, speed is what a sum costs in CPU, that of the client's
  own Python included.
- Connections are open and have been used before the clock starts. It runs from the first request to the last answer.
- In each round every contender has its turn at a case before the next case comes; the order changes from round to
  round.
- Every reply was compared with numpy's float64 sum of the same numbers, rounded to float32, and was equal to the last
  bit; of the store's, the length was compared. One wrong or missing reply would have ended the run without a page.
- All objects lie in the file cache of the machine. The service runs with its defaults, except for {settings}.

## The machine

{machine}
"""


def render(results: Results) -> dict[str, bytes]:
    """The files of the page, by name."""
    return {
        "performance.json": (json.dumps(_to_data(results), indent=1) + "\n").encode(),
        "performance.md": render_page(results).encode(),
        "performance-speed.svg": draw_speed(results.speeds),
        "performance-memory.svg": draw_memory(results.growths),
    }


def render_summary(results: Results) -> str:
    """The tables of the page that a person waits for."""
    return "\n\n".join(
        [
            format_targets(_find_targets(results)),
            _format_speeds(results.speeds),
            _format_growths(results.growths),
        ]
    )


def render_page(results: Results) -> str:
    """The page, in Markdown."""
    targets = list(_find_targets(results))
    return _PAGE.format(
        verdict=verdict(targets),
        targets=format_targets(targets),
        speeds=_format_speeds(results.speeds),
        notes=_format_notes(results.speeds),
        growths=_format_growths(results.growths),
        inaccuracies=_format_inaccuracies(results.inaccuracies),
        contenders=table(("contender", "what it does"), ((each.name, each.does) for each in CONTENDERS)),
        settings=", ".join(f"`{name}={value}`" for name, value in SETTINGS.items()),
        machine=table(("", ""), results.machine.items()),
    )


def _find_targets(results: Results) -> Iterator[Target]:
    """Every target of which something was measured."""
    for speed in results.speeds:
        if speed.has_target and (spread := speed.of(PROXY)):
            yield Target.at_least(f"speed of the proxy, {speed.case}", TARGET_SPEED, spread)
    for growth in results.growths:
        if growth.has_target:
            what = f"growth of the service's process while it sums {format_size(growth.size)}"
            yield Target.at_most(what, TARGET_GROWTH, growth.bytes)


def _format_speeds(speeds: Sequence[Speed]) -> str:
    others = [contender for contender in CONTENDERS if contender is not STORE]
    head = (
        "object",
        "at a time",
        "requests",
        "rounds",
        *(f"{contender.name}: speed" for contender in others),
        f"{PROXY.name} beside {CLIENT.name}",
        *(f"{contender.name}: bytes received" for contender in others),
    )
    return table(head, map(_speed_row, speeds))


def _speed_row(speed: Speed) -> Iterable[str]:
    others = [contender for contender in CONTENDERS if contender is not STORE]
    yield format_size(speed.case.size)
    yield str(speed.case.clients)
    yield str(speed.case.clients * speed.case.requests)
    yield str(speed.rounds)
    yield from (format_spread(speed.of(contender)) for contender in others)
    yield format_spread(speed.of(PROXY, measured_by=CLIENT))
    yield from (f"{speed.received[each.name]:,}" if each.name in speed.received else "-" for each in others)


def _format_notes(speeds: Sequence[Speed]) -> str:
    """What the columns mean, and why some cells are empty."""
    notes = [_SPEED_NOTE.format(proxy=PROXY.name, client=CLIENT.name)]
    notes += [
        f"Not measured: {name}, {speed.case}, since the downloads alone would take more than"
        f" {MEMORY_SHARE:.0%} of this machine's memory."
        for speed in speeds
        for name in speed.left_out
    ]
    return "\n\n".join(notes)


def _format_growths(growths: Sequence[Growth]) -> str:
    return table(
        ("contender", "process", "object", "at a time", "idle", "growth", "samples"),
        (
            (
                growth.contender,
                growth.process,
                format_size(growth.size),
                str(growth.clients),
                format_mib(growth.idle),
                format_mib(growth.bytes),
                f"{growth.samples:,}",
            )
            for growth in growths
        ),
    )


def _format_inaccuracies(inaccuracies: Sequence[Inaccuracy]) -> str:
    names = list(inaccuracies[0].errors)
    return table(
        ("object", *names),
        ((format_size(each.size), *(f"{each.errors[name]:.1e}" for name in names)) for each in inaccuracies),
    )


def _to_data(results: Results) -> Mapping[str, Any]:
    """All that was measured, and the medians that the page shows of it."""
    return {
        "machine": results.machine,
        "targets": [
            {"what": each.what, "target": each.wanted, "measured": each.measured, "is_met": each.is_met}
            for each in _find_targets(results)
        ],
        "speed": [
            {
                **asdict(speed),
                "speed": {each.name: asdict(spread) for each in CONTENDERS if (spread := speed.of(each))},
            }
            for speed in results.speeds
        ],
        "memory": [asdict(growth) for growth in results.growths],
        "accuracy": [asdict(each) for each in results.inaccuracies],
    }

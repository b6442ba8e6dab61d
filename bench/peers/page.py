"""What was measured beside the peers, as data, charts and a page; whether a target is met is worked out here."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.cases import GIB, MIB, format_size
from bench.charts import STYLE, scale_ratios, to_svg
from bench.contenders import CLIENT, PROXY
from bench.peers import cases, link
from bench.peers.measure import (
    ANONYMOUS,
    DOWNLOAD,
    NGINX,
    PRESIGNED,
    SERVICE,
    SIGNED,
    STORE,
    STREAMS,
    Findings,
    Row,
    ranges,
    straight,
)
from bench.peers.programs import PEER, SHARE_BYTES, SKETCH
from bench.tables import Spread, Target, format_mib, format_spread, format_targets, table, verdict

# Okabe and Ito's colours, one for each number of clients.
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73")

# What is compared with what in the table of rates.
_PAIRS: Final = ((SERVICE, PEER), (SERVICE, STORE), (PEER, STORE), (SKETCH, PEER))

# The same in the table of doors, by what stands over it.
_DOORS: Final = {
    **{f"{name} beside {ANONYMOUS}": (name, ANONYMOUS) for name in (SIGNED, PRESIGNED)},
    **{f"straight, {name}": (straight(name), straight(ANONYMOUS)) for name in (SIGNED, PRESIGNED)},
}

_PAGE = """\
# Beside its peers

`make bench-peers` wrote this page, its charts and [its data](peers.json) in one run; no number here was typed in.
nginx is the store, wrk asks, and the peer is Reductionist, the same JSON interface written in Rust. Every number is a
ratio of two turns of one round: the median of the rounds, with the quartiles beside it. Higher is better. Where root
runs it, all of it has a network of its own, whose TCP is as Linux has it by default (cubic) where the machine allows
that; which it was stands at the end.

{verdict}

{targets}

## Rates beside the peer and the store

Requests per second of the service, divided by those of the peer and of the store alone (a plain download of the same
object) in the same round. wrk costs a core for receiving, which the service spares it: shares of the store above 1 are
possible. The sketch is thirty lines of Flask, requests and numpy that check nothing (`bench/peers/sketch.py`). The
targets were set a little below what such a sketch reached on another machine: where it misses one here, that says how
far this machine is from that one.

![The service's rate beside the peer's, by case](peers-rates.svg)

{rates}

## Right numbers

The relative error of the float32 sum, against numpy's in float64. Rounding to float32 is worth up to 6e-08.

{errors}

## Memory under a flood

{requests} requests for the sum of {flood}, {clients} at a time.

{floods}

The service's process grew by {growth} while it summed 1 GiB.

## Ranges side by side

1 GiB on loopback, beside one plain download stream: with requests, in pieces of 1 MiB. No program downloads as a bare
loop does that receives into one buffer and drops what it has, by one stream or by several ranges at once; they are what
this machine can do. See [the decision on parallel ranges](decisions/0030-parallel-ranges.md).

{large}

Where each connection gets {share} a second, whatever the others do, the service is {shared} times as fast as one such
loop: it reads three ranges at a time.

## Doors

The sum through the direct door, as a signed request and by a presigned link to SeaweedFS, beside the JSON door through
anonymous http to the same object; 8 at a time. *Straight* is what the store itself makes of the same requests, without
the service: it has signatures to check.

{doors}

## A link of 1 Gbit/s and 20 ms

Client on one side, service and store on the other. The time of a download with boto3 and a sum with numpy, divided by
that of the service's answer; once with the store of this page, which the target is for, once with a whole S3 store,
which takes longer to bring a large object to its neighbour. The link is a program (`bench/peers/link.py`) that knows
bandwidth, delay and slow start, and loses nothing. Below 1, pushdown loses.

![How much faster the service is across the link, by size](peers-link.svg)

{links}

## Where the time of 64 KiB goes

A worker, asked by 8 clients at a time for the sum of 64 KiB, looked at by py-spy 250 times a second: the share of each
part of the way in what its threads did, waits for work left out and waits for the store left in. The
[decision on fixed costs](decisions/0010-fixed-costs.md) follows from such profiles.

{shares}

## The machine

{machine}
"""


def render(findings: Findings, machine: Mapping[str, str]) -> dict[str, bytes]:
    """The files of the page, by name."""
    return {
        "peers.json": (json.dumps(_to_data(findings, machine), indent=1) + "\n").encode(),
        "peers.md": _render_page(findings, machine).encode(),
        "peers-rates.svg": _draw_rates(findings.rows),
        "peers-link.svg": _draw_link(findings.links),
    }


def render_summary(findings: Findings) -> str:
    """The table that a person waits for."""
    return format_targets(find_targets(findings))


def find_targets(findings: Findings) -> Iterator[Target]:
    """Every target of which something was measured."""
    for row in findings.rows:
        yield from _at_least(row, SERVICE, PEER, f"{row.case}, beside the peer")
    yield from _at_least(findings.large, SERVICE, DOWNLOAD, f"{findings.large.case}, beside one plain download stream")
    if findings.large_growth:
        yield Target.at_most("growth of a worker while it sums 1 GiB", cases.LARGE_GROWTH, findings.large_growth)
    for flood in findings.floods:
        if flood.contender == SERVICE:
            what = f"{cases.FLOOD_REQUESTS} times {cases.FLOOD}"
            yield Target(f"{what}: failures", "none", str(flood.failures), not flood.failures)
            yield Target.at_most(f"{what}: resident size of a worker", cases.FLOOD_RESIDENT, flood.resident)
    for row in findings.doors:
        for name in (SIGNED, PRESIGNED):
            yield from _at_least(row, name, ANONYMOUS, f"{row.case}, {name} beside {ANONYMOUS}")
    for crossing in findings.links.get(NGINX, ()):
        if crossing.size == max(link.SIZES):
            what = f"{format_size(crossing.size)} across the link, beside a download"
            yield Target.at_least(what, link.TARGET, _gain(crossing))


def _at_least(row: Row, ours: str, theirs: str, what: str) -> Iterator[Target]:
    spread, target = row.beside(ours, theirs), row.case.target
    if spread is not None and target is not None:
        yield Target.at_least(what, target, spread)


def _gain(crossing: link.Crossing) -> Spread:
    return Spread.of_ratios(crossing.seconds[CLIENT.name], crossing.seconds[PROXY.name])


# The page


def _render_page(findings: Findings, machine: Mapping[str, str]) -> str:
    targets = list(find_targets(findings))
    return _PAGE.format(
        verdict=verdict(targets),
        targets=format_targets(targets),
        rates=table(
            (
                *("case", "at a time", "rounds", "beside the peer", "beside the store"),
                *("the peer beside the store", "the sketch beside the peer"),
            ),
            (
                (
                    row.case.name,
                    str(row.case.clients),
                    str(len(row.rates.get(SERVICE, ()))),
                    *(format_spread(row.beside(*pair)) for pair in _PAIRS),
                )
                for row in findings.rows
            ),
        ),
        errors=table(
            ("object", "the service", "the peer"),
            ((name, *(f"{each[who]:.1e}" for who in (SERVICE, PEER))) for name, each in findings.errors.items()),
        ),
        requests=cases.FLOOD_REQUESTS,
        flood=cases.FLOOD.name,
        clients=cases.FLOOD.clients,
        floods=table(
            ("contender", "failures", "most resident in one process"),
            ((each.contender, str(each.failures), f"{each.resident / MIB:,.0f} MiB") for each in findings.floods),
        ),
        growth=format_mib(findings.large_growth),
        large=table(
            ("who", "beside one plain download stream"),
            (
                (label, format_spread(findings.large.beside(name, DOWNLOAD)))
                for label, name in (
                    (SERVICE, SERVICE),
                    ("one stream, received and dropped", STORE),
                    *((ranges(streams), ranges(streams)) for streams in STREAMS),
                )
            ),
        ),
        share=format_size(SHARE_BYTES),
        shared=format_spread(findings.shared.beside(SERVICE, STORE)),
        doors=table(
            ("object", *_DOORS),
            (
                (row.case.name, *(format_spread(row.beside(*pair)) for pair in _DOORS.values()))
                for row in findings.doors
            ),
        ),
        links=table(
            ("object", *(f"the service beside a download, {store}" for store in findings.links)),
            (
                (format_size(crossings[0].size), *(format_spread(_gain(each)) for each in crossings))
                for crossings in zip(*findings.links.values(), strict=True)
            ),
        ),
        shares=table(("part", "share"), ((name, f"{share:.0%}") for name, share in findings.shares.items()))
        if findings.shares
        else "Not measured: there is no py-spy here.",
        machine=table(("", ""), machine.items()),
    )


def _to_data(findings: Findings, machine: Mapping[str, str]) -> dict[str, Any]:
    return {
        "machine": dict(machine),
        "targets": [asdict(target) for target in find_targets(findings)],
        "rates": [
            {"case": row.case.name, "clients": row.case.clients, "target": row.case.target, "rates": row.rates}
            for row in (*findings.rows, findings.large, findings.shared, *findings.doors)
        ],
        "errors": findings.errors,
        "floods": [asdict(flood) for flood in findings.floods],
        "growth": {"size": GIB, "bytes": findings.large_growth},
        "link": {store: [asdict(each) for each in crossings] for store, crossings in findings.links.items()},
        "shares": dict(findings.shares),
    }


# The charts


def _draw_rates(rows: list[Row]) -> bytes:
    """The service's rate beside the peer's: a bar for each number of clients, a line where the target is."""
    names = list(dict.fromkeys(row.case.name for row in rows))
    clients = sorted({row.case.clients for row in rows})
    width = 0.8 / len(clients)
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 5), layout="constrained")
        axes = figure.subplots()
        for place, (number, colour) in enumerate(zip(clients, _COLOURS, strict=False)):
            mine = [row for row in rows if row.case.clients == number and row.beside(SERVICE, PEER)]
            spots = [names.index(row.case.name) + (place - (len(clients) - 1) / 2) * width for row in mine]
            spreads = [spread for row in mine if (spread := row.beside(SERVICE, PEER))]
            medians = [spread.median for spread in spreads]
            lows = [spread.median - spread.lower_quartile for spread in spreads]
            highs = [spread.upper_quartile - spread.median for spread in spreads]
            axes.bar(
                spots,
                # From the peer's rate, up or down: a logarithmic axis has no zero to begin at.
                [median - 1 for median in medians],
                width * 0.9,
                bottom=1,
                yerr=[lows, highs],
                color=colour,
                capsize=2,
                label=f"{number} at a time",
            )
            for spot, row in zip(spots, mine, strict=True):
                if row.case.target is not None:
                    axes.plot([spot - width / 2, spot + width / 2], [row.case.target] * 2, color="black", linewidth=1.5)
        axes.axhline(1, color="#888888", linestyle="--", label="the peer")
        scale_ratios(axes)
        axes.set_xticks(range(len(names)), names, rotation=25, ha="right")
        axes.set_ylabel("rate, the peer = 1 (logarithmic)")
        axes.set_title("The service beside the peer: medians, quartiles; black lines are targets")
        figure.legend(loc="outside lower center", ncols=len(clients) + 1, frameon=False)
        return to_svg(figure)


def _draw_link(links: Mapping[str, list[link.Crossing]]) -> bytes:
    """How many times faster than a download, by size, for each store."""
    sizes = [format_size(each.size) for each in next(iter(links.values()), [])]
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for colour, marker, (store, crossings) in zip(_COLOURS, "os", links.items(), strict=False):
            gains = [_gain(each).median for each in crossings]
            axes.plot(range(len(gains)), gains, marker=marker, color=colour, label=store)
        axes.axhline(1, color="#888888", linestyle="--", label="a download")
        scale_ratios(axes)
        axes.set_xticks(range(len(sizes)), sizes)
        axes.set_xlabel("size of the object")
        axes.set_ylabel("times as fast as a download (logarithmic)")
        axes.set_title("Across 1 Gbit/s and 20 ms")
        axes.legend(frameon=False)
        return to_svg(figure)

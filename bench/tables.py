"""What every page is made of: spreads, targets, tables in Markdown; and whose turn comes first in which round.

What is measured and what is aimed at, the pages say. How numbers are summed up, judged and written down is decided
here alone, so that a median, a quartile and a "yes" mean the same on each of them.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.cases import MIB, format_size

_Name = TypeVar("_Name")


@dataclass(frozen=True)
class Spread:
    """The middle of some numbers, how far apart they lie, and how many there are."""

    median: float
    lower_quartile: float
    upper_quartile: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper, len(values))

    @classmethod
    def of_ratios(cls, values: Sequence[float], others: Sequence[float]) -> "Spread":
        """The spread of each value divided by the other one of its round."""
        return cls.of([value / other for value, other in zip(values, others, strict=True)])


@dataclass(frozen=True)
class Target:
    """What is aimed at, and whether it was reached.

    Attributes:
        what: What was measured.
        wanted: The limit, as the page shows it.
        measured: What came of it, as the page shows it.
        is_met: Whether that is enough.
    """

    what: str
    wanted: str
    measured: str
    is_met: bool

    @classmethod
    def at_least(cls, what: str, least: float, spread: Spread) -> "Target":
        """A ratio whose median has to reach a limit."""
        return cls(what, f"at least {least:g}", format_spread(spread), spread.median >= least)

    @classmethod
    def at_most(cls, what: str, most: int, measured: int) -> "Target":
        """A number of bytes that must not exceed a limit."""
        return cls(what, f"at most {format_size(most)}", format_mib(measured), measured <= most)


def rotated(names: Sequence[_Name], number: int) -> list[_Name]:
    """The order of the turns in a round: one further than in the round before."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def verdict(targets: Sequence[Target]) -> str:
    """What a page says of its targets before it shows them."""
    missed = sum(not target.is_met for target in targets)
    if missed:
        return f"**{missed} of {len(targets)} targets were missed in this run.**"
    return "**All targets were met in this run.**"


def format_targets(targets: Iterable[Target]) -> str:
    """The table of the targets."""
    return table(
        ("", "target", "measured", "met"),
        ((each.what, each.wanted, each.measured, "yes" if each.is_met else "**no**") for each in targets),
    )


def format_spread(spread: Spread | None) -> str:
    """A median with its quartiles; a dash for what was not measured."""
    if spread is None:
        return "-"
    if spread.count == 1:
        return f"{spread.median:.2f}"
    return f"{spread.median:.2f} ({spread.lower_quartile:.2f} to {spread.upper_quartile:.2f})"


def format_mib(count: int) -> str:
    """A number of bytes in MiB, however large it is: so numbers below each other can be compared."""
    return f"{count / MIB:,.1f} MiB"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

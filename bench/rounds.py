"""The parts of every page: rows that are measured in interleaved rounds, ratios with quartiles, targets, tables.

The modules of the pages decide what is measured, and which targets it has. This module computes the medians and the
quartiles, judges the targets, and writes the tables, so that these mean the same on each page.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

_TEXTS = Path(__file__).parent / "pages"

_Name = TypeVar("_Name")

KIB = 2**10
MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Run:
    """One run of the program.

    Attributes:
        is_quick: Whether everything is measured once, on small objects, to check that it works.
        started: When it started, by ``time.monotonic``.
    """

    is_quick: bool
    started: float

    def tell(self, what: str) -> None:
        """Print what the run does now, and the time since its start."""
        print(f"{time.monotonic() - self.started:6.1f} s  {what}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, their quartiles, and their count."""

    median: float
    lower_quartile: float
    upper_quartile: float
    count: int

    @classmethod
    def of_ratios(cls, values: Sequence[float], others: Sequence[float]) -> "Spread":
        """The spread of the ratios of two contenders, whose values are in the order of the rounds."""
        ratios = [value / other for value, other in zip(values, others, strict=True)]
        if len(ratios) == 1:
            return cls(ratios[0], ratios[0], ratios[0], 1)
        lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median, lower, upper, len(ratios))

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.lower_quartile:.2f} to {self.upper_quartile:.2f})"


@dataclass
class Row:
    """One case, and the rate of each contender.

    Attributes:
        name: Its name on the page.
        takes: For each contender, by name, the function that takes a turn and returns its rate: times per second.
        clients: The number of concurrent clients.
        rounds: The number of rounds, in each of which every contender has a turn.
        target: The smallest ratio that meets the page's target; None for no target.
        rates: The measured rates of each contender, by name: one for each round.
    """

    name: str
    takes: Mapping[str, Callable[[], float]] = field(repr=False)
    clients: int = 1
    rounds: int = 1
    target: float | None = None
    rates: dict[str, list[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}, {self.clients} at a time"

    def beside(self, ours: str, theirs: str) -> Spread | None:
        """The rate of a contender divided by that of another one; None if one of them was not measured."""
        if not self.rates.get(ours) or not self.rates.get(theirs):
            return None
        return Spread.of_ratios(self.rates[ours], self.rates[theirs])


def run_rounds(rows: Sequence[Row], tell: Callable[[str], None], ends_at: float = math.inf) -> None:
    """Measure the rows, round after round.

    Args:
        rows: The rows. Their ``rates`` are filled in.
        tell: Called with the name of each row before its turns, to show the progress.
        ends_at: The time by ``time.monotonic`` after which no further round begins. There is at least one round.
    """
    for number in range(max(row.rounds for row in rows)):
        if number and time.monotonic() > ends_at:
            tell(f"the time is over after round {number}")
            return
        for place, row in enumerate(rows):
            if number < row.rounds:
                tell(f"round {number + 1}: {row}")
                for name in rotated([*row.takes], number + place):
                    row.rates.setdefault(name, []).append(row.takes[name]())


def rotated(names: Sequence[_Name], number: int) -> list[_Name]:
    """The order of the turns in a round: that of the round before, moved on by one."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


@dataclass(frozen=True)
class Target:
    """A target, and whether it was met.

    Attributes:
        what: What was measured.
        wanted: The limit, as the page shows it.
        measured: The result, as the page shows it.
        is_met: Whether the result is within the limit.
    """

    what: str
    wanted: str
    measured: str
    is_met: bool

    @classmethod
    def of_row(cls, row: Row, ours: str, theirs: str, what: str) -> "list[Target]":
        """The target of a row, in a list that is empty if it has none or if a contender was not measured."""
        spread = row.beside(ours, theirs)
        if spread is None or row.target is None:
            return []
        return [cls(what, f"at least {row.target:g}", str(spread), spread.median >= row.target)]

    @classmethod
    def at_most(cls, what: str, most: int, measured: int) -> "Target":
        """A number of bytes that must not exceed a limit."""
        return cls(what, f"at most {format_size(most)}", format_mib(measured), measured <= most)


@dataclass(frozen=True)
class Page:
    """A page that has been measured.

    Attributes:
        name: The name of its file in ``docs/``, and of its template in ``bench/pages/``, which has a field for each
            table.
        targets: The targets, for the field ``{targets}``.
        tables: The texts of all other fields but ``{machine}``.
    """

    name: str
    targets: Sequence[Target]
    tables: Mapping[str, str]

    @property
    def summary(self) -> str:
        """The targets, and whether they were met."""
        rows = ((each.what, each.wanted, each.measured, "yes" if each.is_met else "**no**") for each in self.targets)
        missed = sum(not target.is_met for target in self.targets)
        verdict = f"{missed} of {len(self.targets)} targets were missed" if missed else "All targets were met"
        return f"**{verdict} in this run.**\n\n{table(('', 'target', 'measured', 'met'), rows)}"

    def render(self, machine: Mapping[str, str]) -> str:
        """The whole page.

        Args:
            machine: Facts about the machine, by name.
        """
        text = (_TEXTS / f"{self.name}.md").read_text()
        return text.format(targets=self.summary, machine=table(("", ""), machine.items()), **self.tables)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown. A cell that is None is a dash."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_size(size: int) -> str:
    """A number of bytes in the largest unit of which it is a multiple."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def format_mib(count: int) -> str:
    """A number of bytes in MiB, also if it is larger than a GiB, so that the numbers of a column can be compared."""
    return f"{count / MIB:,.1f} MiB"

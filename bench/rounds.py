"""What every page is made of: rows measured in interleaved rounds, ratios with quartiles, targets, Markdown tables.

What is measured and what has to be reached, the pages say. How numbers are summed up, judged and written is decided
here alone, so that a median, a quartile and a "yes" mean the same on each page.
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
    """One run of the program: whether it is a short one, and when it started.

    Attributes:
        is_quick: Everything once, on small objects, to see that it works.
        started: By ``time.monotonic``.
    """

    is_quick: bool
    started: float

    def tell(self, what: str) -> None:
        """Say how far the run has come."""
        print(f"{time.monotonic() - self.started:6.1f} s  {what}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, their quartiles, and how many there are."""

    median: float
    lower_quartile: float
    upper_quartile: float
    count: int

    @classmethod
    def of_ratios(cls, values: Sequence[float], others: Sequence[float]) -> "Spread":
        """The spread of each value divided by the other one of its round."""
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
    """One case, and how fast each contender was at it.

    Attributes:
        name: What the page calls it.
        takes: By the contender's name, what takes its turn and returns a rate: times per second.
        clients: How many ask at a time.
        rounds: How often everybody has a turn.
        target: The least ratio that the page asks for, None where it asks for nothing.
        rates: What was measured: a number for each round, by the contender's name.
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
        """The rate of a contender divided by that of another one; None where one of them was not measured."""
        if not self.rates.get(ours) or not self.rates.get(theirs):
            return None
        return Spread.of_ratios(self.rates[ours], self.rates[theirs])


def run_rounds(rows: Sequence[Row], tell: Callable[[str], None], ends_at: float = math.inf) -> None:
    """Measure the rows, round after round.

    Args:
        rows: Each gets its rates.
        tell: Told how far it has come.
        ends_at: The moment of ``time.monotonic`` after which no other round begins; there is always one.
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
    """The order of the turns in a round: one further than in the round before."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


@dataclass(frozen=True)
class Target:
    """What has to be reached, and whether it was.

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
    def of_row(cls, row: Row, ours: str, theirs: str, what: str) -> "list[Target]":
        """The target of a row; none where it has none, or where one of the two was not measured."""
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
        name: Its file in ``docs/``, and that in ``bench/pages/`` which has its prose, with a field for each table.
        targets: What is judged: the field ``{targets}``.
        tables: What stands in the other fields, but for ``{machine}``.
    """

    name: str
    targets: Sequence[Target]
    tables: Mapping[str, str]

    @property
    def summary(self) -> str:
        """What a person waits for: the targets, and whether they were met."""
        rows = ((each.what, each.wanted, each.measured, "yes" if each.is_met else "**no**") for each in self.targets)
        missed = sum(not target.is_met for target in self.targets)
        verdict = f"{missed} of {len(self.targets)} targets were missed" if missed else "All targets were met"
        return f"**{verdict} in this run.**\n\n{table(('', 'target', 'measured', 'met'), rows)}"

    def render(self, machine: Mapping[str, str]) -> str:
        """The whole page.

        Args:
            machine: Facts about where it was measured, by name.
        """
        text = (_TEXTS / f"{self.name}.md").read_text()
        return text.format(targets=self.summary, machine=table(("", ""), machine.items()), **self.tables)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; a dash for what is None."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_size(size: int) -> str:
    """A number of bytes in the largest unit that leaves it whole."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def format_mib(count: int) -> str:
    """A number of bytes in MiB, however large it is, so that numbers below each other can be compared."""
    return f"{count / MIB:,.1f} MiB"

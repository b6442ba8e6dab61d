"""Every regular expression of the service takes time in proportion to the text that it is given.

Callers and stores choose those texts, and a pattern holds the interpreter while it matches. So the steps of a
backtracking matcher are counted, which does what Python's does, on texts made of the characters that each pattern
knows: twice the text may cost twice the steps, and no more.
"""

import ast
import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import active_storage
import handler

# What begins where the text begins, and what looks for a place to begin at.
_ANCHORED = {"match", "fullmatch"}
_LOOKING = {"search", "findall", "finditer", "split", "sub"}

# What is asked of patterns that stand in a table.
_IN_TABLES = {"_LONG_WORD_RES": {"findall"}}

# How much of a text: the larger is twice the smaller.
_LENGTHS = (96, 192)

# What no pattern here takes for so little text.
_MOST_STEPS = 20_000

# What some patterns want before they look at more.
_AUTHORIZATIONS = ("GOOG4-RSA-SHA256 ", "GOOG4-RSA-SHA256 Signature=0,")
_STARTS = ("bytes", '"', "http://", "basic ", "SignedHeaders=", "%", "-", "GET /", "x-", *_AUTHORIZATIONS)


def find_patterns() -> Iterator[tuple[str, re.Pattern[Any], set[str]]]:
    """Each pattern, and by which methods its module asks it."""
    for package in (active_storage, handler):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            found = importlib.import_module(module.name)
            for name, value in vars(found).items():
                table = value.values() if isinstance(value, Mapping) else value
                for each in table if isinstance(value, Mapping | tuple) else (value,):
                    if isinstance(each, re.Pattern):
                        yield f"{module.name}.{name}", each, find_methods(str(found.__file__), name)


def find_methods(file: str, name: str) -> set[str]:
    tree = ast.parse(Path(file).read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }
    return (used | _IN_TABLES.get(name, set())) & (_ANCHORED | _LOOKING)


class _TooManyError(Exception):
    """So many steps that the rest need not be counted."""


class Matcher:
    """Matches as Python does, and counts the places that it looks at."""

    def __init__(self, pattern: re.Pattern[Any], text: str) -> None:
        self.tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        self.flags = pattern.flags
        self.text = text
        self.steps = 0

    def run(self, is_anchored: bool) -> None:
        """Ask for a match of the whole text, or for all matches in it."""
        start = 0
        while start <= len(self.text):
            ends = self._match(list(self.tree), start)
            end = next((end for end in ends if not is_anchored or end == len(self.text)), None)
            if is_anchored:
                return
            start = start + 1 if end is None or end == start else end

    def _match(self, items: list[Any], at: int) -> Iterator[int]:
        if not items:
            yield at
            return
        (kind, value), rest = items[0], items[1:]
        for end in self._match_one(kind, value, at):
            yield from self._match(rest, end)

    def _match_one(self, kind: Any, value: Any, at: int) -> Iterator[int]:  # noqa: C901  # a row for each kind
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise _TooManyError
        match kind:
            case op.SUBPATTERN:
                yield from self._match(list(value[3]), at)
            case op.BRANCH:
                for branch in value[1]:
                    yield from self._match(list(branch), at)
            case op.MAX_REPEAT | op.POSSESSIVE_REPEAT:
                ends = self._repeat(value, at)
                yield from ends if kind is op.MAX_REPEAT else itertools.islice(ends, 1)
            case op.ATOMIC_GROUP:
                yield from itertools.islice(self._match(list(value), at), 1)
            case op.ASSERT | op.ASSERT_NOT:
                # Those behind the place look at one character here.
                begin = at if value[0] > 0 else at - 1
                found = begin >= 0 and next(self._match(list(value[1]), begin), None) is not None
                if found is (kind is op.ASSERT):
                    yield at
            case op.AT:
                if value is not op.AT_END or at == len(self.text):
                    yield at
            case _:
                if at < len(self.text) and self._takes(kind, value, self.text[at]):
                    yield at + 1

    def _repeat(self, value: Any, at: int) -> Iterator[int]:
        fewest, most, body = value
        # The ways on from each turn, the longest first.
        turns = [self._match(list(body), at)]
        places = [at]
        while turns:
            end = next(turns[-1], None) if most is op.MAXREPEAT or len(turns) <= most else None
            if end is not None and end > places[-1]:
                places.append(end)
                turns.append(self._match(list(body), end))
                continue
            turns.pop()
            place = places.pop()
            if len(turns) >= fewest:
                self.steps += 1
                yield place

    def _takes(self, kind: Any, value: Any, character: str) -> bool:
        tree = parser.SubPattern(parser.State(), [(kind, value)])
        # The module compiles what it has parsed.
        return re._compiler.compile(tree, self.flags).match(character) is not None  # type: ignore[attr-defined]


_TAKES: dict[tuple[Any, ...], bool] = {}


def _remember(takes: Callable[..., bool]) -> Callable[..., bool]:
    def remembered(self: Matcher, kind: Any, value: Any, character: str) -> bool:
        key = (str(kind), str(value), self.flags, character)
        if key not in _TAKES:
            _TAKES[key] = takes(self, kind, value, character)
        return _TAKES[key]

    return remembered


Matcher._takes = _remember(Matcher._takes)  # type: ignore[method-assign]


def letters_of(pattern: re.Pattern[Any]) -> list[str]:
    """Some characters of each kind that a pattern tells apart."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    literal = [each for each in dict.fromkeys(text) if each in "=\"%-.:/@ ;,'"]
    return [*dict.fromkeys(("a", "1", *literal[:4], "-"))]


def count(pattern: re.Pattern[Any], text: str, is_anchored: bool) -> int:
    matcher = Matcher(pattern, text)
    with suppress(_TooManyError):
        matcher.run(is_anchored)
    return matcher.steps


def grows(pattern: re.Pattern[Any], is_anchored: bool) -> str | None:
    """A text of which twice as much costs more than twice as much, and some; None where there is none."""
    letters = letters_of(pattern)
    written = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    starts = ["", *(start for start in _STARTS if start.partition(" ")[0] in written)]
    pairs = itertools.combinations_with_replacement(letters, 2)
    for start, (one, other), end in itertools.product(starts, pairs, ("", "\x01")):
        small, large = (count(pattern, start + (one + other) * (length // 2) + end, is_anchored) for length in _LENGTHS)
        if large > min(2.6 * small + 40, _MOST_STEPS):
            return f"{start}{one}{other}... {end!r}: {small}, {large}"
    return None


PATTERNS = [*find_patterns()]


def test_all_patterns_are_found() -> None:
    assert len(PATTERNS) > 50
    found = {name.rpartition(".")[2] for name, _, _ in PATTERNS}
    assert found >= {"_ETAG_RE", "_HOST_RE", "_CHARACTER_RE", "_LONG_WORD_RES"}


@pytest.mark.parametrize(
    ("text", "is_anchored"),
    [(r"([A-Za-z][A-Za-z-]*)=", False), (r"[0-9]+\.?[0-9]*", True), (r"(?:a+)+b", True), (r"[^/]+/[^/]+x", False)],
)
def test_a_pattern_that_costs_more_is_known_for_one(text: str, is_anchored: bool) -> None:
    assert grows(re.compile(text), is_anchored)


@pytest.mark.parametrize(("name", "pattern", "methods"), PATTERNS, ids=[name for name, _, _ in PATTERNS])
def test_twice_the_text_takes_twice_the_steps(name: str, pattern: re.Pattern[Any], methods: set[str]) -> None:
    # What nobody asks by a method of its own is pydantic's, which has the whole text match.
    assert methods or name.startswith("handler.settings.")
    assert grows(pattern, is_anchored=not methods & _LOOKING) is None

"""A spec and a source become a result: the one way, whatever the door. Read it downwards.

It is given everything that it works with, and knows neither who asked nor where the bytes come from.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from handler.core.blocks import BLOCK_BYTES, count_elements, read_blocks
from handler.core.reduce import Reducer, ensure_reducible
from handler.core.result import Result
from handler.logs import note
from handler.memory import MemoryGate
from handler.spec import ReductionSpec
from handler.upstream.source import ObjectFacts, Source


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and the object that it is of."""

    result: Result
    facts: ObjectFacts


def run(spec: ReductionSpec, source: Source, gate: MemoryGate) -> Answer:
    """Reduce the bytes of the source while they stream.

    Raises:
        ActiveStorageError: There is no result, or none that can be trusted.
    """
    try:
        with ExitStack() as held:
            with _stage("admit"):
                held.enter_context(gate.hold(BLOCK_BYTES))
            with _stage("open"):
                stream = held.enter_context(source.open(spec.range))
            with _stage("check"):
                ensure_reducible(spec, _count(spec, stream.facts))
            with _stage("reduce"):
                reducer = Reducer(spec)
                for block in read_blocks(stream, spec):
                    reducer.update(block)
            with _stage("result"):
                return Answer(Result.of(spec, reducer.result()), stream.facts)
    finally:
        note(bytes_read=source.bytes_read)


def describe(spec: ReductionSpec, source: Source) -> Answer:
    """What ``run`` would give, all but the data, from what the store says of the object.

    Raises:
        ActiveStorageError: ``run`` would have no result, as far as can be told without the bytes.
    """
    with _stage("open"):
        facts = source.head(spec.range)
    with _stage("check"):
        return Answer(Result.describe(spec, _count(spec, facts)), facts)


def _count(spec: ReductionSpec, facts: ObjectFacts) -> int:
    facts.ensure_plain()
    return count_elements(spec, facts.start, facts.stop)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """A named step: the log line of a request that fails says in which one."""
    try:
        yield
    except Exception:
        note(stage=name)
        raise

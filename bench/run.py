"""One run, from the first process to the last number, and everything that came of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import accuracy, machine, memory, speed
from bench.accuracy import Inaccuracy
from bench.cases import FULL, MIB, QUICK, Case
from bench.clients import open_clients
from bench.memory import Growth
from bench.scene import open_scene
from bench.speed import Speed

# No round begins later, so that the run ends after some ten minutes on a slower machine too.
_LAST_ROUND_SECONDS = 480


@dataclass(frozen=True)
class Plan:
    """What a run measures.

    Attributes:
        cases: The speed of what.
        accuracy_sizes: The accuracy of what: objects of the cases.
    """

    cases: Sequence[Case]
    accuracy_sizes: Sequence[int]


PLAN = Plan(FULL, accuracy_sizes=(16 * MIB, 64 * MIB))
# Everything once, on objects so small that it takes seconds.
QUICK_PLAN = Plan(QUICK, accuracy_sizes=(1 * MIB,))


@dataclass(frozen=True)
class Results:
    """All that a run found out."""

    machine: dict[str, str]
    speeds: list[Speed]
    growths: list[Growth]
    inaccuracies: list[Inaccuracy]


def run(plan: Plan, tell: Callable[[str], None]) -> Results:
    """Measure everything that the plan names, on a store and a service of its own.

    Raises:
        RuntimeError: The store or the service does not start.
        WrongReply: A reply is not what it must be.
    """
    ends_at = time.monotonic() + _LAST_ROUND_SECONDS
    with machine.watching_others() as others:
        speeds, growths, inaccuracies = _measure(plan, ends_at, tell)
    return Results(machine.describe(others), speeds, growths, inaccuracies)


def _measure(
    plan: Plan, ends_at: float, tell: Callable[[str], None]
) -> tuple[list[Speed], list[Growth], list[Inaccuracy]]:
    tell("starting the store, writing the objects")
    with open_scene(case.size for case in plan.cases) as scene:
        tell("memory")
        growths = memory.measure(scene)
        with open_clients(scene) as clients:
            speeds = speed.measure(scene, clients, plan.cases, ends_at, tell)
        tell("accuracy")
        return speeds, growths, accuracy.measure(scene, plan.accuracy_sizes)

"""Speed: every contender has its turn at every case, round after round; a number is a ratio of two turns of one round.

A *speed* is the store's time divided by the contender's: 1 is as fast as downloading and throwing away, 0.5 takes twice
as long. As both moved the same object, it is the contender's share of the store's own bytes per second.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from bench.cases import MIB, Case
from bench.clients import Clients, Turn
from bench.contenders import CONTENDERS, STORE, Contender
from bench.scene import Scene
from bench.tables import Spread, rotated

# The issue's own: one at a time, from this size on, the proxy must be at least this fast.
TARGET_SPEED = 0.6
TARGET_SIZE = 16 * MIB

# What a turn may take of the machine's memory: the rest is for the store, the service and the file cache.
MEMORY_SHARE = 0.5


@dataclass
class Speed:
    """What was measured of one case.

    Attributes:
        case: Which.
        seconds: Of every round, by the contender's name.
        received: Bytes that came to the clients for one object, by the contender's name.
        left_out: The names of those who were not measured, since they take more memory than there is.
    """

    case: Case
    seconds: dict[str, list[float]] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def has_target(self) -> bool:
        """Whether it is one of the cases that the proxy's speed is judged by."""
        return self.case.clients == 1 and self.case.size >= TARGET_SIZE

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return len(self.seconds[STORE.name])

    def of(self, contender: Contender, measured_by: Contender = STORE) -> Spread | None:
        """How fast a contender is beside another one; None where one of them was not measured."""
        theirs, ours = self.seconds.get(measured_by.name), self.seconds.get(contender.name)
        if not theirs or not ours:
            return None
        return Spread.of_ratios(theirs, ours)


def measure(
    scene: Scene, clients: Clients, cases: Sequence[Case], ends_at: float, tell: Callable[[str], None]
) -> list[Speed]:
    """The speeds of all contenders in all cases.

    Args:
        scene: Where.
        clients: Who asks.
        cases: What for.
        ends_at: The moment of ``time.monotonic`` after which no other round begins; there is always one.
        tell: Told how far it has come.

    Raises:
        WrongReply: A reply is not what it must be.
    """
    memory_bytes = int(psutil.virtual_memory().total * MEMORY_SHARE)
    speeds = [Speed(case) for case in cases]
    for number in range(max(case.rounds for case in cases)):
        if number and time.monotonic() > ends_at:
            tell(f"no time for more than {number} rounds")
            break
        for place, speed in enumerate(speeds):
            if number < speed.case.rounds:
                tell(f"round {number + 1}: {speed.case}")
                _measure_round(scene, clients, speed, rotated(CONTENDERS, number + place), memory_bytes)
    return speeds


def _measure_round(
    scene: Scene, clients: Clients, speed: Speed, contenders: Sequence[Contender], memory_bytes: int
) -> None:
    case = speed.case
    for contender in contenders:
        if contender.needed_bytes(case.size, case.clients) > memory_bytes:
            if contender.name not in speed.left_out:
                speed.left_out.append(contender.name)
            continue
        taken = clients.take(Turn(contender, scene.objects[case.size], case.clients, case.requests))
        speed.seconds.setdefault(contender.name, []).append(taken.seconds)
        speed.received[contender.name] = taken.received // (case.clients * case.requests)

"""What is asked for: how many bytes an object has, how many clients ask at a time, how often.

Every client asks again as soon as it has its answer. The numbers of requests and rounds are chosen so that one turn of
one contender is long enough to be told from the clock's noise (a few tenths of a second), and the whole run takes less
than ten minutes on two cores.
"""

from dataclasses import dataclass

KIB = 2**10
MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        size: Bytes of the object.
        clients: How many ask at a time.
        requests: How often each of them asks, in each round.
        rounds: How often the whole is done.
    """

    size: int
    clients: int
    requests: int
    rounds: int

    def __str__(self) -> str:
        return f"{format_size(self.size)}, {self.clients} at a time"


FULL = (
    Case(64 * KIB, clients=1, requests=128, rounds=11),
    Case(64 * KIB, clients=8, requests=32, rounds=7),
    Case(64 * KIB, clients=32, requests=16, rounds=7),
    Case(1 * MIB, clients=1, requests=64, rounds=11),
    Case(1 * MIB, clients=8, requests=16, rounds=7),
    Case(1 * MIB, clients=32, requests=8, rounds=7),
    Case(4 * MIB, clients=1, requests=32, rounds=11),
    Case(4 * MIB, clients=8, requests=8, rounds=7),
    Case(4 * MIB, clients=32, requests=4, rounds=7),
    Case(16 * MIB, clients=1, requests=16, rounds=11),
    Case(16 * MIB, clients=8, requests=4, rounds=7),
    Case(16 * MIB, clients=32, requests=2, rounds=7),
    Case(64 * MIB, clients=1, requests=8, rounds=11),
    Case(64 * MIB, clients=8, requests=1, rounds=7),
    Case(64 * MIB, clients=32, requests=1, rounds=5),
    Case(1 * GIB, clients=1, requests=1, rounds=11),
    # 8 and 32 GiB for each contender that can: half of the whole run.
    Case(1 * GIB, clients=8, requests=1, rounds=2),
    Case(1 * GIB, clients=32, requests=1, rounds=1),
)

QUICK = tuple(Case(size, clients, requests=4, rounds=2) for size in (64 * KIB, 1 * MIB) for clients in (1, 8))


def format_size(size: int) -> str:
    """A number of bytes in the largest unit that leaves it whole."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"

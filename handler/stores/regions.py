"""Which region a bucket lies in: its store alone knows, and says so when it refuses another one."""

import threading
from collections import OrderedDict

from active_storage.model.origins import Origin

DEFAULT_REGION = "us-east-1"

# One for each bucket outside the region that is set; a hundred bytes each.
_MAX_REGIONS = 1024


class Regions:
    """Which region a bucket lies in, as far as stores have said. Threads can share it; the oldest entry goes first.

    Args:
        default: Of every other bucket.
        limit: How many are kept.
    """

    def __init__(self, default: str = DEFAULT_REGION, limit: int = _MAX_REGIONS) -> None:
        self._default = default
        self._limit = limit
        self._lock = threading.Lock()
        self._learned: OrderedDict[tuple[Origin, str], str] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Regions {len(self._learned)} of at most {self._limit}, else {self._default}>"

    def find(self, origin: Origin, target: str) -> str:
        """The region of the bucket that a target is in, by its path: ``/bucket/key``."""
        return self._learned.get(_name_bucket(origin, target), self._default)

    def learn(self, origin: Origin, target: str, region: str) -> None:
        """Keep what a store says of the bucket that a target is in."""
        name = _name_bucket(origin, target)
        with self._lock:
            self._learned[name] = region
            self._learned.move_to_end(name)
            while len(self._learned) > self._limit:
                self._learned.popitem(last=False)


def _name_bucket(origin: Origin, target: str) -> tuple[Origin, str]:
    return origin, target.split("/", 2)[1]

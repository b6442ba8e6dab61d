"""The regions of buckets. Only the store knows them, and names the right one when it refuses a wrong one."""

import threading
from collections import OrderedDict

from active_storage.model.origins import Origin

DEFAULT_REGION = "us-east-1"

# An entry of a hundred bytes for each bucket outside the default region.
_MAX_REGIONS = 1024


class Regions:
    """The regions of buckets that stores have named. Thread-safe. The oldest entry is dropped first.

    Args:
        default: The region of every other bucket.
        limit: The largest number of entries.
    """

    def __init__(self, default: str = DEFAULT_REGION, limit: int = _MAX_REGIONS) -> None:
        self._default = default
        self._limit = limit
        self._lock = threading.Lock()
        self._learned: OrderedDict[tuple[Origin, str], str] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Regions {len(self._learned)} of at most {self._limit}, else {self._default}>"

    def find(self, origin: Origin, target: str) -> str:
        """The region of the bucket in a target, whose path is ``/bucket/key``."""
        return self._learned.get(_name_bucket(origin, target), self._default)

    def learn(self, origin: Origin, target: str, region: str) -> None:
        """Remember the region that a store named for the bucket in a target."""
        name = _name_bucket(origin, target)
        with self._lock:
            self._learned[name] = region
            self._learned.move_to_end(name)
            while len(self._learned) > self._limit:
                self._learned.popitem(last=False)


def _name_bucket(origin: Origin, target: str) -> tuple[Origin, str]:
    return origin, target.split("/", 2)[1]

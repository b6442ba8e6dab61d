"""The edges of a histogram's bins, and how many bins there are without them."""

from collections.abc import Iterable

from active_storage.errors import InvalidArgument
from active_storage.model.coordinates import MOST_EDGES, ensure_ascending
from active_storage.model.missing import Number
from active_storage.model.reducers import ARRAY_REDUCERS

# Without edges, elements are counted by the leading bits of their order: as many bins as 16 bits have values.
MOST_BINS = MOST_EDGES - 1


def ensure_edges(edges: Iterable[Number], reducer: str) -> tuple[Number, ...]:
    """The edges of the bins of a reducer: the beginning of each bin, and the end of the last.

    Raises:
        InvalidArgument: The reducer has no bins, or the edges do not ascend, are not finite, or are too few or too
            many; the field is ``edges``.
    """
    if not ARRAY_REDUCERS[reducer].has_bins:
        takers = ", ".join(name for name, rule in ARRAY_REDUCERS.items() if rule.has_bins)
        raise InvalidArgument("edges", f"is a parameter of {takers}, not of {reducer}")
    known = tuple(edges)
    ensure_ascending("edges", known)
    return known

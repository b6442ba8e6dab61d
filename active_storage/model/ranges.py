"""Byte ranges and slices: which bytes of an object, which elements of a dimension."""

from dataclasses import dataclass

from active_storage.errors import InvalidArgument, InvalidRange


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of the bytes of an object, in the three forms of RFC 9110, section 14.1.2.

    Attributes:
        first: The first byte; None for a suffix range.
        last: The last byte, included; None for the rest of the object. In a suffix range, the number of bytes.

    Raises:
        InvalidArgument: A bound is negative, or the last byte lies before the first.
    """

    first: int | None
    last: int | None

    def __post_init__(self) -> None:
        if self.first is None and self.last is None:
            raise InvalidArgument("Range", "has neither a first nor a last byte")
        if any(bound is not None and bound < 0 for bound in (self.first, self.last)):
            raise InvalidArgument("Range", "has a negative bound")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise InvalidArgument("Range", f"ends at byte {self.last}, before it starts at byte {self.first}")

    def resolve(self, total: int) -> tuple[int, int]:
        """The span (start, stop), stop excluded, in an object of ``total`` bytes, cut at its end as S3 cuts it.

        Raises:
            InvalidRange: No byte of the object is in the range.
        """
        if self.first is None:
            start, stop = max(0, total - (self.last or 0)), total
        else:
            start, stop = self.first, total if self.last is None else min(self.last + 1, total)
        if start >= stop:
            raise InvalidRange(f"the range selects no byte of an object of {total} bytes", length=total)
        return start, stop


@dataclass(frozen=True, slots=True)
class Slice:
    """numpy's ``start:stop:step`` of one dimension; any part may be None.

    Raises:
        InvalidArgument: The step is 0.
    """

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        if self.step == 0:
            raise InvalidArgument("selection", "a step cannot be 0")

    def resolve(self, size: int) -> range:
        """The selected indices of a dimension of ``size``, with Python's rules for negative and large bounds."""
        return range(*slice(self.start, self.stop, self.step).indices(size))

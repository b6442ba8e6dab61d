"""Which bytes of an object hold the data, and which of those a reduction has to read."""

from dataclasses import dataclass

from handler.core.select import Plan
from handler.errors import IncompleteElement, InvalidArgument
from handler.spec import ByteRange, ReductionSpec


@dataclass(frozen=True, slots=True)
class Extent:
    """What to ask for, and how to read what comes.

    Attributes:
        spec: The reduction.
        byte_range: What to ask the source for, None for the whole object.
        is_placed: Whether element 0 lies at ``spec.offset`` of the object; otherwise it lies where the bytes begin.
    """

    spec: ReductionSpec
    byte_range: ByteRange | None
    is_placed: bool

    @classmethod
    def of(cls, spec: ReductionSpec, takes_range: bool) -> "Extent":
        """The extent of a reduction.

        Of plain elements whose shape is known, only the span from the first to the last that is selected is asked for,
        and only that must exist: the last record of a netCDF-3 file may end before the row of the array does.

        Args:
            spec: The reduction.
            takes_range: Whether the source can be asked for any range.

        Raises:
            InvalidArgument: The source cannot be asked for what the spec names.
        """
        if spec.range is not None:
            return cls(spec, spec.range, is_placed=False)
        if not takes_range:
            if spec.offset or spec.size is not None:
                raise InvalidArgument("offset", "cannot be given with a signed Range or a part number")
            return cls(spec, None, is_placed=False)
        start, stop = spec.offset, None if spec.size is None else spec.offset + spec.size
        if spec.shape is not None and not spec.is_encoded:
            plan = Plan.of(spec, spec.shape)
            if (plan.start, plan.stop) not in ((0, 0), (0, plan.elements)):
                start, stop = (spec.offset + element * spec.element_bytes for element in (plan.start, plan.stop))
        if start == 0 and stop is None:
            return cls(spec, None, is_placed=True)
        return cls(spec, ByteRange(start, None if stop is None else stop - 1), is_placed=True)

    def locate(self, start: int, stop: int, total: int) -> tuple[int, int]:
        """Which elements, as (first, after the last), of the data the bytes from ``start`` to ``stop`` hold.

        Of encoded data, whose elements are not known before it is decoded: the bytes themselves.

        Args:
            start: The first byte of the object that came.
            stop: The one after the last.
            total: The size of the object.

        Raises:
            InvalidArgument: The object is not as long as the spec says, or a range begins or ends inside an element.
            IncompleteElement: The bytes are no whole number of elements.
        """
        spec, size = self.spec, self.spec.element_bytes
        element = f"{spec.dtype} elements are {size} bytes"
        if self.is_placed:
            self._ensure_long_enough(total)
        if spec.is_encoded:
            return start, stop
        if spec.range is not None and (start % size or stop % size):
            raise InvalidArgument("Range", f"bytes {start} to {stop - 1} begin or end inside an element; {element}")
        if (stop - start) % size:
            raise IncompleteElement(f"{stop - start} bytes are no whole number of elements; {element}")
        first = (start - spec.offset) // size if self.is_placed else 0
        count = (stop - start) // size
        if spec.shape is not None and not self.is_placed:
            _ensure_covers(spec, spec.shape, stop - start)
        return first, first + count

    def _ensure_long_enough(self, total: int) -> None:
        spec, available = self.spec, total - self.spec.offset
        if spec.shape is not None and not spec.is_encoded:
            # A size, where there is one, is that of the whole shape.
            _ensure_covers(spec, spec.shape, available if spec.size is None else min(available, spec.size))
        elif spec.size is not None and spec.size > available:
            raise InvalidArgument("size", f"reaches byte {spec.offset + spec.size} of an object of {total} bytes")


def _ensure_covers(spec: ReductionSpec, shape: tuple[int, ...], available: int) -> None:
    """Pass where plain data of so many bytes has all that is selected of a shape, and nothing beyond the shape.

    Raises:
        InvalidArgument: It has less, or more.
    """
    plan, size = Plan.of(spec, shape), spec.element_bytes
    if plan.stop * size > available:
        raise InvalidArgument("shape", f"is selected up to byte {plan.stop * size}, the data has {available} bytes")
    if plan.elements * size < available:
        raise InvalidArgument("shape", f"is of {plan.elements * size} bytes, the data has {available}")

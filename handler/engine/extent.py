"""The extent of a reduction: which bytes of an object hold the data, and which of them must be read."""

from dataclasses import dataclass

from active_storage.errors import IncompleteElement, InvalidArgument
from active_storage.model.ranges import ByteRange
from active_storage.model.spec import ReductionSpec
from handler.kernels.sizes import Sizes
from handler.kernels.walk import Walk


@dataclass(frozen=True, slots=True)
class Extent:
    """Which bytes to ask for, and which elements they hold.

    Attributes:
        spec: The reduction.
        byte_range: The range to ask the source for; None for the whole object.
        sizes: The sizes of blocks and tasks.
        starts_at_offset: Whether element 0 lies at ``spec.offset`` of the object. Otherwise it is at the first byte
            that is delivered.
        is_empty: Whether no element is selected from plain data of a known shape.
    """

    spec: ReductionSpec
    byte_range: ByteRange | None
    starts_at_offset: bool
    sizes: Sizes
    is_empty: bool = False

    @classmethod
    def of(cls, spec: ReductionSpec, takes_range: bool, sizes: Sizes) -> "Extent":
        """The extent of a reduction.

        If the shape of plain elements is known, the range is the span from the first to the last selected element. Only
        this span must exist: the last record of a netCDF-3 file may end before the row of the array does.

        Args:
            spec: The reduction.
            takes_range: Whether any range can be asked for.
            sizes: The sizes of blocks and tasks.

        Raises:
            InvalidArgument: The source cannot be asked for the range of the spec.
        """
        if spec.range is not None:
            return cls(spec, spec.range, starts_at_offset=False, sizes=sizes)
        if not takes_range:
            if spec.offset or spec.size is not None:
                raise InvalidArgument("offset", "cannot be given together with a signed Range or a part number")
            return cls(spec, None, starts_at_offset=False, sizes=sizes)
        start, stop = spec.offset, None if spec.size is None else spec.offset + spec.size
        if spec.shape is not None and not spec.is_encoded:
            walk = Walk.of(spec, spec.shape, sizes)
            if not walk.stop:
                # No element is selected, so that only the object itself must exist.
                return cls(spec, None, starts_at_offset=True, sizes=sizes, is_empty=True)
            if (walk.start, walk.stop) != (0, walk.elements):
                start, stop = (spec.offset + element * spec.element_bytes for element in (walk.start, walk.stop))
        if start == 0 and stop is None:
            return cls(spec, None, starts_at_offset=True, sizes=sizes)
        return cls(spec, ByteRange(start, None if stop is None else stop - 1), starts_at_offset=True, sizes=sizes)

    def locate(self, start: int, stop: int, total: int) -> tuple[int, int]:
        """The elements in the bytes from ``start`` to ``stop`` of the object, as (first, after the last).

        The elements of encoded data are not known before it is decoded: its bytes are returned instead.

        Args:
            start: The first byte that is delivered.
            stop: The byte after the last.
            total: The size of the object.

        Raises:
            InvalidArgument: The object is shorter than the spec says, or a range begins or ends inside an element.
            IncompleteElement: The bytes are not a whole number of elements.
        """
        spec, size = self.spec, self.spec.element_bytes
        element = f"{spec.dtype} elements are {size} bytes"
        if self.starts_at_offset:
            self._ensure_long_enough(total)
        if spec.is_encoded:
            return start, stop
        if self.is_empty:
            return 0, 0
        if spec.range is not None and (start % size or stop % size):
            raise InvalidArgument("Range", f"bytes {start} to {stop - 1} begin or end inside an element; {element}")
        if (stop - start) % size:
            raise IncompleteElement(f"{stop - start} bytes are not a whole number of elements; {element}")
        first = (start - spec.offset) // size if self.starts_at_offset else 0
        count = (stop - start) // size
        if spec.shape is not None and not self.starts_at_offset:
            _ensure_covers(spec, spec.shape, stop - start, self.sizes)
        return first, first + count

    def _ensure_long_enough(self, total: int) -> None:
        spec, available = self.spec, max(0, total - self.spec.offset)
        if spec.shape is not None and not spec.is_encoded:
            # If there is a size, it is that of the whole shape.
            _ensure_covers(spec, spec.shape, available if spec.size is None else min(available, spec.size), self.sizes)
        elif spec.size is not None and spec.size > available:
            raise InvalidArgument("size", f"ends at byte {spec.offset + spec.size} of an object of {total} bytes")


def _ensure_covers(spec: ReductionSpec, shape: tuple[int, ...], available: int, sizes: Sizes) -> None:
    """Pass if plain data of ``available`` bytes has all selected elements of a shape, and none beyond the shape.

    Raises:
        InvalidArgument: The data is too short or too long.
    """
    walk, size = Walk.of(spec, shape, sizes), spec.element_bytes
    if walk.stop * size > available:
        field = "shape" if spec.size is None else "size"
        raise InvalidArgument(field, f"needs {walk.stop * size} bytes, but only {available} are available")
    if walk.elements * size < available:
        raise InvalidArgument("shape", f"takes {walk.elements * size} bytes, but the data has {available}")

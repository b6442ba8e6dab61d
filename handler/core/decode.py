"""From the bytes as stored to those of the elements: decompression, then filters undone, then a check of the length.

A codec that streams is read as it comes where nothing but a reduction follows. What must be held is accounted for as it
comes; how much may come out of a codec is bounded before and while it decodes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from handler.core.blocks import BLOCK_BYTES, Readable
from handler.core.codecs import DECODERS, UNDO
from handler.core.codecs.base import BlockDecoder
from handler.errors import EntityTooLarge, IncompleteElement, InvalidArgument
from handler.spec import Filter, ReductionSpec


@dataclass(frozen=True, slots=True)
class Budget:
    """What decoding may cost.

    Attributes:
        limit_bytes: The most that may come out of a codec.
        hold: Accounts for so many bytes of memory, or raises.
    """

    limit_bytes: int
    hold: Callable[[int], None]


class Held:
    """Decoded bytes in memory, read like any others."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; 0 where there is no more."""
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def open_decoded(stream: Readable, stored_bytes: int, spec: ReductionSpec, budget: Budget) -> tuple[Readable, int]:
    """The bytes of the elements, and how many elements there are.

    Args:
        stream: The bytes as stored.
        stored_bytes: How many they are.
        spec: Names the codec and the filters, and maybe the shape.
        budget: What it may cost.

    Raises:
        UndecodableData: They are not what the codec writes.
        EntityTooLarge: They decode to more than the budget allows.
        InvalidArgument: They decode to another number of elements than the shape has.
        IncompleteElement: They decode to no whole number of elements.
    """
    expected = None if spec.shape is None else math.prod(spec.shape) * spec.element_bytes
    if expected is not None and expected > budget.limit_bytes:
        raise EntityTooLarge(f"{stored_bytes} bytes may decode to {budget.limit_bytes} bytes, the shape has {expected}")
    steps = [*spec.filters, *([Filter(spec.compression)] if spec.compression else [])]
    if expected is not None and len(steps) == 1 and steps[0].id in DECODERS:
        return _open(steps[0].id, stream, stored_bytes, budget), expected // spec.element_bytes
    data = _undo_all(steps, stream, stored_bytes, spec, budget)
    if expected is not None and len(data) != expected:
        raise InvalidArgument("shape", f"is of {expected} bytes, the data decodes to {len(data)}")
    if len(data) % spec.element_bytes:
        raise IncompleteElement(f"the data decodes to {len(data)} bytes, no whole number of {spec.dtype} elements")
    return Held(data), len(data) // spec.element_bytes


def _undo_all(
    steps: list[Filter], stream: Readable, stored_bytes: int, spec: ReductionSpec, budget: Budget
) -> memoryview:
    *rest, last = steps
    if last.id in DECODERS:
        data = _read_all(_open(last.id, stream, stored_bytes, budget), budget)
    else:
        data, rest = _read_all(stream, budget), steps
    for step in reversed(rest):
        if step.id in DECODERS:
            data = _read_all(_open(step.id, Held(data), len(data), budget), budget)
        else:
            budget.hold(len(data))
            data = UNDO[step.id](data, step.element_size or spec.element_bytes, spec)
    return data


def _open(codec: str, stored: Readable, stored_bytes: int, budget: Budget) -> Readable:
    decoder = DECODERS[codec](stored, stored_bytes, budget.limit_bytes)
    if isinstance(decoder, BlockDecoder):
        budget.hold(stored_bytes)
        budget.hold(decoder.decoded_bytes)
    return decoder


def _read_all(decoder: Readable, budget: Budget) -> memoryview:
    data = bytearray()
    step = BLOCK_BYTES
    while True:
        budget.hold(step)
        filled = len(data)
        data.extend(bytes(step))
        view = memoryview(data)
        while filled < len(view) and (read := decoder.readinto(view[filled:])):
            filled += read
        view.release()
        if filled < len(data):
            return memoryview(data)[:filled]
        step = len(data)

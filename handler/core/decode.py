"""From the bytes as stored to those of the elements: decompression, then filters undone, then a check of the length.

A codec that streams is read as it comes where nothing but a reduction follows. What must be held is accounted for as it
comes; how much may come out of a codec is bounded before and while it decodes.
"""

import math

import numpy as np

from handler.core.blocks import Held, Readable, fill
from handler.core.codecs import DECODERS, UNDO, UNDONE_READING
from handler.core.codecs.base import Budget
from handler.errors import EntityTooLarge, IncompleteElement, InvalidArgument
from handler.spec import Filter, ReductionSpec

# Room for those that filters may have put behind the elements: fletcher32's 4 bytes, and nobody has many of them.
_CHECKSUMS_BYTES = 16


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
        decoder = DECODERS[steps[0].id](stream, stored_bytes, budget)
        budget.hold(decoder.decoded_bytes or 0)
        return decoder, expected // spec.element_bytes
    # What is undone last, if it needs no memory of its own.
    reading = UNDONE_READING.get(steps[0].id)
    data = _undo_all(steps[1:] if reading else steps, stream, stored_bytes, spec, budget)
    if expected is not None and len(data) != expected:
        raise InvalidArgument("shape", f"is of {expected} bytes, the data decodes to {len(data)}")
    if len(data) % spec.element_bytes:
        raise IncompleteElement(f"the data decodes to {len(data)} bytes, no whole number of {spec.dtype} elements")
    last = reading(data, steps[0].element_size or spec.element_bytes) if reading else Held(data)
    return last, len(data) // spec.element_bytes


def _undo_all(
    steps: list[Filter], stream: Readable, stored_bytes: int, spec: ReductionSpec, budget: Budget
) -> memoryview:
    # What the shape has and the checksums of the filters, or what is stored, if nothing is known of what comes of it.
    likely_bytes = stored_bytes if spec.shape is None else math.prod(spec.shape) * spec.element_bytes + _CHECKSUMS_BYTES
    if not steps or steps[-1].id not in DECODERS:
        rest, data = steps, _read_all(stream, stored_bytes, budget)
    else:
        *rest, last = steps
        data = _decode_all(last.id, stream, stored_bytes, likely_bytes, budget)
    for step in reversed(rest):
        if step.id in DECODERS:
            data = _decode_all(step.id, Held(data), len(data), likely_bytes, budget)
        else:
            budget.hold(len(data))
            data = UNDO[step.id](data, step.element_size or spec.element_bytes, spec)
    return data


def _decode_all(codec: str, stored: Readable, stored_bytes: int, likely_bytes: int, budget: Budget) -> memoryview:
    decoder = DECODERS[codec](stored, stored_bytes, budget)
    known_bytes = decoder.decoded_bytes
    return _read_all(decoder, likely_bytes if known_bytes is None else known_bytes, budget)


def _read_all(source: Readable, likely_bytes: int, budget: Budget) -> memoryview:
    """Everything that comes, in memory as large as is likely, and twice as large as often as that was too small.

    numpy's, since what nobody has written to yet costs nothing: zeroed memory took longer than decoding into it.
    """
    data, filled = np.empty(0, np.uint8), 0
    # A byte more than will come: only when nothing follows it has the end been verified.
    size = likely_bytes + 1
    while True:
        budget.hold(size - len(data))
        data, grown = np.empty(size, np.uint8), data
        data[:filled] = grown[:filled]
        filled += fill(source, data.data[filled:])
        if filled < size:
            return data.data[:filled]
        size *= 2

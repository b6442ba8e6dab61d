"""From the stored bytes to the bytes of the elements: every step is undone in reverse, then the length is checked.

If the shape is known and a streaming codec is the only step, its data is reduced while it is decoded. That needs the
memory of a block, whatever the decoded size; only the deadline limits it. All other data is held in memory, which is
accounted for as it grows.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from active_storage.errors import EntityTooLarge, IncompleteElement, InvalidArgument
from active_storage.model.dtypes import DTYPES, MAX_BYTES
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.codecs import IMPLEMENTATIONS
from handler.codecs.base import Budget, Decoder, StepContext, StreamDecoder
from handler.codecs.readable import MemoryReader, Readable, fill

# The space for checksums that filters have appended to the elements: fletcher32's has 4 bytes, and there are few.
_CHECKSUMS_BYTES = 16


def open_decoded(stream: Readable, stored_bytes: int, spec: ReductionSpec, budget: Budget) -> tuple[Readable, int]:
    """The bytes of the elements, and the number of elements.

    Args:
        stream: The stored bytes.
        stored_bytes: The number of stored bytes.
        spec: The reduction, with the steps and, if it is known, the shape.
        budget: The limits of memory and time.

    Raises:
        UndecodableData: The stored bytes are not valid data of a codec.
        EntityTooLarge: They decode to more bytes than the budget allows.
        InvalidArgument: They decode to another number of elements than the shape has.
        IncompleteElement: The decoded size is not a multiple of the element size.
    """
    contexts = _make_contexts(spec.steps, stored_bytes, spec, budget)
    contexts = [context for context in contexts if not IMPLEMENTATIONS[context.step.id].is_identity]
    if not contexts:
        return stream, _count_elements(stored_bytes, spec)
    first = IMPLEMENTATIONS[contexts[0].step.id].decoder if len(contexts) == 1 else None
    is_stream = first is not None and issubclass(first, StreamDecoder)
    if spec.shape is not None and first is not None:
        # The decoded data of a stream is not held, so that its size has no limit.
        bounds = replace(budget, limit_bytes=MAX_BYTES) if is_stream else budget
        decoder = first(stream, stored_bytes, bounds)
        budget.hold(decoder.decoded_bytes or 0)
        return decoder, math.prod(spec.shape)
    try:
        return _open_held(contexts, stream, stored_bytes, spec)
    except EntityTooLarge as error:
        if is_stream:
            advice = "if the request has a shape, the data is reduced while it is decoded"
            raise EntityTooLarge(f"{error.message}; {advice}") from error
        raise


def _open_held(
    contexts: Sequence[StepContext], stream: Readable, stored_bytes: int, spec: ReductionSpec
) -> tuple[Readable, int]:
    # Set if the step that is undone last can be undone while it is read.
    reading = IMPLEMENTATIONS[contexts[0].step.id].undo_reading
    data = _undo_all(contexts[1:] if reading else contexts, stream, stored_bytes, contexts[0].budget)
    elements = _count_elements(len(data), spec)
    return reading(data, contexts[0].element_size) if reading else MemoryReader(data), elements


def _count_elements(data_bytes: int, spec: ReductionSpec) -> int:
    expected = None if spec.shape is None else math.prod(spec.shape) * spec.element_bytes
    if expected is not None and data_bytes != expected:
        raise InvalidArgument("shape", f"takes {expected} bytes, but the data decodes to {data_bytes}")
    if data_bytes % spec.element_bytes:
        raise IncompleteElement(
            f"the data decodes to {data_bytes} bytes, which is not a multiple of the element size of {spec.dtype}"
        )
    return data_bytes // spec.element_bytes


def _make_contexts(steps: Sequence[Step], stored_bytes: int, spec: ReductionSpec, budget: Budget) -> list[StepContext]:
    """The context of each step: the data type before the step, and the likely size of its data."""
    contexts = []
    dtype: np.dtype[Any] = DTYPES[spec.dtype].newbyteorder(spec.byte_order)
    elements = None if spec.shape is None else math.prod(spec.shape)
    for step in steps:
        likely_bytes = stored_bytes if elements is None else elements * dtype.itemsize + _CHECKSUMS_BYTES
        contexts.append(StepContext(step, dtype, spec.byte_order, likely_bytes, budget))
        dtype = contexts[-1].encoded_dtype
    return contexts


def _undo_all(contexts: Sequence[StepContext], stream: Readable, stored_bytes: int, budget: Budget) -> memoryview:
    rest = list(contexts)
    if rest and (decoder := IMPLEMENTATIONS[rest[-1].step.id].decoder):
        data = _decode_all(decoder, stream, stored_bytes, rest.pop())
    else:
        data = _read_all(stream, stored_bytes, budget)
    for context in reversed(rest):
        data = _undo(data, context)
        budget.check()
    return data


def _undo(data: memoryview, context: StepContext) -> memoryview:
    row = IMPLEMENTATIONS[context.step.id]
    if row.decoder:
        return _decode_all(row.decoder, MemoryReader(data), len(data), context)
    return row.undo(data, context) if row.undo else data


def _decode_all(decoder: type[Decoder], stored: Readable, stored_bytes: int, context: StepContext) -> memoryview:
    decoded = decoder(stored, stored_bytes, context.budget)
    known_bytes = decoded.decoded_bytes
    return _read_all(decoded, context.likely_bytes if known_bytes is None else known_bytes, context.budget)


def _read_all(source: Readable, likely_bytes: int, budget: Budget) -> memoryview:
    """Read all the bytes into memory of the likely size, which is doubled whenever it is too small.

    The memory is allocated by numpy, since untouched pages cost nothing: zeroing it took longer than decoding into it.
    """
    data, filled = np.empty(0, np.uint8), 0
    # One byte more than expected, since a decoder verifies the end of its data when it is read beyond it.
    size = likely_bytes + 1
    while True:
        budget.hold(size - len(data))
        data, grown = np.empty(size, np.uint8), data
        data[:filled] = grown[:filled]
        filled += fill(source, data.data[filled:])
        if filled < size:
            return data.data[:filled]
        size *= 2

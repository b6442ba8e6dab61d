"""From the bytes as stored to those of the elements: every step undone in reverse, then a check of the length.

A codec that streams is read as it comes where its data is of a known shape and nothing but a reduction follows. It
holds a block whatever comes out of it: only the deadline bounds that. What must be held is accounted for as it comes.
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

# Room for those that filters may have put behind the elements: fletcher32's 4 bytes, and nobody has many of them.
_CHECKSUMS_BYTES = 16


def open_decoded(stream: Readable, stored_bytes: int, spec: ReductionSpec, budget: Budget) -> tuple[Readable, int]:
    """The bytes of the elements, and how many elements there are.

    Args:
        stream: The bytes as stored.
        stored_bytes: How many they are.
        spec: Names the steps, and maybe the shape.
        budget: What it may cost.

    Raises:
        UndecodableData: They are not what the codec writes.
        EntityTooLarge: They decode to more than the budget allows.
        InvalidArgument: They decode to another number of elements than the shape has.
        IncompleteElement: They decode to no whole number of elements.
    """
    contexts = _make_contexts(spec.steps, stored_bytes, spec, budget)
    contexts = [context for context in contexts if not IMPLEMENTATIONS[context.step.id].is_identity]
    if not contexts:
        return stream, _count_elements(stored_bytes, spec)
    first = IMPLEMENTATIONS[contexts[0].step.id].decoder if len(contexts) == 1 else None
    is_stream = first is not None and issubclass(first, StreamDecoder)
    if spec.shape is not None and first is not None:
        # Nothing of a stream is held, whatever its size.
        bounds = replace(budget, limit_bytes=MAX_BYTES) if is_stream else budget
        decoder = first(stream, stored_bytes, bounds)
        budget.hold(decoder.decoded_bytes or 0)
        return decoder, math.prod(spec.shape)
    try:
        return _open_held(contexts, stream, stored_bytes, spec)
    except EntityTooLarge as error:
        if is_stream:
            raise EntityTooLarge(f"{error.message}; with a shape, the data is reduced as it comes") from error
        raise


def _open_held(
    contexts: Sequence[StepContext], stream: Readable, stored_bytes: int, spec: ReductionSpec
) -> tuple[Readable, int]:
    # What is undone last, if it needs no memory of its own.
    reading = IMPLEMENTATIONS[contexts[0].step.id].undo_reading
    data = _undo_all(contexts[1:] if reading else contexts, stream, stored_bytes, contexts[0].budget)
    elements = _count_elements(len(data), spec)
    return reading(data, contexts[0].element_size) if reading else MemoryReader(data), elements


def _count_elements(data_bytes: int, spec: ReductionSpec) -> int:
    expected = None if spec.shape is None else math.prod(spec.shape) * spec.element_bytes
    if expected is not None and data_bytes != expected:
        raise InvalidArgument("shape", f"is of {expected} bytes, the data decodes to {data_bytes}")
    if data_bytes % spec.element_bytes:
        raise IncompleteElement(f"the data decodes to {data_bytes} bytes, no whole number of {spec.dtype} elements")
    return data_bytes // spec.element_bytes


def _make_contexts(steps: Sequence[Step], stored_bytes: int, spec: ReductionSpec, budget: Budget) -> list[StepContext]:
    """The context of each step: the data type before the step, and how many bytes its data likely had."""
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

    The memory is numpy's, since untouched pages cost nothing: zeroing it took longer than decoding into it.
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

"""The items of a reply that is a CBOR sequence (RFC 8742): what each holds, and how they are sent while they are made.

    header   the plan and the form of the result; the first item, and once more if the array changed before the result
    section  the partial result of a section, for ``partials``
    progress how much is done: after each section for ``progress``, and if nothing else was sent for 2 s
    result   the whole result, for ``progress``
    error    why there are no more items; the last item, instead of ``end``
    end      the last item

A reply without ``end`` has failed, whatever came before.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from active_storage.algebra import ARITHMETIC_VERSION
from active_storage.errors import ActiveStorageError, CallerGone, InternalError
from handler.arrays.engine import ArrayAnswer, Progress, find_units
from handler.arrays.plan import ArrayPlan
from handler.arrays.sections import SectionPartial
from handler.doors.cbor_results import encode, list_members, list_numbers, pack_counts
from handler.doors.json_errors import describe_error, find_status
from handler.engine.memory import MemoryGate
from handler.kernels.pieces import Array
from handler.observe.record import Record, locate

CONTENT_TYPE = "application/cbor-seq"

# People watch the progress. Proxies close connections on which nothing comes; nginx after 60 s.
_MOST_QUIET_SECONDS = 2.0

# Items that wait to be sent. A client that reads slowly slows down the work.
_MOST_WAITING = 2

# How long a thread that was told to stop is waited for before the items that it waits with are dropped.
_STOP_SECONDS = 0.05

Put = Callable[[dict[str, Any]], None]


def list_header(plan: ArrayPlan, sections: range) -> dict[str, Any]:
    """The header: what the items after it are of.

    A partial result is of stored numbers. ``partial`` says which algebra joins them, and ``packing`` how the result of
    stored numbers becomes that of values.
    """
    spec, packing = plan.spec, plan.packing
    return {
        "type": "header",
        "version": ARITHMETIC_VERSION,
        "plan": plan.digest,
        "sections": [sections.start, sections.stop],
        "of": plan.sections,
        "chunks": plan.chunks,
        "of_chunks": plan.count_chunks(sections),
        "reducer": plan.reduction.reducer,
        "dtype": plan.result_dtype,
        "cells": list(plan.selection.cells),
        "dims": list(plan.dimensions),
        "labels": plan.labels,
        "units": find_units(plan),
        "partial": {
            "reducer": spec.reducer,
            "dtype": spec.dtype,
            "sum_dtype": spec.sum_dtype,
            "ddof": spec.ddof,
            "is_weighted": spec.is_weighted,
            "has_other": spec.has_other,
            "edges": None if spec.edges is None else list(spec.edges),
        },
        "packing": packing
        and {
            "scale": None if packing.scale is None else list_numbers(packing.scale),
            "offset": None if packing.offset is None else list_numbers(packing.offset),
            "dtype": packing.dtype.name,
        },
    }


def list_section(partial: SectionPartial) -> dict[str, Any]:
    """The partial result of a section, in pieces: each has the cells of the result that it belongs to."""
    return {
        "type": "section",
        "section": partial.number,
        "pieces": [
            {
                "cells": [_list_index(index) for index in found.cells],
                "count": list_numbers(found.partial.counts),
                "state": {name: list_numbers(array) for name, array in found.partial.state._asdict().items()},
            }
            for found in partial.pieces
        ],
        "missing_chunks": partial.missing_chunks,
        "bytes_read": partial.bytes_read,
    }


def list_progress(progress: Progress, of: int, of_chunks: int) -> dict[str, Any]:
    """How much is done, and how many sections and chunks there are."""
    done = {"sections": progress.sections, "of": of, "chunks": progress.chunks, "of_chunks": of_chunks}
    return {"type": "progress", **done, "bytes_read": progress.bytes_read}


def list_answer(answer: ArrayAnswer, counts: str = "list") -> dict[str, Any]:
    """The members of an answer: those of version 2, and what whole arrays have beside.

    Args:
        answer: The answer.
        counts: How it has its counts: as a ``list``, ``packed``, or ``none``.
    """
    result = answer.result
    return {
        **list_members(result if counts == "list" else replace(result, counts=None)),
        **({} if counts == "list" else {"count": pack_counts(result.counts) if counts == "packed" else None}),
        "dims": list(answer.dimensions),
        "labels": answer.labels,
        "units": answer.units,
        "missing_chunks": answer.missing_chunks,
        "requests": answer.requests,
        "bytes_read": answer.bytes_read,
    }


def _list_index(index: int | slice | Array) -> int | list[int | None]:
    # Sections join what has lists of cells, so that their own cells are numbers and slices.
    return [index.start, index.stop, index.step] if isinstance(index, slice) else int(index)


@dataclass(frozen=True, slots=True)
class _Made:
    """An item that waits to be sent.

    Attributes:
        item: Its bytes; an error, or None after the last item.
        memory: What counts its memory until it is closed.
    """

    item: bytes | ActiveStorageError | None
    memory: ExitStack = field(default_factory=ExitStack)


class Items:
    """The items of one reply, made by a thread of their own and sent as they come. An iterable that is closed.

    Args:
        make: Makes the items, and hands each to the function that it is given.
        stop: Set when the items are of no use any more; ``make`` should then end.
        record: The record of the request.
        held: What is released at the end.
        gate: Counts the memory of items that wait: a client can read slowly.
    """

    def __init__(
        self, make: Callable[[Put], None], stop: threading.Event, record: Record, held: ExitStack, gate: MemoryGate
    ) -> None:
        self._make = make
        self._stop = stop
        self._record = record
        self._held = held
        self._gate = gate
        self._made: queue.Queue[_Made] = queue.Queue(_MOST_WAITING)
        self._current = _Made(None)
        self._list_progress: Callable[[], dict[str, Any]] = lambda: list_progress(Progress(), 0, 0)
        self._is_sent = False
        self._thread = threading.Thread(target=self._run, name="items", daemon=True)

    def start(self) -> None:
        """Start, and wait for the first item.

        Raises:
            ActiveStorageError: There are no items.
        """
        self._thread.start()
        self._current = self._made.get()
        if isinstance(self._current.item, ActiveStorageError):
            self._is_sent = True
            self.close()
            raise self._current.item

    def tell(self, list_now: Callable[[], dict[str, Any]]) -> None:
        """Note what makes the next item about progress."""
        self._list_progress = list_now

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._current.item) is not None:
            if isinstance(item, ActiveStorageError):
                # The status was sent with the first item.
                self._record.add(outcome=item.logged_code)
                item = encode({"type": "error", "status": find_status(item), "error": describe_error(item)})
            yield item
            self._current.memory.close()
            self._current = self._next()
        self._is_sent = True

    def close(self) -> None:
        """Stop, and wait until the thread has ended: it writes to the record of the request."""
        self._stop.set()
        if not self._is_sent:
            self._record.add(outcome=CallerGone.code)
        self._current.memory.close()
        is_over = False
        while not is_over:
            is_over = not self._thread.is_alive()
            # It may wait to hand over an item.
            with suppress(queue.Empty):
                while True:
                    self._made.get_nowait().memory.close()
            self._thread.join(_STOP_SECONDS)
        self._held.close()

    def _next(self) -> _Made:
        try:
            return self._made.get(timeout=_MOST_QUIET_SECONDS)
        except queue.Empty:
            return _Made(encode(self._list_progress()))

    def _put(self, members: dict[str, Any]) -> None:
        """Hand over an item.

        Raises:
            ActiveStorageError: Its memory cannot be had.
        """
        item = encode(members)
        with ExitStack() as memory:
            memory.enter_context(self._gate.account()).hold(len(item))
            self._made.put(_Made(item, memory.pop_all()))

    def _run(self) -> None:
        end: bytes | ActiveStorageError = encode({"type": "end"})
        try:
            self._make(self._put)
        except ActiveStorageError as error:
            end = error
        except Exception as error:  # noqa: BLE001  # the last resort: the caller learns that it was ours
            self._record.add(fault=locate(error))
            end = InternalError("an internal error; the server's log has the details under the request id")
        self._made.put(_Made(end))
        self._made.put(_Made(None))

"""Sequences of items: progress, results and partial results, read while they come; and partial results joined.

The joined result has the same bits as that of one request, since both are joined by ``active_storage.algebra`` in the
order of the sections.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import cbor2
import numpy as np

from active_storage.algebra import ARITHMETIC_VERSION, Partial, make_algebra
from active_storage.algebra.packing import Packing, finish_packed
from active_storage.client.connection import Reply
from active_storage.client.failures import BadReply, IncompleteReply, ServiceTooOld, describe_error
from active_storage.client.results import Result, arrange, find_rule, read_numbers
from active_storage.errors import InvalidArgument, shown
from active_storage.model.spec import ReductionSpec

Item = Mapping[str, Any]

# The type of a map; that of a sequence begins with it.
_TYPE = "application/cbor"

# What the library raises for bytes that are no CBOR.
_NO_CBOR = (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Header:
    """What the partial results of a reply are of.

    Attributes:
        plan: The digest of the plan.
        sections: The number of sections of the plan.
        first: The number of the first section of the reply.
        stop: The number after that of the last.
        members: The members of the item, for ``join_partials``.
    """

    plan: str
    sections: int
    first: int
    stop: int
    members: Item = field(repr=False)


@dataclass(frozen=True, slots=True)
class SectionResult:
    """The partial result of a section. It can be pickled and joined elsewhere.

    Attributes:
        section: The number of the section.
        header: What it is of.
        missing_chunks: The number of absent chunks.
        bytes_read: The bytes that were read from the store.
        pieces: The states, for ``join_partials``.
    """

    section: int
    header: Header
    missing_chunks: int
    bytes_read: int
    pieces: tuple[Item, ...] = field(repr=False)


def read_items(reply: Reply) -> Iterator[Item]:
    """The items of a sequence without its ``end``.

    Raises:
        IncompleteReply: The sequence has no ``end``.
        ActiveStorageError: The sequence ends with an error.
    """
    _ensure_cbor(reply)
    decoder = cbor2.CBORDecoder(reply.stream)
    while True:
        item = _decode(decoder)
        if item["type"] == "end":
            # So that the connection can be used again. What the items say is complete.
            with suppress(IncompleteReply):
                reply.read()
            return
        if item["type"] == "error":
            status = item.get("status")
            raise describe_error(status if isinstance(status, int) else 500, item.get("error"), {})
        yield item


def read_map(reply: Reply) -> Item:
    """The one map that a reply holds.

    Raises:
        IncompleteReply: The reply ends within it.
        BadReply: It is no map.
    """
    _ensure_cbor(reply)
    try:
        members = cbor2.loads(reply.read())
    except cbor2.CBORDecodeEOF:
        raise IncompleteReply("the reply ends within its map") from None
    except _NO_CBOR as error:
        raise BadReply(f"the reply is no CBOR ({type(error).__name__})") from None
    if not isinstance(members, dict):
        raise BadReply("the reply is no map")
    return members


def read_header(item: Item) -> Header:
    """The header of partial results.

    Raises:
        ServiceTooOld: The arithmetic of the service is another one, whose states mean something else.
        BadReply: The item is no header.
    """
    try:
        version, plan, sections, (first, stop) = item["version"], item["plan"], int(item["of"]), item["sections"]
        first, stop = int(first), int(stop)
    except (KeyError, TypeError, ValueError):
        raise BadReply("the first item of the reply is no header") from None
    if version != ARITHMETIC_VERSION:
        raise ServiceTooOld(
            f"the service has version {version} of the arithmetic, and this client {ARITHMETIC_VERSION}: install the "
            "client of the service's version"
        )
    return Header(plan, sections, first, stop, item)


def read_section(item: Item, header: Header) -> SectionResult:
    """The partial result in an item.

    Raises:
        BadReply: A member is absent.
    """
    try:
        return SectionResult(item["section"], header, item["missing_chunks"], item["bytes_read"], tuple(item["pieces"]))
    except (KeyError, TypeError) as error:
        raise BadReply(f"a section cannot be read ({error})") from None


@dataclass(frozen=True, slots=True)
class JoinedSections:
    """The joined partial results of the first sections of a plan. It can be pickled, and is not changed.

    Attributes:
        header: What they are of.
        partial: The joined partial result.
        sections: The number of sections that are joined: those from 0 to this one, which is the next.
        missing_chunks: The number of absent chunks.
        bytes_read: The bytes that were read from the store.
    """

    header: Header
    partial: Partial[Any] = field(repr=False)
    sections: int = 0
    missing_chunks: int = 0
    bytes_read: int = 0

    @classmethod
    def start(cls, header: Header) -> "JoinedSections":
        """Nothing yet of the plan of a header."""
        algebra = make_algebra(_read_spec(header.members["partial"]))
        return cls(header, algebra.start(tuple(header.members["cells"])))

    def join(self, sections: Iterable[SectionResult]) -> "JoinedSections":
        """These and the next ones, in order.

        Raises:
            InvalidArgument: A section is absent or is given twice, or sections are of another plan or reducer.
        """
        algebra = make_algebra(_read_spec(self.header.members["partial"]))
        whole = self.partial.copy()
        number, missing_chunks, bytes_read = self.sections, self.missing_chunks, self.bytes_read
        for section in sections:
            self._ensure_next(section, number)
            for piece in section.pieces:
                cells = tuple(slice(*each) if isinstance(each, list) else each for each in piece["cells"])
                state = type(whole.state)(**{name: read_numbers(array)[()] for name, array in piece["state"].items()})
                algebra.join_quietly(whole, cells, Partial(read_numbers(piece["count"])[()], state))
            number += 1
            missing_chunks += section.missing_chunks
            bytes_read += section.bytes_read
        return JoinedSections(self.header, whole, number, missing_chunks, bytes_read)

    def finish(self) -> Result:
        """The result.

        Raises:
            InvalidArgument: A section is absent.
        """
        members = self.header.members
        if self.sections != self.header.sections:
            raise self._is_wrong(f"section {self.sections} is absent")
        algebra = make_algebra(_read_spec(members["partial"]))
        reduced = finish_packed(algebra, self.partial, members["reducer"], _read_packing(members["packing"]))
        dims = _name_dimensions(members)
        return Result(
            *arrange(members["reducer"], reduced.values, reduced.counts, dims),
            dims=dims,
            labels=members["labels"],
            units=members.get("units"),
            bytes_read=self.bytes_read,
            missing_chunks=self.missing_chunks,
        )

    def _ensure_next(self, section: SectionResult, number: int) -> None:
        given = section.header
        if given.members != self.header.members and _identity(given) != _identity(self.header):
            raise InvalidArgument("sections", "are of several plans or reducers")
        if section.section != number:
            is_twice = section.section < number
            raise self._is_wrong(
                f"section {section.section} is there twice" if is_twice else f"section {number} is absent"
            )

    def _is_wrong(self, problem: str) -> InvalidArgument:
        return InvalidArgument("sections", f"{problem}; the plan has {self.header.sections}")


def join_sections(sections: Iterable[SectionResult]) -> Result:
    """The result of all sections of a plan, in any order.

    Raises:
        InvalidArgument: A section is absent or is given twice, or sections are of several plans or reducers.
        BadReply: A partial result is not what the service documents.
    """
    ordered = sorted(sections, key=lambda each: each.section)
    if not ordered:
        raise InvalidArgument("sections", "is empty, and a result is joined of at least one section")
    try:
        return JoinedSections.start(ordered[0].header).join(ordered).finish()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadReply(f"a section cannot be joined ({type(error).__name__})") from None


def _ensure_cbor(reply: Reply) -> None:
    """Pass if a reply can be one of the service.

    Raises:
        BadReply: It is of another type, such as the page of a proxy.
    """
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.startswith(_TYPE):
        raise BadReply(
            f"the reply is of the type {shown(kind)}, not {_TYPE}; a proxy before the service may have sent it"
        )


def _decode(decoder: cbor2.CBORDecoder) -> Item:
    try:
        item = decoder.decode()
    except (cbor2.CBORDecodeEOF, EOFError):
        raise IncompleteReply("the reply has no end: nothing of it is a result") from None
    except _NO_CBOR as error:
        # The library wraps errors of the stream.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, IncompleteReply):
            raise cause from None
        raise BadReply(f"an item of the reply is no CBOR ({type(error).__name__})") from None
    if not isinstance(item, dict) or "type" not in item:
        raise BadReply("an item of the reply has no type")
    return item


def _identity(header: Header) -> tuple[Any, ...]:
    """What must be equal: replies for other sections of a plan differ in the sections and their chunks only."""
    return (header.plan, header.members["reducer"], header.members["partial"], header.members["packing"])


def _read_spec(partial: Item) -> ReductionSpec:
    edges = partial.get("edges")
    return ReductionSpec(**{**partial, "edges": None if edges is None else tuple(edges)})


def _read_packing(packing: Item | None) -> Packing | None:
    if packing is None:
        return None
    scale, offset = (None if packing[name] is None else read_numbers(packing[name])[()] for name in ("scale", "offset"))
    return Packing(scale, offset, np.dtype(packing["dtype"]))


def _name_dimensions(members: Item) -> tuple[str | None, ...]:
    rule = find_rule(members["reducer"])
    return (*((None,) if rule.leading else ()), *members["dims"], *(("bin",) if rule.has_bins else ()))

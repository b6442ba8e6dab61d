"""CBOR from a caller, parsed strictly and at a bounded cost (RFC 8949).

The types are those of JSON, and byte strings: maps with texts as keys, lists, texts, numbers, booleans and null. Tags,
other simple values, items of indefinite length, and duplicate keys are refused. The number of items is counted while
they are read: before a list is made of them, since sixty million small ones fit 64 MiB.

No error text holds a part of the body.
"""

import struct
from collections.abc import Callable
from typing import Any, NoReturn

from active_storage.errors import InvalidArgument
from handler.doors.json_body import MAX_DEPTH

# A table names each of its objects once. This takes a second to parse.
MAX_ITEMS = 1 << 20

# What Python takes for an item, such as an empty map of one byte, and its place in a list. They are counted in lots.
_ITEM_BYTES = 100
_COUNTED_ITEMS = 1024

# The major types (RFC 8949, section 3.1).
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG = range(7)

# The additional information of a head: from 24 on, the argument is in so many bytes after it (section 3).
_ARGUMENT_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}

# Simple values and floats, by their additional information (section 3.3).
_SIMPLE_VALUES = {20: False, 21: True, 22: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def read_map(body: bytes, hold: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """The map in a body.

    Args:
        body: The body.
        hold: Counts the memory of items while they are read; may raise an error. Texts and byte strings do not count.

    Raises:
        InvalidArgument: The body is not one map, or holds what is not supported.
    """
    parser = _Parser(body, hold)
    value = parser.read(MAX_DEPTH)
    if not isinstance(value, dict):
        raise InvalidArgument("body", "should be a CBOR map")
    parser.ensure_end()
    return value


class _Parser:
    def __init__(self, body: bytes, hold: Callable[[int], None]) -> None:
        self._hold = hold
        self._body = memoryview(body)
        self._position = 0
        self._items = 0

    def read(self, depth: int) -> Any:
        """The next item, with at most this many levels."""
        self._count_item()
        if not depth:
            raise InvalidArgument("body", f"is nested deeper than {MAX_DEPTH} levels")
        head = self._take(1)[0]
        major, info = head >> 5, head & 31
        if major > _TAG:
            return self._read_simple(info)
        argument = self._read_argument(info)
        if major == _UNSIGNED:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _BYTES:
            return bytes(self._take(argument))
        if major == _TEXT:
            return self._read_text(argument)
        if major == _LIST:
            return [self.read(depth - 1) for _ in range(self._ensure_possible(argument))]
        if major == _MAP:
            return self._read_members(self._ensure_possible(argument), depth - 1)
        raise InvalidArgument("body", "has a CBOR tag, which is not supported")

    def ensure_end(self) -> None:
        """Pass if the body has been read to its end."""
        if self._position != len(self._body):
            raise InvalidArgument("body", "goes on after its CBOR map")

    def _count_item(self) -> None:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise InvalidArgument("body", f"has more than {MAX_ITEMS} items")
        if self._items % _COUNTED_ITEMS == 0:
            self._hold(_COUNTED_ITEMS * _ITEM_BYTES)

    def _read_members(self, count: int, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for _ in range(count):
            name = self.read(depth)
            if not isinstance(name, str):
                raise InvalidArgument("body", "has a map with a key that is not a text")
            if name in members:
                raise InvalidArgument("body", "has a map with a key twice")
            members[name] = self.read(depth)
        return members

    def _read_text(self, size: int) -> str:
        try:
            return str(self._take(size), "utf-8")
        except UnicodeDecodeError:
            raise InvalidArgument("body", "has a text that is not UTF-8") from None

    def _read_simple(self, info: int) -> float | bool | None:
        if info in _SIMPLE_VALUES:
            return _SIMPLE_VALUES[info]
        if info not in _FLOATS:
            raise InvalidArgument("body", "has a CBOR simple value, or an item of indefinite length")
        (number,) = struct.unpack(_FLOATS[info], self._take(_ARGUMENT_SIZES[info]))
        return float(number)

    def _read_argument(self, info: int) -> int:
        if info < min(_ARGUMENT_SIZES):
            return info
        if info not in _ARGUMENT_SIZES:
            raise InvalidArgument("body", "has an item of indefinite length, which is not supported")
        return int.from_bytes(self._take(_ARGUMENT_SIZES[info]))

    def _ensure_possible(self, count: int) -> int:
        """The number of items of a list or a map, if the rest of the body can hold them."""
        if count > len(self._body) - self._position:
            _refuse_cut()
        return count

    def _take(self, size: int) -> memoryview:
        start, stop = self._position, self._position + size
        if stop > len(self._body):
            _refuse_cut()
        self._position = stop
        return self._body[start:stop]


def _refuse_cut() -> NoReturn:
    raise InvalidArgument("body", "ends inside a CBOR item")

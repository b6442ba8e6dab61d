"""XML text of stores, parsed strictly and at a bounded cost: errors and listings.

A document type is refused. So a document declares no entities, and nothing in it grows or names another file (XML 1.0,
sections 2.8 and 4). No tree is made of a document: the texts of elements near its root are all that is kept. How many
bytes a document may have is up to the caller, who has already read them.
"""

from dataclasses import dataclass
from typing import Any, NoReturn
from xml.parsers import expat

# Separates the namespace from a name. No name has a space.
_SEPARATOR = " "


class XmlFault(Exception):
    """A document cannot be read. The reason holds no part of it."""


@dataclass(frozen=True, slots=True)
class XmlLimits:
    """What is read of a document.

    Attributes:
        depth: The depth of the deepest elements whose text is read; that of the root is 1.
        elements: The most elements that the document may have, at any depth.
    """

    depth: int
    elements: int


def read_texts(document: bytes, limits: XmlLimits) -> list[tuple[tuple[str, ...], str]]:
    """The own text of each element, after the names on the way to it from the root. Elements come as they end.

    Names are without their namespaces.

    Args:
        document: The whole document.
        limits: What is read of it.

    Raises:
        XmlFault: The document is not well-formed, has a document type, too many elements, or an unknown encoding.
    """
    reader = _Reader(limits)
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.add
    parser.StartDoctypeDeclHandler = _refuse_type
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError, ValueError):
        # LookupError and ValueError: the encoding is unknown, or one that expat does not support.
        raise XmlFault("is not well-formed XML") from None
    return reader.found


def _refuse_type(*_: Any) -> NoReturn:
    raise XmlFault("has a document type")


class _Reader:
    """Receives what the parser finds.

    Attributes:
        found: The names and the text of each element that has ended.
    """

    def __init__(self, limits: XmlLimits) -> None:
        self.found: list[tuple[tuple[str, ...], str]] = []
        self._limits = limits
        self._count = 0
        self._depth = 0
        self._names: list[str] = []
        self._texts: list[list[str]] = []

    def start(self, name: str, _: object) -> None:
        self._count += 1
        if self._count > self._limits.elements:
            raise XmlFault(f"has more than {self._limits.elements} elements")
        self._depth += 1
        if self._depth <= self._limits.depth:
            self._names.append(name.rpartition(_SEPARATOR)[2])
            self._texts.append([])

    def end(self, _: str) -> None:
        if self._depth <= self._limits.depth:
            self.found.append((tuple(self._names), "".join(self._texts.pop())))
            self._names.pop()
        self._depth -= 1

    def add(self, text: str) -> None:
        if self._depth <= self._limits.depth:
            self._texts[-1].append(text)

"""Query strings, divided into our parameters and the rest, which is forwarded to the store unchanged."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Self
from urllib.parse import unquote

from active_storage.grammar.reductions import NAMES, collect
from active_storage.grammar.text import decode, encode

# A pair of a query: the decoded name, the raw value, and the whole raw pair.
_Pair = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class StoreQuery:
    """The query for the store. Its ``repr`` is empty, since the query can be a signature.

    Attributes:
        text: The raw query.
        pairs: The parsed query.
    """

    text: str = dataclasses.field(repr=False)
    pairs: Sequence[_Pair] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, query: str) -> Self:
        """The query for the store from a raw query without parameters of ours."""
        return cls(query, _read_pairs(query))

    def find(self, name: str) -> list[str]:
        """The decoded values of a name, in their order, without empty ones.

        A plus is not a space: AWS's version ids contain pluses, and its events hold the client's URL decoded. Values
        are decoded on demand: decoding all of a presigned query took a twentieth of a small request's time.
        """
        return [unquote(value) for known, value, _ in self.pairs if known == name and value]

    def find_last(self, name: str) -> str:
        """The last of these values, or an empty text."""
        found = self.find(name)
        return found[-1] if found else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A query string, divided.

    Attributes:
        parameters: Our parameters, decoded.
        own: Our parameters, raw.
        rest: The query for the store.
    """

    parameters: Mapping[str, str]
    own: str
    rest: StoreQuery


def split_query(query: str) -> Query:
    """A raw query, divided into our parameters and the rest.

    Raises:
        InvalidArgument: A parameter of ours occurs twice, or its percent-encoding is malformed.
    """
    pairs = _read_pairs(query)
    own = [pair for pair in pairs if pair[0] in NAMES]
    rest = [pair for pair in pairs if pair[0] not in NAMES]
    parameters = collect((name, decode(value, field=name)) for name, value, _ in own)
    return Query(parameters, _join_pairs(own), StoreQuery(_join_pairs(rest), rest))


def format_query(names: Mapping[str, str]) -> str:
    """The query of these names and values, percent-encoded like SigV4: all but unreserved characters."""
    return "&".join(f"{name}={encode(value, safe='')}" for name, value in names.items())


def _read_pairs(query: str) -> list[_Pair]:
    divided = [(*text.partition("="), text) for text in query.split("&")]
    return [(unquote(name) if "%" in name else name, value, text) for name, _, value, text in divided]


def _join_pairs(pairs: Iterable[_Pair]) -> str:
    return "&".join([text for _, _, text in pairs])

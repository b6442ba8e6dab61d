"""How tests read the replies of ``POST /arrays/v1/``, and join partial results as a client does."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import cbor2
import numpy as np

from active_storage.algebra import Partial, make_algebra
from active_storage.model.spec import ReductionSpec

Item = dict[str, Any]


def numbers(reply: Mapping[str, Any]) -> Any:
    """The numbers of a result, or of an array in an item."""
    return np.frombuffer(reply["bytes"], np.dtype(reply["dtype"]).newbyteorder("<")).reshape(reply["shape"])


def split_items(data: bytes) -> list[Item]:
    """The items of a CBOR sequence."""
    stream, items = io.BytesIO(data), []
    while stream.tell() < len(data):
        items.append(cbor2.load(stream))
    return items


def join(header: Item, sections: Iterable[Item]) -> Any:
    """The result of partial results, which are joined in the order in which they are given."""
    algebra = make_algebra(ReductionSpec(**header["partial"]))
    whole = algebra.start(tuple(header["cells"]))
    for section in sections:
        for piece in section["pieces"]:
            cells = tuple(slice(*each) if isinstance(each, list) else each for each in piece["cells"])
            state = type(whole.state)(**{name: numbers(array)[()] for name, array in piece["state"].items()})
            algebra.join_quietly(whole, cells, Partial(numbers(piece["count"])[()], state))
    return algebra.finish_partial(whole).values

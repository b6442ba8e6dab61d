"""HDF5: the filters of a dataset, as the steps of this project's codecs.

The values of a filter in the file (``cd_values``) are those that h5py, netCDF4 and hdf5plugin write.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from active_storage.errors import InvalidCodec
from active_storage.model.steps import Step
from handler.containers.hdf5_file import Hdf5File
from handler.containers.hdf5_source import Cursor, damaged

# HDF5 allows no more.
_MOST_FILTERS = 32

# From this number on filters have names in the newer version of the message.
_FIRST_NAMED = 256

_BITSHUFFLE_CODECS = {0: "none", 2: "lz4", 3: "zstd"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a dataset.

    Attributes:
        number: HDF5's registered number.
        name: The name in the file; "" if it has none.
        is_optional: Whether a chunk that the filter could not encode was stored without it.
        values: Its parameters.
    """

    number: int
    name: str
    is_optional: bool
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The filters of a dataset as steps.

    Attributes:
        steps: The steps, in the order of writing.
        places: For each filter, the number of its step; None for an unknown filter that may be left out.
        names: For each filter, how messages name it.
    """

    steps: tuple[Step, ...]
    places: tuple[int | None, ...]
    names: tuple[str, ...]


def parse_filters(data: bytes) -> list[Filter]:
    """The filters that a message describes, in the order of writing.

    Raises:
        UndecodableData: The message is damaged.
    """
    cursor = Cursor(data, "the list of filters")
    version, count = cursor.uint(1), cursor.uint(1)
    if version not in {1, 2} or count > _MOST_FILTERS:
        raise damaged(f"there is no list of {count} filters of version {version}")
    if version == 1:
        cursor.take(6)
    filters = []
    for _ in range(count):
        number = cursor.uint(2)
        name_bytes = cursor.uint(2) if version == 1 or number >= _FIRST_NAMED else 0
        flags, values = cursor.uint(2), cursor.uint(2)
        # In version 1 the size includes the padding.
        name = cursor.take(name_bytes).partition(b"\0")[0].decode("ascii", "replace")
        filters.append(Filter(number, name, bool(flags & 1), tuple(cursor.uint(4) for _ in range(values))))
        if version == 1 and values % 2:
            cursor.take(4)
    return filters


def make_pipeline(file: Hdf5File, filters: list[Filter], itemsize: int) -> Pipeline:
    """The steps that filters stand for.

    Args:
        file: The file, for messages.
        filters: The filters.
        itemsize: The size of an element, in bytes.

    Raises:
        UnsupportedArray: A filter that no chunk may be stored without is unknown.
        UndecodableData: The parameters of a filter are wrong.
    """
    steps: list[Step] = []
    places: list[int | None] = []
    names = []
    for each in filters:
        name = f"the filter {each.number}{f' ({ascii(each.name)[1:-1][:60]})' if each.name else ''}"
        names.append(name)
        make = _STEPS.get(each.number)
        if make is None:
            if not each.is_optional:
                raise file.refuse(name)
            places.append(None)
            continue
        try:
            steps.append(make(each.values, itemsize))
        except InvalidCodec as error:
            raise damaged(f"{name} has wrong parameters: {error.fault}") from error
        places.append(len(steps) - 1)
    return Pipeline(tuple(steps), tuple(places), tuple(names))


def _plain(step: str) -> Callable[[tuple[int, ...], int], Step]:
    """A filter that needs no parameters for decoding: the data has them."""
    return lambda _values, _itemsize: Step(step)


def _with_values(step: str) -> Callable[[tuple[int, ...], int], Step]:
    """A filter whose values are passed to the codec unchanged."""
    return lambda values, _itemsize: Step(step, None, (("cd_values", values),))


def _make_shuffle(values: tuple[int, ...], itemsize: int) -> Step:
    return Step("shuffle", values[0] if values else itemsize)


def _make_bitshuffle(values: tuple[int, ...], itemsize: int) -> Step:
    # The version in two values, the size of an element, elements in a block, the codec, its level.
    size, block_size, number = (*values[2:5], *(itemsize, 0, 0)[len(values[2:5]) :])
    if number not in _BITSHUFFLE_CODECS:
        raise InvalidCodec("bitshuffle", "cname", f"there is no codec {number}")
    return Step("bitshuffle", size, (("block_size", block_size), ("cname", _BITSHUFFLE_CODECS[number])))


# The steps by the number of the filter: HDF5's own, then those registered with The HDF Group.
_STEPS: Mapping[int, Callable[[tuple[int, ...], int], Step]] = MappingProxyType(
    {
        1: _plain("zlib"),
        2: _make_shuffle,
        3: _plain("fletcher32"),
        4: _with_values("szip"),
        5: _with_values("nbit"),
        6: _with_values("scaleoffset"),
        307: _plain("bz2"),
        32000: _plain("lzf"),
        32001: _plain("blosc"),
        32004: _plain("lz4_hdf5"),
        32008: _make_bitshuffle,
        32013: _with_values("zfpy"),
        32015: _plain("zstd"),
        32026: _plain("blosc2"),
    }
)

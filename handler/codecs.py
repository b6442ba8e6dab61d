"""The table of codecs and filters: one row for each id on the wire, with the parameters that it takes.

A *step* is what a writer did to the data, in order: the filters, then the compression. To read is to undo the steps in
reverse. This table says what a caller can ask for; ``core/codecs/`` has the code, one function or class for each row.
Names of ids and parameters are those of numcodecs, Zarr and HDF5. What only the writer of data needs, such as a level
of compression, is accepted and left out, so that a configuration in Zarr's metadata can be passed on as it stands.

Standard library and numpy only: the client shares this file.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

# An integer, a number, a word, a data type, or a list of integers.
Value = int | float | str | tuple[int, ...]

# HDF5's own limit of the values that a filter has is higher; no filter here has more than twenty.
_MAX_CD_VALUES = 32
_UINT32_MAX = 2**32 - 1
_INT64_MAX = 2**63 - 1

# numpy's short names of numbers; a byte order in front, without which it is that of the request.
_DTYPE_RE = re.compile(r"([<>|]?)(i1|i2|i4|i8|u1|u2|u4|u8|f2|f4|f8|b1|c8|c16)", re.ASCII)
_LONG_DTYPE_RE = re.compile(r"([<>|]?)((?:int|uint)(?:8|16|32|64)|float(?:16|32|64)|bool|complex(?:64|128))", re.ASCII)

_INTEGER_RE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a step.

    Attributes:
        check: The value in its normal form, from what JSON or ``parse`` gave; a ``ValueError`` says what it should be.
        parse: From text to what ``check`` takes.
        default: The value of a parameter that was not given; None if it has no default.
        is_required: Whether it must be given.
    """

    check: Callable[[object], Value]
    parse: Callable[[str], object] = str
    default: Value | None = None
    is_required: bool = False


def format_value(value: Value) -> str:
    """The text of a value, which ``parse`` of its parameter reads."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parse_number(text: str) -> object:
    if _INTEGER_RE.fullmatch(text):
        return int(text)
    # Python takes underscores and spaces, which no other writer of numbers knows.
    return text if "_" in text or text != text.strip() else float(text)


def _check_number(value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be a number, and a finite one")  # noqa: TRY004  # the caller of ``check`` expects one kind
    try:
        # What no 64 bits hold is a float in every arithmetic, and as a text.
        number = value if isinstance(value, int) and abs(value) <= _INT64_MAX else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("should be a number, and a finite one")
    return number


def _check_scale(value: object) -> Value:
    number = _check_number(value)
    if not number:
        raise ValueError("cannot be 0")
    return number


def _check_dtype(value: object) -> Value:
    text = value if isinstance(value, str) else ""
    if long := _LONG_DTYPE_RE.fullmatch(text):
        text = long[1] + np.dtype(long[2]).str[1:]
    match = _DTYPE_RE.fullmatch(text)
    if match is None:
        raise ValueError("should be a data type of numbers, such as i2, <f8 or float32")
    order, name = match.groups()
    return name if name in {"i1", "u1", "b1"} or order == "|" else order + name


def _integer(least: int, most: int) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"should be a whole number from {least} to {most}")
        return value

    return check


def _word(*words: str) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"should be one of {', '.join(words)}")
        return value

    return check


def _check_cd_values(value: object) -> Value:
    numbers = tuple(value) if isinstance(value, list | tuple) else ()
    if not 1 <= len(numbers) <= _MAX_CD_VALUES or not all(
        type(number) is int and 0 <= number <= _UINT32_MAX for number in numbers
    ):
        raise ValueError(
            f"should be the filter's 1 to {_MAX_CD_VALUES} values in the HDF5 file, each from 0 to 2**32-1"
        )
    return numbers


def _parse_integers(text: str) -> object:
    return tuple(_parse_number(part) for part in text.split("-"))


_DTYPE = Parameter(_check_dtype)
_NEEDED_DTYPE = Parameter(_check_dtype, is_required=True)
_CD_VALUES = Parameter(_check_cd_values, _parse_integers, is_required=True)
_KEPT_CD_VALUES = Parameter(_check_cd_values, _parse_integers)


def _location(default: str) -> Parameter:
    return Parameter(_word("start", "end"), default=default)


@dataclass(frozen=True, slots=True)
class Codec:
    """A row of the table.

    Attributes:
        compresses: Whether it can be named as ``compression``; as one of the filters any can.
        parameters: What reading the data takes, by name, beside ``element_size``.
        writer: Names of parameters that mean something to writers only.
        aliases: Other names of it.
        is_sized: Whether it means nothing without the size of an element.
        encoded_dtype: The parameters that name the data type of what the step makes, the first that is given; without
            one, the data type stays.
    """

    compresses: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    writer: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    is_sized: bool = False
    encoded_dtype: tuple[str, ...] = ()


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "gzip": Codec(compresses=True, writer=("level",)),
        "zlib": Codec(compresses=True, writer=("level",), aliases=("deflate",)),
        "zstd": Codec(compresses=True, writer=("level", "checksum")),
        "lz4": Codec(compresses=True, writer=("acceleration",)),
        "lz4_hdf5": Codec(compresses=True, writer=("nbytes", "block_size"), aliases=("lz4h5",)),
        "lzf": Codec(compresses=True),
        "blosc": Codec(compresses=True, writer=("cname", "clevel", "shuffle", "blocksize", "typesize")),
        "blosc2": Codec(compresses=True),
        "bz2": Codec(compresses=True, writer=("level",), aliases=("bzip2",)),
        "lzma": Codec(compresses=True, writer=("format", "check", "preset", "filters"), aliases=("xz",)),
        "szip": Codec(compresses=True, parameters={"cd_values": _CD_VALUES}),
        "pcodec": Codec(
            compresses=True,
            writer=("level", "mode_spec", "delta_spec", "paging_spec", "delta_encoding_order", "equal_pages_up_to"),
        ),
        "zfpy": Codec(
            compresses=True,
            parameters={"cd_values": _KEPT_CD_VALUES},
            writer=("mode", "tolerance", "rate", "precision", "compression_kwargs"),
        ),
        "base64": Codec(compresses=True),
        "bitshuffle": Codec(
            compresses=True,
            parameters={
                "cname": Parameter(_word("none", "lz4", "zstd"), default="none"),
                "block_size": Parameter(_integer(0, 2**24), _parse_number, default=0),
            },
            writer=("clevel",),
            is_sized=True,
        ),
        "shuffle": Codec(aliases=("shuffle_simd",), is_sized=True),
        "fletcher32": Codec(),
        "crc32c": Codec(parameters={"location": _location("end")}),
        "crc32": Codec(parameters={"location": _location("start")}),
        "adler32": Codec(parameters={"location": _location("start")}),
        "jenkins_lookup3": Codec(parameters={"initval": Parameter(_integer(0, _UINT32_MAX), _parse_number, default=0)}),
        "delta": Codec(parameters={"dtype": _DTYPE, "astype": _DTYPE}, encoded_dtype=("astype", "dtype")),
        "fixedscaleoffset": Codec(
            parameters={
                "offset": Parameter(_check_number, _parse_number, is_required=True),
                "scale": Parameter(_check_scale, _parse_number, is_required=True),
                "dtype": _DTYPE,
                "astype": _DTYPE,
            },
            encoded_dtype=("astype", "dtype"),
        ),
        "scale_offset": Codec(
            parameters={
                "offset": Parameter(_check_number, _parse_number, default=0),
                "scale": Parameter(_check_scale, _parse_number, default=1),
            }
        ),
        "quantize": Codec(
            parameters={"dtype": _DTYPE, "astype": _DTYPE},
            writer=("digits",),
            encoded_dtype=("astype", "dtype"),
        ),
        "astype": Codec(
            parameters={"encode_dtype": _NEEDED_DTYPE, "decode_dtype": _DTYPE},
            encoded_dtype=("encode_dtype",),
        ),
        "packbits": Codec(),
        "bitround": Codec(writer=("keepbits",)),
        "scaleoffset": Codec(parameters={"cd_values": _CD_VALUES}),
        "nbit": Codec(parameters={"cd_values": _CD_VALUES}),
    }
)

# Every other name of a codec: those of HDF5, and those of the reference service.
ALIASES: Mapping[str, str] = MappingProxyType({alias: name for name, row in CODECS.items() for alias in row.aliases})

# What Zarr 3 puts before the names of numcodecs.
_PREFIX = "numcodecs."


def find_id(name: str) -> str:
    """The id in ``CODECS`` that a name stands for; an unknown name is returned without its prefix."""
    plain = name.removeprefix(_PREFIX)
    return ALIASES.get(plain, plain)

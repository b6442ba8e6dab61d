"""The table of codecs and filters: one row for each id on the wire, with the parameters that it takes.

A *step* is a codec that a writer applied: first the filters, then the compression. Reading undoes the steps in reverse
order. This table lists the codecs that a caller can name; ``handler/codecs/`` implements each row by a function or a
class. The names are those of numcodecs, Zarr and HDF5. Parameters that only a writer needs, such as the level of
compression, are accepted and ignored, so that the configuration in Zarr's metadata can be sent unchanged.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

# An integer, a number, a word, a data type, or a list of integers.
Value = int | float | str | tuple[int, ...]

# HDF5's own limit is higher, but no filter here has more than twenty values.
_MAX_CD_VALUES = 32
_UINT32_MAX = 2**32 - 1
_INT64_MAX = 2**63 - 1

# Every integer up to this one is a float64.
_EXACT = 2**53

# numpy's short names of data types, after an optional byte order, by default that of the request.
_DTYPE_RE = re.compile(r"([<>|]?)(i1|i2|i4|i8|u1|u2|u4|u8|f2|f4|f8|b1|c8|c16)", re.ASCII)
_LONG_DTYPE_RE = re.compile(r"([<>|]?)((?:int|uint)(?:8|16|32|64)|float(?:16|32|64)|bool|complex(?:64|128))", re.ASCII)

_INTEGER_RE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CodecParameter:
    """A parameter of a step.

    Attributes:
        check: From a value of JSON or of ``parse`` to its normal form. A ``ValueError`` says what it should be.
        parse: From text to a value for ``check``.
        default: The default value, or None.
        is_required: Whether the parameter is required.
    """

    check: Callable[[object], Value]
    parse: Callable[[str], object] = str
    default: Value | None = None
    is_required: bool = False


def format_value(value: Value) -> str:
    """The text of a value. The parameter's ``parse`` reads it back."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parse_number(text: str) -> object:
    if _INTEGER_RE.fullmatch(text):
        return int(text)
    # Python accepts underscores and spaces in numbers, and no other language does.
    return text if "_" in text or text != text.strip() else float(text)


def _check_number(value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be a finite number")  # noqa: TRY004  # the caller of ``check`` expects one kind
    try:
        # An integer beyond int64 becomes a float.
        number = value if isinstance(value, int) and abs(value) <= _INT64_MAX else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("should be a finite number")
    # Equal numbers have one form, so that equal steps have one ETag: 273.0 becomes 273, and -0.0 becomes 0.
    return int(number) if float(number).is_integer() and abs(number) < _EXACT else number


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


def _check_xz(value: object) -> Value:
    if value != 1 or isinstance(value, bool):
        raise ValueError("should be 1, for xz (lzma.FORMAT_XZ); other formats are not supported")
    return 1


def _integer(least: int, most: int) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"should be an integer from {least} to {most}")
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
            f"should be the 1 to {_MAX_CD_VALUES} values of the filter in the HDF5 file, each from 0 to 2**32-1"
        )
    return numbers


def _parse_integers(text: str) -> object:
    return tuple(_parse_number(part) for part in text.split("-"))


_DTYPE = CodecParameter(_check_dtype)
_NEEDED_DTYPE = CodecParameter(_check_dtype, is_required=True)
_CD_VALUES = CodecParameter(_check_cd_values, _parse_integers, is_required=True)
_KEPT_CD_VALUES = CodecParameter(_check_cd_values, _parse_integers)


def _location(default: str) -> CodecParameter:
    return CodecParameter(_word("start", "end"), default=default)


@dataclass(frozen=True, slots=True)
class Codec:
    """A row of the table.

    Attributes:
        compresses: Whether it can be the ``compression``. Every codec can be a filter.
        parameters: The parameters for reading, by name, in addition to ``element_size``.
        writer: The names of parameters that only writers need.
        aliases: Its other names.
        is_sized: Whether the size of an element is required.
        encoded_dtype: The parameters that name the data type after the step. The first that is present counts; if all
            are absent, the step keeps the data type.
        makes_integers: Whether the data type after the step is a signed integer of the element's size.
    """

    compresses: bool = False
    parameters: Mapping[str, CodecParameter] = field(default_factory=dict)
    writer: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    is_sized: bool = False
    encoded_dtype: tuple[str, ...] = ()
    makes_integers: bool = False


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
        "lzma": Codec(
            compresses=True,
            parameters={"format": CodecParameter(_check_xz, _parse_number, default=1)},
            writer=("check", "preset", "filters"),
            aliases=("xz",),
        ),
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
                "cname": CodecParameter(_word("none", "lz4", "zstd"), default="none"),
                "block_size": CodecParameter(_integer(0, 2**24), _parse_number, default=0),
            },
            writer=("clevel",),
            is_sized=True,
        ),
        "shuffle": Codec(aliases=("shuffle_simd",), is_sized=True),
        "fletcher32": Codec(),
        "crc32c": Codec(parameters={"location": _location("end")}),
        "crc32": Codec(parameters={"location": _location("start")}),
        "adler32": Codec(parameters={"location": _location("start")}),
        "jenkins_lookup3": Codec(
            parameters={"initval": CodecParameter(_integer(0, _UINT32_MAX), _parse_number, default=0)}
        ),
        "delta": Codec(parameters={"dtype": _DTYPE, "astype": _DTYPE}, encoded_dtype=("astype", "dtype")),
        "fixedscaleoffset": Codec(
            parameters={
                "offset": CodecParameter(_check_number, _parse_number, is_required=True),
                "scale": CodecParameter(_check_scale, _parse_number, is_required=True),
                "dtype": _DTYPE,
                "astype": _DTYPE,
            },
            encoded_dtype=("astype", "dtype"),
        ),
        "scale_offset": Codec(
            parameters={
                "offset": CodecParameter(_check_number, _parse_number, default=0),
                "scale": CodecParameter(_check_scale, _parse_number, default=1),
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
        "bitround": Codec(writer=("keepbits",), makes_integers=True),
        "scaleoffset": Codec(parameters={"cd_values": _CD_VALUES}),
        "nbit": Codec(parameters={"cd_values": _CD_VALUES}),
    }
)

# Other names of codecs, from HDF5 and from the reference service.
ALIASES: Mapping[str, str] = MappingProxyType({alias: name for name, row in CODECS.items() for alias in row.aliases})

# Zarr 3's prefix for the names of numcodecs.
_PREFIX = "numcodecs."


def find_id(name: str) -> str:
    """The id in ``CODECS`` of a name or an alias; an unknown name is returned without its prefix."""
    plain = name.removeprefix(_PREFIX)
    return ALIASES.get(plain, plain)


# The codecs that can be the compression, and those that can be filters only.
COMPRESSIONS = tuple(name for name, row in CODECS.items() if row.compresses)
FILTERS = tuple(name for name, row in CODECS.items() if not row.compresses)

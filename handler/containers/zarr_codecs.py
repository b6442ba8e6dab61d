"""Chains of codecs of Zarr version 3.

A chain has codecs from arrays to arrays, then one from an array to bytes, then codecs from bytes to bytes (Zarr core
specification, "Codecs").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from active_storage.errors import shown
from active_storage.model.codecs import CODECS
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.steps import Step
from handler.containers.zarr_document import ZarrDocument

# The codecs that an index of a shard can have. Each adds four bytes.
CHECKSUMS = frozenset({"adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"})

# The kinds of codecs, in the order in which a chain has them. A name that is missing here is refused even if a codec of
# numcodecs has it: for example, Zarr's packbits is another codec than numcodecs.packbits.
_ARRAY_TO_ARRAY, _ARRAY_TO_BYTES, _BYTES_TO_BYTES = range(3)
_KINDS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("bitround", "scale_offset", "transpose", "numcodecs.astype"), _ARRAY_TO_ARRAY),
        **dict.fromkeys(("numcodecs.bitround", "numcodecs.delta", "numcodecs.fixedscaleoffset"), _ARRAY_TO_ARRAY),
        **dict.fromkeys(("numcodecs.packbits", "numcodecs.quantize"), _ARRAY_TO_ARRAY),
        **dict.fromkeys(("bytes", "sharding_indexed", "numcodecs.pcodec", "numcodecs.zfpy"), _ARRAY_TO_BYTES),
        **dict.fromkeys(("blosc", "crc32c", "gzip", "zstd", "numcodecs.blosc", "numcodecs.bz2"), _BYTES_TO_BYTES),
        **dict.fromkeys(("numcodecs.gzip", "numcodecs.lz4", "numcodecs.lzma", "numcodecs.shuffle"), _BYTES_TO_BYTES),
        **dict.fromkeys(("numcodecs.zlib", "numcodecs.zstd"), _BYTES_TO_BYTES),
        **{f"numcodecs.{name}": _BYTES_TO_BYTES for name in CHECKSUMS},
    }
)


@dataclass
class CodecChain:
    """How a chunk, a shard or an index of a shard is encoded.

    Attributes:
        permutation: The dimensions in the order in which the elements are stored.
        byte_order: The byte order of the elements; little if they have a single byte.
        steps: The steps, in the order of writing.
        sharding: The configuration of ``sharding_indexed`` if that is the only codec.
    """

    permutation: tuple[int, ...]
    byte_order: ByteOrder = "little"
    steps: list[Step] = field(default_factory=list)
    sharding: ZarrDocument | None = None


def read_named(document: ZarrDocument, value: object, what: str) -> tuple[str, ZarrDocument]:
    """The name and the configuration of an extension: an object, or the name alone.

    Raises:
        UndecodableData: The value is neither.
        UnsupportedArray: The object has other members.
    """
    members: Any = {"name": value} if isinstance(value, str) else value
    if not isinstance(members, dict) or not isinstance(name := members.get("name"), str):
        raise document.fault(f"{what} should be an object with a name, or a name")
    configuration = members.get("configuration")
    configuration = {} if configuration is None else configuration
    if not isinstance(configuration, dict):
        raise document.fault(f"the configuration of {what} should be an object")
    for member in members.keys() - {"name", "configuration", "must_understand"}:
        raise document.unsupported(f"the member {shown(member)} in {what}")
    return name, document.within(configuration)


def read_chain(document: ZarrDocument, member: str, dimensions: int, dtype: str) -> CodecChain:
    """The chain of codecs in a member.

    Args:
        document: The object with the member.
        member: The name of the member.
        dimensions: The number of dimensions of what is encoded.
        dtype: The data type of its elements, a name in ``DTYPES``.

    Raises:
        UndecodableData: It is not a chain of codecs.
        UnsupportedArray: A codec, a parameter or an order of codecs is not supported.
    """
    value = document.codecs(member, document.required(member))
    codecs = [read_named(document, codec, "a codec") for codec in value]
    for name, _ in codecs:
        if name not in _KINDS:
            raise document.unsupported(f"the codec {shown(name)}")
    kinds = [_KINDS[name] for name, _ in codecs]
    if kinds != sorted(kinds) or kinds.count(_ARRAY_TO_BYTES) != 1:
        raise document.fault(
            f"{member} should list codecs from arrays to arrays, then one to bytes, then codecs from bytes to bytes"
        )
    chain = CodecChain(tuple(range(dimensions)))
    for name, configuration in codecs:
        if name == "transpose":
            _transpose(chain, configuration)
        elif name == "bytes":
            chain.byte_order = _read_byte_order(configuration, chain.steps, dtype)
        elif name == "sharding_indexed":
            if len(codecs) > 1:
                raise document.unsupported("a codec beside sharding_indexed")
            chain.sharding = configuration
        else:
            # Arrays have no byte order until the codec "bytes" gives them one.
            chain.steps.append(document.step(name, configuration.members, byte_order=""))
    return chain


def _transpose(chain: CodecChain, configuration: ZarrDocument) -> None:
    configuration.ensure_known("transpose", "order")
    order = configuration.sizes("order")
    if sorted(order) != list(range(len(chain.permutation))):
        raise configuration.fault("the order of transpose is not a permutation of the dimensions")
    # All others leave every element in its place.
    for step in chain.steps:
        if step.id in ("delta", "packbits"):
            raise configuration.unsupported(f"the codec transpose after {step.id}")
    chain.permutation = tuple(chain.permutation[dimension] for dimension in order)


def _read_byte_order(configuration: ZarrDocument, steps: list[Step], dtype: str) -> ByteOrder:
    configuration.ensure_known("bytes", "endian")
    endian = configuration.members.get("endian")
    if endian in ("little", "big"):
        return "little" if endian == "little" else "big"
    if endian is not None:
        raise configuration.fault("the endian of the codec bytes should be little or big")
    if DTYPES[dtype].itemsize > 1 or not all(map(_makes_single_bytes, steps)):
        raise configuration.fault("the codec bytes has no endian")
    return "little"


def _makes_single_bytes(step: Step) -> bool:
    """Whether a step makes elements of one byte of elements of one byte."""
    dtypes = [step.value(parameter) for parameter in CODECS[step.id].encoded_dtype]
    return all(dtype is None or str(dtype).endswith("1") for dtype in dtypes)

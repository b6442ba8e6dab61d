"""The interface of decoders, and its two kinds.

A ``StreamDecoder`` reads and decodes the data in pieces, as they are read from it: its memory does not grow with the
data. A ``BlockDecoder`` is for formats that are decoded in one call: it holds the stored data, reads the decoded size
from a header, and allocates after that.

This file enforces the rules of all decoders: at most ``limit_bytes`` are decoded, memory is accounted for, the end is
verified before it is reported, and a library's error becomes ``UndecodableData`` (``translated``). The file of a codec
handles only its library and its header. A library's error is kept as the cause: it describes the data and contains
nothing about the caller.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

import numpy as np

from active_storage.errors import CodecNotInstalled, EntityTooLarge, InvalidArgument, UndecodableData
from active_storage.model.codecs import CODECS
from active_storage.model.dtypes import ByteOrder
from active_storage.model.steps import Step
from handler.codecs.readable import MemoryReader, Readable, fill

# The size of the pieces in which a stream is read and decoded. Each piece costs calls, and releases and takes the
# interpreter's lock. With 64 KiB, eight zlib chunks at a time took 15 % longer, and one alone 5 %; 512 KiB is not
# faster.
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of decoding.

    Attributes:
        limit_bytes: The maximum number of bytes that a codec may decode to.
        hold: Accounts for a number of bytes of memory, or raises.
        check: Raises if the request has ended. It is called between pieces, since a few stored bytes can take long to
            decode.
    """

    limit_bytes: int
    hold: Callable[[int], None]
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class StepContext:
    """The input of a codec, in addition to the data.

    Attributes:
        step: The codec's id and its parameters.
        dtype: The data type before the step was applied, with its byte order.
        byte_order: The byte order of data types whose names have none.
        likely_bytes: The likely size of the data before the step was applied, in bytes; not a limit.
        budget: The limits of memory and time.
    """

    step: Step
    dtype: np.dtype[Any]
    byte_order: ByteOrder
    likely_bytes: int
    budget: Budget

    @property
    def element_size(self) -> int:
        """The size of an element in bytes: the step's parameter, or else that of the data type."""
        return self.step.element_size or self.dtype.itemsize

    def integer(self, name: str) -> int:
        """The value of a parameter that is an integer."""
        value = self.step.value(name)
        assert isinstance(value, int)  # noqa: S101  # the table of codecs checks it
        return value

    def number(self, name: str) -> float:
        """The value of a parameter that is a number, an int or a float."""
        value = self.step.value(name)
        assert isinstance(value, int | float)  # noqa: S101  # the table of codecs checks it
        return value

    def allocate(self, size: int) -> memoryview:
        """Allocate accounted memory for the result.

        Raises:
            EntityTooLarge: It is more than the budget allows.
        """
        if size > self.budget.limit_bytes:
            raise too_large(self.step.id, self.budget.limit_bytes)
        self.budget.hold(size)
        with translated(self.step.id):
            return np.empty(size, np.uint8).data

    def read_dtype(self, *names: str) -> np.dtype[Any]:
        """The data type in the first of these parameters that is present, or else ``dtype``.

        If its name has no byte order, it has that of the request.
        """
        values = (self.step.value(name) for name in names)
        name = next((value for value in values if isinstance(value, str)), None)
        if name is None:
            return self.dtype
        return np.dtype(name) if name[0] in "<>" else np.dtype(name).newbyteorder(self.byte_order)

    @property
    def encoded_dtype(self) -> np.dtype[Any]:
        """The data type after the step was applied."""
        row = CODECS[self.step.id]
        if row.makes_integers:
            return np.dtype(f"i{self.dtype.itemsize}").newbyteorder(self.dtype.byteorder)
        return self.read_dtype(*row.encoded_dtype)


def read_cd_values(context: StepContext, least: int, count: int) -> list[int]:
    """The first ``count`` of HDF5's values for a filter. At least ``least`` are required; absent ones are 0.

    Raises:
        InvalidArgument: There are fewer than ``least``.
    """
    parameter = context.step.value("cd_values")
    values = list(parameter) if isinstance(parameter, tuple) else []
    if len(values) < least:
        raise InvalidArgument(
            "filters", f"{context.step.id}: cd_values should have {least} or more values, and has {len(values)}"
        )
    return [*values, *[0] * count][:count]


def too_large(codec: str, limit_bytes: int) -> EntityTooLarge:
    """The error for data that decodes to more bytes than the limit."""
    return EntityTooLarge(f"{codec}: the data decodes to more than {limit_bytes} bytes")


def load(codec: str, module: str, library: str) -> Any:
    """The module of an optional library.

    Raises:
        CodecNotInstalled: The library is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise CodecNotInstalled(codec, library) from error


class Decoder(ABC):
    """A ``Readable`` of the decoded bytes of compressed data.

    A decoder that has raised must not be read again. Threads must not share a decoder; several decoders can run in
    parallel.

    Args:
        stored: The compressed bytes and nothing else.
        stored_bytes: The number of compressed bytes.
        budget: The limits. Memory that the decoder holds, apart from the caller's buffer, is accounted for there.
    """

    codec: ClassVar[str]

    def __init__(self, stored: Readable, stored_bytes: int, budget: Budget) -> None:
        self._stored = stored
        self._stored_bytes = stored_bytes
        self._limit_bytes = budget.limit_bytes
        self._hold = budget.hold
        self._check = budget.check

    @property
    @abstractmethod
    def decoded_bytes(self) -> int | None:
        """The number of decoded bytes, from a header; None if the format does not store it."""

    @abstractmethod
    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer`` and return the number of bytes.

        It returns 0 only at the end of the data, after it has verified the checksum and that no bytes follow.

        Raises:
            UndecodableData: The data is truncated, damaged, or followed by other bytes.
            EntityTooLarge: The decoded data is larger than the limit.
        """

    def _too_large(self) -> EntityTooLarge:
        return too_large(self.codec, self._limit_bytes)


@contextmanager
def translated(codec: str, *errors: type[Exception]) -> Iterator[None]:
    """Translate the errors of a library to ours, and keep them as the cause.

    Args:
        codec: The id of the codec.
        *errors: The classes that the library raises for invalid data.

    Raises:
        UndecodableData: The library raised one of ``errors``.
        EntityTooLarge: The library could not allocate memory.
    """
    try:
        yield
    except MemoryError as error:
        raise EntityTooLarge(f"{codec}: there is not enough memory to decode the data") from error
    except errors as error:
        raise UndecodableData(codec, "the data is damaged, or was not written by this codec") from error


def cut_short(codec: str) -> UndecodableData:
    """The error for data that ends too early."""
    return UndecodableData(codec, "the data is truncated")


def followed(codec: str) -> UndecodableData:
    """The error for bytes after the end of the data."""
    return UndecodableData(codec, "other bytes follow the end of the data")


# Streams


class Decompressor(Protocol):
    """Decodes one stream. The interface is that of ``bz2.BZ2Decompressor``, which all the libraries used here have.

    It keeps input that it has not used yet, which is at most one piece.
    """

    @property
    def eof(self) -> bool:
        """Whether the stream has ended, with a correct checksum."""

    @property
    def needs_input(self) -> bool:
        """Whether it has used all its input."""

    @property
    def unused_data(self) -> bytes:
        """The input after the end of the stream."""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        """Append ``data`` to the unused input, and return at most ``max_length`` decoded bytes."""


class StreamDecoder(Decoder):
    """Decodes piece by piece. It holds two pieces and the decompressor's window, whatever the size of the data.

    Attributes:
        errors: The classes that the library raises for invalid data.
        window_bytes: The maximum size of a decompressor's window: the decoded bytes that later data can refer to. A
            decompressor touches no more of it than it has decoded.
    """

    errors: ClassVar[tuple[type[Exception], ...]]
    window_bytes: ClassVar[int]

    def __init__(self, stored: Readable, stored_bytes: int, budget: Budget) -> None:
        super().__init__(stored, stored_bytes, budget)
        input_bytes = min(stored_bytes, PIECE_BYTES)
        self._hold(input_bytes + PIECE_BYTES)
        self._input = memoryview(bytearray(input_bytes))
        self._head: bytes | memoryview = b""
        self._decompressor: Decompressor | None = None
        self._room_bytes = budget.limit_bytes
        # The bytes decoded by the current decompressor, and the window memory that is accounted for.
        self._come_bytes = self._held_window_bytes = 0

    @property
    def decoded_bytes(self) -> None:
        """None: even if a header has the size of a stream, another stream can follow."""
        return

    def readinto(self, buffer: memoryview, /) -> int:
        """Decode one piece into ``buffer``; see ``Decoder.readinto``."""
        # One byte more than the limit. If it is decoded, the data is too large; if not, the end has been verified.
        most = min(len(buffer), PIECE_BYTES, self._room_bytes + 1)
        while most and (decompressor := self._open_decompressor()):
            piece = self._decode(decompressor, most)
            self._room_bytes -= len(piece)
            if self._room_bytes < 0:
                raise self._too_large()
            if piece:
                self._hold_window(len(piece))
                buffer[: len(piece)] = piece
                return len(piece)
        return 0

    def _hold_window(self, piece_bytes: int) -> None:
        """Account for the window of the decompressor, which grows with the data. There is one at a time."""
        self._come_bytes += piece_bytes
        added = min(self._come_bytes, self.window_bytes) - self._held_window_bytes
        if added > 0:
            self._hold(added)
            self._held_window_bytes += added

    @abstractmethod
    def _start(self, first: int, /) -> Decompressor:
        """The decompressor for a stream whose first byte is ``first``."""

    def _repeat(self, first: int, /) -> Decompressor | None:
        """The decompressor for a stream that follows another one; None if the format does not allow one."""
        return self._start(first)

    def _open_decompressor(self) -> Decompressor | None:
        last = self._decompressor
        if last is not None and not last.eof:
            return last
        self._head = (last.unused_data if last else b"") or self._read()
        if not self._head:
            if last is None:
                raise cut_short(self.codec)
            return None
        self._come_bytes = 0
        self._decompressor = self._repeat(self._head[0]) if last else self._start(self._head[0])
        if self._decompressor is None:
            raise followed(self.codec)
        return self._decompressor

    def _decode(self, decompressor: Decompressor, most: int) -> bytes:
        self._check()
        data, self._head = self._head, b""
        is_hungry = not data and decompressor.needs_input
        if is_hungry:
            data = self._read()
        with translated(self.codec, *self.errors):
            piece = decompressor.decompress(data, most)
        # A decompressor can have output without new input. With neither, before its end, the data is truncated.
        if is_hungry and not data and not piece and not decompressor.eof:
            raise cut_short(self.codec)
        return piece

    def _read(self) -> memoryview:
        return self._input[: self._stored.readinto(self._input)]


# Blocks


class BlockDecoder(Decoder):
    """Decodes in one call. It holds the stored data, and the decoded data until that has been read.

    It reads the rest of the stored data only if the size in the header is within the limit. If the first buffer is
    large enough for all of it, the data is decoded into that buffer. Otherwise the caller accounts for
    ``decoded_bytes``.
    """

    def __init__(self, stored: Readable, stored_bytes: int, budget: Budget) -> None:
        super().__init__(stored, stored_bytes, budget)
        self._hold(stored_bytes)
        self._head: memoryview | None = None
        self._size = 0
        self._rest: MemoryReader | None = None

    @property
    def decoded_bytes(self) -> int:
        """The number of decoded bytes. The first access reads some stored data, and raises as ``readinto`` does."""
        if self._head is None:
            self._head = self._read(min(self._stored_bytes, PIECE_BYTES))
            self._size = self._measure(self._head)
            if self._size > self._limit_bytes:
                raise self._too_large()
        return self._size

    def readinto(self, buffer: memoryview, /) -> int:
        """Decode everything in the first call; see ``Decoder.readinto``."""
        if self._rest is None:
            return self._decode_all(buffer)
        return self._rest.readinto(buffer)

    @abstractmethod
    def _measure(self, head: memoryview) -> int:
        """The number of decoded bytes, from the first piece of the stored data.

        It verifies that the sizes in the header agree with ``_stored_bytes``. 0 means that nothing follows the header.
        """

    @abstractmethod
    def _decode(self, block: memoryview, target: memoryview) -> None:
        """Decode into ``target``, which has the size that ``_measure`` returned, and is not empty."""

    def _decode_all(self, buffer: memoryview) -> int:
        size = self.decoded_bytes
        is_roomy = len(buffer) >= size
        target = buffer[:size] if is_roomy else self._allocate(size)
        if size:
            self._decode(self._read_all(), target)
        if is_roomy:
            self._rest = MemoryReader(target[size:])
            return size
        self._rest = MemoryReader(target)
        return self.readinto(buffer)

    def _read_all(self) -> memoryview:
        head = self._head or memoryview(b"")
        if len(head) == self._stored_bytes:
            return head
        return self._read(self._stored_bytes, head)

    def _read(self, size: int, head: bytes | memoryview = b"") -> memoryview:
        block = self._allocate(size)
        block[: len(head)] = head
        rest = block[len(head) :]
        if fill(self._stored, rest) < len(rest):
            raise cut_short(self.codec)
        return block.toreadonly()

    def _allocate(self, size: int) -> memoryview:
        with translated(self.codec):
            return np.empty(size, np.uint8).data

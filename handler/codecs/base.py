"""The interface of decoders, and its two kinds.

A ``StreamDecoder`` reads and decodes the data in pieces, never more than was asked for: its memory does not grow with
the data. A ``BlockDecoder`` is for formats that are decoded in one call: it holds the stored data, reads the decoded
size from a header, and allocates only then.

The rules of all decoders are in this file: at most ``limit_bytes`` come out, memory is accounted for, the end is
verified before it is reported, and a library's error becomes ``UndecodableData`` (``translated``). The file of a codec
knows only its library and its header. A library's error stays as the cause: it tells about the data, never about the
caller.
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

# The size in which a stream is read and decoded. Each piece costs calls and a turn of the interpreter's lock. With
# 64 KiB, eight zlib chunks at a time took 15 % longer, and one alone 5 %; with 512 KiB none is faster.
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of decoding.

    Attributes:
        limit_bytes: The most bytes that may come out of a codec.
        hold: Accounts for a number of bytes of memory, or raises.
        check: Raises if the request has ended. It is called between pieces, since a few stored bytes can take long to
            decode.
    """

    limit_bytes: int
    hold: Callable[[int], None]
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a codec needs to undo a step, beside the data.

    Attributes:
        step: The codec's id and its parameters.
        dtype: The data type before the step was applied, with its byte order.
        byte_order: The byte order of data types that name none.
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
        assert isinstance(value, int)  # noqa: S101  # the table of codecs sees to it
        return value

    def number(self, name: str) -> float:
        """The value of a parameter that is a number, an int or a float."""
        value = self.step.value(name)
        assert isinstance(value, int | float)  # noqa: S101  # the table of codecs sees to it
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
        given = (self.step.value(name) for name in names)
        name = next((name for name in given if isinstance(name, str)), None)
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
    """The first ``count`` values of HDF5's for a filter, of which ``least`` must be given; others are 0.

    Raises:
        InvalidArgument: There are fewer.
    """
    given = context.step.value("cd_values")
    values = list(given) if isinstance(given, tuple) else []
    if len(values) < least:
        raise InvalidArgument("filters", f"{context.step.id}: cd_values are {len(values)}, not {least} or more")
    return [*values, *[0] * count][:count]


def too_large(codec: str, limit_bytes: int) -> EntityTooLarge:
    """The error for data that decodes to more bytes than the limit."""
    return EntityTooLarge(f"{codec}: the data decodes to more than {limit_bytes} bytes")


def load(codec: str, module: str, library: str) -> Any:
    """The module of a library that only some installations have.

    Raises:
        CodecNotInstalled: It is not there.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise CodecNotInstalled(codec, library) from error


class Decoder(ABC):
    """Reads compressed data, and is read as what it decodes to.

    Once it has raised, a decoder is not to be asked again. No decoder is shared by threads; any number of them may
    run side by side.

    Args:
        stored: The compressed bytes and nothing else.
        stored_bytes: How many they are.
        budget: What it may cost. What it holds beside the bytes that it gives is accounted for there.
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
        """How many bytes will come out, where a header tells; None where nothing does."""

    @abstractmethod
    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; 0 only where the data ended, its checksum was right, and nothing follows it.

        Raises:
            UndecodableData: The data is cut short, damaged, or followed by something else.
            EntityTooLarge: More would come out than the limit.
        """

    def _too_large(self) -> EntityTooLarge:
        return too_large(self.codec, self._limit_bytes)


@contextmanager
def translated(codec: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn a library's ``errors`` into ours, as their cause.

    Raises:
        UndecodableData: The library raised one of them.
        EntityTooLarge: It found no memory for what the data asks for.
    """
    try:
        yield
    except MemoryError as error:
        raise EntityTooLarge(f"{codec}: there is not enough memory to decode the data") from error
    except errors as error:
        raise UndecodableData(codec, "the data is damaged, or was not written by this codec") from error


def cut_short(codec: str) -> UndecodableData:
    """The error for data that ends too early."""
    return UndecodableData(codec, "the data is cut short")


def followed(codec: str) -> UndecodableData:
    """The error for data that goes on after its end."""
    return UndecodableData(codec, "something follows the end of the data")


# Streams


class Decompressor(Protocol):
    """What decodes one stream: the interface of ``bz2.BZ2Decompressor``, which all the libraries used have copied.

    It keeps what it was given and has not used yet, which is never more than a piece.
    """

    @property
    def eof(self) -> bool:
        """Whether the stream has ended, and its checksum was right."""

    @property
    def needs_input(self) -> bool:
        """Whether it has used what it was given."""

    @property
    def unused_data(self) -> bytes:
        """What it was given after the end of the stream."""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        """Take in ``data`` after what is left of the last; at most ``max_length`` bytes."""


class StreamDecoder(Decoder):
    """Decodes piece by piece: holds two pieces and what the decompressor looks back on, whatever the size of the data.

    Attributes:
        errors: What the library raises of data that is not as it should be.
        window_bytes: How far a decompressor looks back at most. It touches that memory only as far as it has come.
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
        # Since the decompressor began, and the most so far that one looked back on.
        self._come_bytes = self._held_window_bytes = 0

    @property
    def decoded_bytes(self) -> None:
        """Not known: where a header tells the size of a stream, another may follow."""
        return

    def readinto(self, buffer: memoryview, /) -> int:
        """Decode once into ``buffer``, see ``Decoder.readinto``."""
        # One byte more than the limit allows: if it comes, it is too much; if it does not, the end was verified.
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
        """Account for the window of the decompressor, which grows with the data; only one exists at a time."""
        self._come_bytes += piece_bytes
        added = min(self._come_bytes, self.window_bytes) - self._held_window_bytes
        if added > 0:
            self._hold(added)
            self._held_window_bytes += added

    @abstractmethod
    def _start(self, first: int, /) -> Decompressor:
        """What decodes a stream whose first byte is ``first``."""

    def _repeat(self, first: int, /) -> Decompressor | None:
        """What decodes another stream after one that has ended; None where the format has no other."""
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
        # Without input a decompressor may still have output; with neither, there was to be more.
        if is_hungry and not data and not piece and not decompressor.eof:
            raise cut_short(self.codec)
        return piece

    def _read(self) -> memoryview:
        return self._input[: self._stored.readinto(self._input)]


# Blocks


class BlockDecoder(Decoder):
    """Decodes in one go: holds what is stored, and what came out of it until it was read.

    It reads the first piece, and the rest only where the header tells of no more than the limit. A first buffer that is
    large enough for everything is decoded into; where it is another, whoever asks accounts for ``decoded_bytes``.
    """

    def __init__(self, stored: Readable, stored_bytes: int, budget: Budget) -> None:
        super().__init__(stored, stored_bytes, budget)
        self._hold(stored_bytes)
        self._head: memoryview | None = None
        self._size = 0
        self._rest: MemoryReader | None = None

    @property
    def decoded_bytes(self) -> int:
        """How many bytes will come out. Reads a piece of what is stored to tell, and raises as ``readinto`` does."""
        if self._head is None:
            self._head = self._read(min(self._stored_bytes, PIECE_BYTES))
            self._size = self._measure(self._head)
            if self._size > self._limit_bytes:
                raise self._too_large()
        return self._size

    def readinto(self, buffer: memoryview, /) -> int:
        """Decode everything the first time, see ``Decoder.readinto``."""
        if self._rest is None:
            return self._decode_all(buffer)
        return self._rest.readinto(buffer)

    @abstractmethod
    def _measure(self, head: memoryview) -> int:
        """How many bytes come out of what is stored, of which ``head`` is the first piece.

        0 only where nothing is stored but a header; it was verified that the header fits ``_stored_bytes``.
        """

    @abstractmethod
    def _decode(self, block: memoryview, target: memoryview) -> None:
        """Decode into ``target``, which is as long as ``_measure`` said and not empty."""

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

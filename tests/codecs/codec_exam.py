"""The checks that every codec must pass: data in pieces of any size, truncated, extended, damaged, limited, and bombs.

As a program it decodes a bomb: ``python -m tests.codecs.codec_exam codec limit times head segment`` decodes ``head``
followed by ``times`` copies of ``segment``, both in hexadecimal, and prints the growth of its peak memory in bytes.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from active_storage.errors import ActiveStorageError, EntityTooLarge, UndecodableData
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.steps import Step
from handler.codecs import IMPLEMENTATIONS
from handler.codecs.base import Budget, StepContext

ROOMY = 1 << 30

# The maximum number of reads in one check. More small reads take long and test nothing new.
_MAX_STEPS = 5_000

DECODERS = {name: row.decoder for name, row in IMPLEMENTATIONS.items() if row.decoder}
UNDO = {name: row.undo for name, row in IMPLEMENTATIONS.items() if row.undo}


def limit_to(limit_bytes: int) -> Budget:
    """A budget that limits the decoded size, but not the memory."""
    return Budget(limit_bytes, lambda _: None)


class Stored:
    """A ``Readable`` of ``head`` and ``times`` copies of ``segment``, at most ``read_bytes`` in each read."""

    def __init__(self, head: bytes, segment: bytes = b"", times: int = 0, read_bytes: int = ROOMY) -> None:
        self._rest = memoryview(head)
        self._segment = segment
        self._times = times
        self._read_bytes = read_bytes
        self.size = len(head) + len(segment) * times

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._rest and self._times:
            self._times -= 1
            self._rest = memoryview(self._segment)
        count = min(len(buffer), len(self._rest), self._read_bytes)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def decode(
    codec: str, stored: bytes, limit_bytes: int = ROOMY, read_bytes: int = ROOMY, buffer_bytes: int = 1 << 20
) -> bytes:
    """The decoded data, read into a buffer of ``buffer_bytes`` until its end. A read after the end returns 0."""
    decoder = DECODERS[codec](Stored(stored, read_bytes=read_bytes), len(stored), limit_to(limit_bytes))
    buffer = memoryview(bytearray(buffer_bytes))
    decoded = bytearray()
    while count := decoder.readinto(buffer):
        decoded += buffer[:count]
    assert decoder.readinto(buffer) == 0
    assert decoder.decoded_bytes in {None, len(decoded)}
    return bytes(decoded)


def make_context(
    step: Step,
    dtype: str = "int32",
    byte_order: ByteOrder = "little",
    likely_bytes: int = 0,
    limit_bytes: int = ROOMY,
) -> StepContext:
    """The context of a step that was applied to elements of a data type."""
    return StepContext(step, DTYPES[dtype].newbyteorder(byte_order), byte_order, likely_bytes, limit_to(limit_bytes))


def undo(step: Step | str, data: bytes, dtype: str = "int32", byte_order: ByteOrder = "little", **fields: int) -> bytes:
    """The data before the step was applied."""
    step = Step(step) if isinstance(step, str) else step
    undone = UNDO[step.id](memoryview(data).toreadonly(), make_context(step, dtype, byte_order, **fields))
    assert undone.format == "B"
    assert undone.ndim == 1
    return bytes(undone)


def check_codec(codec: str, stored: bytes, plain: bytes, padding_bytes: int = 0) -> None:
    """Pass if ``stored`` decodes to ``plain`` for all sizes of reads and buffers, and for no limit below its size.

    For a format with padding, the limit is larger by ``padding_bytes``, the maximum padding.
    """
    for buffer_bytes in (1, 3, 4096, len(plain) or 1, len(plain) + 1):
        for read_bytes in (1, 1000, ROOMY):
            if len(plain) / buffer_bytes + len(stored) / read_bytes < _MAX_STEPS:
                decoded = decode(codec, stored, len(plain) + padding_bytes, read_bytes, buffer_bytes)
                assert decoded == plain, f"read by {read_bytes}, into {buffer_bytes}"
    if plain:
        for buffer_bytes in (7, len(plain) + 1):
            if len(plain) / buffer_bytes < _MAX_STEPS:
                with pytest.raises(EntityTooLarge, match=f"^{codec}: .* more than {len(plain) - 1} bytes"):
                    decode(codec, stored, len(plain) - 1, buffer_bytes=buffer_bytes)


def check_ends(codec: str, stored: bytes) -> None:
    """Pass if ``stored`` is refused when it is truncated anywhere, or followed by any byte."""
    for length in range(len(stored)):
        check_refused(codec, stored[:length])
        check_refused(codec, stored[:length], read_bytes=1)
    for byte in range(256):
        check_refused(codec, stored + bytes([byte]))
    check_refused(codec, stored + bytes(1000))
    check_refused(codec, stored + stored[:-1])


def check_refused(codec: str, stored: bytes, read_bytes: int = ROOMY) -> UndecodableData:
    """Pass if ``stored`` is refused as invalid data of the codec, and return the error."""
    with pytest.raises(UndecodableData, match=f"^{codec}: ") as refusal:
        decode(codec, stored, 1 << 20, read_bytes=read_bytes)
    assert (refusal.value.status, refusal.value.code) == (400, "UndecodableData")
    return refusal.value


def check_flips(codec: str, stored: bytes, plain: bytes) -> None:
    """Pass if each flipped bit is refused or does not change the decoded data."""
    for place in range(8 * len(stored)):
        assert decode_damaged(codec, stored, place, len(plain)) in {None, plain}, f"bit {place % 8} of {place // 8}"


def decode_damaged(
    codec: str, stored: bytes, place: int, limit_bytes: int, buffer_bytes: int = 1 << 20
) -> bytes | None:
    """The decoded data of ``stored`` with one bit flipped; None if it is refused with the name of the codec."""
    damaged = bytearray(stored)
    damaged[place // 8] ^= 1 << place % 8
    try:
        return decode(codec, bytes(damaged), limit_bytes, buffer_bytes=buffer_bytes)
    except (UndecodableData, EntityTooLarge) as refusal:
        if not refusal.message.startswith(f"{codec}: "):
            raise
        return None


def check_bomb(codec: str, head: bytes, segment: bytes, times: int, limit_bytes: int) -> None:
    """Pass if data beyond the limit is refused, and takes no more memory than the limit and 2 MiB."""
    # The process reads its peak from /proc. The peak of getrusage would include that of its parent.
    arguments = [codec, str(limit_bytes), str(times), head.hex(), segment.hex()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.codecs.codec_exam", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    refusal, growth = done.stdout.split()
    assert refusal == "EntityTooLarge"
    assert int(growth) <= limit_bytes + (2 << 20)


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _main(codec: str, limit: str, times: str, head: str, segment: str) -> None:
    frozen = Path(__file__).parents[1] / "data" / "codecs" / f"{codec}.bin"
    decode(codec, frozen.read_bytes())
    stored = Stored(bytes.fromhex(head), bytes.fromhex(segment), int(times))
    buffer = memoryview(bytearray(256 * 1024))
    before = _memory("VmRSS")
    decoder = DECODERS[codec](stored, stored.size, limit_to(int(limit)))
    outcome = "decoded"
    try:
        while decoder.readinto(buffer):
            pass
    except ActiveStorageError as error:
        outcome = type(error).__name__
    sys.stdout.write(f"{outcome} {_memory('VmHWM') - before}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])

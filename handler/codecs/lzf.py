"""``lzf`` of h5py: one block of LZF without a header, decoded by imagecodecs. The format has no checksum.

The decoded size is not stored. Therefore the data is decoded into memory of the likely size, which is doubled until it
is large enough, up to the largest size that the format allows for the stored bytes.
"""

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, cut_short, load

_ID = "lzf"

# Three bytes decode to at most 264 bytes, the longest match: an 8-bit length plus 9.
_MOST_FROM_THREE = 264


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The decoded data, in new memory.

    Raises:
        UndecodableData: The data is damaged or truncated.
        EntityTooLarge: The decoded data is larger than the budget allows.
    """
    library = load(_ID, "imagecodecs", "imagecodecs")
    if not data:
        raise cut_short(_ID)
    most = -(-len(data) // 3) * _MOST_FROM_THREE
    size = min(max(context.likely_bytes, 1), most)
    while True:
        target = context.allocate(size)
        try:
            return target[: library.lzf_decode(data, out=target).nbytes]
        except library.LzfError as error:
            # The library raises the same error for a target that is too small and for damaged data.
            if size == most:
                raise UndecodableData(_ID, "the data is damaged, or was not written by this codec") from error
        size = min(2 * size, most)

"""``lzf``, h5py's: one block of LZF without a header, decoded by imagecodecs. No checksum.

Nothing names the decoded size. So the data is decoded into memory of the likely size, which is doubled until it
suffices, up to the largest size that the format allows for the stored bytes.
"""

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, cut_short, load

_ID = "lzf"

# Three bytes may stand for 264: a match's length is 9 bits and 9 more.
_MOST_FROM_THREE = 264


def undo(data: memoryview, context: StepContext) -> memoryview:
    """What was compressed, in new memory.

    Raises:
        UndecodableData: The data is damaged or cut short.
        EntityTooLarge: More would come out than the budget allows.
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
            # Too little memory is one of its errors, and has no class of its own.
            if size == most:
                raise UndecodableData(_ID, "the data is damaged, or was not written by this codec") from error
        size = min(2 * size, most)

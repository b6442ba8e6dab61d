"""HDF5 files that lie: damaged at every byte, random, cut short, and made to run in circles.

Whatever the bytes, the outcome is an error of ours, in bounded time and memory. With the checksums of the newer formats
no damage of metadata goes unseen. A file that was made to deceive has right checksums, so they are left out here as
well.
"""

import itertools
import math
from collections.abc import Iterator
from struct import pack
from typing import Any

import numpy as np
import pytest

from active_storage.errors import ActiveStorageError, EntityTooLarge, UndecodableData, UnsupportedArray
from handler.codecs.checksum import lookup3
from handler.containers import hdf5_file, hdf5_heaps, hdf5_source
from handler.containers.hdf5_source import SIGNATURE, count_bytes
from handler.containers.reader import ReadLimits
from tests.containers.exam import Array, read_whole
from tests.containers.hdf5_files import make_file, numbers, open_bytes

LIMITS = ReadLimits(bytes=1 << 20, requests=200, references=2000)


def read_or_refuse(data: bytes, array: str) -> Array | None:
    """The elements; None if they are many, or if the file is refused with an error of ours."""
    try:
        opened = open_bytes(data, array, LIMITS)
        if max(opened.grid, default=1) > 2000:
            return None
        opened.index.locate(np.arange(math.prod(opened.grid)))
        if max(opened.grid, default=1) > 200 or opened.chunk_bytes > 1 << 16:
            return None
        return read_whole(opened)
    except ActiveStorageError:
        return None


def build_small(file: Any) -> None:
    """Few bytes with many structures: the data of "a" is in chunks, its dimension has a scale."""
    file.create_dataset("a", data=numbers((6, 4)), chunks=(2, 2), maxshape=(None, 4), compression="gzip", shuffle=True)
    scale = file.create_dataset("g/x", data=np.arange(4.0))
    scale.make_scale("x")
    file["a"].dims[1].attach_scale(scale)
    file["a"].attrs["units"] = "Kelvin"
    file["a"].attrs["list"] = ["a", "b"]


def build_dense(file: Any) -> None:
    """Links and attributes in fractal heaps, and an index that is a tree."""
    for number in range(20):
        file[f"x{number}"] = number
    file.create_dataset("a", data=numbers((6, 4)), chunks=(1, 1), maxshape=(None, None))
    for number in range(10):
        file["a"].attrs[f"attribute {number}"] = number


def build_paged(file: Any) -> None:
    """A fixed array with pages, and an extensible one with secondary blocks; few chunks are there."""
    for name, most in {"a": (1100,), "b": (None,)}.items():
        file.create_dataset(name, (1100,), "i1", chunks=(1,), maxshape=most)[7] = 1


BUILDS = {"small": build_small, "dense": build_dense, "paged": build_paged}
FILES = list(itertools.product(BUILDS, ["earliest", "v108", "v110", "latest"]))

each_file = pytest.mark.parametrize(("name", "version"), FILES)


def damage(data: bytes, count: int) -> Iterator[bytes]:
    """The file with one byte changed, or with a number in the place of eight, at places all over it."""
    # A step that is prime to the sizes of all structures.
    for place in range(0, len(data), max(1, len(data) // count) | 1):
        for flip in (0xFF, 0x01):
            damaged = bytearray(data)
            damaged[place] ^= flip
            yield bytes(damaged)
        for number in (place, 2**63):
            yield data[:place] + pack("<Q", number) + data[place + 8 :]


@each_file
def test_no_changed_byte_is_an_unknown_error(name: str, version: str) -> None:
    for damaged in damage(make_file(BUILDS[name], version), 60):
        read_or_refuse(damaged, "a")


@each_file
def test_no_changed_byte_is_an_unknown_error_where_checksums_are_right(
    name: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hdf5_file, hdf5_heaps, hdf5_source):
        monkeypatch.setattr(module, "ensure_checksum", lambda data, _: data[:-4])
    for damaged in damage(make_file(BUILDS[name], version), 60):
        read_or_refuse(damaged, "a")


def test_no_damage_of_metadata_goes_unseen_where_there_are_checksums() -> None:
    """Only damage of the data itself makes other numbers, and deflate's checksum finds that."""
    data = make_file(build_small, "latest")
    expected = read_whole(open_bytes(data, "a"))
    for damaged in damage(data, 300):
        found = read_or_refuse(damaged, "a")
        assert found is None or np.array_equal(found, expected)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_cut_anywhere_is_refused(version: str) -> None:
    data = make_file(build_small, version)
    for length in range(0, len(data), 37):
        with pytest.raises(UndecodableData):
            open_bytes(data[:length], "a", LIMITS)


def test_random_bytes_are_refused() -> None:
    generator = np.random.default_rng(1)
    for number in range(300):
        noise = generator.bytes(300)
        for head in (b"", SIGNATURE, SIGNATURE + bytes([number % 4]), SIGNATURE + bytes([2, 8, 8, 0])):
            with pytest.raises(ActiveStorageError):
                open_bytes(head + noise, "a", LIMITS)


# Structures that point at themselves


class FileMaker:
    """Puts structures together by hand: a superblock of version 2, then blocks one after the other."""

    def __init__(self) -> None:
        self.data = bytearray(48)

    def put(self, block: bytes, *, with_checksum: bool = True) -> int:
        """The address of a block that is added."""
        address = len(self.data)
        self.data += block + (lookup3(block).to_bytes(4, "little") if with_checksum else b"")
        return address

    def header(self, *messages: tuple[int, bytes]) -> int:
        """The address of the header of an object."""
        return self.put(self.header_bytes(*messages))

    @staticmethod
    def header_bytes(*messages: tuple[int, bytes]) -> bytes:
        body = b"".join(pack("<BHB", kind, len(data), 0) + data for kind, data in messages)
        return b"OHDR\2\2" + pack("<I", len(body)) + body

    def finish(self, root: int) -> bytes:
        superblock = SIGNATURE + b"\2\x08\x08\0" + pack("<QQQQ", 0, 2**64 - 1, len(self.data), root)
        self.data[:48] = superblock + lookup3(superblock).to_bytes(4, "little")
        return bytes(self.data)


INT32 = b"\x10\x08\0\0\4\0\0\0\0\0\x20\0"
NAME_A = b"\1\0\1a"


def dataset(maker: FileMaker, layout: bytes, shape: tuple[int, ...], most: tuple[int, ...] = ()) -> bytes:
    """A file whose dataset "a" has this layout."""
    limits = b"".join(pack("<Q", size) for size in most)
    space = bytes([2, len(shape), bool(most), 1]) + b"".join(pack("<Q", size) for size in shape) + limits
    header = maker.header((1, space), (3, INT32), (8, layout))
    return maker.finish(maker.header((6, NAME_A + pack("<Q", header))))


def refuse(data: bytes, message: str, error: type[ActiveStorageError] = UndecodableData) -> None:
    """The dataset "a" is refused for this reason, before anything large was read."""

    def locate() -> None:
        opened = open_bytes(data, "a", LIMITS)
        opened.index.locate(np.arange(math.prod(opened.grid)))

    with pytest.raises(error) as caught:
        locate()
    assert message in caught.value.message
    assert "'a'" in caught.value.message


def tree_node(level: int, keys: list[int], children: list[int]) -> bytes:
    """A node of a version 1 B-tree of chunks of a line."""
    rows = [pack("<IIQQQ", 4, 0, key, 0, child) for key, child in zip(keys[:-1], children, strict=True)]
    last = pack("<IIQQ", 4, 0, keys[-1], 0)
    return b"TREE\1" + pack("<BHQQ", level, len(children), 0, 0) + b"".join(rows) + last


@pytest.mark.parametrize(("level", "message"), [(0, "outside of the dataset"), (1, "another level"), (255, "level")])
def test_a_tree_whose_node_is_its_own_child_is_refused(level: int, message: str) -> None:
    maker = FileMaker()
    address = len(maker.data)
    node = tree_node(level, [0, 10 if level else 5], [address])
    maker.put(node if level else tree_node(0, [0, 100, 200], [0, 0]), with_checksum=False)
    refuse(dataset(maker, b"\3\2\2" + pack("<QII", address, 1, 4), (10,)), message)


@pytest.mark.parametrize("keys", [[0, 0, 10], [5, 3, 10], [3, 4, 4]])
def test_a_tree_whose_keys_are_not_in_order_is_refused(keys: list[int]) -> None:
    maker = FileMaker()
    address = maker.put(tree_node(0, keys, [0, 0]), with_checksum=False)
    refuse(dataset(maker, b"\3\2\2" + pack("<QII", address, 1, 4), (10,)), "keys of a B-tree are not in order")


def test_a_chunk_outside_the_file_is_refused() -> None:
    for place in (10**6, 2**63, 2**64 - 2):
        maker = FileMaker()
        address = maker.put(tree_node(0, [0, 1], [place]), with_checksum=False)
        refuse(dataset(maker, b"\3\2\2" + pack("<QII", address, 1, 4), (10,)), "a chunk lies outside the file")


def test_blocks_of_a_header_that_point_at_each_other_are_refused() -> None:
    maker = FileMaker()
    address = len(maker.data)
    block = b"OCHK" + pack("<BHBQQ", 0x10, 16, 0, address, 28)
    maker.put(block)
    header = maker.header((0x10, pack("<QQ", address, len(block) + 4)))
    refuse(maker.finish(header), "the blocks of an object header point at each other")


def test_a_group_whose_tree_is_its_own_child_is_refused() -> None:
    maker = FileMaker()
    heap = maker.put(b"HEAP" + pack("<IQQQ", 0, 8, 0, 48), with_checksum=False)
    address = len(maker.data)
    maker.put(b"TREE\0" + pack("<BHQQ", 1, 30, 0, 0) + pack("<QQ", 0, address) * 31, with_checksum=False)
    refuse(maker.finish(maker.header((0x11, pack("<QQ", address, heap)))), "another level than its parent says")


def tree2(maker: FileMaker, kind: int, record_bytes: int, depth: int, root: int, count: int, total: int) -> int:
    """The address of the header of a version 2 B-tree."""
    return maker.put(b"BTHD\0" + pack("<BIHHBBQHQ", kind, 512, record_bytes, depth, 100, 40, root, count, total))


def test_a_tree_whose_nodes_share_their_children_ends_at_a_limit() -> None:
    """Twenty levels of one node each. A node has its only child three times, so that there are 3**20 ways down."""
    maker = FileMaker()
    heap = len(maker.data)
    fractal_heap(maker, heap + 146, 0)
    link = NAME_A + pack("<Q", 48)
    maker.put((b"FHDB\0" + pack("<QI", heap, 0) + link).ljust(512, b"\0"), with_checksum=False)
    # A hash, and the place of the link in the heap.
    record = bytes(5) + pack("<IH", 17, len(link))
    below = maker.put(b"BTLF\0\5" + record)
    most, below_count, total_bytes = (512 - 10) // 11, 1, 0
    total = most
    for _ in range(20):
        pointer = pack("<QB", below, below_count) + bytes(total_bytes)
        below, below_count = maker.put(b"BTIN\0\5" + record * 2 + pointer * 3), 2
        most = (512 - 10 - len(pointer)) // (11 + len(pointer))
        total = (most + 1) * total + most
        total_bytes = count_bytes(total)
    tree = tree2(maker, 5, 11, 20, below, 2, 10**6)
    root = maker.header((2, b"\0\0" + pack("<QQ", heap, tree)))
    with pytest.raises(EntityTooLarge) as caught:
        open_bytes(maker.finish(root), "b", LIMITS)
    assert "takes more than twice" in caught.value.message


def fractal_heap(maker: FileMaker, root: int, rows: int) -> int:
    """The address of the header of a fractal heap."""
    return maker.put(
        b"FRHP\0" + pack("<HHBI", 7, 0, 0, 4096) + pack("<QQ", 0, 2**64 - 1) + bytes(80)
        + pack("<HQQHHQH", 4, 512, 65536, 32, 1, root, rows)
    )  # fmt: skip


def test_a_heap_whose_blocks_are_their_own_children_is_refused() -> None:
    maker = FileMaker()
    heap_address = len(maker.data)
    block_address = heap_address + 146
    fractal_heap(maker, block_address, 20)
    maker.put(b"FHIB\0" + pack("<QI", heap_address, 0) + pack("<Q", block_address) * 80)
    # The id of a link far out in the heap.
    record = lookup3(b"a").to_bytes(4, "little") + b"\0" + pack("<I", 2**27) + b"\x10\0"
    leaf = maker.put(b"BTLF\0\5" + record)
    tree = tree2(maker, 5, 11, 0, leaf, 1, 1)
    root = maker.header((2, b"\0\0" + pack("<QQ", heap_address, tree)))
    with pytest.raises(UndecodableData):
        open_bytes(maker.finish(root), "a", LIMITS)


# Old structures, which no library writes any more


def test_layouts_of_the_first_versions_are_read() -> None:
    """Versions 1 and 2: the sizes of dimensions are in the layout, and the size of an element in that of chunks."""
    for version in (1, 2):
        maker = FileMaker()
        data = maker.put(numbers((6,)).tobytes(), with_checksum=False)
        contiguous = bytes([version, 1, 1]) + bytes(5) + pack("<QI", data, 6)
        np.testing.assert_array_equal(read_whole(open_bytes(dataset(maker, contiguous, (6,)), "a")), numbers((6,)))
        maker = FileMaker()
        compact = bytes([version, 1, 0]) + bytes(5) + pack("<II", 6, 24) + numbers((6,)).tobytes()
        np.testing.assert_array_equal(read_whole(open_bytes(dataset(maker, compact, (6,)), "a")), numbers((6,)))
        maker = FileMaker()
        chunk = maker.put(numbers((6,)).tobytes(), with_checksum=False)
        tree = maker.put(tree_node(0, [0, 6], [chunk]).replace(pack("<I", 4), pack("<I", 24)), with_checksum=False)
        chunked = bytes([version, 2, 2]) + bytes(5) + pack("<QII", tree, 6, 4)
        np.testing.assert_array_equal(read_whole(open_bytes(dataset(maker, chunked, (6,)), "a")), numbers((6,)))


# Metadata that lies


def test_a_link_that_a_user_defined_is_refused_by_name() -> None:
    maker = FileMaker()
    root = maker.header((6, b"\1\x08\x41\1a" + pack("<H", 3) + b"xyz"))
    with pytest.raises(UnsupportedArray, match="'a' has the user-defined link 'a' in its path"):
        open_bytes(maker.finish(root), "a")


@pytest.mark.parametrize(
    ("layout", "shape", "most", "message"),
    [
        (b"\3\1" + pack("<QQ", 48, 2**62), (2**60,), (), "outside the file"),
        (b"\3\1" + pack("<QQ", 2**63, 40), (10,), (), "outside the file"),
        (b"\3\0" + pack("<H", 3) + bytes(3), (10,), (), "the data has 3 bytes, not 40"),
        (b"\3\2\2" + pack("<QII", 48, 0, 4), (10,), (), "the shape of a chunk, (0, 4), does not fit"),
        (b"\3\2\2" + pack("<QII", 48, 5, 8), (10,), (), "the shape of a chunk, (5, 8), does not fit"),
        (b"\3\2\3" + pack("<QIII", 48, 5, 5, 4), (10,), (), "the shape of a chunk, (5, 5, 4), does not fit"),
        (b"\4\2\0\2\1\1\4\3\0" + pack("<Q", 48), (10,), (), "the checksum of a fixed array is wrong"),
        (b"\4\2\0\2\1\5\4\1" + pack("<Q", 48), (10,), (), "a dataset of 2 chunks has the index of a single one"),
        (b"\4\2\0\2\1\5\4\2" + pack("<Q", 48), (5000,), (2**50,), "a chunk lies outside the file"),
        (b"\4\2\0\2\1\5\4\2" + pack("<Q", 48), (10,), (2**62,), "the chunks lie outside the file"),
        (b"\3\1" + pack("<QQ", 48, 40), (2**40, 2**40), (), "more than 2**63 elements"),
        (b"\3\1" + pack("<QQ", 48, 40), (0, 2**40, 2**40), (), "more than 2**63 elements"),
        (b"\3\1" + pack("<QQ", 48, 40), (10,), (5,), "larger than its limits"),
        (b"\3\7", (10,), (), "there is no layout of class 7"),
        (b"\3\1\0", (10,), (), "a layout is cut short"),
    ],
)
def test_shapes_and_layouts_that_do_not_fit_are_refused(
    layout: bytes, shape: tuple[int, ...], most: tuple[int, ...], message: str
) -> None:
    refuse(dataset(FileMaker(), layout, shape, most), message)


def test_more_chunks_than_the_limit_are_refused() -> None:
    refuse(dataset(FileMaker(), b"\3\2\2" + pack("<QII", 48, 1, 4), (2001,)), "has 2001 chunks", EntityTooLarge)

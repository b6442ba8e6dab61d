"""Kerchunk references in Parquet: the metadata in one JSON document, the references in files of ``record_size`` rows.

Source: ``LazyReferenceMapper`` of fsspec, which writes them. The chunk ``n`` of an array ``a`` in C order is row
``n % record_size`` of ``a/refs.{n // record_size}.parq``, whose columns are ``path``, ``offset``, ``size`` and ``raw``.
A row whose ``raw`` is null is ``[path]`` if its offset and size are 0, else ``[path, offset, size]``; it is absent if
its ``path`` is null too. A file that is missing has no references.

A file is read when a chunk in it is asked for. pyarrow reads it; it is an extra of the service.

Limit: pyarrow believes the size that the header of a compressed page names, up to 2 GiB. Only the size that the footer
of the file names is checked before.
"""

from collections import OrderedDict
from dataclasses import dataclass
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from active_storage.errors import EntityTooLarge, ReaderNotInstalled, shown
from handler.containers.reader import ContainerReader
from handler.containers.references import UrlObjects, damaged_references, decode_inline, place_chunks
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, Numbers, Places

_COLUMNS = ("path", "offset", "size", "raw")

# The memory of the files that are kept: a section often begins in the file in which the one before it ended.
_KEPT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class _Columns:
    """Some references, a row for each.

    Attributes:
        urls: The different URLs.
        objects: For each row the number of its URL, -1 if its path is null.
        offsets: For each row its first byte.
        sizes: For each row its size, ``ABSENT`` or ``WHOLE_OBJECT``.
    """

    urls: list[str]
    objects: Numbers
    offsets: Numbers
    sizes: Numbers


@dataclass(frozen=True, slots=True)
class _Record(_Columns):
    """The references in one file.

    Attributes:
        raw: For each row its inline bytes or null; None if no row has inline bytes.
        memory_bytes: The memory that all this takes.
    """

    raw: Any
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class _Rows(_Columns):
    """Some rows of a file.

    Attributes:
        inline: The inline bytes by row.
    """

    inline: dict[int, bytes]


class ParquetIndex:
    """Where the chunks of an array lie, by its files of references. Threads may share it.

    Args:
        reader: Reads the files.
        objects: Opens the URLs.
        array: The path of the array.
        record_size: The number of references in a file.
    """

    def __init__(self, reader: ContainerReader, objects: UrlObjects, array: str, record_size: int) -> None:
        self._reader = reader
        self._objects = objects
        self._array = array
        self._record_size = record_size
        self._kept: OrderedDict[int, _Record | None] = OrderedDict()
        self._kept_bytes = 0
        self._lock = Lock()
        self._pyarrow = load_pyarrow()

    def locate(self, chunks: Numbers) -> Places:
        """See ``ChunkIndex``. The files are read side by side."""
        objects = np.zeros(len(chunks), np.int64)
        offsets = np.zeros(len(chunks), np.int64)
        sizes = np.full(len(chunks), ABSENT, np.int64)
        inline: dict[int, bytes] = {}
        numbers: dict[str, int] = {}
        records, starts = np.unique(chunks // self._record_size, return_index=True)
        groups = np.split(chunks % self._record_size, starts[1:]) if len(chunks) else []
        reader = self._reader.for_section()
        found = reader.map(
            lambda wanted: self._look_up(*wanted, reader), list(zip(records.tolist(), groups, strict=True))
        )
        for start, rows in zip(starts.tolist(), found, strict=True):
            if rows is None:
                continue
            span = slice(start, start + len(rows.sizes))
            known = [numbers.setdefault(url, len(numbers)) for url in rows.urls]
            objects[span] = np.array([*known, 0], np.int64)[rows.objects]
            offsets[span], sizes[span] = rows.offsets, rows.sizes
            inline |= {start + row: data for row, data in rows.inline.items()}
        for row, data in inline.items():
            offsets[row], sizes[row] = 0, len(data)
        urls = list(numbers)
        return place_chunks(
            objects, offsets, sizes, inline, lambda number: self._objects.open(self._array, urls[number])
        )

    def _look_up(self, number: int, rows: Numbers, reader: ContainerReader) -> "_Rows | None":
        """Some rows of a file; None if there is no such file.

        Args:
            number: The number of the file.
            rows: The rows, ascending.
            reader: Reads the file.
        """
        record = self._find_record(number, reader)
        if record is None:
            return None
        if rows[-1] >= len(record.sizes):
            raise damaged_references(self._array, f"refs.{number}.parq has {len(record.sizes)} rows")
        codes, objects = np.unique(record.objects[rows], return_inverse=True)
        # The rows without a URL come first.
        without = int(codes[0] < 0)
        urls = [record.urls[code] for code in codes[without:].tolist()]
        inline = {} if record.raw is None else self._read_inline(record.raw, rows)
        return _Rows(urls, objects - without, record.offsets[rows], record.sizes[rows], inline)

    def _find_record(self, number: int, reader: ContainerReader) -> _Record | None:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        record = self._read_record(number, reader)
        with self._lock:
            if number not in self._kept:
                self._kept[number] = record
                self._kept_bytes += record.memory_bytes if record else 0
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= oldest.memory_bytes if oldest else 0
        return record

    def _read_record(self, number: int, reader: ContainerReader) -> _Record | None:
        data = reader.open_key(f"{self._array}/refs.{number}.parq").read_if_present()
        if data is None:
            return None
        try:
            return self._decode_record(data, number)
        except MemoryError:
            raise EntityTooLarge(f"{shown(self._array)}: refs.{number}.parq is too large") from None
        except (self._pyarrow.ArrowException, ArithmeticError, LookupError, OSError, TypeError, ValueError):
            # pyarrow's own texts can hold bytes of the file.
            raise damaged_references(self._array, f"refs.{number}.parq is not valid Parquet") from None

    def _decode_record(self, data: bytes, number: int) -> _Record:
        """The references in a file.

        A value that occurs often is stored once, and stays so: a small file could fill the memory otherwise.
        """
        pa, pq = self._pyarrow, import_module("pyarrow.parquet")
        metadata = pq.read_metadata(pa.BufferReader(data))
        names = [name for name in _COLUMNS if name in metadata.schema.names]
        kept = [name for name in ("path", "raw") if name in names]
        file = pq.ParquetFile(pa.BufferReader(data), metadata=metadata, read_dictionary=kept)
        rows = metadata.num_rows
        if rows > self._record_size:
            raise damaged_references(self._array, f"refs.{number}.parq has more than {self._record_size} rows")
        if rows > self._reader.limits.references:
            raise EntityTooLarge(
                f"{shown(self._array)}: refs.{number}.parq has more than {self._reader.limits.references} references"
            )
        decoded_bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        if decoded_bytes > self._reader.limits.bytes:
            raise EntityTooLarge(
                f"{shown(self._array)}: refs.{number}.parq decodes to more than {self._reader.limits.bytes} bytes"
            )
        table = file.read(names, use_threads=False)
        table.validate(full=True)
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        objects, urls = self._read_paths(columns.get("path"), rows)
        offsets, sizes = (self._read_integers(columns.get(name), rows) for name in ("offset", "size"))
        is_reference = objects >= 0
        wrong = (offsets < 0) | (sizes < 0) | (offsets > 2**63 - 1 - sizes) | ((sizes == 0) & (offsets > 0))
        if np.any(is_reference & wrong):
            raise damaged_references(
                self._array, f"a row of refs.{number}.parq has an offset or a size that is out of range"
            )
        sizes[sizes == 0] = WHOLE_OBJECT
        sizes[~is_reference] = ABSENT
        raw = columns.get("raw")
        has_raw = raw is not None and raw.null_count < len(raw)
        return _Record(urls, objects, offsets, sizes, raw if has_raw else None, table.nbytes)

    def _read_paths(self, paths: Any, rows: int) -> tuple[Numbers, list[str]]:
        if paths is None or self._pyarrow.types.is_null(paths.type):
            return np.full(rows, -1, np.int64), []
        if not self._pyarrow.types.is_dictionary(paths.type):
            paths = paths.dictionary_encode()
        if not _is_text(self._pyarrow, paths.type.value_type):
            raise damaged_references(self._array, "a column path should have texts")
        codes = paths.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
        urls = paths.dictionary.to_pylist()
        if None in urls:
            raise damaged_references(self._array, "a column path has a null among its different texts")
        return np.array(codes, np.int64), urls

    def _read_integers(self, numbers: Any, rows: int) -> Numbers:
        if numbers is None:
            return np.zeros(rows, np.int64)
        if not self._pyarrow.types.is_integer(numbers.type) or numbers.null_count:
            raise damaged_references(self._array, "a column offset or size should have whole numbers")
        return np.array(numbers.cast("int64").to_numpy(zero_copy_only=False), np.int64)

    def _read_inline(self, raw: Any, rows: Numbers) -> dict[int, bytes]:
        inline = {}
        for row, value in enumerate(raw.take(self._pyarrow.array(rows))):
            data = value.as_py()
            if data is None:
                continue
            if not isinstance(data, bytes | str):
                raise damaged_references(self._array, "a column raw should have bytes")
            inline[row] = decode_inline(data, self._array)
        return inline


def _is_text(pyarrow: Any, dtype: Any) -> bool:
    return bool(pyarrow.types.is_string(dtype) or pyarrow.types.is_large_string(dtype))


def load_pyarrow() -> Any:
    """The library that reads Parquet.

    Raises:
        ReaderNotInstalled: This server does not have it.
    """
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise ReaderNotInstalled("kerchunk references in Parquet", "pyarrow", "parquet") from error

"""The JSON text of kerchunk references, versions 0 and 1.

Source: kerchunk's documentation, "References specification", and ``ReferenceFileSystem`` of fsspec.

A million references take 375 MB as objects of Python. msgspec checks the text and leaves each value in it, which takes
140 MB. Only the references of the array that is asked for are decoded, into columns of numbers.
"""

from array import array as column
from collections.abc import Callable, Hashable, Iterator
from typing import Annotated, Any

import msgspec
import numpy as np

from active_storage.errors import EntityTooLarge, UnsupportedArray, shown
from active_storage.model.dtypes import MAX_BYTES
from handler.containers.reader import ContainerReader
from handler.containers.references import INLINE, MAX_URL_LENGTH, ReferenceColumns, damaged_references, decode_inline
from handler.containers.stored_array import WHOLE_OBJECT

_Template = Annotated[str, msgspec.Meta(max_length=MAX_URL_LENGTH)]

# The number of keys that are read between two checks of the deadline.
_CHECKED_EVERY = 1024


class Range(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A reference to bytes of an object: ``[url]`` or ``[url, offset, size]``."""

    url: str
    offset: Annotated[int, msgspec.Meta(ge=0)] = -1
    size: Annotated[int, msgspec.Meta(ge=1)] = WHOLE_OBJECT

    def __post_init__(self) -> None:
        if self.offset < 0:
            self.offset = 0
        elif self.size == WHOLE_OBJECT or self.offset + self.size > MAX_BYTES:
            raise ValueError("Expected [url, offset, size] with an end below 2**63")


_REFERENCE = msgspec.json.Decoder(str | Range)


class ReferenceText:
    """The text of kerchunk references. Threads may share it.

    Args:
        text: The JSON text.
        array: The path of the array that is asked for first, for errors.
        reader: Has the limit of references and the deadline.

    Raises:
        UndecodableData: The text is not JSON, gives a key twice, or does not have the form of references.
        UnsupportedArray: It has another version, or a part for Jinja.
        EntityTooLarge: It has more keys than ``ReadLimits.references``.
    """

    def __init__(self, text: bytes, array: str, reader: ContainerReader) -> None:
        self._reader = reader
        self._templates: dict[str, str] = {}
        members = self._references = self._read_object(text, msgspec.Raw, array)
        if "version" not in members and "refs" not in members:
            return
        for name in ("version", "refs"):
            if name not in members:
                raise damaged_references(array, f'the references have no member "{name}"')
        if bytes(members["version"]) != b"1":
            raise UnsupportedArray(array, "references of a version other than 0 and 1")
        if bytes(members.get("gen", b"")).translate(None, b" \t\r\n") not in (b"", b"[]"):
            raise UnsupportedArray(array, 'references that Jinja generates ("gen")')
        self._references = self._read_object(members["refs"], msgspec.Raw, array)
        self._templates = self._read_object(members.get("templates", b"{}"), _Template, array)

    def _read_object(self, text: bytes | msgspec.Raw, kind: Any, array: str) -> dict[str, Any]:
        """The members of a JSON object, whose values are of the type ``kind``."""
        count = 0

        # msgspec keeps the last of equal keys, so keys are counted. It calls this for types that are not its own.
        def count_key(_: type, key: str) -> str:
            nonlocal count
            if count == self._reader.limits.references:
                raise EntityTooLarge(f"{shown(array)}: there are more than {count} references (MAX_REFERENCES)")
            if count % _CHECKED_EVERY == 0:
                self._reader.scope.check()
            count += 1
            return key

        try:
            members: dict[str, Any] = msgspec.json.decode(text, type=dict[Hashable, kind], dec_hook=count_key)
        except (msgspec.DecodeError, RecursionError) as error:
            raise damaged_references(array, f"the JSON text cannot be read: {error}") from None
        if len(members) < count:
            raise damaged_references(array, "the JSON text gives a key twice")
        return members

    def find_document(self, key: str, array: str) -> bytes | Range | None:
        """The JSON text of a document of Zarr, or where it lies; None if there is no such key."""
        if key not in self._references:
            return None
        text = bytes(self._references[key])
        if text.startswith(b"{"):
            return text
        reference = self._read_reference(key, array)
        return decode_inline(reference, array) if isinstance(reference, str) else reference

    def list_keys(self) -> Iterator[str]:
        """The keys of all references."""
        for count, key in enumerate(self._references):
            if count % _CHECKED_EVERY == 0:
                self._reader.scope.check()
            yield key

    def read_columns(
        self, prefix: str, number_chunk: Callable[[str], int | None], array: str
    ) -> tuple[ReferenceColumns, list[str], list[str]]:
        """The references to the chunks of an array, their URLs, and their inline texts.

        Keys of chunks begin with ``prefix``. ``number_chunk`` gives the chunk's number from the rest of a key, or None.
        """
        rows = column("q")
        urls: dict[str, int] = {}
        inline: list[str] = []
        for count, key in enumerate(self._references):
            if count % _CHECKED_EVERY == 0:
                self._reader.scope.check()
            if not key.startswith(prefix) or (number := number_chunk(key[len(prefix) :])) is None:
                continue
            reference = self._read_reference(key, array)
            if isinstance(reference, str):
                rows.extend((number, INLINE, len(inline), WHOLE_OBJECT))
                inline.append(reference)
            else:
                rows.extend((number, urls.setdefault(reference.url, len(urls)), reference.offset, reference.size))
        table = np.frombuffer(rows, np.int64).reshape(-1, 4).T
        chunks, objects, offsets, sizes = np.take(table, np.argsort(table[0]), axis=1)
        return ReferenceColumns(chunks, objects.astype(np.int32), offsets, sizes), list(urls), inline

    def _read_reference(self, key: str, array: str) -> str | Range:
        try:
            return _REFERENCE.decode(self._references[key])
        except msgspec.DecodeError as error:
            raise damaged_references(array, f"{shown(key)} is not a valid reference: {error}") from None

    def fill_templates(self, url: str, array: str) -> str:
        """A URL in which each template ``{{name}}`` is replaced by its value, unless it is too long for a URL."""
        if len(url) > MAX_URL_LENGTH:
            return url
        filled, *parts = url.split("{{")
        for part in parts:
            name, end, rest = part.partition("}}")
            value = self._templates.get(name)
            if value is None or "{{" in value or not end:
                raise UnsupportedArray(array, f"the Jinja expression {shown(name)} in its references")
            filled += value + rest
        return filled

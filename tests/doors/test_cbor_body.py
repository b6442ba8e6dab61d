"""CBOR from callers: what is read, and what is refused, at a bounded cost."""

import contextlib
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_storage.errors import InvalidArgument
from handler.doors import cbor_body
from handler.doors.cbor_body import read_map

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=3), plain, max_size=5), st.booleans())
def test_what_a_library_writes_is_read(document: dict[str, Any], is_canonical: bool) -> None:
    assert read_map(cbor2.dumps(document, canonical=is_canonical)) == document


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        read_map(body)


@given(st.dictionaries(st.text(max_size=3), plain, min_size=1, max_size=3), st.data())
def test_a_body_that_is_cut_is_refused(document: dict[str, Any], data: st.DataObject) -> None:
    body = cbor2.dumps(document)
    with pytest.raises(InvalidArgument, match="ends inside"):
        read_map(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "ends inside"),
        (cbor2.dumps([1]), "should be a CBOR map"),
        (cbor2.dumps({"a": 1}) + b"\x00", "goes on"),
        (cbor2.dumps({1: 1}), "not a text"),
        (b"\xa2\x61a\x01\x61a\x02", "a key twice"),
        (b"\xa1\x61a\xc2\x41\x01", "tag"),
        (b"\xa1\x61a\xd8\x1c\x81\xd8\x1d\x00", "tag"),
        (b"\xbf\x61a\x01\xff", "indefinite"),
        (b"\xa1\x61a\x9f\x01\xff", "indefinite"),
        (b"\xa1\x61a\x5f\x41a\xff", "indefinite"),
        (b"\xa1\x61a\xf7", "simple"),
        (b"\xa1\x61a\xe0", "simple"),
        (b"\xa1\x61a\xf8\x14", "simple"),
        (b"\xa1\x61a\xff", "simple"),
        (b"\xa1\x61a\x61\xff", "UTF-8"),
        (b"\xa1\x61a\x63\xed\xa0\x80", "UTF-8"),
        (b"\xa1\x61a\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "ends inside"),
        (b"\xa1\x61a\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "ends inside"),
        (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "ends inside"),
        (b"\xa1\x61a" + b"\x81" * 31 + b"\x00", "nested deeper"),
        (b"\xa1\x61a" + b"\x81" * 100_000, "nested deeper"),
    ],
)
def test_what_is_refused(body: bytes, part: str) -> None:
    with pytest.raises(InvalidArgument, match=part):
        read_map(body)


def test_as_many_levels_as_json_may_have_are_read() -> None:
    assert read_map(b"\xa1\x61a" + b"\x81" * 30 + b"\x00")


def test_items_are_counted_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbor_body, "MAX_ITEMS", 100)
    assert read_map(cbor2.dumps({"a": [0] * 97}))
    with pytest.raises(InvalidArgument, match="more than 100 items"):
        read_map(cbor2.dumps({"a": [0] * 98}))
    # A list that announces more items than there may be is not made.
    with pytest.raises(InvalidArgument, match="more than 100 items"):
        read_map(b"\xa1\x61a\x9a\x04\x00\x00\x00" + b"\x80" * (1 << 26))


def test_the_memory_of_small_items_is_counted() -> None:
    held: list[int] = []
    read_map(cbor2.dumps({"a": [{}] * 10_000}), held.append)
    assert 1_000_000 > sum(held) > 900_000

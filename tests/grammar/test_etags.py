"""ETags: headers are printed unchanged, and compared as RFC 9110, section 8.8.3, requires."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_storage.model.etag import ETag, format_etags, parse_etags

opaques = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f', categories=None))
etags = st.builds(ETag, opaques.filter(lambda text: not any("\x80" > each > "\x7e" for each in text)), st.booleans())


@given(etags)
def test_a_printed_etag_is_parsed_to_the_same_etag(etag: ETag) -> None:
    assert ETag.parse(str(etag)) == ETag.from_header(str(etag)) == etag


@given(st.text())
def test_every_header_is_printed_unchanged(header: str) -> None:
    assert str(ETag.from_header(header) or "") == header


@pytest.mark.parametrize("header", ["unquoted", "W/unquoted", 'w/"1"', '"1", "2"', '"1', '"a"b"', "1, 2", "*"])
def test_a_malformed_etag_gives_no_result_an_etag(header: str) -> None:
    etag = ETag.from_header(header)
    assert ETag.parse(header) is None
    assert etag is not None
    assert etag.with_digest("digest") is None


def test_an_absent_header_is_no_etag() -> None:
    assert ETag.from_header(None) is ETag.from_header("") is None


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [
        (ETag("1", is_weak=True), ETag("1", is_weak=True), False, True),
        (ETag("1", is_weak=True), ETag("2", is_weak=True), False, False),
        (ETag("1", is_weak=True), ETag("1"), False, True),
        (ETag("1"), ETag("1"), True, True),
    ],
)
def test_the_comparisons_follow_the_standards_table(one: ETag, other: ETag, strongly: bool, weakly: bool) -> None:
    assert (one.matches_strongly(other), one.matches_weakly(other)) == (strongly, weakly)
    assert (other.matches_strongly(one), other.matches_weakly(one)) == (strongly, weakly)


@given(etags, st.text("0123456789abcdef", min_size=1))
def test_the_objects_etag_is_read_back_from_the_results(source: ETag, digest: str) -> None:
    result = source.with_digest(digest)
    assert result is not None
    assert result != source
    assert result.without_digest(digest) == source
    assert result.without_digest(f"{digest}0") is None


@given(st.lists(etags))
def test_a_printed_list_of_etags_is_parsed_to_the_same_list(many: list[ETag]) -> None:
    assert parse_etags(format_etags(many)) == many

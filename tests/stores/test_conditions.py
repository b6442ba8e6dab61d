"""Stores that ignore a condition or a version, and answer with another object than was asked for.

No door uses its bytes. The store here always sends the object that it has.
"""

import flask
import pytest

from active_storage.model.etag import ETag, allows_match, allows_none_match
from tests.events import make_event, post
from tests.faulty_store import OBJECT, FaultyStore, adds, holds
from tests.helpers import ask, post_json, read_error

SUM = "/sum/float32/bucket/key"
OBJ = "/obj/bucket/key"

METHODS = ("GET", "HEAD")


# Conditions


@pytest.mark.parametrize(
    ("condition", "etag", "strongly", "weakly"),
    [
        ('"a"', '"a"', True, True),
        ('"b", "a"', '"a"', True, True),
        ('W/"b","a"', '"a"', True, True),
        ("a", '"a"', True, True),
        ('"a"', "a", True, True),
        ("*", '"a"', True, True),
        ("*", None, True, True),
        ('"a"', '"b"', False, False),
        ('"a"', '"ab"', False, False),
        ('W/"a"', '"a"', False, True),
        ('"a"', 'W/"a"', False, True),
        ('W/"a"', 'W/"a"', False, True),
        ('"a"', None, False, False),
        ('""', '""', False, True),
        ('"a", "b"', '"a", "b"', False, False),
    ],
)
def test_if_match_compares_strongly_and_if_none_match_weakly(
    condition: str, etag: str | None, strongly: bool, weakly: bool
) -> None:
    stored = ETag.from_header(etag)
    assert (allows_match(condition, stored), not allows_none_match(condition, stored)) == (strongly, weakly)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-3"}])
def test_a_replaced_object_is_no_answer_to_if_match(
    store: FaultyStore, app: flask.Flask, method: str, headers: dict[str, str]
) -> None:
    """s3fs puts one file together from such ranges."""
    store.order(holds(OBJECT, '"aaa"'))
    results, whole = ask(app, SUM, "HEAD").headers["ETag"], {**headers, "If-Match": '"aaa"'}
    assert ask(app, SUM, method, {**headers, "If-Match": results}).status_code in (200, 206)
    assert ask(app, OBJ, method, whole).status_code in (200, 206)
    store.order(holds(OBJECT, '"bbb"'))
    for target, given in ((SUM, {**headers, "If-Match": results}), (OBJ, whole)):
        response = ask(app, target, method, given)
        assert response.status_code == 412
        assert method == "HEAD" or read_error(response)["Code"] == "PreconditionFailed"
        assert ask(app, target, method, {**headers, "If-Match": "*"}).status_code in (200, 206)


@pytest.mark.parametrize("method", METHODS)
def test_an_object_that_the_caller_has_is_not_sent_again(store: FaultyStore, app: flask.Flask, method: str) -> None:
    store.order(holds(OBJECT, '"aaa"'))
    results = ask(app, SUM).headers["ETag"]
    for target, etag in ((SUM, results), (OBJ, '"aaa"'), (OBJ, 'W/"aaa"'), (OBJ, "*")):
        response = ask(app, target, method, {"If-None-Match": etag})
        assert (response.status_code, response.data) == (304, b"")
        assert response.headers["ETag"] == (results if target == SUM else '"aaa"')
    assert ask(app, OBJ, method, {"If-None-Match": '"bbb"'}).status_code == 200


def test_a_store_without_etags_has_no_object_that_if_match_names(store: FaultyStore, app: flask.Flask) -> None:
    store.order(holds(OBJECT, None))
    assert ask(app, OBJ, headers={"If-Match": '"aaa"'}).status_code == 412


# Versions


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [SUM, OBJ])
@pytest.mark.parametrize(
    ("query", "header", "version", "is_meant"),
    [
        ("versionId=old", "x-amz-version-id", "new", False),
        ("versionId=null", "x-amz-version-id", "new", False),
        ("versionId=old", "x-amz-version-id", "null", False),
        ("version%49d=old", "x-amz-version-id", "new", False),
        ("versionId=old", "x-amz-version-id", "old", True),
        ("versionId=a%2Fb+c", "x-amz-version-id", "a/b+c", True),
        ("versionId=null", "x-amz-version-id", "null", True),
        ("partNumber=", "x-amz-version-id", "new", True),
        ("versionId=", "x-amz-version-id", "new", True),
        ("sig=s&versionid=1", "x-ms-version-id", "2", False),
        ("sig=s&versionid=1", "x-ms-version-id", "1", True),
    ],
)
def test_another_version_is_no_answer(
    store: FaultyStore,
    app: flask.Flask,
    method: str,
    target: str,
    query: str,
    header: str,
    version: str,
    is_meant: bool,
) -> None:
    store.order(adds({header: version}))
    response = ask(app, f"{target}?{query}", method)
    assert response.status_code == (200 if is_meant else 502)
    assert is_meant or method == "HEAD" or read_error(response)["Code"] == "StoreProtocolError"


def test_googles_generation_is_a_version(store: FaultyStore, app: flask.Flask) -> None:
    store.order(adds({"x-goog-generation": "2"}))
    assert [ask(app, f"{OBJ}?generation={number}").status_code for number in (1, 2)] == [502, 200]


@pytest.mark.parametrize(("version", "status"), [("old", 200), ("new", 502)])
def test_the_versions_of_urls_and_links_are_compared(
    store: FaultyStore, app: flask.Flask, version: str, status: int
) -> None:
    store.order(adds({"x-amz-version-id": version}))
    body = {"interface_type": "s3", "url": f"{store.url}/bucket/key?versionId=old", "dtype": "float32"}
    assert post_json(app, "/v2/sum/", body).status_code == status
    event = make_event(f"{store.url}/bucket/key?versionId=old", "/bucket/key?versionId=old")
    assert post(app, "/sum/float32", event).status_code == status

"""The table of arrays through every door. Each result has numpy's bytes."""

import json

import cbor2
import flask
import pytest

from active_storage.grammar.reductions import format_segment
from active_storage.grammar.text import encode
from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.array_cases import CASES, ArrayCase, as_json, is_in_json
from tests.helpers import ask, make_settings, post_json
from tests.judge import check_data, expect


@pytest.fixture(scope="module")
def arrays_app() -> flask.Flask:
    store = FakeStore({f"/arrays/{case.key}": case.stored for case in CASES})
    return create_app(make_settings(s3_endpoint="http://store.test:9000"), store)


@pytest.mark.parametrize("way", ["path", "query"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_direct_proxy_gives_numpys_bytes(arrays_app: flask.Flask, case: ArrayCase, way: str) -> None:
    segment = format_segment(case.spec)
    dtype, _, parameters = segment.partition(";")
    if way == "path":
        target = f"/{case.spec.reducer}/{encode(segment)}/arrays/{case.key}"
    else:
        query = "&".join(parameters.split(";"))
        target = f"/{case.spec.reducer}/{dtype}/arrays/{case.key}?{query}"
    response = ask(arrays_app, target)
    assert response.status_code == 200, response.text
    check_data(case.spec, case.array, response.data, has_nan_for_nothing=True)
    values, counts = expect(case.spec, case.array)
    assert json.loads(response.headers["x-activestorage-shape"]) == list(values.shape)
    assert int(response.headers["x-activestorage-count-total"]) == counts.sum()
    empty = 0 if case.spec.reducer == "select" else int((counts == 0).sum())
    assert int(response.headers.get("x-activestorage-empty", 0)) == empty
    assert response.headers.get("x-amz-meta-activestorage-empty") == (str(empty) if empty else None)


@pytest.mark.parametrize("case", [case for case in CASES if is_in_json(case.spec)], ids=lambda case: case.name)
def test_version_2_gives_numpys_bytes(arrays_app: flask.Flask, case: ArrayCase) -> None:
    body = as_json(case.spec, f"http://store.test:9000/arrays/{case.key}")
    response = post_json(arrays_app, f"/v2/{case.spec.reducer}/", body)
    assert response.status_code == 200, response.text
    reply = cbor2.loads(response.data)
    check_data(case.spec, case.array, reply["bytes"])
    values, counts = expect(case.spec, case.array)
    assert reply["dtype"] == case.spec.result_dtype
    assert reply["shape"] == list(values.shape)
    assert sum(reply["count"]) == counts.sum()
    assert reply["byte_order"] == "little"


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.spec.axis is None and is_in_json(case.spec)],
    ids=lambda case: case.name,
)
def test_version_1_gives_numpys_bytes(arrays_app: flask.Flask, case: ArrayCase) -> None:
    body = as_json(case.spec, "")
    del body["url"], body["interface_type"]
    body |= {"source": "http://store.test:9000", "bucket": "arrays", "object": case.key}
    response = post_json(arrays_app, f"/v1/{case.spec.reducer}/", body)
    assert response.status_code == 200, response.text
    check_data(case.spec, case.array, response.data)

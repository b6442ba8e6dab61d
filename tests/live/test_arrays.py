"""The table of arrays with the real service and a real store, through every door."""

from typing import Any

import cbor2
import pytest
import requests

from active_storage.grammar.reductions import format_segment
from deploy.local.store import Store, make_bucket
from tests.array_cases import CASES, ArrayCase, as_json, is_in_json
from tests.judge import check_data

pytestmark = pytest.mark.live

BUCKET = "arrays"


@pytest.fixture(scope="module")
def objects(live_store: Store) -> None:
    """The objects of all cases in the store."""
    client = live_store.client()
    make_bucket(client, BUCKET)
    for case in CASES:
        client.put_object(Bucket=BUCKET, Key=case.key, Body=case.stored)


def test_boto3_through_the_direct_proxy(proxied: Any, objects: None) -> None:
    for case in CASES:
        key = f"{format_segment(case.spec)}/{BUCKET}/{case.key}"
        answer: Any = proxied.get_object(Bucket=case.spec.reducer, Key=key)
        check_data(case.spec, case.array, answer["Body"].read(), has_nan_for_nothing=True)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_json(live_store: Store, endpoint: str, objects: None, version: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = (live_store.access_key, live_store.secret_key)
        for case in CASES:
            if is_in_json(case.spec) and (version == "v2" or case.spec.axis is None):
                check_data(case.spec, case.array, ask(session, version, case, live_store.endpoint, endpoint))


def ask(session: requests.Session, version: str, case: ArrayCase, store: str, endpoint: str) -> bytes:
    """The bytes of the result from a version of the JSON interface."""
    body = as_json(case.spec, f"{store}/{BUCKET}/{case.key}")
    if version == "v1":
        del body["url"], body["interface_type"]
        body |= {"source": store, "bucket": BUCKET, "object": case.key}
    response = session.post(f"{endpoint}/{version}/{case.spec.reducer}/", json=body)
    assert response.status_code == 200, response.text
    return response.content if version == "v1" else bytes(cbor2.loads(response.content)["bytes"])

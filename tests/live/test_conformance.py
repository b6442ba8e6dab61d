"""The table of cases with the real service and a real store, through common clients."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import s3fs

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from active_storage.model.dtypes import DTYPES
from deploy.local.store import Store, make_bucket
from tests.conformance import Case, cases, check, questions

pytestmark = pytest.mark.live

BUCKET = "conformance"

SEEDS = ("count", "max", "min", "sum")

Ask = Callable[[Case, str], bytes]


@pytest.fixture(scope="session")
def objects(live_store: Store) -> None:
    """The objects of all cases in the store."""
    client = live_store.client()
    make_bucket(client, BUCKET)
    for case in {case.key: case for case in cases()}.values():
        client.put_object(Bucket=BUCKET, Key=case.key, Body=case.data())


@pytest.fixture(scope="module", params=["boto3", "s3fs", "requests"])
def ask(request: pytest.FixtureRequest, live_store: Store, endpoint: str, proxied: Any, objects: None) -> Iterator[Ask]:
    """Requests a reduction with one of the clients."""

    def key(case: Case) -> str:
        return f"{case.segment()}/{BUCKET}/{case.key}"

    def with_boto3(case: Case, reducer: str) -> bytes:
        body: Any = proxied.get_object(Bucket=reducer, Key=key(case), **case.range_header())["Body"]
        return bytes(body.read())

    def with_requests(case: Case, reducer: str) -> bytes:
        link = proxied.generate_presigned_url("get_object", Params={"Bucket": reducer, "Key": key(case)})
        response = session.get(link, headers=case.range_header())
        response.raise_for_status()
        return response.content

    def with_s3fs(case: Case, reducer: str) -> bytes:
        path = f"{reducer}/{key(case)}"
        if case.byte_range is None:
            return bytes(filesystem.cat_file(path))
        answer = filesystem.call_s3("get_object", Bucket=reducer, Key=key(case), **case.range_header())
        return bytes(s3fs.core.sync(filesystem.loop, answer["Body"].read))

    filesystem = s3fs.S3FileSystem(
        endpoint_url=endpoint,
        key=live_store.access_key,
        secret=live_store.secret_key,
        config_kwargs={"signature_version": S3ActiveStorageV4Auth.SIGNATURE_VERSION},
        skip_instance_cache=True,
    )
    with requests.Session() as session:
        session.trust_env = False
        yield {"boto3": with_boto3, "requests": with_requests, "s3fs": with_s3fs}[request.param]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_client_agrees_with_numpy(ask: Ask, dtype: str) -> None:
    """boto3 runs every case of the original reducers, and each other client a part of all cases.

    The engine and the application run every case in other tests.
    """
    is_boto3 = ask.__name__ == "with_boto3"
    for number, (case, reducer) in enumerate(question for question in questions() if question[0].dtype == dtype):
        if (is_boto3 and reducer in SEEDS) or number % (5 if is_boto3 else 17) == 0:
            check(case, reducer, ask(case, reducer))

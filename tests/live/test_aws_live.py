"""The AWS function with a real store, which verifies the links, and with replies sent by botocore."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from active_storage.model.spec import ReductionSpec
from deploy.local.samples import BUCKET, DTYPES, sample_array
from deploy.local.store import Store
from handler.doors.aws import Function
from handler.doors.service import Service
from tests.client.signed_store import serving
from tests.doors.test_aws import Context, event
from tests.helpers import make_settings
from tests.judge import check_data
from tests.lambda_endpoint import Answered, LambdaEndpoint

pytestmark = pytest.mark.live


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[Any, LambdaEndpoint]]:
    endpoint = LambdaEndpoint()
    with serving(endpoint) as url:
        client = Store(url).client(
            s3={"payload_signing_enabled": False}, retries={"total_max_attempts": 1}, inject_host_prefix=False
        )
        with closing(client):
            yield client, endpoint


@pytest.fixture
def function(live_store: Store, s3: tuple[Any, LambdaEndpoint]) -> Iterator[Function]:
    settings = make_settings(s3_endpoint=live_store.endpoint)
    service = Service.of(settings)
    yield Function(service, s3[0])
    service.transport.close()


@pytest.fixture
def link(live_store: Store) -> Iterator[Callable[..., str]]:
    """Presigns links, as S3 does for a function."""
    with closing(live_store.client()) as client:
        yield lambda method, **params: client.generate_presigned_url(method, Params={"Bucket": BUCKET, **params})


def with_link(given: dict[str, Any], url: str) -> dict[str, Any]:
    """The event with a link that is signed for the store."""
    context: dict[str, Any] = next(given[name] for name in given if name.endswith("Context"))
    context["inputS3Url"] = url
    return given


@pytest.fixture
def call(function: Function, s3: tuple[Any, LambdaEndpoint]) -> Callable[[dict[str, Any]], Answered]:
    """Sends an event to the function, and returns what the client of S3 receives."""

    def hand_over(given: dict[str, Any]) -> Answered:
        function(given, Context())
        return s3[1].answers["io-use1-001", given["getObjectContext"]["outputToken"]]

    return hand_over


Call = Callable[[dict[str, Any]], Answered]
Link = Callable[..., str]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_basic_reducer_equals_numpy(call: Call, link: Link, dtype: str) -> None:
    url = link("get_object", Key=f"data-{dtype}.dat")
    for reducer in ("count", "max", "min", "sum"):
        answered = call(with_link(event(payload=f"{reducer}/{dtype}"), url))
        assert answered.status == 200, answered
        check_data(ReductionSpec(reducer, dtype), sample_array(dtype), answered.body)


def test_a_range_and_keys_of_any_characters(live_store: Store, call: Call, link: Link) -> None:
    key = "a key/ключ+%2F;=,?"
    with closing(live_store.client()) as client:
        client.put_object(Bucket=BUCKET, Key=key, Body=np.arange(10, dtype="<i4").tobytes())
    url = link("get_object", Key=key)
    given = event(payload="sum/int32", headers={"Range": "bytes=4-11"})
    given["userRequest"]["url"] = f"https://point.example/{BUCKET}/{key}?shape=2"
    assert call(with_link(given, url)).body == np.int32(3).tobytes()


def test_the_stores_own_errors_keep_status_and_code(call: Call, link: Link) -> None:
    answered = call(with_link(event(), link("get_object", Key="none")))
    assert (answered.status, answered.code) == (404, "NoSuchKey")
    answered = call(with_link(event(), link("get_object", Key="data-float32.dat") + "0"))
    assert (answered.status, answered.code) == (403, "SignatureDoesNotMatch")


def test_head_and_listings_are_returned(function: Function, link: Link) -> None:
    head = event(context="headObjectContext", payload="count/float32")
    returned = function(with_link(head, link("head_object", Key="data-float32.dat")), Context())
    assert returned is not None
    assert (returned["statusCode"], dict(returned["headers"])["Content-Length"]) == (200, "8")
    listing = event(context="listObjectsV2Context")
    returned = function(with_link(listing, link("list_objects_v2", Prefix="data-float")), Context())
    assert returned is not None
    assert returned["statusCode"] == 200
    assert "<Key>data-float32.dat</Key>" in returned["listResultXml"]

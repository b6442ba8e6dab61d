"""Buckets in other regions, with a real boto3 client and the proxy.

After some errors, botocore signs for the region in the reply, sends the request again to the same endpoint, and
remembers the region for all requests with the same bucket in the path, which is a reducer here. A redirect must be an
error at once, since the proxy has one store. If the store requires a signature for another region, signing again helps;
the remembered region must then not break requests for the next bucket.
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from handler.app import create_app
from tests.client.conftest import _session
from tests.client.signed_store import KEYS, Served, read_request
from tests.faulty_store import FaultyStore, plain, says
from tests.helpers import make_settings

REGION = "eu-west-2"
ENDPOINT = "bucket.s3.elsewhere.example"

ANSWERS = {
    "PermanentRedirect": "301 Moved Permanently",
    "TemporaryRedirect": "307 Temporary Redirect",
    "AuthorizationHeaderMalformed": "400 Bad Request",
}

# botocore tries a signature for the store's region once.
TRIES = {"PermanentRedirect": 1, "TemporaryRedirect": 1, "AuthorizationHeaderMalformed": 2}


@pytest.fixture(params=["legacy", "standard", "adaptive"])
def ask(request: pytest.FixtureRequest, serve: Callable[..., Served]) -> Callable[..., Any]:
    """Requests an object or a reduction from a store with these replies, with a client whose retries are enabled."""

    def make(answer: Any, version: str, bucket: str, method: str = "get_object") -> tuple[ClientError, int, Served]:
        with FaultyStore(says(answer)) as store:
            proxy = serve(create_app(make_settings(s3_endpoint=store.url, log_level="error")).wsgi_app)
            config = Config(signature_version=version, retries={"mode": request.param, "max_attempts": 4})
            s3 = _session(KEYS).client("s3", endpoint_url=proxy.endpoint, config=config)
            key = "bucket/key" if bucket == "obj" else "float32/bucket/key"
            try:
                with pytest.raises(ClientError) as refused:
                    getattr(s3, method)(Bucket=bucket, Key=key)
            finally:
                s3.close()
            return refused.value, store.tries, proxy

    return make


@pytest.mark.parametrize("bucket", ["sum", "obj"])
@pytest.mark.parametrize("version", ["s3v4", S3ActiveStorageV4Auth.SIGNATURE_VERSION])
@pytest.mark.parametrize("code", ANSWERS)
def test_a_redirect_is_one_error_that_names_the_region(
    ask: Callable[..., Any], code: str, version: str, bucket: str
) -> None:
    """Retries are enabled. If a redirect were a 502, the client would send the request five times."""
    body = f"<Error><Code>{code}</Code><Endpoint>{ENDPOINT}</Endpoint><Region>{REGION}</Region></Error>".encode()
    answer = plain(ANSWERS[code], body, {"x-amz-bucket-region": REGION, "Location": f"https://{ENDPOINT}/key"})
    error, tries, proxy = ask(answer, version, bucket)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    headers = error.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-activestorage-bucket-region"] == REGION
    assert headers.get("x-amz-bucket-region") == (REGION if tries == 2 else None)
    assert REGION in error.response["Error"]["Message"]
    assert ENDPOINT not in str(error.response)
    assert tries == TRIES[code]
    # The second request goes to the same endpoint, signed for the region.
    asked = [seen for seen in proxy.requests if seen.path.endswith("/key")]
    assert [seen.headers["authorization"].split("/")[2] for seen in asked] == ["us-east-1", REGION][:tries]


def test_a_redirect_without_a_region_is_an_error(ask: Callable[..., Any]) -> None:
    """botocore then requests the region of the bucket, which is a reducer in the proxy's path, and gets an error."""
    answer = plain("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>")
    error, tries, _ = ask(answer, S3ActiveStorageV4Auth.SIGNATURE_VERSION, "sum")
    assert (error.response["Error"]["Code"], tries) == ("PermanentRedirect", 1)


@pytest.mark.parametrize("code", ["PermanentRedirect", "AuthorizationHeaderMalformed"])
def test_head_is_an_error_after_one_more_try(ask: Callable[..., Any], code: str) -> None:
    answer = plain(ANSWERS[code], b"", {"x-amz-bucket-region": REGION})
    error, tries, _ = ask(answer, S3ActiveStorageV4Auth.SIGNATURE_VERSION, "sum", "head_object")
    assert (error.response["Error"]["Code"], tries) == ("400", TRIES[code])
    assert error.response["ResponseMetadata"]["HTTPHeaders"]["x-activestorage-bucket-region"] == REGION


NUMBERS = np.arange(1, 11, dtype="<f4")


def regional_store(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """An endpoint for buckets of several regions, named after their regions; ``away`` is at another endpoint."""
    request = read_request(environ)
    region, signed_for = request.path.split("/")[1], request.headers["authorization"].split("/")[2]
    code, status, headers = "", "200 OK", [("ETag", '"etag"'), ("Content-Length", str(NUMBERS.nbytes))]
    if region == "away":
        code, status, region = "PermanentRedirect", "301 Moved Permanently", REGION
    elif region != signed_for:
        code, status = "AuthorizationHeaderMalformed", "400 Bad Request"
    if not code:
        start_response(status, headers)
        return [NUMBERS.tobytes()] if request.method == "GET" else []
    document = f"<Error><Code>{code}</Code><Message>no</Message><Region>{region}</Region></Error>".encode()
    start_response(status, [("x-amz-bucket-region", region), ("Content-Length", str(len(document)))])
    return [document] if request.method == "GET" else []


@pytest.mark.parametrize("version", ["s3v4", S3ActiveStorageV4Auth.SIGNATURE_VERSION])
@pytest.mark.parametrize("seed", range(3))
def test_a_remembered_region_does_not_break_the_next_bucket(
    serve: Callable[..., Served], make_client: Callable[..., Any], version: str, seed: int
) -> None:
    store = serve(regional_store)
    proxy = serve(create_app(make_settings(s3_endpoint=store.endpoint, log_level="error")).wsgi_app)
    s3 = make_client(proxy.endpoint, version=version)
    calls = [*itertools.product(("us-east-1", REGION, "away"), ("head_object", "get_object"), ("sum", "obj"))] * 3
    random.Random(seed).shuffle(calls)
    for region, method, door in calls:
        asked = len(store.requests)
        key = f"{region}/key" if door == "obj" else f"float32/{region}/key"
        if region == "away":
            with pytest.raises(ClientError, match="PermanentRedirect" if method == "get_object" else "400"):
                getattr(s3, method)(Bucket=door, Key=key)
            # What was kept for the bucket before is not for another region than before.
            assert len(store.requests) == asked + 1
            continue
        response = getattr(s3, method)(Bucket=door, Key=key)
        if method == "get_object":
            assert response["Body"].read() == (NUMBERS if door == "obj" else NUMBERS.sum()).tobytes()
        assert len(store.requests) <= asked + 2

"""A bucket of another region, as a real boto3 client sees it through the proxy: told once, and led nowhere.

botocore answers ``PermanentRedirect`` by signing for the region that it is told and asking the same endpoint once
more. Everything else is an error at once. The store here always says the same, and counts.
"""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from handler.app import create_app
from tests.client.conftest import _session
from tests.client.signed_store import KEYS, Served
from tests.faulty_store import FaultyStore, plain, says
from tests.helpers import make_settings

REGION = "eu-west-2"
ENDPOINT = "bucket.s3.elsewhere.example"

ANSWERS = {
    "PermanentRedirect": "301 Moved Permanently",
    "TemporaryRedirect": "307 Temporary Redirect",
    "AuthorizationHeaderMalformed": "400 Bad Request",
}

# What names the bucket's region makes botocore sign for that, once; a HEAD's error has no code to go by.
TRIES = {"PermanentRedirect": 2, "TemporaryRedirect": 1, "AuthorizationHeaderMalformed": 1}


@pytest.fixture(params=["legacy", "standard", "adaptive"])
def ask(request: pytest.FixtureRequest, serve: Callable[..., Served]) -> Callable[..., Any]:
    """Asks a store that answers so for an object or a reduction, by a client that tries as often as it likes."""

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
def test_a_client_is_told_the_region_at_once_and_led_nowhere(
    ask: Callable[..., Any], code: str, version: str, bucket: str
) -> None:
    """Retries are on: before, a redirect was a 502 of ours, and asked for five times."""
    body = f"<Error><Code>{code}</Code><Endpoint>{ENDPOINT}</Endpoint><Region>{REGION}</Region></Error>".encode()
    answer = plain(ANSWERS[code], body, {"x-amz-bucket-region": REGION, "Location": f"https://{ENDPOINT}/key"})
    error, tries, proxy = ask(answer, version, bucket)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == REGION
    assert REGION in error.response["Error"]["Message"]
    assert ENDPOINT not in str(error.response)
    assert tries == TRIES[code]
    # The second one is for the same place, with a signature for the region.
    scopes = [seen.headers["authorization"].split("/")[2] for seen in proxy.requests]
    assert scopes == ["us-east-1", REGION][:tries]


def test_a_redirect_that_names_no_region_is_an_error_too(ask: Callable[..., Any]) -> None:
    """botocore then asks the bucket for its region, which to the proxy is a reducer; it is told that there is none."""
    answer = plain("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>")
    error, tries, _ = ask(answer, S3ActiveStorageV4Auth.SIGNATURE_VERSION, "sum")
    assert (error.response["Error"]["Code"], tries) == ("PermanentRedirect", 1)


@pytest.mark.parametrize("code", ["PermanentRedirect", "AuthorizationHeaderMalformed"])
def test_head_is_an_error_after_one_more_try(ask: Callable[..., Any], code: str) -> None:
    answer = plain(ANSWERS[code], b"", {"x-amz-bucket-region": REGION})
    error, tries, _ = ask(answer, S3ActiveStorageV4Auth.SIGNATURE_VERSION, "sum", "head_object")
    assert (error.response["Error"]["Code"], tries) == ("400", 2)

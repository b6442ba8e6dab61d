"""deploy/minio/minio.env, used by a real MinIO with the real service."""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from deploy.local.processes import LOOPBACK, free_ports
from deploy.local.samples import BUCKET, sample_array, write_samples
from deploy.local.service import service
from deploy.local.store import REGION, Store, find_minio, minio
from tests.deploy.test_images import read_env_file

pytestmark = pytest.mark.live

TOKEN = "a-token-of-this-test"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    if (program := find_minio()) is None:
        pytest.skip("MinIO is not installed: the variable MINIO is not set, and minio is not on PATH")
    [port] = free_ports(1)
    given = {name: value.replace("127.0.0.1:8000", f"{LOOPBACK}:{port}") for name, value in read_env_file().items()}
    tokens = {f"MINIO_LAMBDA_WEBHOOK_AUTH_TOKEN_{target}": TOKEN for target in ("sum", "reduce")}
    settings = {"ACTIVE_STORAGE_WEBHOOK_TOKENS": TOKEN, "ACTIVE_STORAGE_WORKERS": "1"}
    with ExitStack() as stack:
        running = stack.enter_context(minio(program, env={**given, **tokens}))
        write_samples(running)
        stack.enter_context(service(running, settings, port=port))
        yield running


def ask(store: Store, dtype: str, target: str, query: str = "") -> bytes:
    url = f"{store.endpoint}/{BUCKET}/data-{dtype}.dat?lambdaArn=arn%3Aminio%3As3-object-lambda%3A%3A{target}%3Awebhook"
    request = AWSRequest("GET", url + query)
    S3SigV4QueryAuth(Credentials(store.access_key, store.secret_key), "s3", REGION).add_auth(request)
    response = URLLib3Session(proxies={}).send(request.prepare())
    assert response.status_code == 200, response.text
    return bytes(response.content)


def test_a_target_with_the_reduction_in_its_path(store: Store) -> None:
    assert ask(store, "float32", "sum") == sample_array("float32").sum(dtype=np.float32).tobytes()


def test_a_target_with_the_reduction_from_the_client(store: Store) -> None:
    assert ask(store, "int64", "reduce", "&reducer=max&dtype=int64") == sample_array("int64").max().tobytes()

"""Real processes on loopback, started once for all tests: every store this machine has, and the service before it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from botocore.config import Config

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from deploy.local.samples import write_samples
from deploy.local.service import service
from deploy.local.store import Store, find_minio, minio, seaweedfs


@pytest.fixture(scope="session", params=["seaweedfs", "minio"])
def live_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with the sample data in it. MinIO is only tested where there is one."""
    with ExitStack() as stack:
        if request.param == "seaweedfs":
            store = stack.enter_context(seaweedfs())
        elif program := find_minio():
            store = stack.enter_context(minio(program))
        else:
            pytest.skip("no MinIO: neither does the variable MINIO name one, nor is minio on PATH")
        write_samples(store)
        yield store


@pytest.fixture(scope="session")
def endpoint(live_store: Store) -> Iterator[str]:
    """The service in front of the store."""
    with service(live_store, {"ACTIVE_STORAGE_WORKERS": "2"}) as url:
        yield url


@pytest.fixture(scope="session")
def proxied(live_store: Store, endpoint: str) -> Any:
    """A boto3 client of the service, with the signature version that signs for its store."""
    S3ActiveStorageV4Auth.register()
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=live_store.access_key,
        aws_secret_access_key=live_store.secret_key,
        config=Config(signature_version=S3ActiveStorageV4Auth.SIGNATURE_VERSION),
    )


@pytest.fixture
def start_service(live_store: Store) -> Iterator[Callable[..., str]]:
    """Starts the service with further settings, named as in ``Settings``, until the test is over."""
    with ExitStack() as stack:

        def start(**settings: str) -> str:
            named = {f"ACTIVE_STORAGE_{name.upper()}": value for name, value in settings.items()}
            return stack.enter_context(service(live_store, {"ACTIVE_STORAGE_WORKERS": "1", **named}))

        yield start

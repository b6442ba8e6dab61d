"""Real processes on loopback, started once for all tests: every store this machine has, and the service before it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from botocore.config import Config

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from deploy.local.processes import LOOPBACK, free_ports
from deploy.local.samples import write_samples
from deploy.local.service import service
from deploy.local.store import Store, find_minio, minio, seaweedfs
from tests.client.signed_store import serving
from tests.minio_lambda import StandIn, Target

# One of one word, which stores send as a bearer's, and one of two, which they send as it is.
WEBHOOK_TOKENS = ("token-of-the-live-tests", "Key of-the-live-tests")


@pytest.fixture(scope="session", params=["seaweedfs", "minio"])
def store_name(request: pytest.FixtureRequest) -> str:
    """Which store it is."""
    return str(request.param)


@pytest.fixture(scope="session")
def ports() -> tuple[int, int, int]:
    """Where the service listens, a lambda that does wrong, and nobody: MinIO must know before any of them is there."""
    service_port, odd_port, deaf_port = free_ports(3)
    return service_port, odd_port, deaf_port


@pytest.fixture(scope="session")
def targets(ports: tuple[int, int, int]) -> dict[str, Target]:
    """The lambdas that the store knows, by their names."""
    webhook, odd, deaf = (f"http://{LOOPBACK}:{port}" for port in ports)
    bearers, two_words = WEBHOOK_TOKENS
    return {
        target.id: target
        for target in (
            Target("reduce", f"{webhook}/", two_words),
            Target("sum", f"{webhook}/sum/float32", bearers),
            Target("stranger", f"{webhook}/", "another-token"),
            Target("nobody", f"{webhook}/"),
            Target("odd", f"{odd}/"),
            Target("down", f"{deaf}/"),
        )
    }


@pytest.fixture(scope="session")
def live_store(store_name: str, targets: dict[str, Target]) -> Iterator[Store]:
    """A store with the sample data in it. MinIO is only tested where there is one."""
    with ExitStack() as stack:
        if store_name == "seaweedfs":
            store = stack.enter_context(seaweedfs())
        elif program := find_minio():
            lambdas = {name: value for target in targets.values() for name, value in target.environment.items()}
            store = stack.enter_context(minio(program, env=lambdas))
        else:
            pytest.skip("no MinIO: neither does the variable MINIO name one, nor is minio on PATH")
        write_samples(store)
        yield store


@pytest.fixture(scope="session")
def endpoint(live_store: Store, ports: tuple[int, int, int]) -> Iterator[str]:
    """The service in front of the store, which is the store's object lambda too."""
    settings = {"ACTIVE_STORAGE_WORKERS": "2", "ACTIVE_STORAGE_WEBHOOK_TOKENS": ",".join(WEBHOOK_TOKENS)}
    with service(live_store, settings, port=ports[0]) as url:
        yield url


@pytest.fixture(scope="session")
def lambda_store(store_name: str, live_store: Store, endpoint: str, targets: dict[str, Target]) -> Iterator[Store]:
    """The store as it calls object lambdas: MinIO by itself, SeaweedFS by the stand-in before it."""
    if store_name == "minio":
        yield live_store
        return
    with serving(StandIn(live_store, targets.values())) as url:
        yield Store(url, live_store.access_key, live_store.secret_key)


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

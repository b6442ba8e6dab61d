"""Real processes on loopback, started once for all tests: every store this machine has, and the service before it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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


@pytest.fixture(scope="session", params=["seaweedfs", "minio"] if find_minio() else ["seaweedfs"])
def store_name(request: pytest.FixtureRequest) -> str:
    """Which store it is."""
    return str(request.param)


@dataclass(frozen=True)
class Places:
    """Ports that a store must know of before anybody is there. Each is held until it is used, so that nobody gets it.

    Attributes:
        service: Where the service is going to be.
        odd: Where a lambda is that does wrong; it listens, and waits for a test to answer.
        down: Where nobody is.
    """

    service: socket.socket
    odd: socket.socket
    down: socket.socket


@pytest.fixture(scope="session")
def places(store_name: str) -> Iterator[Places]:
    """Other ones for each store."""
    with socket.socket() as service_place, socket.create_server((LOOPBACK, 0)) as odd, socket.socket() as down:
        for each, port in zip((service_place, down), free_ports(2), strict=True):
            each.bind((LOOPBACK, port))
        yield Places(service_place, odd, down)


@pytest.fixture(scope="session")
def targets(places: Places) -> dict[str, Target]:
    """The lambdas that the store knows, by their names."""
    webhook, odd, down = (f"http://{LOOPBACK}:{port_of(each)}/" for each in (places.service, places.odd, places.down))
    bearers, two_words = WEBHOOK_TOKENS
    return {
        target.id: target
        for target in (
            Target("reduce", webhook, two_words),
            Target("sum", f"{webhook}sum/float32", bearers),
            Target("stranger", webhook, "another-token"),
            Target("nobody", webhook),
            Target("odd", odd),
            Target("down", down),
        )
    }


def port_of(held: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(held.getsockname()[1])


@pytest.fixture(scope="session")
def live_store(store_name: str, targets: dict[str, Target]) -> Iterator[Store]:
    """A store with the sample data in it. MinIO is only tested where there is one: ``make test-minio MINIO=path``."""
    with ExitStack() as stack:
        if store_name == "seaweedfs":
            store = stack.enter_context(seaweedfs())
        else:
            program = find_minio()
            assert program, "there was a MinIO when the tests were collected"
            lambdas = {name: value for target in targets.values() for name, value in target.environment.items()}
            store = stack.enter_context(minio(program, env=lambdas))
        write_samples(store)
        yield store


@pytest.fixture(scope="session")
def endpoint(live_store: Store, places: Places) -> Iterator[str]:
    """The service in front of the store, which is the store's object lambda too."""
    settings = {"ACTIVE_STORAGE_WORKERS": "2", "ACTIVE_STORAGE_WEBHOOK_TOKENS": ",".join(WEBHOOK_TOKENS)}
    port = port_of(places.service)
    places.service.close()
    with service(live_store, settings, port=port) as url:
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

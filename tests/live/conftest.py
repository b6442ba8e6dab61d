"""Real processes on loopback, started once for all tests: the stores of this machine, and the service in front."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from deploy.local.arrays import write_arrays
from deploy.local.processes import LOOPBACK, free_ports
from deploy.local.samples import write_samples
from deploy.local.service import service
from deploy.local.store import Store, find_minio, minio, seaweedfs
from tests.client.signed_store import serving
from tests.minio_lambda import StandIn, Target

# Stores send a token of one word as ``Bearer``, and one of two words unchanged.
WEBHOOK_TOKENS = ("token-of-the-live-tests", "Key of-the-live-tests")


@pytest.fixture(scope="session", params=["seaweedfs", "minio"] if find_minio() else ["seaweedfs"])
def store_name(request: pytest.FixtureRequest) -> str:
    """The name of the store."""
    return str(request.param)


@dataclass(frozen=True)
class Places:
    """Ports that the store's configuration needs before their servers start. They are bound, so that they stay free.

    Attributes:
        service: The port of the service.
        odd: The port of a faulty lambda; it listens, and a test answers.
        down: A port on which no server listens.
    """

    service: socket.socket
    odd: socket.socket
    down: socket.socket


@pytest.fixture(scope="session")
def places(store_name: str) -> Iterator[Places]:
    """The ports for a store."""
    with socket.socket() as service_place, socket.create_server((LOOPBACK, 0)) as odd, socket.socket() as down:
        for each, port in zip((service_place, down), free_ports(2), strict=True):
            each.bind((LOOPBACK, port))
        yield Places(service_place, odd, down)


@pytest.fixture(scope="session")
def targets(places: Places) -> dict[str, Target]:
    """The lambdas that are configured in the store, by their ids."""
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
    """A store with the sample data. MinIO is tested only if it is installed: ``make test-minio MINIO=path``."""
    with ExitStack() as stack:
        if store_name == "seaweedfs":
            store = stack.enter_context(seaweedfs())
        else:
            program = find_minio()
            assert program, "there was a MinIO when the tests were collected"
            lambdas = {name: value for target in targets.values() for name, value in target.environment.items()}
            store = stack.enter_context(minio(program, env=lambdas))
        write_samples(store)
        write_arrays(store)
        yield store


@pytest.fixture(scope="session")
def endpoint(live_store: Store, places: Places) -> Iterator[str]:
    """The service in front of the store. It is the store's object lambda too.

    It keeps nothing: what a test sees, or an example of the docs prints, does not depend on the requests before it.
    """
    settings = {
        "ACTIVE_STORAGE_WORKERS": "2",
        "ACTIVE_STORAGE_WEBHOOK_TOKENS": ",".join(WEBHOOK_TOKENS),
        "ACTIVE_STORAGE_CACHE_BYTES": "0",
    }
    port = port_of(places.service)
    places.service.close()
    with service(live_store, settings, port=port) as url:
        yield url


@pytest.fixture(scope="session")
def lambda_store(store_name: str, live_store: Store, endpoint: str, targets: dict[str, Target]) -> Iterator[Store]:
    """A store with object lambdas: MinIO itself, or the stand-in in front of SeaweedFS."""
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
    """Starts the service with further settings, named as in ``Settings``, until the end of the test."""
    with ExitStack() as stack:

        def start(**settings: str) -> str:
            named = {f"ACTIVE_STORAGE_{name.upper()}": value for name, value in settings.items()}
            return stack.enter_context(service(live_store, {"ACTIVE_STORAGE_WORKERS": "1", **named}))

        yield start

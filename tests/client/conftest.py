"""Fixtures of the client's tests: a plain S3, the service in front of it, and clients."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import numpy as np
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.loaders import create_loader

import active_storage.client.boto3 as plugin
from active_storage.client.boto3 import Discovery, S3ActiveStorageV4Auth
from handler.app import create_app
from tests.client.signed_store import KEYS, REGION, Recorder, Served, SignedStore, Wsgi, serving
from tests.helpers import make_settings

NUMBERS = np.arange(1, 11, dtype="<f4")

# The host that clients sign for. It differs from that of the store and that of the service.
PUBLIC_HOST = "data.example.org"

# It caches botocore's model of S3, which takes longer to load than most of these tests.
_LOADER = create_loader()

_AMBIENT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "NO_PROXY"),
    *("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"),
    *("AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of endpoints, and no keys or network proxies from the environment, files or metadata services."""
    for name in _AMBIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(plugin, "DISCOVERY", Discovery())
    S3ActiveStorageV4Auth.register()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves applications on loopback until the test is over."""
    with ExitStack() as stack:

        def start(app: Wsgi, fd: int | None = None) -> Served:
            recorder = Recorder(app)
            return Served(stack.enter_context(serving(recorder, fd)), recorder)

        yield start


@pytest.fixture
def plain(serve: Callable[..., Served]) -> Served:
    """A plain S3 with one object."""
    return serve(SignedStore({"/bucket/key": NUMBERS.tobytes()}))


@pytest.fixture
def make_proxy(serve: Callable[..., Served]) -> Callable[[Served], Served]:
    """Serves the service in front of a store, whose public endpoint is the host that clients sign for."""

    def start(store: Served) -> Served:
        endpoints = {"s3_endpoint": store.endpoint, "s3_public_endpoint": f"https://{PUBLIC_HOST}"}
        return serve(create_app(make_settings(**endpoints, log_level="error")).wsgi_app)

    return start


@pytest.fixture
def proxy(make_proxy: Callable[[Served], Served], plain: Served) -> Served:
    """The service in front of the plain S3."""
    return make_proxy(plain)


@pytest.fixture
def make_client() -> Iterator[Callable[..., Any]]:
    """Makes boto3 clients that sign with the plugin, or with another ``version``; further options are ``Config``'s."""
    with ExitStack() as stack:

        def make(
            endpoint: str,
            keys: Credentials | None = KEYS,
            version: str = S3ActiveStorageV4Auth.SIGNATURE_VERSION,
            **options: Any,
        ) -> Any:
            config = Config(signature_version=version, retries={"total_max_attempts": 1}, **options)
            return stack.enter_context(closing(_session(keys).client("s3", endpoint_url=endpoint, config=config)))

        yield make


def _session(keys: Credentials | None) -> boto3.session.Session:
    core = botocore.session.get_session()
    core.register_component("data_loader", _LOADER)
    if keys:
        core.set_credentials(keys.access_key, keys.secret_key, keys.token)
    return boto3.session.Session(region_name=REGION, botocore_session=core)

"""Opening a store of many variables: no more requests to the store than xarray's own, and one to the service."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore, WrapperStore

import active_storage
from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.client.signed_store import Served
from tests.helpers import make_settings

_VARIABLES = 100
_OWN_STORE = "http://store.test:9000"


class CountingStore(WrapperStore[MemoryStore]):
    """A store of zarr-python.

    Args:
        store: The store.
        keys: Takes the keys that are asked for.
    """

    def __init__(self, store: MemoryStore, keys: list[str]) -> None:
        super().__init__(store)
        self.keys = keys

    def _with_store(self, store: MemoryStore) -> "CountingStore":
        return CountingStore(store, self.keys)

    async def get(self, key: str, *rest: Any, **options: Any) -> Any:
        self.keys.append(key)
        return await super().get(key, *rest, **options)

    async def exists(self, key: str) -> bool:
        self.keys.append(key)
        return await super().exists(key)


def make_dataset() -> xr.Dataset:
    coordinates = {
        "time": xr.date_range("2000-01-16", periods=24, freq="MS"),
        "lat": np.linspace(-75, 75, 6),
        "lon": np.arange(0, 360, 45.0),
    }
    values = np.random.default_rng(3).normal(size=(24, 6, 8)).astype("f4")
    variables = {f"v{number:03d}": (("time", "lat", "lon"), values, {"units": "K"}) for number in range(_VARIABLES)}
    return xr.Dataset(variables, coordinates)


@pytest.fixture(params=[2, 3])
def stored(request: pytest.FixtureRequest) -> MemoryStore:
    store = MemoryStore()
    with warnings.catch_warnings():
        # zarr-python says that consolidated metadata is not in the specification of version 3.
        warnings.simplefilter("ignore")
        make_dataset().to_zarr(store, zarr_format=request.param, consolidated=True)
    return store


def read_objects(store: MemoryStore) -> dict[str, bytes]:
    """The objects of a store below ``/bucket/wide.zarr``."""
    return {f"/bucket/wide.zarr/{key}": buffer.to_bytes() for key, buffer in store._store_dict.items()}


def test_a_store_of_many_variables_opens_in_no_more_requests_than_with_xarray(
    serve: Callable[..., Served], stored: MemoryStore
) -> None:
    store = FakeStore(read_objects(stored))
    app = create_app(make_settings(s3_endpoint=_OWN_STORE, log_level="error"), store).wsgi_app

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        # This server does not end the body of a request; those that the service runs in do.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)

    served = serve(answer)
    keys: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = xr.open_zarr(CountingStore(stored, keys), consolidated=True, chunks=None)
    with active_storage.open_dataset("s3://bucket/wide.zarr", served.endpoint, anon=True) as remote:
        assert 0 < len(store.requests) <= len(keys)
        assert [each.method for each in served.requests] == ["POST"]
        assert set(remote.variables) == set(expected.variables)
        for name in expected.coords:
            xr.testing.assert_identical(remote[name], expected[name])

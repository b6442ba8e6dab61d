"""Zarr stores without consolidated metadata, in a real store that lists them, as xarray opens them by s3fs."""

import json
import warnings
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import xarray as xr

import active_storage
from active_storage.client.client import Client
from active_storage.errors import StoreError
from deploy.local.store import Store, make_bucket
from tests.live.test_xarray import load, make_dataset

pytestmark = pytest.mark.live

BUCKET = "listed"

# What the stores write in another way in a listing.
_NAMES = ("a b", "a+b", "a%b", "a%2Bb", "a%20b", "a&b", "ü", "日本", "a=b", "a'(b)~")


@pytest.fixture(scope="module")
def bucket(live_store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bucket with each dataset."""
    folder = tmp_path_factory.mktemp("listed")
    times = {"units": "days since 1999-12-01"}
    chunked: Any = {"time": times, "bounds": times, "tas": {"chunks": (6, 3, 8)}}
    names = xr.Dataset({name: ("x", np.full(2, number)) for number, name in enumerate(_NAMES)}, {"x": [1.0, 2.0]})
    with warnings.catch_warnings():
        # zarr-python says that some names are not portable.
        warnings.simplefilter("ignore")
        for version in (2, 3):
            options: Any = {"zarr_format": version, "consolidated": False}
            make_dataset().to_zarr(folder / f"v{version}.zarr", encoding=chunked, **options)
            make_dataset().to_zarr(folder / f"v{version}.zarr", encoding=chunked, group="outer/inner", **options)
            names.to_zarr(folder / f"my names +{version} ü.zarr", **options)
    client = live_store.client()
    make_bucket(client, BUCKET)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    for number in range(1, 1203):
        client.put_object(Bucket=BUCKET, Key=f"many.zarr/none{number}/x", Body=b"")
    return BUCKET


@pytest.fixture
def keys(live_store: Store) -> dict[str, Any]:
    return {"key": live_store.access_key, "secret": live_store.secret_key}


def open_by_listing(live_store: Store, key: str, **options: Any) -> xr.Dataset:
    """What xarray opens by s3fs."""
    storage = {"key": live_store.access_key, "secret": live_store.secret_key, "endpoint_url": live_store.endpoint}
    opened: xr.Dataset = xr.open_zarr(
        f"s3://{BUCKET}/{key}", storage_options=storage, consolidated=False, chunks=None, **options
    )
    return opened


@pytest.mark.parametrize("group", ["", "outer/inner"])
@pytest.mark.parametrize("version", [2, 3])
def test_a_dataset_is_that_of_xarray(
    live_store: Store, bucket: str, endpoint: str, keys: dict[str, Any], version: int, group: str
) -> None:
    key = f"v{version}.zarr"
    with (
        closing(active_storage.open_dataset(f"s3://{bucket}/{key}", group=group, service=endpoint, **keys)) as remote,
        closing(open_by_listing(live_store, key, group=group or None)) as local,
    ):
        xr.testing.assert_allclose(remote.tas.mean("time").load(), local.tas.mean("time").load())
        xr.testing.assert_identical(load(remote), local.load())


@pytest.mark.parametrize("version", [2, 3])
def test_names_of_any_characters_are_decoded(
    live_store: Store, bucket: str, endpoint: str, keys: dict[str, Any], version: int
) -> None:
    key = f"my names +{version} ü.zarr"
    with (
        closing(active_storage.open_dataset(f"s3://{bucket}/{key}", service=endpoint, **keys)) as remote,
        closing(open_by_listing(live_store, key)) as local,
    ):
        assert set(local.data_vars) == set(_NAMES)
        xr.testing.assert_identical(load(remote), local.load())


def test_a_long_listing_is_read_page_by_page(
    live_store: Store, bucket: str, endpoint: str, keys: dict[str, Any]
) -> None:
    """Of folders without an array; the last one has one."""
    client = live_store.client()
    for name, source in (("zarr.json", "zarr.json"), ("none999x/zarr.json", "lat/zarr.json")):
        body = client.get_object(Bucket=bucket, Key=f"v3.zarr/{source}")["Body"].read()
        if name == "zarr.json":
            body = json.dumps({**json.loads(body), "attributes": {"title": "many"}}).encode()
        client.put_object(Bucket=bucket, Key=f"many.zarr/{name}", Body=body)
    found = Client(endpoint, **keys).describe(f"s3://{bucket}/many.zarr")
    assert [each.name for each in found.variables] == ["none999x"]
    assert found.attributes == {"title": "many"}
    # zarr.json, .zmetadata, two pages, and each folder.
    assert found.requests == 4 + 1203


def test_what_is_not_there_is_no_group(bucket: str, endpoint: str, keys: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="there is no Zarr group"):
        Client(endpoint, **keys).describe(f"s3://{bucket}/none.zarr")

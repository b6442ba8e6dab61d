"""Whole arrays in a real store, asked of the real service: what xarray says of the same files."""

from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
import requests
import xarray as xr

from active_storage.client.object_lambda import reducing
from deploy.local.store import Store, make_bucket
from tests.arrays.written import KINDS, NAME, Contents, Written
from tests.minio_lambda import Target

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]

BUCKET = "judged-arrays"

# Containers of one object: a signature covers one, so that S3 clients can ask for them.
_FILES = ("netCDF4", "h5netcdf", "netCDF-3 classic", "h5py earliest")
_KINDS = ("zarr v2", "zarr v3", "zarr v3 in shards", *_FILES, "references to HDF5")

_PACKING = {"units": "K", "scale_factor": np.float64(0.5), "add_offset": np.float64(273.15)}


def _make_contents(kind: str) -> Contents:
    values = np.random.default_rng(2).integers(-100, 100, (9, 7, 5)).astype(np.int16)
    absent = frozenset({3}) if KINDS[kind].has_absent else frozenset()
    return Contents(values, (4, 3, 5), _PACKING, np.int16(7), absent, codec=1)


@pytest.fixture(scope="module", params=_KINDS)
def stored(request: pytest.FixtureRequest, live_store: Store, tmp_path_factory: Any) -> tuple[Written, str]:
    """A container of each kind in the store: how xarray reads it, and its key."""
    client, kind = live_store.client(), request.param
    if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        make_bucket(client, BUCKET)
    folder: Path = tmp_path_factory.mktemp("written")
    written = KINDS[kind].write(_make_contents(kind), folder)
    root = kind.replace(" ", "-")
    for key, data in written.container.objects.items():
        if key.startswith("s3://"):
            client.put_object(Bucket=BUCKET, Key=f"{root}-packed", Body=data)
        else:
            named = data.replace(b"s3://bucket/packed", f"s3://{BUCKET}/{root}-packed".encode())
            client.put_object(Bucket=BUCKET, Key="/".join(filter(None, (root, key))), Body=named)
    return written, root


def _check(values: Any, wanted: xr.DataArray) -> None:
    assert values.shape == wanted.shape
    np.testing.assert_allclose(values, wanted.values, rtol=1e-12)


def test_json(live_store: Store, endpoint: str, stored: tuple[Written, str]) -> None:
    written, root = stored
    judge = written.read(True).astype(np.float64)
    store = {"type": written.container_type, "url": f"{live_store.endpoint}/{BUCKET}/{root}", "array": NAME}
    picked = judge.isel(z=slice(1, 8, 3), x=slice(None, None, -1))
    selection = {"z": {"index": [1, 8, 3]}, "x": {"index": [None, None, -1]}}
    with requests.Session() as session:
        session.trust_env = False
        session.auth = (live_store.access_key, live_store.secret_key)
        for reducer in ("sum", "mean", "std", "max", "min", "count"):
            body = {"store": store, "selection": selection, "axis": ["z", "y"], "decode": "xarray"}
            response = session.post(f"{endpoint}/arrays/v1/{reducer}", json=body)
            assert response.status_code == 200, response.text
            reply = cbor2.loads(response.content)
            values = np.frombuffer(reply["bytes"], np.dtype(reply["dtype"]).newbyteorder("<")).reshape(reply["shape"])
            assert reply["dims"] == ["x"]
            assert list(reply["count"]) == picked.count(["z", "y"]).values.tolist()
            _check(values, getattr(picked, reducer)(["z", "y"]))


@pytest.mark.parametrize("stored", _FILES, indirect=True)
def test_boto3_through_the_direct_proxy(proxied: Any, stored: tuple[Written, str]) -> None:
    written, root = stored
    for reducer in ("mean", "max"):
        key = f"netcdf;var={NAME};axis=z/{BUCKET}/{root}"
        answer: Any = proxied.get_object(Bucket=reducer, Key=key)
        values = np.frombuffer(answer["Body"].read(), "<f8").reshape(7, 5)
        _check(values, getattr(written.read(True).astype(np.float64), reducer)("z"))


@pytest.mark.parametrize("stored", _FILES, indirect=True)
@pytest.mark.parametrize("way", ["header-signed", "presigned"])
def test_an_object_lambda(
    lambda_store: Store, targets: dict[str, Target], stored: tuple[Written, str], way: str
) -> None:
    """Through MinIO's own object lambda, or its stand-in. Both ways, the store signs the link for the service."""
    written, root = stored
    s3, wanted = lambda_store.client(), {"Bucket": BUCKET, "Key": root}
    for reducer in ("mean", "max"):
        with reducing(s3, f"{reducer}/netcdf;var={NAME};axis=z", targets["reduce"].arn):
            if way == "presigned":
                data = _fetch(s3.generate_presigned_url("get_object", Params=wanted))
            else:
                data = s3.get_object(**wanted)["Body"].read()
        values = np.frombuffer(data, "<f8").reshape(7, 5)
        _check(values, getattr(written.read(True).astype(np.float64), reducer)("z"))


def _fetch(link: str) -> bytes:
    """The body of the answer to a link."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(link, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content

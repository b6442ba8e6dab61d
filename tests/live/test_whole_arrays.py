"""Whole arrays, asked of the real service before a real store: through boto3, an object lambda, and JSON."""

from collections.abc import Iterator
from typing import Any

import cbor2
import numpy as np
import pytest
import requests
from botocore.exceptions import ClientError

from active_storage.client.object_lambda import reducing
from deploy.local.store import Store, make_bucket
from tests.array_replies import split_items
from tests.doors.array_stores import VALUES, write_hdf5, write_references, write_zarr
from tests.minio_lambda import Target

pytestmark = pytest.mark.live

BUCKET = "whole-arrays"
MEAN = VALUES.mean(axis=0).tobytes()


@pytest.fixture(scope="module")
def objects(live_store: Store) -> None:
    """An array in each container."""
    path = f"/{BUCKET}/store.zarr/tas"
    zarr = write_zarr(path, attributes={"units": "K"})
    references = write_references(zarr, path)
    client = live_store.client()
    make_bucket(client, BUCKET)
    for name, data in {**zarr, f"/{BUCKET}/f.nc": write_hdf5(), f"/{BUCKET}/references.json": references}.items():
        client.put_object(Bucket=BUCKET, Key=name.removeprefix(f"/{BUCKET}/"), Body=data)


def test_boto3_through_the_direct_proxy(proxied: Any, objects: None) -> None:
    """A slash in the key would end the parameters, so that the path of a variable in a group goes in the query."""
    with reducing(proxied, ";var=g/tas"):
        answer = proxied.get_object(Bucket="mean", Key=f"netcdf;axis=time/{BUCKET}/f.nc")
    assert answer["Body"].read() == MEAN
    assert answer["Metadata"]["activestorage-dims"] == '["lat"]'


def test_a_signature_does_not_open_what_references_name(proxied: Any, objects: None) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied.* the signature covers the references only"):
        proxied.get_object(Bucket="mean", Key=f"kerchunk;var=tas;axis=time/{BUCKET}/references.json")


def test_a_presigned_link_at_the_direct_proxy(live_store: Store, endpoint: str, objects: None) -> None:
    link = live_store.client().generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "f.nc"})
    path = link.removeprefix(live_store.endpoint)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{endpoint}/mean/netcdf;var=g%2Ftas;axis=time{path}", timeout=60)
    assert (answer.status_code, answer.content) == (200, MEAN)
    assert answer.headers["x-activestorage-units"] == "K"


def test_a_signed_request_for_an_array_of_many_objects_is_refused(proxied: Any, objects: None) -> None:
    with pytest.raises(ClientError, match="POST /arrays/v1/"):
        proxied.get_object(Bucket="mean", Key=f"zarr;axis=time/{BUCKET}/store.zarr/tas")


def test_an_object_lambda(lambda_store: Store, targets: dict[str, Target], objects: None) -> None:
    s3 = lambda_store.client()
    with reducing(s3, "mean/netcdf;var=g/tas;axis=time", targets["reduce"].arn):
        answer = s3.get_object(Bucket=BUCKET, Key="f.nc")
    assert answer["Body"].read() == MEAN
    metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
    assert metadata["activestorage-dims"] == '["lat"]'


@pytest.fixture
def session(live_store: Store) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = (live_store.access_key, live_store.secret_key)
        yield session


@pytest.mark.parametrize(
    ("kind", "key", "array"),
    [("zarr", "store.zarr", "tas"), ("netcdf", "f.nc", "g/tas"), ("kerchunk", "references.json", "tas")],
)
def test_json_signs_for_every_object(
    live_store: Store, endpoint: str, session: requests.Session, objects: None, kind: str, key: str, array: str
) -> None:
    store = {"type": kind, "url": f"{live_store.endpoint}/{BUCKET}/{key}", "array": array}
    answer = session.post(f"{endpoint}/arrays/v1/mean", json={"store": store, "axis": "time"}, timeout=60)
    assert answer.status_code == 200, answer.text
    reply = cbor2.loads(answer.content)
    assert (reply["bytes"], reply["dims"], reply["units"]) == (MEAN, ["lat"], "K")


def test_items_come_in_chunks(live_store: Store, endpoint: str, session: requests.Session, objects: None) -> None:
    store = {"type": "zarr", "url": f"{live_store.endpoint}/{BUCKET}/store.zarr", "array": "tas"}
    body = {"store": store, "axis": "time", "answer": "progress"}
    with session.post(f"{endpoint}/arrays/v1/mean", json=body, stream=True, timeout=60) as answer:
        assert (answer.status_code, answer.headers["Transfer-Encoding"]) == (200, "chunked")
        items = split_items(answer.content)
    assert [item["type"] for item in items] == ["header", "progress", "result", "end"]
    assert items[2]["bytes"] == MEAN
    # The connection is good for the next request.
    assert session.post(f"{endpoint}/arrays/v1/plan", json={"store": store}, timeout=60).status_code == 200


def test_a_table_of_a_megabyte_is_read(
    live_store: Store, endpoint: str, session: requests.Session, objects: None
) -> None:
    """Twice as long as a JSON body may be, and not for gunicorn to refuse."""
    count = 100_000
    table = {
        "type": "table",
        "dtype": "float32",
        "shape": [count],
        "chunks": [1],
        "codecs": {},
        "fill_value": 1,
        "dims": ["x"],
        "urls": [f"{live_store.endpoint}/{BUCKET}/store.zarr/tas/0.0"],
        "url": bytes(4 * count),
        "offset": bytes(8 * count),
        "size": np.full(count, -1, "<i8").tobytes(),
    }
    body = cbor2.dumps({"store": table, "decode": "none"})
    headers = {"Content-Type": "application/cbor"}
    answer = session.post(f"{endpoint}/arrays/v1/sum", data=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    reply = cbor2.loads(answer.content)
    assert np.frombuffer(reply["bytes"], reply["dtype"]).tolist() == [count]
    assert reply["missing_chunks"] == count

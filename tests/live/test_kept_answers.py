"""Answers that are kept, before a real store: it decides by each caller's signature, and says what has changed."""

import json
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest
import requests

from deploy.local.store import Store, make_bucket
from tests.doors.array_stores import VALUES, write_hdf5, write_zarr

pytestmark = pytest.mark.live

BUCKET = "kept-answers"


def ask(url: str, path: str, body: dict[str, Any], keys: tuple[str, str]) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{url}{path}", data=json.dumps(body), auth=keys, timeout=60)


@pytest.mark.parametrize(
    ("container", "path", "array", "replaced"),
    [("zarr", "store.zarr", "tas", "store.zarr/tas/1.0"), ("netcdf", "f.nc", "g/tas", "f.nc")],
)
def test_arrays(
    live_store: Store,
    start_service: Callable[..., str],
    container: str,
    path: str,
    array: str,
    replaced: str,
) -> None:
    bucket = f"{BUCKET}-{container}"
    client, keys = live_store.client(), (live_store.access_key, live_store.secret_key)
    make_bucket(client, bucket)
    other = VALUES.copy()
    other[2:4, :3] = 0
    written: list[dict[str, bytes]] = [
        {**write_zarr("store.zarr/tas", values, fill_value=-1), "f.nc": write_hdf5(values)}
        for values in (VALUES, other)
    ]
    for key, data in written[0].items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    url = start_service()
    body = {"store": {"type": container, "url": f"{live_store.endpoint}/{bucket}/{path}", "array": array}}
    answers = [cbor2.loads(ask(url, "/arrays/v1/sum", body, keys).content) for _ in range(2)]
    assert [np.frombuffer(answer["bytes"], "<f4").tolist() for answer in answers] == [[VALUES.sum()]] * 2
    assert answers[0]["bytes_read"] > answers[1]["bytes_read"] == 0
    assert ask(url, "/arrays/v1/sum", body, (live_store.access_key, "another-secret")).status_code in (401, 403)
    client.put_object(Bucket=bucket, Key=replaced, Body=written[1][replaced])
    changed = cbor2.loads(ask(url, "/arrays/v1/sum", body, keys).content)
    assert np.frombuffer(changed["bytes"], "<f4").tolist() == [other.sum()]
    if container == "zarr":
        client.delete_object(Bucket=bucket, Key=replaced)
        removed = cbor2.loads(ask(url, "/arrays/v1/sum", body, keys).content)
        assert removed["missing_chunks"] == 1


def test_objects(live_store: Store, start_service: Callable[..., str]) -> None:
    client, keys = live_store.client(), (live_store.access_key, live_store.secret_key)
    make_bucket(client, f"{BUCKET}-objects")
    url = start_service()
    place = {"source": live_store.endpoint, "bucket": f"{BUCKET}-objects", "object": "key"}
    body = {**place, "dtype": "float32"}
    for values in (VALUES, VALUES + 1):
        client.put_object(Bucket=f"{BUCKET}-objects", Key="key", Body=values.tobytes())
        for offset in (0, 16):
            for _ in range(2):
                answer = ask(url, "/v1/sum/", {**body, "offset": offset}, keys)
                assert np.frombuffer(answer.content, "<f4").tolist() == [values.ravel()[offset // 4 :].sum()]
    assert ask(url, "/v1/sum/", body, (live_store.access_key, "another-secret")).status_code in (401, 403)
    client.delete_object(Bucket=f"{BUCKET}-objects", Key="key")
    assert "NoSuchKey" in ask(url, "/v1/sum/", body, keys).text

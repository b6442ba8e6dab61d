"""The JSON doors with a real store, which verifies their signatures. The requests are those of the clients."""

import http.server
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import cbor2
import numpy as np
import pytest
import requests

from deploy.local.service import service
from deploy.local.store import Store, make_bucket, seaweedfs

pytestmark = pytest.mark.live

BUCKET = "chunks"
CHUNK = np.arange(60, dtype=">f4").reshape(3, 4, 5)
PLAIN = CHUNK.tobytes()
PACKED = zlib.compress(np.frombuffer(PLAIN, "u1").reshape(-1, 4).T.tobytes())
OFFSET = 100
# A file with two chunks after other bytes, as in HDF5.
FILE = bytes(OFFSET) + PLAIN + PACKED
KEYS = ("file.nc", "dir/with space+plus%/été €.nc", "a=b&c;d,e!'()*~@$:.nc", "a//b.nc")
KEYS_OF_NOBODY = ("minioadmin", "wrong"), ("nobody", "minioadmin")

OF_CHUNK = {
    "dtype": "float32", "byte_order": "big", "offset": OFFSET, "size": len(PLAIN), "shape": list(CHUNK.shape),
    "order": "C", "selection": [[0, 2, 1], [0, 4, 3], [0, 5, 1]],
}  # fmt: skip
EXPECTED = CHUNK[0:2, 0:4:3]


class WebServer(http.server.BaseHTTPRequestHandler):
    """A web server with one file for one user. It supports ranges."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic dXNlcjpwYXNz":
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        piece = FILE[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(FILE)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with seaweedfs() as running:
        client = running.client()
        make_bucket(client, BUCKET)
        for key in KEYS:
            client.put_object(Bucket=BUCKET, Key=key, Body=FILE)
        yield running


@pytest.fixture(scope="module")
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def endpoint(store: Store, web_server: str) -> Iterator[str]:
    settings = {
        "ACTIVE_STORAGE_WORKERS": "1",
        "ACTIVE_STORAGE_ALLOWED_ORIGINS": f"{store.endpoint},{web_server}",
    }
    with ExitStack() as stack:
        yield stack.enter_context(service(store, settings))


@pytest.fixture
def session(store: Store) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = (store.access_key, store.secret_key)
        yield session


def decode(response: requests.Response) -> tuple[Any, Any]:
    assert response.ok, response.text
    reply = cbor2.loads(response.content)
    return np.frombuffer(reply["bytes"], reply["dtype"]).reshape(reply["shape"]).tolist(), reply["count"]


@pytest.mark.parametrize("key", KEYS)
def test_a_chunk_is_reduced(endpoint: str, store: Store, session: requests.Session, key: str) -> None:
    """The key is in the URL without encoding, except for a percent sign, which may or may not begin an escape."""
    url = f"{store.endpoint}/{BUCKET}/{key}"
    wanted = {**OF_CHUNK, "interface_type": "s3", "url": url, "axis": (0, 2)}
    assert decode(session.post(f"{endpoint}/v2/sum/", json=wanted)) == (EXPECTED.sum((0, 2)).tolist(), [10, 10])


@pytest.mark.parametrize("key", KEYS)
def test_version_1_names_the_key_itself(endpoint: str, store: Store, session: requests.Session, key: str) -> None:
    wanted = {**OF_CHUNK, "source": store.endpoint, "bucket": BUCKET, "object": key}
    response = session.post(f"{endpoint}//v1/max/", json=wanted)
    assert np.frombuffer(response.content, response.headers["x-activestorage-dtype"]).tolist() == [EXPECTED.max()]
    assert response.headers["x-activestorage-count"] == "[20]"


def test_a_compressed_chunk_is_decoded(endpoint: str, store: Store, session: requests.Session) -> None:
    wanted = {
        **OF_CHUNK, "interface_type": "s3", "url": f"{store.endpoint}/{BUCKET}/file.nc", "offset": OFFSET + len(PLAIN),
        "size": len(PACKED), "compression": {"id": "zlib"}, "filters": [{"id": "shuffle", "element_size": 4}],
        "missing": {"missing_value": 0.0}, "axis": [0, 1, 2],
    }  # fmt: skip
    assert decode(session.post(f"{endpoint}/v2/min", json=wanted)) == (1.0, [19])


def test_a_slash_before_the_key_is_accepted(endpoint: str, store: Store, session: requests.Session) -> None:
    url = f"{store.endpoint}/{BUCKET}//file.nc"
    wanted = {**OF_CHUNK, "interface_type": "s3", "url": url}
    assert decode(session.post(f"{endpoint}//v2/count/", json=wanted)) == (20, [20])
    wanted = {**OF_CHUNK, "source": store.endpoint, "bucket": BUCKET, "object": "/file.nc"}
    assert session.post(f"{endpoint}/v1/count", json=wanted).content == np.int64(20).tobytes()


@pytest.mark.parametrize("auth", [*KEYS_OF_NOBODY, None, ("None", "None")])
def test_denied_access_is_an_error(
    endpoint: str, store: Store, session: requests.Session, auth: tuple[str, str] | None
) -> None:
    session.auth = auth
    wanted = {**OF_CHUNK, "interface_type": "s3", "url": f"{store.endpoint}/{BUCKET}/file.nc"}
    response = session.post(f"{endpoint}/v2/sum/", json=wanted)
    assert response.status_code == 401
    assert "Access Denied" in response.json()["error"]["caused_by"]


@pytest.mark.parametrize(("path", "code"), [(f"{BUCKET}/nokey", "NoSuchKey"), ("nobucket/key", "NoSuchBucket")])
def test_an_absent_object_is_named(
    endpoint: str, store: Store, session: requests.Session, path: str, code: str
) -> None:
    wanted = {**OF_CHUNK, "interface_type": "s3", "url": f"{store.endpoint}/{path}"}
    response = session.post(f"{endpoint}/v2/sum/", json=wanted)
    assert response.status_code == 400
    assert code in response.json()["error"]["caused_by"][-1]


@pytest.mark.parametrize(
    ("members", "name"),
    [({"offset": len(FILE)}, "offset"), ({"offset": len(FILE) - 8}, "size"), ({"offset": 2**62}, "offset")],
)
def test_a_chunk_beyond_the_object_is_an_error(
    endpoint: str, store: Store, session: requests.Session, members: dict[str, int], name: str
) -> None:
    wanted = {**OF_CHUNK, "interface_type": "s3", "url": f"{store.endpoint}/{BUCKET}/file.nc", "selection": None}
    response = session.post(f"{endpoint}/v2/sum/", json={**wanted, **members})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"] == "request data is not valid"
    assert error["caused_by"][0].startswith(name), error


def test_a_web_server_gets_the_callers_password(endpoint: str, web_server: str, session: requests.Session) -> None:
    session.auth = ("user", "pass")
    wanted = {**OF_CHUNK, "interface_type": "https", "url": f"{web_server}/file.nc", "axis": [1]}
    expected = EXPECTED.max(axis=1).tolist()
    assert decode(session.post(f"{endpoint}/v2/max/", json=wanted)) == (expected, [2] * 10)
    session.auth = ("user", "wrong")
    assert session.post(f"{endpoint}/v2/max/", json=wanted).status_code == 401


def test_an_origin_that_is_not_allowed_is_refused(endpoint: str, session: requests.Session) -> None:
    wanted = {**OF_CHUNK, "interface_type": "http", "url": f"{endpoint}/readyz"}
    response = session.post(f"{endpoint}/v2/max/", json=wanted)
    assert response.status_code == 400
    assert response.json()["error"]["caused_by"][0].startswith("url")


def test_a_hundred_megabytes_of_json_are_not_read(endpoint: str, session: requests.Session) -> None:
    response = session.post(f"{endpoint}/v2/sum/", data=b'{"dtype": "' + b"x" * (100 << 20) + b'"}')
    assert response.status_code == 400
    assert response.json()["error"]["caused_by"] == ["body: is longer than 1048576 bytes, the maximum"]


def test_a_chunked_body_is_read(endpoint: str, store: Store, session: requests.Session) -> None:
    response = session.post(f"{endpoint}/v2/sum/", data=iter([b"{", b"}"]))
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "request data is not valid"
    response = session.post(f"{endpoint}/v2/sum/", data=iter([b" " * (1 << 20), b" "]))
    assert response.json()["error"]["caused_by"] == ["body: is longer than 1048576 bytes, the maximum"]

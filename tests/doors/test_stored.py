"""The door to the object itself: the store's headers and bytes, unchanged."""

import flask
import numpy as np
import pytest
from werkzeug.test import EnvironBuilder

from active_storage.errors import StoreCutOff
from handler.app import Application
from handler.stores.fake import FakeSource, FakeStore, FakeStream
from tests.conftest import NUMBERS
from tests.helpers import BLOCK_BYTES, ask, read_error

KEY = "/obj/bucket/key"


def test_the_object_is_sent_unchanged(app: flask.Flask, store: FakeStore) -> None:
    store.sources["/bucket/key"].headers = {
        "etag": '"source"', "content-length": "40", "content-type": "image/png", "x-amz-meta-a": "b",
        "x-amz-checksum-crc32": "AAAAAA==", "connection": "close", "server": "Store", "date": "then",
    }  # fmt: skip
    response = ask(app, KEY)
    assert (response.status_code, response.data) == (200, NUMBERS.tobytes())
    for name in ("etag", "content-length", "content-type", "x-amz-meta-a", "x-amz-checksum-crc32"):
        assert response.headers[name] == store.sources["/bucket/key"].headers[name]
    assert not {"connection", "server", "date"} & {name.lower() for name, _ in response.headers}


def test_a_range_selects_bytes_of_the_object(app: flask.Flask) -> None:
    response = ask(app, KEY, headers={"Range": "bytes=1-6"})
    assert (response.status_code, response.data) == (206, NUMBERS.tobytes()[1:7])


# Instructions to gateways and to browsers, which would apply to this service's own host.
ORDERS = {
    "Set-Cookie": "session=1",
    "X-Accel-Redirect": "/internal",
    "X-Accel-Buffering": "no",
    "X-Sendfile": "/etc/passwd",
    "X-LIGHTTPD-send-file": "/etc/passwd",
    "X-Reproxy-URL": "http://internal",
    "Alt-Svc": 'h2="elsewhere:443"',
    "Strict-Transport-Security": "max-age=1",
    "Clear-Site-Data": '"*"',
    "Content-Security-Policy": "sandbox",
    "Refresh": "0;url=http://elsewhere",
    "Location": "http://elsewhere",
    "Link": "<http://elsewhere>; rel=preload",
    "Server-Timing": "a",
    "Via": "1.1 store",
    "x-amz-id-2": "the store's",
    "x-ms-request-id": "the store's",
}
FACTS = {
    "content-type": "image/png", "content-disposition": "inline", "content-language": "en", "cache-control": "no-store",
    "expires": "0", "accept-ranges": "bytes", "vary": "Accept", "last-modified": "then", "x-amz-version-id": "1",
    "x-amz-storage-class": "GLACIER", "x-goog-generation": "2", "x-ms-blob-type": "BlockBlob",
}  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_only_headers_about_the_object_are_forwarded(app: flask.Flask, store: FakeStore, method: str) -> None:
    store.sources["/bucket/key"].headers = {**FACTS, **{name.lower(): value for name, value in ORDERS.items()}}
    headers = ask(app, KEY, method).headers
    assert not [name for name in ORDERS if name in headers]
    assert {name: headers[name] for name in FACTS} == FACTS


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_stores_request_id_is_not_ours(app: flask.Flask, store: FakeStore, method: str) -> None:
    store.sources["/bucket/key"].headers = {"x-amz-request-id": "the store's"}
    (given,) = ask(app, KEY, method).headers.getlist("x-amz-request-id")
    assert given != "the store's"


def test_head_reads_nothing(app: flask.Flask, store: FakeStore) -> None:
    assert ask(app, KEY, "HEAD").status_code == 200
    assert store.sources["/bucket/key"].bytes_read == 0


def test_query_and_conditions_are_forwarded_unchanged(app: flask.Flask, store: FakeStore) -> None:
    ask(app, f"{KEY}?acl&versionId=%2f&byte_order=big", headers={"If-Match": '"40-fake"', "If-Range": '"a"'})
    assert store.requests[-1].target == "/bucket/key?acl&versionId=%2f&byte_order=big"
    assert store.requests[-1].headers["if-match"] == '"40-fake"'
    assert store.requests[-1].headers["if-range"] == '"a"'


@pytest.mark.parametrize("query", ["x=\xe9", "x=%zz"])
def test_a_malformed_query_is_the_callers_error(app: flask.Flask, store: FakeStore, query: str) -> None:
    response = ask(app, f"{KEY}?{query}")
    assert (response.status_code, read_error(response)["Code"]) == (400, "InvalidArgument")
    assert not store.requests


def test_a_reply_that_the_server_refuses_is_closed(app: Application, store: FakeStore) -> None:
    store.sources["/bucket/key"].data = bytes(3 * BLOCK_BYTES)

    def refuse(*_: object) -> None:
        raise ValueError("no such header")

    environ = EnvironBuilder(environ_overrides={"RAW_URI": KEY}).get_environ()
    with pytest.raises(ValueError, match="no such header"):
        app.wsgi_app(environ, refuse)
    assert store.sources["/bucket/key"].open_streams == 0


def test_a_current_copy_is_not_sent_again(app: flask.Flask) -> None:
    response = ask(app, KEY, headers={"If-None-Match": '"40-fake"'})
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", '"40-fake"')


def test_a_missing_object_is_the_stores_error(app: flask.Flask) -> None:
    response = ask(app, "/obj/bucket/nokey")
    assert (response.status_code, read_error(response)["Code"]) == (404, "NoSuchKey")


def test_an_object_of_many_blocks_is_complete(app: flask.Flask, store: FakeStore) -> None:
    data = np.random.default_rng(7).bytes(3 * BLOCK_BYTES + 5)
    store.sources["/bucket/large"] = FakeSource(data, read_bytes=100_003)
    assert ask(app, "/obj/bucket/large").data == data


def test_a_truncated_object_does_not_look_complete(app: flask.Flask, store: FakeStore) -> None:
    """The status is sent before the error occurs. Therefore the connection is closed before the announced length."""

    class Broken(FakeSource):
        def _open(self, byte_range: object) -> FakeStream:
            return BrokenStream(self, self.head(None))

    class BrokenStream(FakeStream):
        def readinto(self, buffer: memoryview, /) -> int:
            if self.bytes_read:
                raise StoreCutOff("the store sent fewer bytes than it promised")
            return super().readinto(buffer[:8])

    store.sources["/bucket/key"] = Broken(NUMBERS.tobytes())
    with pytest.raises(ConnectionResetError):
        ask(app, KEY)

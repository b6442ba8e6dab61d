"""The boto3 plugin with the service and a store: the plugin signs, and the store verifies the signatures.

Every request goes over loopback, if it is for a proxy through the real application, to a store. The store computes the
signature of the request that it received with botocore, and refuses any other one.
"""

import datetime as dt
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.auth
import botocore.signers
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

import active_storage.client.boto3 as plugin
from active_storage.client.boto3 import S3ActiveStorageV4Auth, S3ActiveStorageV4QueryAuth
from active_storage.client.discovery import Document
from active_storage.grammar.targets import DISCOVERY_PATH
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from tests.client.conftest import NUMBERS, PUBLIC_HOST
from tests.client.signed_store import KEYS, REGION, Seen, Served, SignedStore, Wsgi, is_well_signed
from tests.judge import check_data

MakeClient = Callable[..., Any]

VERSION = S3ActiveStorageV4Auth.SIGNATURE_VERSION

SUM = NUMBERS.sum(dtype="<f4").tobytes()

SESSION_KEYS = Credentials(KEYS.access_key, KEYS.secret_key, token="the token of a session/+=")

AWKWARD_KEYS = [
    "a key with spaces",
    "zażółć/ключ/鍵/😀",
    "a+b",
    "100%",
    "%2F%zz",
    "a//b",
    "/a",
    "a/",
    "a/../b",
    "..",
    "./a",
    "a;b=c,d",
    "~a",
    "it's(*)!",
    "a&b=c?d#e@f:g$",
    'a\\b|c^d`e{f}<g>"h"',
]

CONDITIONS = {
    "Range": "bytes=4-11",
    "IfMatch": '"etag"',
    "IfNoneMatch": '"other"',
    "IfModifiedSince": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "IfUnmodifiedSince": dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
}
CONDITION_NAMES = {"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}


# At a proxy


@pytest.mark.parametrize("key", AWKWARD_KEYS)
def test_any_key_reaches_the_store_with_a_valid_signature(
    key: str, serve: Callable[..., Served], make_proxy: Callable[[Served], Served], make_client: MakeClient
) -> None:
    """By GET and HEAD with the signature in the header, by a presigned link, and for the object itself."""
    store = serve(SignedStore({f"/bucket/{key}": NUMBERS.tobytes()}))
    s3 = make_client(make_proxy(store).endpoint)
    reduction = {"Bucket": "sum", "Key": f"float32/bucket/{key}"}
    assert s3.get_object(**reduction)["Body"].read() == SUM
    assert s3.head_object(**reduction)["ContentLength"] == len(SUM)
    assert fetch(s3.generate_presigned_url("get_object", Params=reduction)) == SUM
    assert read(s3, "obj", f"bucket/{key}") == NUMBERS.tobytes()
    assert {seen.headers["host"] for seen in store.requests} == {PUBLIC_HOST}


@pytest.mark.parametrize("reducer", REDUCERS)
def test_requests_for_every_reducer_are_signed(reducer: str, proxy: Served, make_client: MakeClient) -> None:
    body = read(make_client(proxy.endpoint), reducer, "float32/bucket/key")
    check_data(ReductionSpec(reducer, "float32"), NUMBERS, body)


def test_requests_with_parameters_are_signed(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    s3 = make_client(proxy.endpoint)
    reduction = {"Bucket": "max", "Key": "int32;byte_order=big/bucket/key"}
    expected = NUMBERS.view(">i4").max().astype("<i4").tobytes()
    assert s3.get_object(**reduction)["Body"].read() == expected
    assert fetch(s3.generate_presigned_url("get_object", Params=reduction)) == expected
    assert {seen.path for seen in plain.requests} == {"/bucket/key"}


@pytest.mark.parametrize("signer", [S3ActiveStorageV4Auth, S3ActiveStorageV4QueryAuth])
def test_the_proxys_own_query_is_sent_unsigned(signer: Any, proxy: Served, plain: Served) -> None:
    """The store does not receive it, so that the signature must not cover it. The store's query is signed."""
    url = f"{proxy.endpoint}/max/int32/bucket/key?versionId=a%2Fb&byte_order=big"
    request = AWSRequest("GET", url)
    signer(KEYS, "s3", REGION).add_auth(request)
    assert fetch(request.url, request.headers) == NUMBERS.view(">i4").max().astype("<i4").tobytes()
    assert proxy.requests[-1].query.startswith("byte_order=big&versionId=a%2Fb")
    assert "byte_order" not in plain.requests[-1].query
    assert "versionId=a%2Fb" in plain.requests[-1].query


def test_a_version_is_signed(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    s3 = make_client(proxy.endpoint)
    reduction = {"Bucket": "sum", "Key": "float32/bucket/key", "VersionId": "a version/+="}
    assert s3.get_object(**reduction)["Body"].read() == SUM
    assert plain.requests[-1].query == "versionId=a%20version%2F%2B%3D"
    assert fetch(s3.generate_presigned_url("get_object", Params=reduction)) == SUM
    assert plain.requests[-1].query.startswith("versionId=a%20version%2F%2B%3D&")


def test_a_session_token_is_signed(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    s3 = make_client(proxy.endpoint, SESSION_KEYS)
    assert read(s3, "sum", "float32/bucket/key") == SUM
    assert plain.requests[-1].headers["x-amz-security-token"] == SESSION_KEYS.token
    assert "x-amz-security-token" in plain.requests[-1].signed_names
    link = s3.generate_presigned_url("get_object", Params={"Bucket": "sum", "Key": "float32/bucket/key"})
    assert fetch(link) == SUM
    assert "X-Amz-Security-Token=" in plain.requests[-1].query


def test_a_customers_encryption_key_is_signed(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    customers = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    assert read(make_client(proxy.endpoint), "sum", "float32/bucket/key", Range="bytes=4-11", **customers) == (
        NUMBERS[1:3].sum(dtype="<f4").tobytes()
    )
    names = {name for name in plain.requests[-1].headers if "customer" in name}
    assert len(names) == 3
    assert names <= plain.requests[-1].signed_names


def test_a_range_selects_numbers_and_is_not_signed(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    s3 = make_client(proxy.endpoint)
    assert read(s3, "max", "float32/bucket/key", Range="bytes=4-11") == NUMBERS[2].tobytes()
    assert read(s3, "obj", "bucket/key", Range="bytes=4-11") == NUMBERS[1:3].tobytes()
    assert [seen.headers["range"] for seen in plain.requests] == ["bytes=4-11"] * 2
    assert not any("range" in seen.signed_names for seen in plain.requests)


def test_conditions_are_not_signed_at_a_proxy(proxy: Served, make_client: MakeClient) -> None:
    """The proxy applies them to the result, and translates them for the store."""
    s3 = make_client(proxy.endpoint)
    read(s3, "obj", "bucket/key", **CONDITIONS)
    assert proxy.requests[-1].headers.keys() >= CONDITION_NAMES
    assert not CONDITION_NAMES & proxy.requests[-1].signed_names
    link = s3.generate_presigned_url("get_object", Params={"Bucket": "obj", "Key": "bucket/key", **CONDITIONS})
    assert fetch(link) == NUMBERS.tobytes()
    assert proxy.requests[-1].signed_names == {"host"}


def test_conditions_are_signed_at_a_plain_s3(plain: Served, make_client: MakeClient) -> None:
    s3 = make_client(plain.endpoint)
    assert read(s3, "bucket", "key", **CONDITIONS) == NUMBERS[1:3].tobytes()
    assert plain.requests[-1].signed_names >= CONDITION_NAMES


def test_the_etag_of_a_result_can_be_a_condition(proxy: Served, make_client: MakeClient) -> None:
    s3 = make_client(proxy.endpoint)
    etag = s3.head_object(Bucket="sum", Key="float32/bucket/key")["ETag"]
    assert read(s3, "sum", "float32/bucket/key", IfMatch=etag) == SUM


def test_wrong_keys_are_refused(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    """With a wrong secret, requests fail at a proxy and without one. This verifies the tests themselves."""
    keys = Credentials(KEYS.access_key, "another secret")
    for endpoint, bucket, key in ((proxy.endpoint, "sum", "float32/bucket/key"), (plain.endpoint, "bucket", "key")):
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            make_client(endpoint, keys).get_object(Bucket=bucket, Key=key)


def test_a_path_without_an_object_is_refused_by_the_proxy(
    proxy: Served, plain: Served, make_client: MakeClient
) -> None:
    s3 = make_client(proxy.endpoint)
    for bucket, key, code in (
        ("nonsense", "float32/bucket/key", "NoSuchReducer"),
        ("sum", "float32", "InvalidArgument"),
        ("sum", "float32/bucket", "InvalidArgument"),
    ):
        with pytest.raises(ClientError, match=code):
            s3.get_object(Bucket=bucket, Key=key)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.list_objects_v2(Bucket="sum")
    assert plain.requests == []
    # Signed for the endpoint itself, which may serve more than reductions.
    assert all(is_well_signed(seen) for seen in proxy.requests)


def test_a_resource_signs_like_a_client(proxy: Served) -> None:
    s3 = boto3.resource(
        "s3",
        endpoint_url=proxy.endpoint,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        config=Config(signature_version=VERSION),
    )
    assert s3.Object("sum", "float32/bucket/key").get()["Body"].read() == SUM
    s3.meta.client.close()


# Virtual-host style


def test_virtual_host_style_becomes_path_style_at_a_proxy(
    proxy: Served, plain: Served, make_client: MakeClient
) -> None:
    """DNS needs no name ``sum.proxy``, and it is not looked up."""
    endpoint = with_host(proxy, "localhost")
    s3 = make_client(endpoint, s3={"addressing_style": "virtual"})
    reduction = {"Bucket": "sum", "Key": "float32/bucket/key"}
    assert s3.get_object(**reduction)["Body"].read() == SUM
    link = s3.generate_presigned_url("get_object", Params=reduction)
    assert link.startswith(f"{endpoint}/sum/float32/bucket/key?")
    assert fetch(link) == SUM
    with pytest.raises(ClientError, match="NoSuchReducer"):
        s3.get_object(Bucket="nonsense", Key="float32/bucket/key")
    assert {seen.path.partition("/float32")[0] for seen in proxy.requests} == {"/sum", "/nonsense"}
    assert proxy.discoveries == 1


def test_virtual_host_style_is_kept_at_a_plain_s3(
    plain: Served, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_on_loopback(monkeypatch, "store.test", "bucket.store.test")
    s3 = make_client(with_host(plain, "store.test"), s3={"addressing_style": "virtual"})
    # This store supports path style only. The test checks the host of the request and its signature.
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="bucket", Key="key")
    assert plain.requests[-1].path == "/key"
    assert plain.requests[-1].headers["host"].startswith("bucket.store.test:")
    assert plain.discoveries == 1


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_an_endpoint_whose_name_begins_with_the_bucket_is_not_a_virtual_host(
    style: str, proxy: Served, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_on_loopback(monkeypatch, "sum.proxy.test")
    s3 = make_client(with_host(proxy, "sum.proxy.test"), s3={"addressing_style": style})
    assert read(s3, "sum", "float32/bucket/key") == SUM
    assert proxy.requests[-1].path == "/sum/float32/bucket/key"


# Discovery


def test_an_endpoint_is_asked_once(proxy: Served, make_client: MakeClient) -> None:
    for s3 in (make_client(proxy.endpoint), make_client(proxy.endpoint)):
        read(s3, "sum", "float32/bucket/key")
        s3.generate_presigned_url("get_object", Params={"Bucket": "sum", "Key": "float32/bucket/key"})
        read(s3, "obj", "bucket/key")
    assert proxy.discoveries == 1


def test_an_endpoint_is_asked_once_by_many_threads(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    clients = [make_client(served.endpoint) for served in (proxy, plain)]
    targets = [("sum", "float32/bucket/key"), ("bucket", "key")]
    together = threading.Barrier(16)

    def ask(number: int) -> bytes:
        together.wait()
        return read(clients[number % 2], *targets[number % 2])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [SUM, NUMBERS.tobytes()] * 8
    assert (proxy.discoveries, plain.discoveries) == (1, 1)


NO_DOCUMENTS = {
    "refused": ("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"),
    "missing": ("404 Not Found", b"<Error><Code>NoSuchBucket</Code></Error>"),
    "missing, with a document": (
        "404 Not Found",
        b'{"active_storage_version": "v1", "s3_endpoint": "http://s", "available_reducers": ["bucket"]}',
    ),
    "elsewhere": ("302 Found", b""),
    "empty": ("200 OK", b""),
    "website": ("200 OK", b"<!doctype html><title>It works!</title>"),
    "other object": ("200 OK", b'{"issuer": "https://login.example.org"}'),
    "array": ("200 OK", b'["active_storage_version", "v1"]'),
    "text": ("200 OK", b'"v1"'),
    "null": ("200 OK", b"null"),
    "not UTF-8": ("200 OK", b'{"active_storage_version": "\xff"}'),
    "very deep": ("200 OK", b"[" * 100_000),
    "other version": (
        "200 OK",
        b'{"active_storage_version": "v2", "s3_endpoint": "http://s", "available_reducers": []}',
    ),
    "no store": ("200 OK", b'{"active_storage_version": "v1", "available_reducers": ["sum"]}'),
    "store without a scheme": (
        "200 OK",
        b'{"active_storage_version": "v1", "s3_endpoint": "store:9000", "available_reducers": ["bucket"]}',
    ),
    "store is a number": (
        "200 OK",
        b'{"active_storage_version": "v1", "s3_endpoint": 9000, "available_reducers": ["bucket"]}',
    ),
    "store is null": (
        "200 OK",
        b'{"active_storage_version": "v1", "s3_endpoint": null, "available_reducers": ["bucket"]}',
    ),
    "reducers are nested": (
        "200 OK",
        b'{"active_storage_version": "v1", "s3_endpoint": "http://s", "available_reducers": [["bucket"]]}',
    ),
}


@pytest.mark.parametrize("answer", NO_DOCUMENTS.values(), ids=NO_DOCUMENTS)
def test_without_a_document_the_signature_is_the_standard_one(
    answer: tuple[str, bytes],
    serve: Callable[..., Served],
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Equal to that of s3v4 at the same time, without a log message, and after one request for the document."""
    stop_the_clock(monkeypatch)
    # With awscrt, botocore would use another signer, with its own clock.
    monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "s3v4", botocore.auth.S3SigV4Auth)
    monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "s3v4-query", botocore.auth.S3SigV4QueryAuth)
    objects = SignedStore({"/bucket/a/b c": NUMBERS.tobytes()})
    store = serve(answering_discovery(objects, *answer))
    usual, ours = make_client(store.endpoint, version="s3v4"), make_client(store.endpoint)
    what: dict[str, Any] = {"Bucket": "bucket", "Key": "a/b c", "VersionId": "v", **CONDITIONS}
    with caplog.at_level(logging.INFO, "active_storage"):
        for s3 in (usual, ours, ours):
            s3.head_object(**what)
        links = {s3.generate_presigned_url("get_object", Params=what) for s3 in (usual, ours)}
        forms = [s3.generate_presigned_post("bucket", "key") for s3 in (usual, ours)]
    requests = [comparable(seen) for seen in store.requests]
    assert requests[0] == requests[1] == requests[2]
    assert len(links) == 1
    assert forms[0] == forms[1]
    assert store.discoveries == 1
    assert caplog.records == []


def test_a_server_error_is_not_remembered(proxy: Served, make_client: MakeClient) -> None:
    app = proxy.recorder.app
    s3 = make_client(proxy.endpoint)
    proxy.recorder.app = answering_discovery(app, "503 Service Unavailable", b"{}")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        read(s3, "sum", "float32/bucket/key")
    proxy.recorder.app = app
    assert read(s3, "sum", "float32/bucket/key") == SUM
    assert read(s3, "sum", "float32/bucket/key") == SUM
    assert proxy.discoveries == 2


def test_an_endpoint_that_is_down_is_asked_again(serve: Callable[..., Served], make_client: MakeClient) -> None:
    """The error is boto3's own, as without the plugin."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        s3 = make_client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for ask in (s3.get_object, s3.head_object):
            with pytest.raises(EndpointConnectionError):
                ask(Bucket="bucket", Key="key")
        listener.listen()
        store = serve(SignedStore({"/bucket/key": NUMBERS.tobytes()}), listener.fileno())
        assert read(s3, "bucket", "key") == NUMBERS.tobytes()
        assert read(s3, "bucket", "key") == NUMBERS.tobytes()
        assert store.discoveries == 1


def test_discovery_uses_the_clients_network_proxies(
    proxy: Served, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without a network proxy must not use the environment's proxy for discovery."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert read(make_client(proxy.endpoint, proxies={}), "sum", "float32/bucket/key") == SUM
    far = make_client("http://nowhere.invalid", proxies={"http": proxy.endpoint})
    assert read(far, "sum", "float32/bucket/key") == SUM
    assert f"http://nowhere.invalid{DISCOVERY_PATH}" in [seen.target for seen in proxy.recorder.seen]


# Registration, credentials and repr


def test_registering_is_idempotent(monkeypatch: pytest.MonkeyPatch) -> None:
    types = dict.fromkeys(botocore.auth.AUTH_TYPE_MAPS)
    monkeypatch.setattr(botocore.auth, "AUTH_TYPE_MAPS", {"s3v4": botocore.auth.S3SigV4Auth})
    S3ActiveStorageV4Auth.register()
    once = dict(botocore.auth.AUTH_TYPE_MAPS)
    S3ActiveStorageV4Auth.register()
    assert once == botocore.auth.AUTH_TYPE_MAPS
    assert once.pop("s3v4") is botocore.auth.S3SigV4Auth
    assert once.keys() == {VERSION, f"{VERSION}-query", f"{VERSION}-presign-post"}
    assert once.keys() <= types.keys()


def test_without_credentials_boto3s_own_error_is_raised(proxy: Served, plain: Served, make_client: MakeClient) -> None:
    for endpoint in (proxy.endpoint, plain.endpoint):
        s3 = make_client(endpoint, keys=None)
        with pytest.raises(NoCredentialsError):
            s3.get_object(Bucket="sum", Key="float32/bucket/key")
        with pytest.raises(NoCredentialsError):
            s3.generate_presigned_url("get_object", Params={"Bucket": "sum", "Key": "float32/bucket/key"})


def test_no_repr_has_a_secret(proxy: Served, make_client: MakeClient) -> None:
    read(make_client(proxy.endpoint, SESSION_KEYS), "sum", "float32/bucket/key")
    signers = [signer(SESSION_KEYS, "s3", REGION) for signer in (S3ActiveStorageV4Auth, S3ActiveStorageV4QueryAuth)]
    known = plugin.DISCOVERY.find(proxy.endpoint)
    assert isinstance(known, Document)
    assert known.store == f"https://{PUBLIC_HOST}"
    shown = repr([*signers, plugin.DISCOVERY, known])
    assert KEYS.secret_key not in shown
    assert str(SESSION_KEYS.token) not in shown


# Shared code


def read(client: Any, bucket: str, key: str, **more: Any) -> bytes:
    """The body of an object."""
    body: bytes = client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return body


def fetch(url: Any, headers: Any = None) -> bytes:
    """The content of a link, fetched without keys."""
    request = urllib.request.Request(str(url), headers=dict(headers or {}))  # noqa: S310  # loopback, by our own link
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        body: bytes = response.read()
    return body


def with_host(served: Served, host: str) -> str:
    """The endpoint with another host name."""
    return served.endpoint.replace("127.0.0.1", host)


def resolve_on_loopback(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Resolve these names, and no others, to loopback."""
    resolve = socket.getaddrinfo

    def resolve_ours(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if host in hosts else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_ours)


def answering_discovery(app: Wsgi, status: str, body: bytes) -> Wsgi:
    """``app`` with another reply to discovery."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["RAW_URI"] != DISCOVERY_PATH:
            return app(environ, start_response)
        start_response(status, [("Content-Length", str(len(body))), ("Location", "/elsewhere")])
        return [body]

    return answer


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the time of botocore's signatures. Its older versions read the clock in another way."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # botocore signs with naive UTC

    class Stopped(dt.datetime):
        @classmethod
        def utcnow(cls) -> Any:
            return moment

    clock = SimpleNamespace(datetime=Stopped, timedelta=dt.timedelta)
    # One signs requests, the other sets the expiry of presigned forms.
    for module in (botocore.auth, botocore.signers):
        if hasattr(module, "get_current_datetime"):
            monkeypatch.setattr(module, "get_current_datetime", lambda: moment)
        monkeypatch.setattr(module, "datetime", clock)


def comparable(seen: Seen) -> Seen:
    """The request without the parts that botocore generates for each one."""
    made_up = {"amz-sdk-invocation-id", "amz-sdk-request", "user-agent"}
    return Seen(seen.method, seen.target, {name: seen.headers[name] for name in seen.headers.keys() - made_up})

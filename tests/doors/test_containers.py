"""The objects of a container: which may be asked for, where they are sought, and whose credentials go along."""

from collections.abc import Callable

import pytest

from active_storage.errors import ActiveStorageError, InvalidArgument
from active_storage.grammar.query import StoreQuery
from active_storage.model.origins import Origin
from handler.doors.containers import StoreContainer, make_call_container, make_located_container
from handler.doors.json_location import locate_object
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.fake import FakeStore
from handler.stores.passthrough import build_request
from handler.stores.signers import BasicSigner, Credentials, S3Signer, SigningKeys
from handler.stores.source import Source
from handler.stores.store_request import StoreRequest
from tests.doors.test_proxy import AUTHORIZATION
from tests.events import LINK_QUERY
from tests.helpers import make_settings

STORE = Origin.parse("http://store.test:9000")
PUBLIC = Origin.parse("https://s3.example.org")
OTHER = Origin.parse("https://other.example.org")
SECRET = "canary-secret-of-the-caller"


@pytest.fixture
def service() -> Service:
    settings = make_settings(s3_endpoint=str(STORE), s3_public_endpoint=str(PUBLIC))
    return Service.of(settings, FakeStore({}))


def asked(service: Service, open_source: Callable[[], Source]) -> StoreRequest:
    """What a source asks the store for."""
    with pytest.raises(ActiveStorageError, match="does not exist"):
        open_source().open(None)
    assert isinstance(service.transport, FakeStore)
    return service.transport.requests[-1]


def call_container(
    service: Service, path: str = "/bucket/a.zarr", query: str = "", store: Origin = STORE, **headers: str
) -> StoreContainer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    host = (PUBLIC if store == STORE else store).authority
    request = build_request(store, host, path, StoreQuery.of(query), named)
    return make_call_container(request, service, Scope.after(60))


def json_container(service: Service, url: str, interface_type: str = "s3") -> StoreContainer:
    credentials = Credentials(b"key", SECRET.encode())
    signer = S3Signer(credentials, SigningKeys()) if interface_type == "s3" else BasicSigner(credentials)
    return make_located_container(locate_object(interface_type, url), signer, service, Scope.after(60))


# Keys


@pytest.mark.parametrize("path", ["/bucket/a.zarr", "/bucket/a.zarr/"])
@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("", None),
        (".zarray", "/bucket/a.zarr/.zarray"),
        ("c/0/1", "/bucket/a.zarr/c/0/1"),
        ("grün #1?%2F", "/bucket/a.zarr/gr%C3%BCn%20%231%3F%252F"),
        ("...", "/bucket/a.zarr/..."),
    ],
)
def test_a_key_is_sought_below_the_root(service: Service, path: str, key: str, target: str | None) -> None:
    for container in (call_container(service, path), json_container(service, f"{PUBLIC}{path}")):
        request = asked(service, lambda container=container: container.open_key(key))  # type: ignore[misc]
        assert request.target == (target or path)


@pytest.mark.parametrize("key", ["..", "../b", "a/../../b", "a/..", ".", "a//b", "/a", "a/", "\ud800"])
def test_a_key_never_leads_out_of_the_root(service: Service, key: str) -> None:
    for container in (call_container(service), json_container(service, f"{PUBLIC}/bucket/a.zarr")):
        with pytest.raises(InvalidArgument):
            container.open_key(key)


def test_an_anonymous_request_is_repeated_for_every_object(service: Service) -> None:
    container = call_container(service, query="x-id=GetObject", x_amz_request_payer="requester", cookie="canary")
    for open_source in (lambda: container.open_key("0.0"), lambda: container.open_url("s3://b/k")):
        request = asked(service, open_source)
        assert request.origin == STORE
        assert request.headers["host"] == "s3.example.org"
        assert request.headers["x-amz-request-payer"] == "requester"
        assert request.headers.keys().isdisjoint({"cookie", "authorization"})
        assert "?" not in request.target


@pytest.mark.parametrize("way", ["header", "link", "version 2"])
def test_a_signature_is_sent_for_the_root_only(service: Service, way: str) -> None:
    authorization = AUTHORIZATION.format(names="host;x-amz-date")
    container = {
        "header": lambda: call_container(service, "/bucket/f.nc", x_amz_date="now", authorization=authorization),
        "link": lambda: call_container(service, "/bucket/f.nc", LINK_QUERY),
        "version 2": lambda: call_container(service, "/bucket/f.nc", "AWSAccessKeyId=a&Signature=b&Expires=1"),
    }[way]()
    root = asked(service, lambda: container.open_key(""))
    assert "Signature" in root.target or "Signature" in root.headers["authorization"]
    with pytest.raises(InvalidArgument, match="covers one object"):
        container.open_key("0.0")
    for url in ("s3://b/k", f"{STORE}/b/k", f"{PUBLIC}/b/k", f"{OTHER}/b/k"):
        request = asked(service, lambda url=url: container.open_url(url))  # type: ignore[misc]
        assert request.target == "/b/k"
        assert request.headers.keys() == {"host", "user-agent", "accept-encoding"}
        assert request.origin == (OTHER if url.startswith(str(OTHER)) else STORE)


def test_a_link_of_a_lambda_is_followed_where_it_leads(service: Service) -> None:
    """References of the form s3:// mean the store that the service is set up for, and not that of the link."""
    container = call_container(service, "/bucket/f.nc", LINK_QUERY, store=OTHER)
    assert asked(service, lambda: container.open_key("")).origin == OTHER
    assert asked(service, lambda: container.open_url("s3://b/k")).origin == STORE
    unsigned = call_container(service, "/bucket/f.nc", store=OTHER)
    assert asked(service, lambda: unsigned.open_url("s3://b/k")).origin == STORE


# The caller's own keys


def test_keys_are_sent_to_the_own_store_only(service: Service) -> None:
    container = json_container(service, f"{OTHER}/bucket/a.zarr")
    for open_own in (lambda: container.open_key("0.0"), lambda: container.open_url(f"{OTHER}/b/k")):
        request = asked(service, open_own)
        assert request.origin == OTHER
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
    for url in ("s3://b/k", f"{STORE}/b/k", f"{PUBLIC}/b/k", "http://other.example.org/b/k", f"{OTHER}:8443/b/k"):
        request = asked(service, lambda url=url: container.open_url(url))  # type: ignore[misc]
        assert "authorization" not in request.headers


def test_keys_for_the_services_own_store_are_good_for_both_of_its_names(service: Service) -> None:
    container = json_container(service, f"{PUBLIC}/bucket/a.zarr")
    for url in ("s3://b/k", f"{STORE}/b/k", f"{PUBLIC}/b/k"):
        request = asked(service, lambda url=url: container.open_url(url))  # type: ignore[misc]
        assert request.target == "/b/k"
        assert "authorization" in request.headers
    assert "authorization" not in asked(service, lambda: container.open_url(f"{OTHER}/b/k")).headers


def test_a_link_in_references_is_sent_as_it_is(service: Service) -> None:
    container = json_container(service, f"{PUBLIC}/bucket/a.zarr")
    request = asked(service, lambda: container.open_url(f"{PUBLIC}/b/k?{LINK_QUERY}"))
    assert request.target == f"/b/k?{LINK_QUERY}"
    assert "authorization" not in request.headers
    request = asked(service, lambda: container.open_url(f"{PUBLIC}/b/k?versionId=1"))
    assert request.target == "/b/k?versionId=1"
    assert "authorization" in request.headers


def test_a_web_server_is_told_the_password(service: Service) -> None:
    container = json_container(service, f"{OTHER}/a/f.nc", "https")
    assert asked(service, lambda: container.open_key("")).headers["authorization"].startswith("Basic ")
    assert "authorization" not in asked(service, lambda: container.open_url("s3://b/k")).headers


# References


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("s3://bucket/a b/ü%20", "/bucket/a%20b/%C3%BC%2520"),
        ("S3://bucket/key?x", "/bucket/key%3Fx"),
        (f"{PUBLIC}/bucket/a b", "/bucket/a%20b"),
        (f"{PUBLIC}", "/"),
        ("HTTPS://S3.example.org:443/bucket/a%20b", "/bucket/a%20b"),
    ],
)
def test_where_a_reference_leads(service: Service, url: str, target: str) -> None:
    request = asked(service, lambda: call_container(service).open_url(url))
    assert (request.origin, request.target) == (STORE, target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "key",
        "/bucket/key",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://../key",
        "s3://bucket/\ud800",
        "gs://bucket/key",
        "file:///etc/passwd",
        "memory://key",
        "data:,canary-in-a-url",
        "http://user:canary-in-a-url@store.test:9000/key",
        "http://store.test:9000/key#canary-in-a-url",
        "http://store.test:9000\r\nx: canary-in-a-url/key",
        "http://store.test:9000/key\r\nx: canary-in-a-url",
        "http://store.test:9000/\ud800",
        "http:///key",
    ],
)
def test_a_malformed_reference_is_refused_and_not_shown(service: Service, url: str) -> None:
    for container in (call_container(service), json_container(service, f"{PUBLIC}/bucket/a.zarr")):
        with pytest.raises(InvalidArgument) as caught:
            container.open_url(url)
        assert caught.value.field == "reference"
        assert "canary" not in caught.value.message


def test_a_container_shows_no_secret(service: Service) -> None:
    for container in (
        call_container(service, "/bucket/f.nc", LINK_QUERY),
        json_container(service, f"{PUBLIC}/bucket/a.zarr"),
    ):
        assert SECRET not in repr(container)
        assert "Signature" not in repr(container)

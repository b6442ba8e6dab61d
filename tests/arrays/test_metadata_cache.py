"""Metadata is kept by object and version, and every caller asks the store for it again."""

import pytest

from active_storage.errors import StoreError
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from handler.containers.metadata_cache import MetadataCache
from handler.doors.containers import make_located_container
from handler.doors.json_location import locate_object
from handler.doors.service import Service
from handler.engine.memory import MemoryGate
from handler.scope import Scope
from handler.stores.fake import FakeStore
from handler.stores.kept import Kept
from handler.stores.source import ObjectFacts
from handler.stores.store_request import StoreRequest
from handler.stores.store_source import StoreSource
from tests.arrays.memory_array import values_of
from tests.doors.array_stores import VALUES, make_store
from tests.helpers import make_settings

STORE = "http://store.test:9000"
KEYS = [".zarray", ".zattrs"]


@pytest.fixture
def store() -> FakeStore:
    return make_store()


@pytest.fixture
def service(store: FakeStore) -> Service:
    return Service.of(make_settings(s3_endpoint=STORE), store)


def reduce(service: Service, reducer: str = "sum") -> float:
    scope = Scope.after(60)
    location = locate_object("http", f"{STORE}/bucket/store.zarr/tas")
    container = make_located_container(location, None, service, scope)
    answer = service.arrays.reduce(ArrayReduction(reducer, "zarr"), container, scope)
    return float(values_of(answer))


def find_requests(store: FakeStore, name: str) -> list[StoreRequest]:
    return [request for request in store.requests if request.target.endswith(name)]


def test_the_second_request_asks_whether_the_metadata_is_the_same(service: Service, store: FakeStore) -> None:
    assert reduce(service) == VALUES.sum()
    store.requests.clear()
    assert reduce(service) == VALUES.sum()
    for name in KEYS:
        first, last = find_requests(store, name)
        etag = store.sources[f"/bucket/store.zarr/tas/{name}"].etag
        assert first.headers["if-none-match"] == etag
        assert last.headers["if-match"] == etag


def test_metadata_that_has_changed_is_read_again(service: Service, store: FakeStore) -> None:
    assert reduce(service) == VALUES.sum()
    source = store.sources["/bucket/store.zarr/tas/.zattrs"]
    source.data = source.data.replace(b"-1.0", b"23.0")
    source.etag = '"new"'
    assert reduce(service) == VALUES.sum() - 23


def test_a_caller_whom_the_store_refuses_gets_nothing(
    service: Service, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reduce(service) == VALUES.sum()
    opened = store.open

    def refuse(request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> object:
        if request.target.endswith(".zarray"):
            raise StoreError(403, "AccessDenied", "Access Denied")
        return opened(request, byte_range, scope)

    monkeypatch.setattr(store, "open", refuse)
    with pytest.raises(StoreError):
        reduce(service)


@pytest.mark.parametrize(
    ("query", "headers", "identity"),
    [
        ("", {}, "http://store.test:9000  /b/k?"),
        ("?versionId=3", {}, "http://store.test:9000  /b/k?3"),
        ("?X-Amz-Signature=abc&X-Amz-Date=1", {}, "http://store.test:9000  /b/k?"),
        ("?partNumber=1", {}, None),
        ("?response-content-encoding=gzip", {}, None),
        ("", {"range": "bytes=0-1"}, None),
        ("", {"if-none-match": '"mine"'}, None),
        ("", {"x-amz-server-side-encryption-customer-key": "mine"}, None),
        ("", {"host": "public.test"}, "http://store.test:9000 public.test /b/k?"),
    ],
)
def test_the_identity_of_an_object_leaves_out_the_signature(
    service: Service, query: str, headers: dict[str, str], identity: str | None
) -> None:
    request = StoreRequest(service.settings.store, f"/b/k{query}", headers)
    assert StoreSource(service.transport, request, Scope.after(60)).identity == identity


def make_cache(limit_bytes: int) -> MetadataCache:
    return MetadataCache(Kept(limit_bytes, MemoryGate(1 << 20, 1 << 20)))


def facts_of(etag: str, **headers: str) -> ObjectFacts:
    return ObjectFacts(200, 0, 4, 4, ETag.from_header(etag), headers)


def test_the_least_recently_used_object_is_dropped_first() -> None:
    cache = make_cache(4500)
    for name in ("a", "b", "c"):
        cache.keep(name, facts_of('"1"'), None, bytes(400))
        assert cache.find("a")
    assert cache.find("c")
    cache.keep("d", facts_of('"1"'), None, bytes(400))
    assert cache.find("b") is None
    assert cache.find("a")


def test_blocks_of_another_version_are_dropped() -> None:
    cache = make_cache(10_000)
    cache.keep("a", facts_of('"1"'), None, b"old")
    cache.keep("a", facts_of('"2"'), ByteRange(0, 2), b"new")
    kept = cache.find("a")
    assert kept is not None
    assert kept.blocks == {ByteRange(0, 2): b"new"}


@pytest.mark.parametrize(
    "facts",
    [
        facts_of('W/"weak"'),
        facts_of(""),
        facts_of('"1"', **{"x-amz-server-side-encryption-customer-key-md5": "k"}),
        facts_of('"1"', **{"x-amz-server-side-encryption": "aws:kms:dsse"}),
    ],
)
def test_what_has_no_version_or_a_key_of_the_callers_is_not_kept(facts: ObjectFacts) -> None:
    cache = make_cache(10_000)
    cache.keep("a", facts, None, b"data")
    assert cache.find("a") is None


def test_more_than_the_limit_is_not_kept() -> None:
    cache = make_cache(1000)
    cache.keep("a", facts_of('"1"'), None, bytes(2000))
    kept = cache.find("a")
    assert kept is None or not kept.blocks


def test_headers_take_memory_too() -> None:
    cache = make_cache(5000)
    for name in ("a", "b"):
        cache.keep(name, facts_of('"1"', note="x" * 3000), None, b"1")
    assert cache.find("a") is None
    assert cache.find("b")

"""POST /arrays/v1/describe for Zarr stores without consolidated metadata: the store lists what is in a group."""

import base64
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import flask
import numpy as np
import pytest
import xarray as xr
from werkzeug.test import TestResponse
from zarr.storage import MemoryStore

from active_storage.client.groups import Group, read_group
from active_storage.errors import StoreError
from handler.app import create_app
from handler.scope import Scope
from handler.stores import listings
from handler.stores.fake import FakeSource, FakeStore
from handler.stores.store_request import StoreRequest
from tests.containers.zarr_stores import dump
from tests.doors.test_arrays_json import SECRET, STORE, post, read
from tests.doors.test_describe import describe, write_group
from tests.doors.test_json import read_error
from tests.helpers import make_settings

Refuse = Callable[[StoreRequest], None]


class Store(FakeStore):
    """A store that refuses what a test says."""

    refuse: Refuse = staticmethod(lambda _: None)

    def _note(self, request: StoreRequest, scope: Scope) -> None:
        super()._note(request, scope)
        self.refuse(request)

    @property
    def targets(self) -> list[str]:
        """The path of each object that was asked for, and "list" and the path of each listing."""
        return [
            ("list " if "list-type" in request.target else "") + request.target.partition("?")[0]
            for request in self.requests
        ]


@pytest.fixture
def store() -> Store:
    return Store({
        **write_group(2, "/bucket/two.zarr", is_consolidated=False),
        **write_group(3, "/bucket/three.zarr", is_consolidated=False),
        **write_group(3, "/bucket/three.zarr2", is_consolidated=False, group="deep"),
        **write_group(3, "/bucket/nested.zarr", is_consolidated=False, group="outer/inner"),
        **write_group(2, "/bucket/nested2.zarr", is_consolidated=False, group="outer/inner"),
    })  # fmt: skip


@pytest.fixture
def app(store: Store) -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE, allowed_origins="http://web.test"), store)


def ask_for(app: flask.Flask, key: str = "three.zarr", **headers: str) -> TestResponse:
    return post(app, "describe", {"store": {"type": "zarr", "url": f"{STORE}/bucket/{key}"}}, headers)


def read_message(response: TestResponse) -> str:
    error, causes = read_error(response)
    return " ".join([error, *causes])


@pytest.mark.parametrize("key", ["two.zarr", "three.zarr"])
def test_a_group_is_as_with_consolidated_metadata(app: flask.Flask, store: Store, key: str) -> None:
    """In one listing, and in the documents of each folder; a group is not an array."""
    found = describe(app, "zarr", key, coordinates=True)
    listed = list(store.targets)
    objects = write_group(2 if key == "two.zarr" else 3, f"/bucket/consolidated-{key}")
    for path, data in objects.items():
        store.sources[path] = FakeSource(data, etag=f'"{len(data)}-fake"')
    expected = describe(app, "zarr", f"consolidated-{key}", coordinates=True)
    assert without_cost(found) == without_cost(expected)
    assert {each.name for each in found.variables} == {"tas", "flags", "time", "lat"}
    assert sum(target.startswith("list ") for target in listed) == 1
    assert found.requests == len(listed)


def without_cost(group: Group) -> Any:
    """What is in a group, with lists in place of arrays."""
    return group.attributes.keys(), sorted(
        (
            each.name, each.dims, each.shape, each.dtype, repr(each.attributes), repr(each.fill_value),
            None if each.values is None else each.values.tolist(),
        )
        for each in group.variables
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "requests"),
    [
        # zarr.json, .zmetadata, the listing, and tas, flags, time, lat and below.
        ("three.zarr", 3 + 5),
        # zarr.json, .zmetadata, .zgroup, the listing, .zattrs, two for each array and one for the group.
        ("two.zarr", 5 + 4 * 2 + 1),
    ],
)
def test_what_is_read_is_counted(app: flask.Flask, store: Store, key: str, requests: int) -> None:
    found = describe(app, "zarr", key)
    assert found.requests == len(store.requests) == requests
    assert found.bytes_read == store.bytes_read
    assert len(set(store.targets)) == requests


@pytest.mark.parametrize("key", ["nested.zarr", "nested2.zarr"])
def test_a_group_in_a_group(app: flask.Flask, store: Store, key: str) -> None:
    found = describe(app, "zarr", key, group="outer/inner")
    assert {each.name for each in found.variables} == {"tas", "flags", "time", "lat"}
    (listing,) = (request for request in store.requests if "list-type" in request.target)
    assert f"prefix={quote(f'{key}/outer/inner/', safe='')}" in listing.target
    assert describe(app, "zarr", key).variables == ()
    assert describe(app, "zarr", "nested.zarr/outer/", group="inner").variables != ()


@pytest.mark.parametrize("version", [2, 3])
def test_names_of_any_characters(app: flask.Flask, store: Store, version: Any) -> None:
    names = ["a b", "a+b", "a%b", "a%2Bb", "a&<b", "ü", "日本", "a=b", "a'b"]
    kept: dict[str, Any] = {}
    dataset = xr.Dataset({name: ("x", np.full(2, number)) for number, name in enumerate(names)})
    with warnings.catch_warnings():
        # zarr-python says that some names are not portable.
        warnings.simplefilter("ignore")
        dataset.to_zarr(MemoryStore(kept), zarr_format=version, consolidated=False)
    for name, buffer in kept.items():
        store.sources[f"/bucket/my%20%2B%C3%BC.zarr/{quote(name)}"] = FakeSource(buffer.to_bytes())
    found = describe(app, "zarr", quote("my +ü.zarr"))
    assert sorted(each.name for each in found.variables) == sorted(names)


def test_folders_that_are_no_arrays_are_left_out(app: flask.Flask, store: Store) -> None:
    """Without metadata, with that of the other version, with a name that no node has, or of another store."""
    before = describe(app, "zarr", "three.zarr")
    for path in ("empty/other", "old/.zarray", "/zarr.json", "./zarr.json", "../zarr.json", "", "file"):
        store.sources[f"/bucket/three.zarr/{path}"] = FakeSource(b"{}")
    store.requests.clear()
    after = describe(app, "zarr", "three.zarr")
    assert without_cost(after) == without_cost(before)
    assert after.requests == before.requests + 2
    assert not any("three.zarr2" in target or "/." in target.replace("/.zmetadata", "") for target in store.targets)


def test_arrays_that_are_not_supported_are_named(app: flask.Flask, store: Store) -> None:
    store.sources["/bucket/three.zarr/text/zarr.json"] = FakeSource(dump({"zarr_format": 4, "node_type": "array"}))
    found = describe(app, "zarr", "three.zarr")
    assert found.unsupported.keys() == {"text"}
    assert len(found.variables) == 4
    store.sources["/bucket/three.zarr/text/zarr.json"] = FakeSource(b"{", etag='"damaged"')
    response = ask_for(app)
    assert response.status_code == 400
    assert "text/zarr.json" in read_message(response)


def test_requests_are_those_of_the_caller(app: flask.Flask, store: Store) -> None:
    """Signed with the caller's keys, who pays included; or anonymous."""
    keys = {"Authorization": "Basic " + base64.b64encode(f"key:{SECRET}".encode()).decode()}
    read(ask_for(app, **keys, **{"x-amz-request-payer": "requester"}))
    assert all("Credential=key/" in request.headers["authorization"] for request in store.requests)
    assert all(request.headers["x-amz-request-payer"] == "requester" for request in store.requests)
    assert any("list-type" in request.target for request in store.requests)
    store.requests.clear()
    read(ask_for(app))
    assert not any("authorization" in request.headers for request in store.requests)


def test_a_listing_is_not_kept(app: flask.Flask, store: Store) -> None:
    """The documents are, and are asked for again by their ETag."""
    first = describe(app, "zarr", "three.zarr")
    for name in ("zarr.json", "c/0/0"):
        store.sources[f"/bucket/three.zarr/new/{name}"] = store.sources[f"/bucket/three.zarr/tas/{name}"]
    store.requests.clear()
    second = describe(app, "zarr", "three.zarr")
    assert {each.name for each in second.variables} == {"new", *(each.name for each in first.variables)}
    assert sum("list-type" in request.target for request in store.requests) == 1
    assert store.requests[0].headers["if-none-match"]
    for path in [path for path in store.sources if path.startswith("/bucket/three.zarr/new/")]:
        del store.sources[path]
    assert without_cost(describe(app, "zarr", "three.zarr")) == without_cost(first)


def deny(*ends: str) -> Refuse:
    def refuse(request: StoreRequest) -> None:
        if unquote(request.target).endswith(ends) or ("list" in ends and "list-type" in request.target):
            raise StoreError(403, "AccessDenied", "Access Denied.")

    return refuse


@pytest.mark.parametrize("ends", [("list",), ("list", "/.zmetadata")], ids=["absent", "denied"])
def test_who_may_not_list_learns_what_helps(app: flask.Flask, store: Store, ends: tuple[str, ...]) -> None:
    store.refuse = deny(*ends)
    response = ask_for(app)
    assert response.status_code == 401
    assert response.json["error"]["code"] == "AccessDenied"  # type: ignore[index]
    message = read_message(response)
    for text in ("the listing of Zarr group '/'", "s3:ListBucket is not allowed", "zarr.consolidate_metadata writes"):
        assert text in message


@pytest.mark.parametrize(("key", "end"), [("three.zarr", "tas/zarr.json"), ("two.zarr", "tas/.zarray"),
                                          ("two.zarr", "tas/.zattrs"), ("two.zarr", "two.zarr/.zattrs")])  # fmt: skip
def test_a_listed_array_that_may_not_be_read_is_an_error(app: flask.Flask, store: Store, key: str, end: str) -> None:
    """A dataset without it would look complete."""
    store.refuse = deny(end)
    response = ask_for(app, key)
    assert response.status_code == 401
    assert end.removeprefix("two.zarr/") in read_message(response)


def test_other_refusals_of_the_store_are_passed_on(app: flask.Flask, store: Store) -> None:
    def refuse(request: StoreRequest) -> None:
        if "list-type" in request.target:
            raise StoreError(501, "NotImplemented", "No listing here.")

    store.refuse = refuse
    response = ask_for(app)
    assert response.status_code == 502
    message = read_message(response)
    assert "the listing of Zarr group '/': No listing here." in message
    assert "s3:ListBucket" not in message


def test_a_listing_that_cannot_be_believed_is_the_stores_fault(
    app: flask.Flask, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "read_document", lambda *_: b"<html></html>")
    response = ask_for(app)
    assert response.status_code == 502
    assert "the store's listing is not a ListBucketResult" in read_message(response)
    monkeypatch.undo()
    monkeypatch.setattr(listings, "MAX_FOLDERS", 3)
    response = ask_for(app)
    assert response.status_code == 400
    assert "more than 3 folders" in read_message(response)


def test_what_is_listed_counts_for_the_limits_of_metadata(store: Store) -> None:
    app = create_app(make_settings(s3_endpoint=STORE, max_metadata_requests=7), store)
    response = ask_for(app)
    assert response.status_code == 400
    assert "MAX_METADATA_REQUESTS" in read_message(response)
    assert len(store.requests) <= 7
    app = create_app(make_settings(s3_endpoint=STORE, max_metadata_bytes=900), store)
    response = ask_for(app)
    assert response.status_code == 400
    assert "MAX_METADATA_BYTES" in read_message(response)


@pytest.mark.parametrize("interface", ["http", "https"])
def test_a_web_server_is_not_asked_for_a_listing(app: flask.Flask, store: Store, interface: str) -> None:
    location = {"type": "zarr", "url": f"{STORE}/bucket/three.zarr", "interface_type": interface}
    response = post(app, "describe", {"store": location})
    assert response.status_code == 400
    message = read_message(response)
    assert "has no consolidated metadata" in message
    assert "interface_type is s3" in message
    assert not any("list-type" in request.target for request in store.requests)


def test_another_store_of_s3_is_listed_too(app: flask.Flask, store: Store) -> None:
    body = {"store": {"type": "zarr", "url": "http://web.test/bucket/three.zarr", "interface_type": "s3"}}
    assert len(read_group(read(post(app, "describe", body))).variables) == 4
    assert {str(request.origin) for request in store.requests} == {"http://web.test"}

"""The doors about the service itself: discovery and health."""

from collections.abc import Callable

import flask
import pytest

from active_storage.errors import StoreUnreachable
from active_storage.grammar.targets import JSON_PREFIXES
from active_storage.model.dtypes import DTYPES
from active_storage.model.reducers import REDUCERS
from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.helpers import ask, make_settings, read_error

DISCOVERY = "/.well-known/s3-active-storage"


def test_the_discovery_document_has_its_fields(make_app: Callable[..., flask.Flask]) -> None:
    document = ask(make_app(s3_public_endpoint="https://s3.example.org"), DISCOVERY).json
    assert isinstance(document, dict)
    assert document["active_storage_version"] == "v1"
    assert document["s3_endpoint"] == "https://s3.example.org"
    assert document["available_reducers"] == list(REDUCERS)
    assert document["supported_datatypes"] == list(DTYPES)
    assert {"zlib", "shuffle", "blosc"} <= set(document["supported_codecs"])
    assert document["json_doors"] == list(JSON_PREFIXES)
    assert {"zarr", "netcdf", "hdf5", "kerchunk"} <= set(document["containers"])
    assert document["container_parameters"][:2] == ["var", "axis"]
    assert "group.values" in document["container_parameters"]
    assert {*REDUCERS, "quantile", "median"} <= set(document["container_reducers"])


def test_other_well_known_documents_are_not_found(app: flask.Flask) -> None:
    response = ask(app, "/.well-known/security.txt")
    assert (response.status_code, read_error(response)["Code"]) == (404, "NoSuchBucket")


@pytest.mark.parametrize("target", [DISCOVERY, "/healthz", "/readyz"])
def test_head_has_the_length_of_get_and_no_body(app: flask.Flask, target: str) -> None:
    head, got = ask(app, target, "HEAD"), ask(app, target)
    assert head.headers["Content-Length"] == str(len(got.data))
    assert (head.status_code, head.data) == (200, b"")


def test_a_service_without_its_store_is_alive_but_not_ready() -> None:
    class Down(FakeStore):
        def ensure_answers(self, origin: object, scope: object) -> None:
            raise StoreUnreachable("no connection to the store")

    app = create_app(make_settings(), Down({}))
    assert ask(app, "/healthz").status_code == 200
    response = ask(app, "/readyz")
    assert (response.status_code, read_error(response)["Code"]) == (502, "StoreUnreachable")


@pytest.mark.parametrize("target", ["/healthz/x", "/readyz/"])
def test_paths_below_are_not_found(app: flask.Flask, target: str) -> None:
    assert ask(app, target).status_code == 404

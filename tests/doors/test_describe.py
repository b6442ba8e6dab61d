"""POST /arrays/v1/describe: what is in a container, as the libraries that wrote it say, and every refusal."""

import io
import json
import warnings
from typing import Any

import flask
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from active_storage.client.groups import Group, read_group
from handler.app import create_app
from handler.stores.fake import FakeSource, FakeStore
from tests.doors.array_stores import make_store, write_references, write_zarr
from tests.doors.test_arrays_json import STORE, post, read
from tests.doors.test_json import read_error
from tests.helpers import make_settings

_SCALE = np.float32(0.5)


def make_dataset() -> xr.Dataset:
    dims = ("time", "lat")
    return xr.Dataset(
        {
            "tas": (dims, np.arange(24, dtype="i2").reshape(6, 4), {"units": "K", "scale_factor": _SCALE}),
            "flags": ((), np.int32(3)),
        },
        {"time": np.arange(6) * 10, "lat": np.array([-60.0, -20, 20, 60])},
        {"title": "a test", "levels": [1, 2]},
    )


def write_group(version: int, path: str, is_consolidated: bool = True, group: str | None = None) -> dict[str, bytes]:
    """The objects of a Zarr store by path, with an array in a group of the group."""
    kept: dict[str, Any] = {}
    store = MemoryStore(kept)
    options: Any = {"zarr_format": version, "consolidated": False, "group": group}
    with warnings.catch_warnings():
        # zarr-python says that consolidated metadata is not in the specification of version 3.
        warnings.simplefilter("ignore")
        make_dataset().to_zarr(store, encoding={"tas": {"_FillValue": -1}}, **options)
        below = zarr.open_group(store, path=group or "", mode="r+", zarr_format=version).create_group("below")  # type: ignore[arg-type]
        below.create_array("deep", shape=(2,), dtype="f4")
        if is_consolidated:
            zarr.consolidate_metadata(store, zarr_format=version)  # type: ignore[arg-type]
    return {f"{path}/{name}": buffer.to_bytes() for name, buffer in kept.items()}


def write_netcdf(engine: Any) -> bytes:
    dataset = make_dataset()
    dataset.tas.attrs["_FillValue"] = np.int16(-1)
    stream = io.BytesIO()
    dataset.to_netcdf(stream, engine=engine)
    return stream.getvalue()


def put(store: FakeStore, path: str, data: bytes) -> None:
    store.sources[path] = FakeSource(data, etag=f'"{len(data)}-fake"')


@pytest.fixture
def store() -> FakeStore:
    made = make_store()
    objects = {
        **write_group(2, "/bucket/two.zarr"),
        **write_group(3, "/bucket/three.zarr"),
        **write_group(3, "/bucket/nested.zarr", group="outer/inner"),
        **write_group(2, "/bucket/nested2.zarr", group="outer/inner"),
        "/bucket/four.nc": write_netcdf("h5netcdf"),
        "/bucket/classic.nc": write_netcdf("scipy"),
    }
    for path, data in objects.items():
        put(made, path, data)
    return made


@pytest.fixture
def app(store: FakeStore) -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE), store)


def describe(app: flask.Flask, kind: str, key: str, **members: Any) -> Group:
    array = {"array": members.pop("group")} if "group" in members else {}
    body = {"store": {"type": kind, "url": f"{STORE}/bucket/{key}", **array}, **members}
    return read_group(read(post(app, "describe", body)))


CONTAINERS = [
    ("zarr", "two.zarr", None),
    ("zarr", "three.zarr", None),
    ("zarr", "nested.zarr", "outer/inner"),
    ("zarr", "nested2.zarr", "/outer/inner/"),
    ("netcdf", "four.nc", None),
    ("netcdf", "classic.nc", None),
]


@pytest.mark.parametrize(("kind", "key", "group"), CONTAINERS)
def test_a_group_is_as_it_was_written(app: flask.Flask, kind: str, key: str, group: str | None) -> None:
    found = describe(app, kind, key, coordinates=True, **({} if group is None else {"group": group}))
    variables = {each.name: each for each in found.variables}
    assert variables.keys() == {"tas", "flags", "time", "lat"}
    tas = variables["tas"]
    assert (tas.dims, tas.shape, tas.dtype) == (("time", "lat"), (6, 4), "int16")
    assert tas.attributes["units"] == "K"
    assert tas.attributes["scale_factor"] == _SCALE
    marks = tas.fill_value if "2" in key or "two" in key else tas.attributes["_FillValue"]
    assert marks == -1
    # JSON has no data types of numbers.
    assert isinstance(tas.attributes["scale_factor"], np.float32) == (kind == "netcdf")
    assert variables["flags"].shape == ()
    np.testing.assert_array_equal(variables["lat"].values, [-60.0, -20, 20, 60])
    np.testing.assert_array_equal(variables["time"].values, np.arange(6) * 10)
    assert tas.values is None
    assert found.attributes["title"] == "a test"
    np.testing.assert_array_equal(found.attributes["levels"], [1, 2])
    assert found.unsupported == {}


@pytest.mark.parametrize(("key", "requests"), [("two.zarr", 2), ("three.zarr", 1), ("four.nc", 1), ("classic.nc", 1)])
def test_metadata_takes_few_requests(app: flask.Flask, key: str, requests: int) -> None:
    found = describe(app, "zarr" if key.endswith("zarr") else "netcdf", key)
    assert found.requests == requests
    assert all(each.values is None for each in found.variables)


def test_a_store_of_a_hundred_arrays_takes_no_more_requests_than_xarray(app: flask.Flask, store: FakeStore) -> None:
    """xarray opens it by its consolidated metadata, and reads its coordinates, as the client does."""
    kept: dict[str, Any] = {}
    dims = ("time", "lat")
    dataset = xr.Dataset(
        {f"v{number}": (dims, np.zeros((3, 2), "f4")) for number in range(100)},
        {"time": np.arange(3), "lat": np.arange(2.0)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(MemoryStore(kept), zarr_format=3, consolidated=True)
    for name, buffer in kept.items():
        put(store, f"/bucket/many.zarr/{name}", buffer.to_bytes())
    counting: Any = _Counting(kept)
    with xr.open_dataset(counting, engine="zarr", consolidated=True) as opened:
        assert len(opened.variables) == 102
    before = len(store.requests)
    found = describe(app, "zarr", "many.zarr", coordinates=True)
    assert len(found.variables) == 102
    assert found.requests == len(store.requests) - before == 3
    assert found.requests <= counting.gets


class _Counting(MemoryStore):
    """A store that counts what is asked for."""

    gets = 0

    async def get(self, *args: Any, **options: Any) -> Any:
        # zarr-python reads from a copy of the store.
        _Counting.gets += 1
        return await super().get(*args, **options)


def test_a_group_of_hdf5(app: flask.Flask) -> None:
    found = describe(app, "netcdf", "f.nc", group="g", coordinates=True)
    assert {each.name: each.dims for each in found.variables} == {
        "tas": ("time", "lat"), "time": ("time",), "lat": ("lat",),
    }  # fmt: skip
    assert describe(app, "hdf5", "f.nc").variables == ()


def test_references(app: flask.Flask, store: FakeStore) -> None:
    found = describe(app, "kerchunk", "references.json")
    assert [(each.name, each.shape, each.attributes["units"]) for each in found.variables] == [("tas", (6, 4), "K")]
    references = json.loads(write_references(write_zarr("/bucket/x/tas", version=2), "/bucket/x/tas"))
    references["refs"] |= {"g/zarr.json": '{"node_type": "group"}', ".zattrs": '{"title": "t"}', "a/b/.zarray": "{}"}
    put(store, "/bucket/more.json", json.dumps(references).encode())
    found = describe(app, "kerchunk", "more.json")
    assert [each.name for each in found.variables] == ["tas"]
    assert found.attributes == {"title": "t"}


def test_references_with_consolidated_metadata(app: flask.Flask, store: FakeStore) -> None:
    """In JSON, and in Parquet, where there is no other metadata. A group has its own attributes."""
    objects = write_zarr("/x")
    documents: dict[str, Any] = {"g/.zattrs": {"title": "inner"}, ".zattrs": {"title": "outer"}}
    documents |= {f"g/tas/{name}": json.loads(objects[f"/x/{name}"]) for name in (".zarray", ".zattrs")}
    consolidated = {"metadata": documents, "record_size": 10}
    put(store, "/bucket/refs.parq/.zmetadata", json.dumps(consolidated).encode())
    put(store, "/bucket/refs.json", json.dumps({".zmetadata": json.dumps(consolidated)}).encode())
    for key in ("refs.parq", "refs.json"):
        found = describe(app, "kerchunk", key, group="g")
        assert [(each.name, each.shape) for each in found.variables] == [("tas", (6, 4))]
        assert found.attributes == {"title": "inner"}
        found = describe(app, "kerchunk", key)
        assert (found.variables, found.attributes) == ((), {"title": "outer"})


def test_references_of_version_three(app: flask.Flask, store: FakeStore) -> None:
    objects = write_zarr("/x", version=3)
    refs = {"tas/zarr.json": objects["/x/zarr.json"].decode()}
    refs["zarr.json"] = json.dumps({"node_type": "group", "attributes": {"title": "t"}})
    put(store, "/bucket/three.json", json.dumps(refs).encode())
    found = describe(app, "kerchunk", "three.json")
    assert [(each.name, each.dims) for each in found.variables] == [("tas", ("time", "lat"))]
    assert found.attributes == {"title": "t"}


def test_arrays_that_are_not_supported_are_named(app: flask.Flask, store: FakeStore) -> None:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["text"] = ["a", "b"]
        file["numbers"] = np.arange(3)
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/numbers")
        file["numbers"].attrs["reference"] = file["text"].ref
    put(store, "/bucket/text.nc", stream.getvalue())
    found = describe(app, "netcdf", "text.nc")
    assert [(each.name, each.attributes) for each in found.variables] == [("numbers", {})]
    assert found.unsupported.keys() == {"text", "elsewhere"}
    assert all("is not supported" in reason for reason in found.unsupported.values())


REFUSED = [
    ({"type": "zarr", "url": f"{STORE}/bucket/absent.zarr"}, 400, "there is no Zarr group"),
    ({"type": "zarr", "url": f"{STORE}/bucket/three.zarr", "array": "tas"}, 400, "is an array, not a group"),
    ({"type": "netcdf", "url": f"{STORE}/bucket/four.nc", "array": "tas"}, 400, "there is no group 'tas'"),
    ({"type": "netcdf", "url": f"{STORE}/bucket/classic.nc", "array": "g"}, 400, "netCDF-3 has none"),
    ({"type": "table"}, 400, "has one array"),
    ({"type": "netcdf", "urls": [f"{STORE}/bucket/four.nc"], "concat": "time"}, 400, "one are listed at a time"),
    ({"type": "netcdf", "url": f"{STORE}/bucket/f.nc", "array": "g;h"}, 400, "has a semicolon"),
]


@pytest.mark.parametrize(("store_members", "status", "message"), REFUSED)
def test_what_cannot_be_described_is_refused(
    app: flask.Flask, store_members: dict[str, Any], status: int, message: str
) -> None:
    response = post(app, "describe", {"store": store_members})
    assert response.status_code == status
    error, causes = read_error(response)
    assert message in " ".join([error, *causes])


def test_an_unknown_member_is_refused(app: flask.Flask) -> None:
    response = post(app, "describe", {"store": {"type": "netcdf", "url": f"{STORE}/bucket/f.nc"}, "axis": []})
    assert response.status_code == 400
    error, causes = read_error(response)
    assert "axis" in " ".join([error, *causes])


def test_a_file_of_hdf5_can_be_empty(app: flask.Flask, store: FakeStore) -> None:
    stream = io.BytesIO()
    h5py.File(stream, "w").close()
    put(store, "/bucket/empty.nc", stream.getvalue())
    assert describe(app, "netcdf", "empty.nc").variables == ()

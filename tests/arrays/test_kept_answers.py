"""Answers of whole arrays that are kept: for the same reduction of the same versions, by each caller's own right."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from active_storage.errors import StoreError
from active_storage.grammar.arrays import build_array_reduction
from active_storage.model import array_reduction, coordinates, expression, ranges
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import Between, Group, NumberGroup, NumberWeights
from active_storage.model.expression import Operation
from active_storage.model.ranges import ByteRange, Slice
from handler.arrays import kept_answers
from handler.arrays.engine import ArrayAnswer
from handler.arrays.kept_answers import SeenVersions
from handler.doors.containers import make_located_container, make_table_container
from handler.doors.json_location import locate_object
from handler.doors.service import Service
from handler.engine.memory import MemoryGate
from handler.scope import Scope
from handler.stores.fake import FakeSource, FakeStore
from handler.stores.source import ObjectFacts, Stream
from handler.stores.store_request import StoreRequest
from tests.arrays.memory_array import values_of
from tests.doors.array_stores import VALUES, make_store, write_zarr
from tests.helpers import make_settings

STORE = "http://store.test:9000"
ZARR = "store.zarr/tas"
ABSENT = "/bucket/store.zarr/tas/0.0"


class RefusingStore(FakeStore):
    """Can refuse objects."""

    refused = ""

    def open(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> Stream:
        if self.refused and request.target.endswith(self.refused):
            self.requests.append(request)
            raise StoreError(403, "AccessDenied", "Access Denied")
        return super().open(request, byte_range, scope)


@pytest.fixture
def store() -> RefusingStore:
    store = RefusingStore({})
    store.sources = make_store().sources
    store.sources.update({path: FakeSource(data, '"s"') for path, data in shards().items()})
    return store


def shards() -> dict[str, bytes]:
    return write_zarr("/bucket/store.zarr/shards", version=3, chunks=(1, 2), shards=(2, 4))


@pytest.fixture
def service(store: RefusingStore) -> Service:
    return make_service(store)


def make_service(store: FakeStore, **values: Any) -> Service:
    return Service.of(make_settings(s3_endpoint=STORE, **values), store)


@dataclass(frozen=True)
class Case:
    """Where an array lies, and a name for the test."""

    container: str
    path: str
    array: str = ""


CASES = {
    "zarr": Case("zarr", ZARR),
    "shards": Case("zarr", "store.zarr/shards"),
    "netcdf": Case("netcdf", "f.nc", "g/tas"),
    "kerchunk": Case("kerchunk", "references.json", "tas"),
}


def reduce(service: Service, case: Case, reducer: str = "sum", **fields: Any) -> ArrayAnswer:
    scope = Scope.after(60)
    container = make_located_container(locate_object("http", f"{STORE}/bucket/{case.path}"), None, service, scope)
    fields.setdefault("array", case.array)
    reduction = ArrayReduction(reducer, case.container, **fields)  # type: ignore[arg-type]
    return service.arrays.reduce(reduction, container, scope)


def facts_of(answer: ArrayAnswer) -> ArrayAnswer:
    """The answer without what the request took."""
    return replace(answer, requests=0, bytes_read=0)


@pytest.mark.parametrize("name", CASES)
def test_an_unchanged_array_is_answered_without_reading_data(service: Service, store: RefusingStore, name: str) -> None:
    first = reduce(service, CASES[name], axis=(0,))
    read = store.bytes_read
    store.requests.clear()
    again = reduce(service, CASES[name], axis=(0,))
    assert facts_of(again) == facts_of(first)
    assert again.bytes_read == 0
    # One byte of each object of metadata, at the end.
    assert store.bytes_read - read <= sum("if-match" in request.headers for request in store.requests)
    present = [request for request in store.requests if request.target in store.sources]
    assert all("if-none-match" in request.headers or "if-match" in request.headers for request in present)
    assert again.requests == len(store.requests)


def test_an_array_of_one_object_takes_one_request(service: Service, store: RefusingStore) -> None:
    reduce(service, CASES["netcdf"])
    store.requests.clear()
    assert values_of(reduce(service, CASES["netcdf"])) == VALUES.sum()
    (request,) = store.requests
    assert "if-none-match" in request.headers


def test_each_chunk_object_is_asked_for_in_the_name_of_the_caller(service: Service, store: RefusingStore) -> None:
    reduce(service, CASES["zarr"])
    store.requests.clear()
    reduce(service, CASES["zarr"])
    asked = {request.target for request in store.requests if "if-none-match" in request.headers}
    assert asked == {path for path in store.sources if path.startswith(f"/bucket/{ZARR}/")}


def test_a_chunk_that_the_store_refuses_is_an_error_although_the_answer_is_kept(
    service: Service, store: RefusingStore
) -> None:
    reduce(service, CASES["zarr"])
    store.refused = "tas/1.1"
    with pytest.raises(StoreError, match=r"chunk \(1,1\).*") as error:
        reduce(service, CASES["zarr"])
    assert error.value.status == 403
    store.refused = ".zarray"
    with pytest.raises(StoreError):
        reduce(service, CASES["zarr"])


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)])
def test_a_refused_chunk_that_counts_as_absent_is_so_for_this_caller_only(
    service: Service, store: RefusingStore, first: bool, then: bool
) -> None:
    expected = {True: VALUES.sum() - VALUES[2:4, 3].sum(), False: VALUES.sum()}
    for is_refused in (first, then, then):
        store.refused = "tas/1.1" if is_refused else ""
        assert values_of(reduce(service, CASES["zarr"], absent_is_forbidden=True)) == expected[is_refused]


def test_a_chunk_that_was_replaced_removed_or_added_gives_a_new_answer(service: Service, store: RefusingStore) -> None:
    path = "/bucket/store.zarr/tas/1.0"
    assert values_of(reduce(service, CASES["zarr"])) == VALUES.sum()
    source = store.sources[path]
    store.sources[path] = FakeSource(bytes(len(source.data)), '"new"')
    for _ in range(2):
        assert values_of(reduce(service, CASES["zarr"])) == VALUES.sum() - VALUES[2:4, :3].sum()
    del store.sources[path]
    for _ in range(2):
        answer = reduce(service, CASES["zarr"])
        assert (values_of(answer), answer.missing_chunks) == (VALUES.sum() - VALUES[2:4, :3].sum(), 1)
    store.sources[path] = source
    for _ in range(2):
        answer = reduce(service, CASES["zarr"])
        assert (values_of(answer), answer.missing_chunks) == (VALUES.sum(), 0)


@pytest.mark.parametrize("change", ["replace", "remove", "add"])
def test_a_shard_that_has_changed_gives_a_new_answer(service: Service, store: RefusingStore, change: str) -> None:
    path = "/bucket/store.zarr/shards/c/1/0"
    source = store.sources[path]
    if change == "add":
        del store.sources[path]
    before = values_of(reduce(service, CASES["shards"]))
    if change == "replace":
        store.sources[path] = FakeSource(store.sources["/bucket/store.zarr/shards/c/0/0"].data, '"new"')
    elif change == "remove":
        del store.sources[path]
    else:
        store.sources[path] = source
    after = values_of(reduce(service, CASES["shards"]))
    assert after == values_of(reduce(make_service(store), CASES["shards"]))
    assert after != before


def test_inner_chunks_of_a_shard_that_were_empty_are_found(service: Service, store: RefusingStore) -> None:
    path, full = "/bucket/store.zarr/shards/c/2/0", write_zarr("/a", version=3, chunks=(1, 2), shards=(2, 4))
    part = VALUES.copy()
    part[4] = 0
    less = write_zarr("/a", part, version=3, chunks=(1, 2), shards=(2, 4))
    store.sources[path] = FakeSource(less["/a/c/2/0"], '"less"')
    assert values_of(reduce(service, CASES["shards"])) == part.sum()
    store.sources[path] = FakeSource(full["/a/c/2/0"], '"full"')
    assert values_of(reduce(service, CASES["shards"])) == VALUES.sum()


def test_a_shard_is_found_where_all_were_absent(service: Service, store: RefusingStore) -> None:
    kept = {path: store.sources.pop(path) for path in list(store.sources) if "/shards/c/" in path}
    assert values_of(reduce(service, CASES["shards"])) == 0
    store.sources |= kept
    assert values_of(reduce(service, CASES["shards"])) == VALUES.sum()


def test_references_to_changed_objects_give_a_new_answer(service: Service, store: RefusingStore) -> None:
    assert values_of(reduce(service, CASES["kerchunk"])) == VALUES.sum()
    source = store.sources["/bucket/store.zarr/tas/2.0"]
    source.data, source.etag = bytes(len(source.data)), '"new"'
    for _ in range(2):
        assert values_of(reduce(service, CASES["kerchunk"])) == VALUES.sum() - VALUES[4:, :3].sum()


def test_a_changed_file_of_the_same_length_gives_a_new_answer(service: Service, store: RefusingStore) -> None:
    source, values = store.sources["/bucket/f.nc"], VALUES.copy()
    assert values_of(reduce(service, CASES["netcdf"])) == values.sum()
    data = bytearray(source.data)
    place = data.index(b"K\x00" * 1) if b"K\x00" in data else 0
    data[place] = ord("M")
    source.data, source.etag = bytes(data), '"new"'
    answer = reduce(service, CASES["netcdf"])
    assert answer.units == "M"


def weaken(store: FakeStore, path: str, etag: str | None = 'W/"weak"', **headers: str) -> None:
    source = store.sources[path]
    source.etag = etag
    source.headers = {"last-modified": "Mon, 23 Nov 2026 10:00:00 GMT", **headers}


@pytest.mark.parametrize("path", ["/bucket/store.zarr/tas/1.0", "/bucket/store.zarr/tas/.zarray"])
@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"etag": None},
        {"etag": '"s"', "x-amz-server-side-encryption": "aws:kms"},
        {"etag": '"s"', "x-amz-server-side-encryption-customer-key-md5": "k"},
    ],
)
def test_without_a_strong_etag_or_with_a_key_nothing_is_kept(
    service: Service, store: RefusingStore, path: str, kind: dict[str, Any]
) -> None:
    weaken(store, path, **kind)
    for _ in range(2):
        store.requests.clear()
        assert values_of(reduce(service, CASES["zarr"])) == VALUES.sum()
        asked = next(request for request in store.requests if request.target.endswith("1.1"))
        assert "if-none-match" not in asked.headers


def test_nothing_is_kept_where_the_setting_is_zero(store: RefusingStore) -> None:
    service = make_service(store, cache_bytes="0")
    for _ in range(2):
        read = store.bytes_read
        reduce(service, CASES["netcdf"])
        assert store.bytes_read - read > VALUES.nbytes
    assert service.engine.gate.kept_bytes == 0


def test_the_versions_of_more_chunks_than_may_be_kept_are_forgotten(store: RefusingStore) -> None:
    service = make_service(store, cache_bytes="40KiB")
    for case, has_room in ((CASES["zarr"], False), (CASES["netcdf"], True)):
        reduce(service, case)
        assert (reduce(service, case).bytes_read == 0) == has_room


def test_memory_for_versions_that_cannot_be_had_does_not_fail_the_request() -> None:
    gate = MemoryGate(1000, 1000)
    with gate.account() as account:
        seen = SeenVersions(10_000, account)
        for name in "abcdef":
            seen.see(name, None)
        assert seen.versions is None
        assert gate.held_bytes <= 1000


def test_two_versions_of_one_name_are_not_kept() -> None:
    with MemoryGate(10_000, 10_000).account() as account:
        seen = SeenVersions(10_000, account)
        facts = [FakeSource(b"", etag).head(None) for etag in ('"1"', '"2"')]
        seen.see("a", facts[0])
        seen.see("a", facts[0])
        assert seen.versions == {"a": facts[0].etag}
        seen.see("a", facts[1])
        assert seen.versions is None


def test_an_absent_chunk_that_appears_meanwhile_is_another_version() -> None:
    facts: ObjectFacts = FakeSource(b"", '"1"').head(None)
    with MemoryGate(10_000, 10_000).account() as account:
        seen = SeenVersions(10_000, account)
        seen.see("a", None)
        seen.see("a", facts)
        assert seen.versions is None


def test_the_metadata_is_asked_for_again_after_chunks(
    service: Service, store: RefusingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that replaces the array while chunks are asked for does not get an answer of both versions."""
    reduce(service, CASES["zarr"])
    ask = kept_answers._ask

    def replace_meanwhile(*args: Any) -> int:
        source = store.sources["/bucket/store.zarr/tas/.zattrs"]
        source.data, source.etag = source.data.replace(b"-1.0", b"23.0"), '"new"'
        return ask(*args)

    monkeypatch.setattr(kept_answers, "_ask", replace_meanwhile)
    assert values_of(reduce(service, CASES["zarr"])) == VALUES.sum() - 23


def test_a_table_is_answered_by_its_places_and_versions(service: Service, store: RefusingStore) -> None:
    table: dict[str, Any] = {
        "dtype": "float32",
        "shape": [6, 4],
        "chunks": [2, 3],
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "fill_value": 0,
        "urls": [f"{STORE}/bucket/store.zarr/tas/{row}.{column}" for row in range(3) for column in range(2)],
        "url": np.arange(6, dtype="<i4").tobytes(),
        "offset": np.zeros(6, "<i8").tobytes(),
        "size": np.full(6, 24, "<i8").tobytes(),
    }

    def ask(table: Mapping[str, Any]) -> tuple[float, int]:
        scope = Scope.after(60)
        container = make_table_container(table, service.settings.store, None, service, scope)
        answer = service.arrays.reduce(ArrayReduction("sum", "table"), container, scope)
        return float(values_of(answer)), answer.bytes_read

    assert ask(table) == (VALUES.sum(), 144)
    assert ask(table) == (VALUES.sum(), 0)
    half = {**table, "size": np.array([24, -1] * 3, "<i8").tobytes()}
    assert ask(half) == (VALUES[:, :3].sum(), 72)
    assert ask(half) == (VALUES[:, :3].sum(), 0)


# The parameters of a reduction of the same array, each of which decides the answer.
PARAMETERS: dict[str, list[str]] = {
    "reducer": ["sum", "mean", "max", "select", "stats"],
    "axis": ["time", "lat", "time,lat"],
    "selection": ["0:3,:", "0:3,0:2", "::2,:"],
    "decode": ["none", "xarray"],
    "skipna": ["true"],
    "missing_value": ["3", "4"],
    "valid_min": ["3"],
    "valid_max": ["3"],
    "gt": ["3"],
    "ge": ["3"],
    "lt": ["3"],
    "le": ["3"],
    "absent": ["403"],
    "weights": ["w"],
    "expr": ["tas+1", "tas+2"],
}


def test_no_two_reductions_are_taken_for_the_same(store: RefusingStore) -> None:
    """Each answer is that of a service that keeps nothing, and the second time it is kept."""
    store.sources.update(
        {path: FakeSource(data) for path, data in write_zarr("/bucket/store.zarr/w", VALUES % 3).items()}
    )
    service, plain = make_service(store), make_service(store, cache_bytes="0")
    texts: list[tuple[str, dict[str, str]]] = [("sum", {})]
    texts += [
        ("sum" if name != "reducer" else value, {} if name == "reducer" else {name: value})
        for name, values in PARAMETERS.items()
        for value in values
    ]
    texts += [("quantile", {"q": "0.5"}), ("quantile", {"q": "0.3"}), ("quantile", {"q": "0.3", "method": "lower"})]
    texts += [("std", {}), ("std", {"ddof": "1"})]
    texts += [("histogram", {"edges": edges, "axis": "time"}) for edges in ("0,10,30", "0,20,30")]
    for _ in range(2):
        for reducer, parameters in texts:
            reduction = build_array_reduction({"reducer": reducer, "dtype": "zarr", **parameters})
            answers = []
            for each in (service, plain):
                scope = Scope.after(60)
                location = locate_object("http", f"{STORE}/bucket/{ZARR}")
                container = make_located_container(location, None, each, scope)
                answers.append(facts_of(each.arrays.reduce(reduction, container, scope)))
            assert answers[0] == answers[1], parameters


def test_every_field_of_a_reduction_is_part_of_the_name_of_its_answer() -> None:
    """The name covers the ``repr``, which dataclasses make of all fields, unless one is left out of it."""
    kinds = [
        each
        for module in (array_reduction, coordinates, expression, ranges)
        for each in vars(module).values()
        if dataclasses.is_dataclass(each)
    ]
    assert {ArrayReduction, NumberWeights, Group, NumberGroup, Between, Slice, Operation} <= {*kinds}
    hidden = [(each, field.name) for each in kinds for field in dataclasses.fields(each) if not field.repr]
    assert hidden == []


def test_an_answer_with_numbers_of_the_callers_is_kept_by_all_of_them(
    service: Service, store: RefusingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*values: float, weights: tuple[float, ...] = (1.0,) * 6) -> tuple[Any, bool]:
        """The result, and whether it was kept."""
        read = store.bytes_read
        group = NumberGroup(0, values)
        answer = reduce(service, CASES["zarr"], axis=(0,), group=group, weights=NumberWeights((0,), (6,), weights))
        # One byte of the metadata is read at the end.
        return values_of(answer).tolist(), store.bytes_read - read < 10

    first = ask(0, 0, 1, 1, math.nan, 1)
    others = [ask(0, 0, 1, 1, 0, 1), ask(0, 0, 1, 1, 2, 1), ask(0, 0, 1, 1, math.nan, 1, weights=(2.0,) * 6)]
    assert not any(is_kept for _, is_kept in (first, *others))
    assert ask(0, 0, 1, 1, math.nan, 1) == (first[0], True)
    assert all(result != first[0] for result, _ in others)
    # All of them are printed for the name, so that there is a limit for groups and weights together.
    monkeypatch.setattr(kept_answers, "_MOST_NUMBERS", 11)
    assert ask(0, 0, 1, 1, math.nan, 1) == (first[0], False)


def test_the_log_says_that_an_answer_was_kept(service: Service, store: RefusingStore) -> None:
    for is_kept in (False, True):
        scope = Scope.after(60)
        container = make_located_container(locate_object("http", f"{STORE}/bucket/{ZARR}"), None, service, scope)
        service.arrays.reduce(ArrayReduction("sum", "zarr"), container, scope)
        assert scope.record.facts.get("kept", False) == is_kept


def test_answers_by_references_in_parquet_are_not_kept(service: Service, store: RefusingStore) -> None:
    """A file of references can move chunks within objects that stay the same."""
    # Skipped without pyarrow, like its own tests.
    writers = pytest.importorskip("tests.containers.test_kerchunk_parquet")
    documents = {f"tas/{name}": store.sources[f"/bucket/{ZARR}/{name}"].data for name in (".zarray", ".zattrs")}
    metadata = {"metadata": {name: json.loads(data) for name, data in documents.items()}, "record_size": 6}
    data = np.concatenate([np.full(6, number, "<f4") for number in range(7)])

    def refer(first: int) -> bytes:
        rows = [["s3://bucket/packed", 24 * number, 24] for number in range(first, first + 6)]
        return bytes(writers.write_table(writers.make_table(rows)))

    store.sources["/bucket/packed"] = FakeSource(data.tobytes(), '"packed"')
    store.sources["/bucket/refs/.zmetadata"] = FakeSource(json.dumps(metadata).encode(), '"metadata"')
    for first in (0, 1):
        store.sources["/bucket/refs/tas/refs.0.parq"] = FakeSource(refer(first), f'"{first}"')
        # The chunks in the second column of the grid have one column of the array.
        expected = sum(number * (6 if number % 2 == first else 2) for number in range(first, first + 6))
        for _ in range(2):
            assert values_of(reduce(service, Case("kerchunk", "refs", "tas"))) == expected

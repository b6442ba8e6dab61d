"""Results as dask arrays: the same bits as one request, and what happens if services fail, are full, come or go.

The services are the real one, in this process, before a store in memory. A section is a chunk.
"""

import io
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import dask.base
import numpy as np
import pytest

from active_storage import Client
from active_storage.client import dask_arrays
from active_storage.client.dask_arrays import DaskClient, DaskResult, TaskRequest
from active_storage.client.failures import (
    IncompleteReply,
    InsecureService,
    NoCredentials,
    ServiceTooOld,
    ServiceUnreachable,
)
from active_storage.client.items import JoinedSections, SectionResult
from active_storage.client.services import Access, Services, find_client, rank
from active_storage.errors import (
    ActiveStorageError,
    InvalidArgument,
    ObjectChanged,
    PlanOutdated,
    SlowDown,
    StoreError,
    UndecodableData,
    WrongRegion,
)
from active_storage.grammar.targets import DISCOVERY_PATH
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.app import create_app
from handler.arrays import plan as plans
from handler.stores.fake import FakeSource, FakeStore
from tests.client.signed_store import Wsgi, serving
from tests.doors.array_stores import write_zarr
from tests.helpers import make_settings

STORE = "http://store.test:9000"
URL = "s3://bucket/store.zarr"
SECRET = "canary-of-the-secret"

# 12 chunks, and more than one task that joins.
NUMBERS = np.random.default_rng(5).normal(280, 10, (24, 6)).astype("<f4")
NUMBERS[3, 2] = NUMBERS[:, 5] = -1


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    monkeypatch.setattr(plans, "_SECTION_BYTES", 1)
    monkeypatch.setattr(plans.PartPlan, "batch_chunks", 1)
    monkeypatch.setattr(dask_arrays, "_JOINED_TASKS", 5)
    monkeypatch.setattr(dask_arrays, "_BLOCK_BYTES", 48)
    attributes = {"units": "K", "_FillValue": -1.0}
    return FakeStore(
        {
            **write_zarr("/bucket/store.zarr/tas", NUMBERS, attributes=attributes, chunks=(4, 3)),
            **write_zarr("/bucket/store.zarr/pr", NUMBERS * 2, attributes=attributes, chunks=(4, 3)),
            **write_zarr("/bucket/store.zarr/lat", np.linspace(-75, 75, 6), dimensions=("lat",), chunks=(6,)),
        }
    )


@dataclass
class Service:
    """The service, which can be full or broken, and counts the requests for arrays.

    Attributes:
        app: The service itself.
        url: Its URL.
        mode: ``ok``, ``full``, ``down``, or ``breaks``.
        items: How many items of a reply come before it breaks: the header and a section.
        asked: The names in the paths of requests for arrays, in order.
        before: Called before each request for an array, with the number of those before it.
    """

    app: Wsgi
    url: str = ""
    mode: str = "ok"
    items: int = 2
    asked: list[str] = field(default_factory=list)
    before: Callable[[int], None] = lambda _: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # The server of the tests does not end the body.
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        if environ["RAW_URI"] == DISCOVERY_PATH:
            return self.app(environ, start_response)
        self.before(len(self.asked))
        self.asked.append(environ["RAW_URI"].rpartition("/")[2])
        if self.mode == "down":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start_response("200 OK", [])
            return []
        if self.mode == "full":
            start_response("503 Slow Down", [("Retry-After", "2")])
            return [b'{"error": {"message": "full", "code": "SlowDown"}}']
        reply = self.app(environ, start_response)
        return self._break(reply) if self.mode == "breaks" else reply

    def _break(self, reply: Iterable[bytes]) -> Iterator[bytes]:
        yield from islice(reply, self.items)
        getattr(reply, "close", list)()


@pytest.fixture
def services(store: FakeStore) -> Iterator[list[Service]]:
    """Three services before one store."""
    find_client.cache_clear()
    with ExitStack() as stack:
        made = []
        for _ in range(3):
            one = Service(create_app(make_settings(s3_endpoint=STORE, log_level="error"), store).wsgi_app)
            one.url = stack.enter_context(serving(one))
            made.append(one)
        yield made


@pytest.fixture
def client(services: list[Service]) -> Iterator[Client]:
    with Client(services[0].url, anon=True) as made:
        yield made


@pytest.fixture
def lazy(client: Client, services: list[Service]) -> DaskClient:
    return DaskClient(client, [each.url for each in services], anon=True)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    seen: list[float] = []
    monkeypatch.setattr("active_storage.client.services.sleep", seen.append)
    return seen


def compute(result: DaskResult) -> tuple[Any, Any]:
    """The values and the counts, by threads. Both take the same tasks."""
    with dask.config.set(scheduler="threads", num_workers=4):
        values, counts = dask.base.compute(result.values, result.counts)
    return values, counts


def ensure_same(result: DaskResult, client: Client, reducer: str, **arguments: Any) -> None:
    """Pass if a result has what one request gives, bit by bit."""
    one = client.reduce(reducer, URL, "tas", **arguments)
    values, counts = compute(result)
    expected = np.asarray(one)
    assert (values.tobytes(), values.dtype, values.shape) == (expected.tobytes(), expected.dtype, expected.shape)
    assert (result.values.dtype, result.values.shape) == (values.dtype, values.shape)
    assert (result.dims, result.units) == (one.dims, one.units)
    assert {name: list(labels) for name, labels in result.labels.items()} == one.labels
    if counts is not None:
        assert (counts.tobytes(), counts.shape) == (np.asarray(one.counts).tobytes(), np.shape(one.counts))


CASES: dict[str, dict[str, Any]] = {name: {"axis": "time"} for name in ARRAY_REDUCERS} | {
    "histogram": {"axis": "time", "edges": [250, 275, 280, 300.0]},
    "quantile": {"axis": "time", "q": [0.1, 0.5]},
    "cov": {"axis": "time", "other": "pr"},
    "corr": {"axis": "time", "other": "pr"},
    "sum_of_weights": {"axis": "lat", "weights": "cos:lat"},
}


@pytest.mark.parametrize("reducer", ARRAY_REDUCERS)
def test_every_reducer_has_the_bits_of_one_request(lazy: DaskClient, client: Client, reducer: str) -> None:
    ensure_same(lazy.reduce(reducer, URL, "tas", **CASES[reducer]), client, reducer, **CASES[reducer])


@pytest.mark.parametrize(
    ("reducer", "arguments"),
    [
        ("mean", {}),
        ("sum", {"axis": ["time", "lat"], "selection": [slice(1, 20, 3), slice(None)]}),
        ("mean", {"axis": "lat", "weights": "cos:lat", "where": {"lat": slice(-50, 50)}}),
        ("mean", {"axis": "lat", "group": "lat", "bins": [-90, 0, 90]}),
        ("count", {"gt": 280}),
        ("quantile", {"q": 0.3}),
        ("max", {"axis": "time", "selection": {"time": slice(0, 0)}}),
        ("select", {"selection": {"time": slice(5, 22, 4), "lat": 1}}),
        ("select", {"selection": [slice(None), [3, None, None]]}),
        ("select", {"selection": {-1: slice(1, 3)}}),
        ("select", {"where": {"lat": slice(0, 90)}}),
        ("select", {"selection": {"time": slice(3, 3)}}),
    ],
)
def test_questions_have_the_bits_of_one_request(
    lazy: DaskClient, client: Client, reducer: str, arguments: dict[str, Any]
) -> None:
    ensure_same(lazy.reduce(reducer, URL, "tas", **arguments), client, reducer, **arguments)


# Services that fail


def mean(lazy: DaskClient) -> DaskResult:
    return lazy.reduce("mean", URL, "tas", axis="time")


@pytest.mark.parametrize("mode", ["down", "full", "breaks"])
def test_the_next_service_is_asked_if_one_fails(
    lazy: DaskClient, client: Client, services: list[Service], mode: str, pauses: list[float]
) -> None:
    result = mean(lazy)
    expected = np.asarray(client.mean(URL, "tas", axis="time"))
    services[1].mode = mode
    values, counts = compute(result)
    assert values.tobytes() == expected.tobytes()
    assert counts.tolist() == [24, 24, 23, 24, 24, 0]
    assert not pauses
    asked = [each.asked.count("mean") for each in services]
    # Of a reply that breaks, the section has come: only the plan is asked for again.
    assert sum(asked[::2]) - 1 == (12 - asked[1] if mode == "breaks" else 12)
    assert asked[1] > 0


def test_what_came_before_a_break_is_not_asked_for_again(
    lazy: DaskClient, client: Client, services: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_arrays, "_MOST_TASKS", 1)
    asked = []
    partials = Client.partials

    def note(self: Client, *array: Any, sections: tuple[int, int], **arguments: Any) -> Iterator[SectionResult]:
        asked.append(sections)
        return partials(self, *array, sections=sections, **arguments)

    monkeypatch.setattr(Client, "partials", note)
    result = mean(lazy)
    expected = np.asarray(client.mean(URL, "tas", axis="time"))
    for each in services[:2]:
        each.mode = "breaks"
    # There is a single task, whose order of services tells who is asked first.
    broken = rank([each.url for each in services], f"{URL}\ntas\n0").index(services[2].url)
    assert compute(result)[0].tobytes() == expected.tobytes()
    assert asked == [(number, 12) for number in range(broken + 1)]
    # Sections of a reply without an end are of the version of the plan, if that still holds.
    assert services[2].asked.count("plan") == (broken > 0)


def test_all_services_are_asked_again_after_a_pause(
    lazy: DaskClient, client: Client, services: list[Service], pauses: list[float]
) -> None:
    result = mean(lazy)
    for each in services:
        each.mode = "full"

    def recover(_: int) -> None:
        if len(pauses) > 5:
            services[2].mode = "ok"

    services[2].before = recover
    values, _ = compute(result)
    # As long as Retry-After says.
    assert set(pauses) == {2.0}
    services[0].mode = "ok"
    assert values.tobytes() == np.asarray(client.mean(URL, "tas", axis="time")).tobytes()


@pytest.mark.parametrize(
    ("mode", "error"), [("full", SlowDown), ("down", ServiceUnreachable), ("breaks", IncompleteReply)]
)
def test_after_some_rounds_there_is_an_error(
    client: Client, services: list[Service], mode: str, error: type[Exception], pauses: list[float]
) -> None:
    result = DaskClient(client, [services[1].url], anon=True, retries=2).reduce("any", URL, "tas", selection=[0, 0])
    services[1].mode, services[1].items = mode, 1
    with pytest.raises(error):
        result.values.compute(scheduler="synchronous")
    assert pauses == ([2.0, 2.0] if mode == "full" else [0.25, 0.5])


def test_pauses_become_longer_up_to_a_limit(pauses: list[float]) -> None:
    with pytest.raises(ServiceUnreachable, match="there is no service in the list"):
        Services(list, Access(), 7).ask("part", repr)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_other_errors_are_not_taken_elsewhere(services: list[Service]) -> None:
    asked = []

    def ask(client: Client) -> None:
        asked.append(client)
        raise ServiceTooOld("the arithmetic has another version")

    with pytest.raises(ServiceTooOld):
        Services([each.url for each in services], Access(anon=True), 3).ask("part", ask)
    assert len(asked) == 1


def test_services_come_and_go(client: Client, services: list[Service], pauses: list[float]) -> None:
    here = [services[0].url]
    waits = iter([OSError("the name server is down"), None])

    def list_services() -> Sequence[str]:
        failure = next(waits, None)
        if failure is not None:
            raise failure
        return here

    def replace_services(number: int) -> None:
        if number == 3:
            services[0].mode = "down"
            here[:] = [each.url for each in services[1:]]

    result = DaskClient(client, list_services, anon=True).reduce("mean", URL, "tas", axis="time")
    expected = np.asarray(client.mean(URL, "tas", axis="time"))
    services[0].asked.clear()
    services[0].before = replace_services
    values = result.values.compute(scheduler="synchronous")
    assert values.tobytes() == expected.tobytes()
    assert services[0].asked.count("mean") == 4
    assert all(each.asked.count("mean") for each in services)
    assert pauses == [0.25, 0.25]


# Which service is asked


def test_a_service_that_goes_moves_only_its_own_parts() -> None:
    urls = [f"http://10.0.0.{number}:8000" for number in range(5)]
    parts = [f"{URL}\ntas\n{number}" for number in range(1000)]
    before = {part: rank(urls, part) for part in parts}
    after = {part: rank(urls[::-1][1:], part) for part in parts}
    assert all(after[part] == [url for url in before[part] if url != urls[-1]] for part in parts)
    # Each of five has about a fifth.
    shares = [sum(order[0] == url for order in before.values()) for url in urls]
    assert all(150 < share < 250 for share in shares)


def test_a_section_is_asked_for_at_the_same_service(client: Client, services: list[Service], lazy: DaskClient) -> None:
    found = []
    for _ in range(2):
        for each in services:
            each.asked.clear()
        compute(mean(lazy))
        found.append([each.asked.count("mean") for each in services])
    assert found[0] == found[1]
    assert sum(found[0]) == 12


# A change of the array


def change(store: FakeStore, path: str = "/bucket/store.zarr/tas/.zarray") -> None:
    """Another version of the metadata."""
    source = store.sources[path]
    store.sources[path] = FakeSource(source.data, etag='"another"')


@pytest.mark.parametrize("reducer", ["mean", "median", "select"])
def test_a_change_before_the_tasks_is_an_error(lazy: DaskClient, store: FakeStore, reducer: str) -> None:
    result = lazy.reduce(reducer, URL, "tas")
    change(store)
    with pytest.raises(PlanOutdated, match=r"plan does not hold|has changed"):
        compute(result)


def test_a_change_in_the_middle_is_an_error(lazy: DaskClient, services: list[Service], store: FakeStore) -> None:
    result = mean(lazy)
    for each in services:
        each.before = lambda number: change(store) if number == 2 else None
    with pytest.raises(PlanOutdated):
        compute(result)


def test_a_change_after_a_break_is_an_error(
    client: Client, services: list[Service], store: FakeStore, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    # All sections have come, and the end has not: nobody has said that the array is the same.
    result = DaskClient(client, [services[1].url], anon=True).reduce("any", URL, "tas", selection=[0, 0])
    services[1].mode = "breaks"
    services[1].before = lambda number: change(store) if number else None
    with pytest.raises(PlanOutdated, match="array tas has changed"):
        compute(result)


# Joining


@pytest.fixture
def sections(client: Client, store: FakeStore) -> list[SectionResult]:
    return list(client.partials("var", URL, "tas", axis="time"))


def test_joining_again_changes_nothing(client: Client, sections: list[SectionResult]) -> None:
    # dask may run a task twice with the same inputs.
    start = JoinedSections.start(sections[0].header)
    first = start.join(sections[:7])
    kept = pickle.dumps(first)
    again: JoinedSections = pickle.loads(kept)  # noqa: S301  # our own
    joined = [again.join(sections[7:]), *(first.join(sections[7:]) for _ in range(2))]
    assert pickle.dumps(first) == kept
    expected = np.asarray(client.var(URL, "tas", axis="time"))
    assert {np.asarray(each.finish()).tobytes() for each in joined} == {expected.tobytes()}
    assert start.sections == 0


def test_no_section_is_joined_twice_or_left_out(client: Client, sections: list[SectionResult]) -> None:
    start = JoinedSections.start(sections[0].header)
    first = start.join(sections[:3])
    with pytest.raises(InvalidArgument, match="section 2 is there twice; the plan has 12"):
        first.join(sections[2:])
    with pytest.raises(InvalidArgument, match="section 3 is absent"):
        first.join(sections[4:])
    with pytest.raises(InvalidArgument, match="section 3 is absent"):
        first.finish()
    with pytest.raises(InvalidArgument, match="several plans or reducers"):
        first.join(client.partials("mean", URL, "tas", axis="time", sections=(3, 4)))


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("axis", "is wrong", 2),
        SlowDown("full", 7),
        StoreError(404, "NoSuchKey", "not there"),
        UndecodableData("zstd", "is damaged"),
        ObjectChanged(),
        WrongRegion("PermanentRedirect", "eu-west-2"),
        ServiceUnreachable("nobody answers"),
    ],
)
def test_errors_come_from_other_processes_as_they_are(error: ActiveStorageError) -> None:
    error.add_note("request id: 1")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


# Graphs


def test_a_graph_has_few_tasks_and_takes_one_request(services: list[Service], client: Client) -> None:
    # A tenth of a gigabyte in each of 100,000 chunks. No chunk is there, and none is asked for.
    chunk = '{"zarr_format": 2, "shape": [100000, 5000, 5000], "chunks": [1, 5000, 5000], "dtype": "<f4"'
    document = f'{chunk}, "compressor": null, "filters": null, "order": "C", "fill_value": 0}}'
    store = FakeStore({"/bucket/large.zarr/.zarray": document.encode()})
    services[2].app = create_app(make_settings(s3_endpoint=STORE, log_level="error"), store).wsgi_app
    with Client(services[2].url, anon=True) as large:
        lazy = DaskClient(large, [services[2].url], anon=True)
        plan = large.plan("s3://bucket/large.zarr", reducer="mean")
        services[2].asked.clear()
        result = lazy.reduce("mean", "s3://bucket/large.zarr", axis=0)
    assert plan.chunks == 100_000
    assert services[2].asked == ["plan"]
    assert len(result.values.dask) < 1500
    assert len({request.target for request in store.requests}) < 10


@pytest.mark.parametrize(
    ("selection", "chunks"),
    [
        (None, ((4, 4, 4, 4, 4, 4), (3, 3))),
        # 5, 8, 11, 14 and 17: the chunks begin at 4, 8, 12 and 16.
        ({"time": slice(5, 20, 3)}, ((1, 2, 2), (6,))),
        ({"lat": slice(2, 3)}, ((12, 12), (1,))),
        (None, None),
    ],
)
def test_blocks_of_elements_are_whole_chunks(lazy: DaskClient, selection: Any, chunks: Any) -> None:
    arguments: Any = {"selection": selection} if chunks else {"where": {"lat": slice(None, None)}}
    result = lazy.reduce("select", URL, "tas", **arguments)
    assert result.counts is None
    assert result.values.chunks == (chunks or ((24,), (6,)))


# Keys


def test_no_secret_is_shown(client: Client, services: list[Service]) -> None:
    keys: Any = {"key": "canary-of-the-key", "secret": SECRET, "token": "canary-of-the-token"}
    lazy = DaskClient(client, [services[0].url], **keys)
    # A table can have links, which are secret too.
    table: Any = {"type": "table", "dtype": "float32", "shape": [4], "chunks": [2], "codecs": {}, "fill_value": None}
    places = {"url": np.zeros(2, "<i4"), "offset": np.array([0, 8], "<i8"), "size": np.full(2, 8, "<i8")}
    url = f"{STORE}/bucket/key?X-Amz-Signature=canary-of-the-link"
    lists = {name: each.tobytes() for name, each in places.items()}
    result = lazy.reduce("mean", {**table, "urls": [url], **lists})
    shown = [
        repr(lazy),
        repr(result),
        repr(result.values),
        result.values._repr_html_(),
        result.values.dask._repr_html_(),
    ]
    shown += [f"{key} {task!r}" for key, task in dict(result.values.dask).items()]
    assert "canary" not in " ".join(shown)
    access = Access(**keys)
    assert pickle.loads(pickle.dumps(access)) == access  # noqa: S301  # our own
    assert hash(access) != hash(Access(**{**keys, "secret": "another"}))
    for mode in ("down", "full"):
        services[0].mode = mode
        with pytest.raises(ActiveStorageError) as caught:
            Services([services[0].url], access, 0).ask("part", lambda one: one.mean(URL, "tas"))
        assert b"canary" not in pickle.dumps(caught.value) + repr(caught.value).encode()


def test_workers_find_keys_as_boto3_does(
    client: Client, services: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = DaskClient(client, [services[0].url]).reduce("mean", URL, "tas")
    with pytest.raises(NoCredentials):
        compute(result)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert SECRET not in str(dict(result.values.dask))
    find_client.cache_clear()
    assert compute(result)[0] == client.mean(URL, "tas").values


def test_a_process_has_one_client_of_a_service(services: list[Service]) -> None:
    access = Access(anon=True)
    one = find_client(services[0].url, access)
    assert find_client(services[0].url, Access(anon=True)) is one
    assert find_client(services[1].url, access) is not one
    assert find_client(services[0].url, Access(anon=True, timeout=1.0)) is not one


@pytest.mark.parametrize(
    ("services", "options", "error"),
    [
        ([], {}, InvalidArgument),
        ("http://localhost:8000", {}, InvalidArgument),
        (["localhost:8000"], {}, InvalidArgument),
        (["http://localhost:8000"], {"key": "a"}, InvalidArgument),
        (["http://localhost:8000", "http://service.example.org"], {}, InsecureService),
    ],
)
def test_wrong_services_are_refused_at_once(services: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        DaskClient(Client("http://localhost:8000", anon=True), services, **options)


def test_an_older_service_says_nothing_of_its_result(client: Client, services: list[Service]) -> None:
    plan = client.plan(URL, "tas")
    question = TaskRequest(Services([services[0].url], Access(anon=True), 0), "mean", URL, "tas", {}, plan.digest, ())
    with pytest.raises(ServiceTooOld, match="does not say in a plan"):
        dask_arrays.build_result(question, plan)

"""Reductions of whole arrays as dask arrays: tasks ask services for partial results, and others join them in order.

    lazy = DaskClient(client, ["http://a:8000", "http://b:8000"])
    lazy.reduce("mean", "s3://bucket/store.zarr", "tas", axis="time").values.compute()

One request for a plan says what the result will look like, and which version of the array all tasks are about. A graph
has tasks for sections, and not for chunks: one for each section, or for several if the plan has very many. The tasks
that join are a chain, since float results depend on the order of additions. Each takes some sections, so that a state
is held and not all partial results.

A task has no effect but its result, and changes none of its inputs: dask may run it again, elsewhere or twice.
"""

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Unpack

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from active_storage.client.arguments import AccessArguments, QuestionArguments, ensure_known
from active_storage.client.client import Client
from active_storage.client.failures import ServiceTooOld
from active_storage.client.items import JoinedSections, SectionResult
from active_storage.client.questions import Store, build_position
from active_storage.client.results import Array, Plan, Result, ResultForm, find_cells, find_rule
from active_storage.client.services import Access, Services, Urls
from active_storage.errors import PlanOutdated

# The most tasks of a reduction that ask for sections. Each costs dask a millisecond, and the service a request.
_MOST_TASKS = 1024

# How many of these a task joins. More partial results than these wait for no other reason than the order.
_JOINED_TASKS = 16

# The size of a block of selected elements, about that of a section.
_BLOCK_BYTES = "32 MiB"

# Arguments that select elements in another way than by a slice of each dimension.
_NOT_SLICES = ("where", "group")

Graph = dict[Any, Any]
Chunks = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class DaskResult:
    """The result of a reduction, which dask computes.

    Attributes:
        values: The values. A cell without elements is NaN if it is a float, and has the count 0.
        counts: The number of elements in each cell, int64; None for ``select``.
        dims: The names of the dimensions; None for one without a name.
        labels: The values of coordinates and the names of groups, by the name of the dimension.
        units: The units of the values; None if they are unknown, or others than those of the data.
    """

    values: da.Array
    counts: da.Array | None
    dims: tuple[str | None, ...]
    labels: Mapping[str, Sequence[Any]]
    units: str | None


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What the tasks of a graph ask services for. ``repr`` hides what can hold a secret.

    Attributes:
        services: The services.
        reducer: The reducer.
        store: Where the array lies.
        array: The path of the array in its container.
        arguments: Arguments of each request.
        digest: The digest of the plan; a selected block has another one.
        etags: The ETags of the metadata.
    """

    services: Services
    reducer: str
    store: Store = field(repr=False)
    array: str
    arguments: Mapping[str, Any] = field(repr=False)
    digest: str
    etags: tuple[str, ...] = field(repr=False)

    def name_part(self, part: object) -> str:
        """The name of a part, by which its service is found."""
        store = self.store.get("urls", ()) if isinstance(self.store, Mapping) else self.store
        urls = [store] if isinstance(store, str) else map(str, store)
        return "\n".join([*urls, self.array, str(part)])

    def plan(self, client: Client) -> Plan:
        """The plan as it is now.

        Raises:
            ActiveStorageError: There is no plan.
        """
        return client.plan(self.store, self.array, reducer=self.reducer, **self.arguments)


class DaskClient:
    """A client whose results are dask arrays. Its tasks share the work among services of the same version.

    The keys are those of the tasks: where the tasks run, they are found as boto3 finds them, unless they are given
    here. Given ones go along with the tasks, pickled and not encrypted, through dask's scheduler to its workers. They
    are in no ``repr``, name or error.

    Args:
        client: The client that asks for plans, here.
        services: The URLs of the services that the tasks ask, or a function that lists those that there are now.
        retries: How often a task asks all services again if all of them are full or cannot be reached.
        **access: The keys of the tasks, and the other arguments of ``AccessArguments``.

    Raises:
        InsecureService: The secret would be sent over http to another machine.
        InvalidArgument: There is no service, or arguments contradict each other.
    """

    def __init__(self, client: Client, services: Urls, *, retries: int = 8, **access: Unpack[AccessArguments]) -> None:
        self._client = client
        self._services = Services(services, Access(**access), retries)
        self._services.ensure_valid()

    def reduce(
        self, reducer: str, store: Store, array: str = "", /, **arguments: Unpack[QuestionArguments]
    ) -> DaskResult:
        """The result of a reducer, from one request for a plan. No chunk is read before dask computes it.

        Args:
            reducer: The reducer.
            store: As for ``Client.reduce``.
            array: The path of the array in its container.
            **arguments: As for ``Client.reduce``.

        Raises:
            ActiveStorageError: There is no plan.
            TypeError: There is no such argument.
        """
        ensure_known(arguments, QuestionArguments)
        plan = self._client.plan(store, array, reducer=reducer, **arguments)
        return build_result(
            TaskRequest(self._services, reducer, store, array, arguments, plan.digest, plan.etags), plan
        )


def build_result(request: TaskRequest, plan: Plan) -> DaskResult:
    """The result of a request, as a graph.

    When dask computes it, the tasks raise ``PlanOutdated`` if the array has changed since the plan was made.

    Args:
        request: The request.
        plan: Its plan, with the form of the result.

    Raises:
        ServiceTooOld: The plan does not say what the result will look like.
    """
    form = _find_form(plan)
    if find_rule(request.reducer).keeps_elements:
        return DaskResult(_build_elements(request, plan, form), None, form.dims, form.labels, form.units)
    tasks = build_tasks(request, plan)
    cells = find_cells(request.reducer, form.shape, form.dims)
    values = tasks.make_block("values", (np.asarray, tasks.result), form.shape, np.dtype(form.dtype))
    counts = tasks.make_block("counts", (_get_counts, tasks.result), cells, np.dtype(np.int64))
    return DaskResult(values, counts, form.dims, form.labels, form.units)


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks that blocks of arrays are made of.

    Attributes:
        name: Their name.
        graph: The tasks by key.
    """

    name: str
    graph: Graph

    @classmethod
    def of(cls, request: TaskRequest) -> "Tasks":
        """No tasks yet, but what they ask for."""
        name = f"active-storage-{request.reducer}-{uuid.uuid4().hex}"
        return cls(name, {(name, "request"): request})

    @property
    def asked(self) -> tuple[str, str]:
        """The key of the request."""
        return self.name, "request"

    @property
    def result(self) -> tuple[str, str]:
        """The key of the ``Result``."""
        return self.name, "result"

    def make_array(self, part: str, blocks: Graph, chunks: Chunks, dtype: np.dtype[Any]) -> da.Array:
        """An array of blocks, whose tasks are given by index."""
        name = f"{self.name}-{part}"
        named: Graph = {(name, *index): task for index, task in blocks.items()}
        layers: Any = HighLevelGraph({self.name: self.graph, name: named}, {self.name: set(), name: {self.name}})
        return da.Array(layers, name, chunks, dtype, meta=np.empty((0,) * len(chunks), dtype))

    def make_block(self, part: str, task: tuple[Any, ...], shape: tuple[int, ...], dtype: np.dtype[Any]) -> da.Array:
        """An array of one block."""
        return self.make_array(part, {tuple(0 for _ in shape): task}, tuple((size,) for size in shape), dtype)


def build_tasks(request: TaskRequest, plan: Plan) -> Tasks:
    """The tasks that make the result of a reduction."""
    tasks = Tasks.of(request)
    if find_rule(request.reducer).is_quantile or not plan.sections:
        tasks.graph[tasks.result] = (_reduce_at_once, tasks.asked)
    else:
        tasks.graph.update(_build_sections(tasks, plan.sections))
    return tasks


def _find_form(plan: Plan) -> ResultForm:
    if plan.result is None:
        raise ServiceTooOld("the service does not say in a plan what the result will look like")
    return plan.result


def _build_sections(tasks: Tasks, sections: int) -> Graph:
    """The tasks that ask for sections, and the chain of those that join them."""
    name, size = tasks.name, math.ceil(sections / _MOST_TASKS)
    bounds = [(first, min(first + size, sections)) for first in range(0, sections, size)]
    graph: Graph = {(name, "sections", first): (_reduce_sections, tasks.asked, first, stop) for first, stop in bounds}
    asking, joined = list(graph), None
    for number, start in enumerate(range(0, len(asking), _JOINED_TASKS)):
        graph[name, "joined", number] = (_join_sections, joined, asking[start : start + _JOINED_TASKS])
        joined = (name, "joined", number)
    graph[tasks.result] = (JoinedSections.finish, joined)
    return graph


def _build_elements(request: TaskRequest, plan: Plan, form: ResultForm) -> da.Array:
    """The selected elements, in blocks of whole chunks as far as a selection by slices allows it."""
    tasks, dtype = Tasks.of(request), np.dtype(form.dtype)
    if any(request.arguments.get(each) is not None for each in _NOT_SLICES) or not math.prod(form.shape):
        return tasks.make_block("values", (_select, tasks.asked, None), form.shape, dtype)
    places = _list_places(request.arguments.get("selection"), plan)
    stored: Chunks | None = None
    if plan.chunk_shape is not None:
        stored = tuple(_cut_by_chunks(*each) for each in zip(places, plan.chunk_shape, strict=True))
    chunks: Chunks = da.core.normalize_chunks("auto", form.shape, _BLOCK_BYTES, dtype, stored)
    cut = [enumerate(_cut(*each)) for each in zip(places, chunks, strict=True)]
    blocks: Graph = {
        tuple(number for number, _ in block): (_select, tasks.asked, [each for _, each in block])
        for block in product(*cut)
    }
    return tasks.make_array("values", blocks, chunks, dtype)


def _list_places(selection: Any, plan: Plan) -> list[range]:
    """The indices that are selected of each dimension."""
    by_name: Mapping[Any, Any] = (
        selection if isinstance(selection, Mapping) else dict(enumerate(() if selection is None else selection))
    )
    places = []
    for number, (name, size) in enumerate(zip(plan.dims, plan.shape, strict=True)):
        chosen = next((by_name[key] for key in (name, number, number - len(plan.dims)) if key in by_name), slice(None))
        places.append(range(*slice(*build_position(chosen)).indices(size)))
    return places


def _cut_by_chunks(places: range, size: int) -> tuple[int, ...]:
    """How many of these indices lie in each chunk of a dimension, for chunks of this size that have some."""
    edges = np.arange(places[0] // size + 1, places[-1] // size + 1) * size
    bounds = np.unique([0, *(-((places.start - edges) // places.step)), len(places)])
    sizes: list[int] = np.diff(bounds).tolist()
    return tuple(sizes)


def _cut(places: range, sizes: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        part = places[start : start + size]
        yield slice(part.start, part.stop, part.step)
        start += size


# What the tasks do


def _reduce_sections(request: TaskRequest, first: int, stop: int) -> tuple[SectionResult, ...]:
    """The partial results of some sections, of one service or of several if one fails."""
    found: list[SectionResult] = []

    def ask(client: Client) -> None:
        start = first + len(found)
        asking = client.partials(
            request.reducer,
            request.store,
            request.array,
            sections=(start, stop),
            plan=request.digest,
            **request.arguments,
        )
        # One by one, so that those before a failure count.
        for each in asking:
            found.append(each)  # noqa: PERF402
        # A service that failed has not said that the array was the same at the end.
        if start > first and request.plan(client).digest != request.digest:
            raise _is_outdated(request)

    request.services.ask(request.name_part(first), ask)
    return tuple(found)


def _join_sections(before: JoinedSections | None, found: Sequence[tuple[SectionResult, ...]]) -> JoinedSections:
    """The sections before, and the next ones."""
    joined = JoinedSections.start(found[0][0].header) if before is None else before
    return joined.join(each for sections in found for each in sections)


def _reduce_at_once(request: TaskRequest) -> Result:
    """The result of one request."""

    def ask(client: Client) -> Result:
        result = client.reduce(request.reducer, request.store, request.array, **request.arguments)
        if request.plan(client).digest != request.digest:
            raise _is_outdated(request)
        return result

    return request.services.ask(request.name_part(0), ask)


def _select(request: TaskRequest, selection: Sequence[slice] | None) -> Array:
    """The elements of a block; None for all that are selected."""
    arguments = request.arguments if selection is None else {**request.arguments, "selection": selection}
    block = replace(request, arguments=arguments)

    def ask(client: Client) -> Array:
        elements = np.asarray(client.reduce(block.reducer, block.store, block.array, **block.arguments))
        # The plan of a block has a digest of its own.
        if block.plan(client).etags != request.etags:
            raise _is_outdated(request)
        return elements

    return request.services.ask(request.name_part([each.start for each in selection or ()]), ask)


def _is_outdated(request: TaskRequest) -> PlanOutdated:
    return PlanOutdated(f"the array {request.array} has changed since it was opened; build the graph again")


def _get_counts(result: Result) -> Array:
    return np.asarray(result.counts)

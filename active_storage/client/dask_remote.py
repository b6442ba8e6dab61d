"""``DaskRemote``: an array of a container whose reductions are dask arrays, for xarray.

What numpy and xarray ask for is found as for any ``ServiceArray``. Then, in place of one request, there are the tasks
of ``dask_arrays``, and one more that makes of the answer what numpy's function would return.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import dask.array as da
import numpy as np

from active_storage.client.client import Client
from active_storage.client.dask_arrays import TaskRequest, Tasks, build_result, build_tasks
from active_storage.client.deferred import Order, Question, Reduced
from active_storage.client.duck_array import Dtype
from active_storage.client.questions import Store
from active_storage.client.reductions import Answer, Reduction, ask_together
from active_storage.client.remote import NotPushedDownError, Remote
from active_storage.client.results import Array, Plan, Result
from active_storage.client.services import Services


@dataclass(frozen=True, slots=True)
class DaskRemote(Remote):
    """An array of a container, whose reductions are dask arrays.

    Attributes:
        services: The services that the tasks ask. The others, ``clients``, are asked for plans.
    """

    services: Services = field(kw_only=True)

    @classmethod
    def of(cls, remote: Remote, services: Services) -> "DaskRemote":
        """The same array, with services for tasks."""
        given = (remote.clients, remote.store, remote.path, remote.shape, remote.arguments, remote.warned)
        return cls(*given, is_deferred=False, services=services)

    def ask(self, reducer: str, *, counts: bool = True, **arguments: Any) -> Any:  # noqa: ARG002  # tasks have them
        """The result of a request, as dask arrays; within a task of another process, as numbers.

        Raises:
            ActiveStorageError: There is no plan, or no result.
        """
        if self.clients:
            return self._build(build_result, reducer, arguments)
        given = {**self.arguments, **arguments}

        def ask(client: Client) -> Result:
            return client.reduce(reducer, self.store, self.path, **given)

        return self.services.ask(self.path, ask)

    def evaluate(self, result: Any) -> da.Array:
        """The values of a reduction.

        Raises:
            ActiveStorageError: There is no plan.
            NotPushedDownError: The elements have to be loaded.
        """
        asked = _find_request(result.question.reduction)
        tasks: Tasks = self._build(build_tasks, asked.reducer, asked.arguments)
        return tasks.make_block("values", (_Waiting.of(result).finish, tasks.result), result.shape, result.dtype)

    @staticmethod
    def index(elements: Any, key: Any) -> Any:
        """What numpy's indexing selects of elements. Of dask arrays, only ``vindex`` takes several arrays."""
        keys = key if isinstance(key, tuple) else (key,)
        places = [number for number, each in enumerate(keys) if isinstance(each, np.ndarray)]
        if not isinstance(elements, da.Array) or len(places) < 2:
            return elements[key]
        points = np.broadcast(*(keys[place] for place in places)).ndim
        # The points are the first axes. By numpy's rules, they stand where the arrays did if nothing is between them.
        first = places[0] if places == [*range(places[0], places[-1] + 1)] else 0
        return np.moveaxis(elements.vindex[keys], range(points), range(first, first + points))

    def _build(self, build: Callable[[TaskRequest, Plan], Any], reducer: str, arguments: Mapping[str, Any]) -> Any:
        plan = self.plan(reducer, **arguments)
        given = {**self.arguments, **arguments}
        return build(TaskRequest(self.services, reducer, self.store, self.path, given, plan.digest, plan.etags), plan)

    def __reduce__(self) -> Any:
        # Clients have connections, which stay in their process.
        return _unpickle, (self.store, self.path, self.shape, self.arguments, self.services)


def _unpickle(
    store: Store, path: str, shape: tuple[int, ...], arguments: Mapping[str, Any], services: Services
) -> DaskRemote:
    return DaskRemote((), store, path, shape, arguments, is_deferred=False, services=services)


class _AskedError(Exception):
    """What a request asks for.

    Args:
        reducer: The reducer.
        arguments: The arguments.
    """

    def __init__(self, reducer: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(reducer)
        self.reducer = reducer
        self.arguments = arguments


@dataclass(frozen=True, slots=True)
class _Asking(Remote):
    """An array of which is only found out what would be asked."""

    def ask(self, reducer: str, *, counts: bool = True, **arguments: Any) -> NoReturn:  # noqa: ARG002  # for others
        raise _AskedError(reducer, arguments)


@dataclass(frozen=True, slots=True)
class _Answered(Remote):
    """An array about which one request is asked, whose result is there.

    Attributes:
        result: The result.
    """

    result: Result = field(kw_only=True)

    def ask(self, reducer: str, *, counts: bool = True, **arguments: Any) -> Result:  # noqa: ARG002  # that of the base
        return self.result


def _find_request(reduction: Reduction) -> _AskedError:
    """What the request for a reduction asks for.

    Raises:
        NotPushedDownError: There is no request for it.
    """
    remote = reduction.remote
    asking = _Asking(remote.clients, remote.store, remote.path, remote.shape, remote.arguments)
    try:
        (answer,) = ask_together([replace(reduction, remote=asking)])
    except _AskedError as asked:
        return asked
    assert isinstance(answer, NotPushedDownError)  # noqa: S101  # there is no answer without a request
    raise answer


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A reduction that waits for the result of its request.

    Attributes:
        reduction: The reduction.
        finish_answer: Makes the values of the answer.
        load: Makes the values of the elements, if ``finish_answer`` cannot.
        order: The stored dimensions that each axis is made of.
        dtype: The data type.
        part: Which part it is of a weighted result.
    """

    reduction: Reduction
    finish_answer: Callable[[Answer], Any]
    load: Callable[[], Any] | None
    order: Order
    dtype: Dtype
    part: str

    @classmethod
    def of(cls, reduced: Reduced) -> "_Waiting":
        """That of a result."""
        question = reduced.question
        return cls(question.reduction, question.finish, question.load, reduced.order, reduced.dtype, reduced.part)

    def finish(self, result: Result) -> Array:
        """The values.

        Raises:
            ValueError: There is no value, like that of ``argmin`` where all elements are missing.
            ActiveStorageError: The elements have to be loaded, and cannot be.
        """
        remote = self.reduction.remote
        answered = _Answered((), remote.store, remote.path, remote.shape, remote.arguments, result=result)
        question = Question(replace(self.reduction, remote=answered), self.finish_answer, self.load)
        return np.asarray(Reduced(question, self.order, self.dtype, self.part).evaluate())

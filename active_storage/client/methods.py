"""The methods of a client by reducer: one implementation for all of them."""

from collections.abc import Callable
from typing import Any, Unpack, overload

from active_storage.client.arguments import ObjectArguments, QuestionArguments
from active_storage.client.questions import Store
from active_storage.client.results import Result

# Is called with the number of sections that are done, and how many there are.
Progress = Callable[[int, int], None]


class ReducerMethod:
    """A method of a client, ``client.mean(...)``. It takes what ``Client.reduce`` takes after the reducer.

    Args:
        client: The client, whose ``reduce`` is called.
        reducer: The reducer.
        documentation: What it computes.
    """

    def __init__(self, client: Any, reducer: str, documentation: str) -> None:
        self._client = client
        self.__name__ = reducer
        self.__doc__ = documentation

    @overload
    def __call__(self, bucket: str, key: str, /, *, dtype: Any, **arguments: Unpack[ObjectArguments]) -> Result: ...

    @overload
    def __call__(
        self,
        store: Store,
        array: str = "",
        /,
        *,
        progress: Progress | None = None,
        **arguments: Unpack[QuestionArguments],
    ) -> Result: ...

    def __call__(self, store: Any, name: str = "", /, **arguments: Any) -> Result:
        """The result; the arguments are those of ``Client.reduce``."""
        result: Result = self._client.reduce(self.__name__, store, name, **arguments)
        return result


class Reducer:
    """The place of a method in the class of a client; the reducer is the name that it has there.

    Args:
        documentation: What it computes.
    """

    def __init__(self, documentation: str) -> None:
        self.__doc__ = f"{documentation} Arguments as for ``reduce``."
        self._reducer = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._reducer = name

    @overload
    def __get__(self, client: None, owner: type) -> "Reducer": ...

    @overload
    def __get__(self, client: Any, owner: type) -> ReducerMethod: ...

    def __get__(self, client: Any, owner: type) -> "Reducer | ReducerMethod":
        return self if client is None else ReducerMethod(client, self._reducer, self.__doc__ or "")

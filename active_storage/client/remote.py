"""``Remote``: an array of a container, and the services that are asked about it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from active_storage.client.client import Client
from active_storage.client.questions import Store
from active_storage.client.results import Plan, Result
from active_storage.client.turns import ask_in_turn


class LoadWarning(UserWarning):
    """The elements are loaded, since the service cannot do what is asked for."""


class NotPushedDownError(Exception):
    """The service cannot do what is asked for. The elements have to be loaded."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An array of a container, and the services that reduce it.

    Attributes:
        clients: The clients of the services; the next one is asked if one is full or cannot be reached.
        store: Where the container lies.
        path: The path of the array in it.
        shape: Its shape.
        arguments: Arguments of each request, such as the container and how values are decoded.
        warned: What warnings have said.
        is_deferred: Whether results are asked for when they are needed, several of them together, and not at once.
    """

    clients: Sequence[Client] = field(repr=False)
    store: Store
    path: str
    shape: tuple[int, ...]
    arguments: Mapping[str, Any]
    warned: set[str] = field(default_factory=set, repr=False)
    is_deferred: bool = True

    def ask(self, reducer: str, *, counts: bool = True, **arguments: Any) -> Result:
        """The result of one request.

        Args:
            reducer: The reducer.
            counts: Whether the numbers of elements are needed.
            **arguments: The arguments.

        Raises:
            ActiveStorageError: The request failed at each service.
        """
        given = {**self.arguments, **arguments, "counts": counts}
        return ask_in_turn(self.clients, lambda client: client.reduce(reducer, self.store, self.path, **given))

    def plan(self, reducer: str | None, **arguments: Any) -> Plan:
        """The plan of a request.

        Raises:
            ActiveStorageError: The request failed at each service.
        """
        given = {**self.arguments, **arguments}
        return ask_in_turn(self.clients, lambda client: client.plan(self.store, self.path, reducer=reducer, **given))

    def evaluate(self, result: Any) -> Any:
        """The values of a result that is not deferred.

        Raises:
            ActiveStorageError: There is no answer.
        """
        return result.evaluate()

    @staticmethod
    def index(elements: Any, key: Any) -> Any:
        """What numpy's indexing selects of elements."""
        return elements[key]

    def warn(self, what: str) -> None:
        """Say once that the elements are loaded, and why."""
        if what not in self.warned:
            self.warned.add(what)
            text = f"{what} cannot be done by the service: the elements of {self.path} are loaded through it"
            warnings.warn(text, LoadWarning, stacklevel=4)

"""Several services: the next one is asked if one is full or cannot be reached."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from active_storage.client.client import Client
from active_storage.client.failures import ServiceUnreachable
from active_storage.errors import SlowDown

_Answer = TypeVar("_Answer")


def ask_in_turn(clients: Sequence[Client], ask: Callable[[Client], _Answer]) -> _Answer:
    """The answer of the first service that is not full and can be reached.

    Args:
        clients: The clients of the services, at least one.
        ask: Asks one of them.

    Raises:
        ActiveStorageError: There is no answer.
    """
    *others, last = clients
    for client in others:
        with suppress(ServiceUnreachable, SlowDown):
            return ask(client)
    return ask(last)

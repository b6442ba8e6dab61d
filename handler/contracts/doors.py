"""The table of doors, and the one way through it for every request, whatever server took it.

A request is answered by one door. Whatever goes wrong on the way ends here: each request gets one answer that names the
fault, in the clothes of its door.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from handler import logs
from handler.contracts import discovery, health, json_v1, json_v2, proxy, stored, webhook
from handler.contracts.door import Door, Reply, Request, Service
from handler.core.blocks import BLOCK_BYTES
from handler.errors import ActiveStorageError, InternalError, InvalidArgument, MethodNotAllowed, shown
from handler.memory import MemoryGate
from handler.params import OBJECT_DOOR, PARAMETERS

# By the first segment of the path; every other one is a reducer, or meant to be.
DOORS: Mapping[str, Door] = MappingProxyType(
    {
        OBJECT_DOOR: stored,
        ".well-known": discovery,
        "healthz": health,
        "readyz": health,
    }
)

# The same, but for slashes before it: clients join an endpoint that ends in one with "/v2/sum/".
JSON_DOORS: Mapping[str, Door] = MappingProxyType({"v1": json_v1, "v2": json_v2})

# The parts of a request whose names are ours: what else is wrong with one can be a text of the caller's, and is not
# logged. Some clients show nobody what an error says.
_LOGGED_FIELDS = frozenset(PARAMETERS) | {
    "Host",
    "Range",
    "bucket",
    "dtype",
    "key",
    "path",
    "query",
    "reducer",
    "source",
    "target",
    "url",
}

_Given = TypeVar("_Given")


def answer(request: Request, service: Service) -> Reply:
    """The reply to a request, its id in it; never an exception. Begins the request's line in the log."""
    door = find_door(request)
    logs.begin(request.id)
    logs.note(door=door.__name__.rpartition(".")[2], method=request.method)

    def reply() -> Reply:
        if request.fault is not None:
            raise request.fault
        if request.method not in door.METHODS:
            raise MethodNotAllowed(f"{shown(request.method)} is not answered here", door.METHODS)
        return _hold(door.answer(request, service), service.gate)

    given = settle(reply, lambda error: door.write_error(error, request))
    return Reply(given.status, [*given.headers, ("x-amz-request-id", request.id)], given.body)


def find_door(request: Request) -> Door:
    """The door that a request is for."""
    if json_door := JSON_DOORS.get(request.path.lstrip("/").partition("/")[0]):
        return json_door
    if door := DOORS.get(request.path.split("/", 2)[1]):
        return door
    return webhook if webhook.is_call(request) else proxy


class _Held:
    """A body that counts as memory in use until it is sent, or nobody wants it any more."""

    def __init__(self, body: bytes, held: ExitStack) -> None:
        self._body = body
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        """Count it no longer."""
        self._held.close()


def _hold(reply: Reply, gate: MemoryGate) -> Reply:
    """The reply, whose body takes memory as long as a slow client reads it. A small one is not worth counting."""
    if not isinstance(reply.body, bytes) or len(reply.body) <= BLOCK_BYTES:
        return reply
    with ExitStack() as held:
        held.enter_context(gate.account()).hold(len(reply.body))
        return replace(reply, body=_Held(reply.body, held.pop_all()))


def settle(attempt: Callable[[], _Given], write_error: Callable[[ActiveStorageError], _Given]) -> _Given:
    """What ``attempt`` gives, or what ``write_error`` makes of the error that it ends in; the log line says which."""
    try:
        given = attempt()
    except ActiveStorageError as error:
        logs.note(outcome=error.code)
        if isinstance(error, InvalidArgument) and error.field in _LOGGED_FIELDS:
            logs.note(argument=error.field)
        return write_error(error)
    except Exception as error:  # noqa: BLE001  # the last line: every request gets an answer that names the fault
        logs.note(outcome=InternalError.code, fault=logs.locate(error))
        return write_error(InternalError("this server made a mistake; its log knows it by the id"))
    logs.note(outcome="ok")
    return given

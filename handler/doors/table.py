"""The table of doors: every request is dispatched here, whichever server received it.

One door replies to a request. Every error ends here: the door writes it in its own form, and an unexpected exception
becomes an internal error. A new door is a row in one of the two tables.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from active_storage.errors import ActiveStorageError, InternalError, InvalidArgument, MethodNotAllowed, shown
from active_storage.grammar.arrays import ARRAY_NAMES
from active_storage.grammar.parameters import PARAMETERS
from active_storage.grammar.targets import JSON_PREFIXES, OBJECT_DOOR
from handler.doors import arrays_json, discovery, health, json_v1, json_v2, proxy, stored, webhook
from handler.doors.door import Door, Reply, Request
from handler.doors.service import Service
from handler.engine.engine import Engine
from handler.observe.record import Record, locate

# By the first segment of the path. Any other first segment is the name of a reducer.
DOORS: Mapping[str, Door] = MappingProxyType(
    {
        OBJECT_DOOR: stored,
        ".well-known": discovery,
        "healthz": health,
        "readyz": health,
    }
)

# By the first segment after any number of slashes: clients join "https://host/" with "/v2/sum/".
JSON_DOORS: Mapping[str, Door] = MappingProxyType(
    dict(zip(JSON_PREFIXES, (json_v1, json_v2, arrays_json), strict=True))
)

# The fields of a request that are logged when one is wrong. These names are ours. Other fields can have names that the
# caller chose, which may be secrets. The log helps where a client does not show the error to its user.
_LOGGED_FIELDS = frozenset({*PARAMETERS, *ARRAY_NAMES}) | {
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

_Outcome = TypeVar("_Outcome")

INTERNAL_ERROR_MESSAGE = "an internal error; the server's log has the details under the request id"


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request, with its id. Raises nothing: an error becomes a reply too."""
    door, record = find_door(request), request.record
    record.add(door=door.__name__.rpartition(".")[2], method=request.method)

    def attempt() -> Reply:
        if request.fault is not None:
            raise request.fault
        if request.method not in door.METHODS:
            allowed = ", ".join(door.METHODS)
            fault = f"the method {shown(request.method)} is not allowed for this path; allowed: {allowed}"
            raise MethodNotAllowed(fault, door.METHODS)
        return _count_body(door.reply_to(request, service), service.engine)

    reply = catch_errors(record, attempt, lambda error: door.write_error(error, request))
    return Reply(reply.status, [*reply.headers, ("x-amz-request-id", record.id)], reply.body)


def find_door(request: Request) -> Door:
    """The door for a request."""
    if json_door := JSON_DOORS.get(request.path.lstrip("/").partition("/")[0]):
        return json_door
    # A target that is not a path has a fault, which any door can report.
    _, _, after = request.path.partition("/")
    if door := DOORS.get(after.partition("/")[0]):
        return door
    return webhook if webhook.is_call(request) else proxy


class _CountedBody:
    """A body whose memory is counted until it is closed."""

    def __init__(self, body: bytes, account: ExitStack) -> None:
        self._body = body
        self._account = account

    def __iter__(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        """Stop counting it."""
        self._account.close()


def _count_body(reply: Reply, engine: Engine) -> Reply:
    """The reply; the memory of a large body is counted, since a slow client can take long to read it."""
    if not isinstance(reply.body, bytes) or len(reply.body) <= engine.sizes.block_bytes:
        return reply
    with ExitStack() as account:
        account.enter_context(engine.gate.account()).hold(len(reply.body))
        return replace(reply, body=_CountedBody(reply.body, account.pop_all()))


def catch_errors(
    record: Record, attempt: Callable[[], _Outcome], write_error: Callable[[ActiveStorageError], _Outcome]
) -> _Outcome:
    """The outcome of ``attempt``, or of ``write_error`` if it raises. The record notes which."""
    try:
        outcome = attempt()
    except ActiveStorageError as error:
        record.add(outcome=error.logged_code)
        if isinstance(error, InvalidArgument) and error.field in _LOGGED_FIELDS:
            record.add(argument=error.field)
        return write_error(error)
    except Exception as error:  # noqa: BLE001  # the last resort: every request gets a reply
        record.add(outcome=InternalError.code, fault=locate(error))
        return write_error(InternalError(INTERNAL_ERROR_MESSAGE))
    record.add(outcome="ok")
    return outcome

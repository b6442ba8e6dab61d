"""Whole arrays by JSON or CBOR: ``POST /arrays/v1/{reducer}``, ``/arrays/v1/plan`` and ``/arrays/v1/describe``.

The body names the store, the array in it, and what is wanted. The caller's keys come as Basic authorization, and are
sent to the store's own origin only. The reply is one map of CBOR, or a sequence of them that is sent while the sections
are reduced (``array_items.py``). ``describe`` lists the arrays of a group.

A request may take up to ``ARRAY_DEADLINE``, and each section of it up to ``DEADLINE``.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from active_storage.errors import EntityTooLarge, NoSuchDoor
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.engine import ArrayAnswer, Progress
from handler.arrays.plan import ArrayPlan
from handler.doors.array_items import CONTENT_TYPE as SEQUENCE_TYPE
from handler.doors.array_items import Items, Put, list_answer, list_header, list_progress, list_section
from handler.doors.array_request import (
    ArrayRequest,
    GroupRequest,
    parse_group_request,
    parse_plan_request,
    parse_reduction_request,
)
from handler.doors.cbor_body import read_map
from handler.doors.cbor_results import CONTENT_TYPE, encode
from handler.doors.containers import (
    StoreContainer,
    make_files_container,
    make_located_container,
    make_table_container,
)
from handler.doors.door import Reply, Request
from handler.doors.group_reply import list_variables
from handler.doors.json_body import read_body, read_object
from handler.doors.json_credentials import find_signer, read_credentials
from handler.doors.json_errors import write_json_error
from handler.doors.json_location import ObjectLocation
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.signers import Credentials

METHODS = ("POST",)

write_error = write_json_error

VERSION = "v1"
PLAN = "plan"
DESCRIBE = "describe"


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction, for a plan, or for the arrays of a group.

    Raises:
        ActiveStorageError: There is no answer.
    """
    name = _find_name(request.path)
    credentials = read_credentials(request.headers)
    with ExitStack() as held:
        document = _read_document(request, service, held)
        if name == DESCRIBE:
            return _describe(parse_group_request(document), credentials, request, service, held)
        asked = parse_plan_request(document) if name == PLAN else parse_reduction_request(name, document)
        request.record.add(reducer=asked.reduction.reducer, container=asked.reduction.container, answer=asked.answer)
        if asked.answer in ("progress", "partials"):
            return _stream(asked, credentials, request, service, held)
        scope = request.scope.in_sections(service.settings.deadline, service.settings.array_deadline)
        container = _open_container(asked, credentials, request, service, scope)
        if asked.answer == PLAN:
            return _write_plan(asked, container, service, scope)
        answer = service.arrays.reduce(
            asked.reduction, container, scope, lambda *_: scope.renew(service.settings.deadline)
        )
        request.record.add(bytes_read=answer.bytes_read, requests=answer.requests)
        # The reply is a copy of the result.
        held.enter_context(service.engine.gate.account()).hold(2 * answer.result.length)
        return _write(encode(list_answer(_fill_empty_cells(asked, answer), asked.counts)))


def _find_name(path: str) -> str:
    """The reducer that a path such as ``/arrays/v1/mean`` names, ``plan`` or ``describe``. More slashes are ignored."""
    _, *rest = [unquote(segment, errors="replace") for segment in path.split("/") if segment]
    if len(rest) != 2 or rest[0] != VERSION:
        raise NoSuchDoor(f"nothing answers here; ask for /arrays/{VERSION}/reducer or /arrays/{VERSION}/{PLAN}")
    return rest[1]


def _read_document(request: Request, service: Service, held: ExitStack) -> dict[str, Any]:
    """The members of the body. A body of CBOR counts as memory in use until ``held`` is closed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_cbor = kind == CONTENT_TYPE
    return _read_cbor(request, service, held) if is_cbor else read_object(read_body(request))


def _read_cbor(request: Request, service: Service, held: ExitStack) -> dict[str, Any]:
    most = int(service.settings.max_request_bytes)
    length = request.headers.get("content-length", "")
    expected = int(length[:20]) if length.isascii() and length.isdecimal() else most
    if expected <= most:
        # Before the body is read, and for the byte strings that are copied of it.
        account = held.enter_context(service.engine.gate.account())
        account.hold(2 * expected)
        body = request.read_body(most + 1)
        if len(body) <= most:
            return read_map(body, account.hold)
    raise EntityTooLarge(f"the body has more than {most} bytes (MAX_REQUEST_BYTES)")


def _open_container(
    asked: ArrayRequest, credentials: Credentials | None, request: Request, service: Service, scope: Scope
) -> StoreContainer:
    location = next(iter(asked.locations), ObjectLocation("store", True, service.settings.store, ()))
    signer = find_signer(location, credentials, request, service)
    if asked.table is not None:
        return make_table_container(asked.table, location.origin, signer, service, scope)
    if asked.reduction.concat is not None:
        return make_files_container(asked.locations, signer, service, scope)
    return make_located_container(location, signer, service, scope)


def _describe(
    asked: GroupRequest, credentials: Credentials | None, request: Request, service: Service, held: ExitStack
) -> Reply:
    request.record.add(container=asked.container, answer=DESCRIBE)
    signer = find_signer(asked.location, credentials, request, service)
    scope = request.scope.in_sections(service.settings.deadline, service.settings.array_deadline)
    container = make_located_container(asked.location, signer, service, scope)
    answer = service.arrays.list_group(asked.container, asked.group, container, scope, asked.reads_coordinates)
    request.record.add(bytes_read=answer.bytes_read, requests=answer.requests)
    # The coordinates, and the reply, which has a copy of them.
    held.enter_context(service.engine.gate.account()).hold(
        2 * sum(values.nbytes for values in answer.coordinates.values())
    )
    return _write(encode(list_variables(answer)))


def _write_plan(asked: ArrayRequest, container: StoreContainer, service: Service, scope: Scope) -> Reply:
    # A plan can take long: it asks the index where each chunk lies.
    scope.renew(service.settings.array_deadline)
    members = asdict(service.arrays.plan(asked.reduction, container, scope))
    members["dims"] = members.pop("dimensions")
    members["result"]["dims"] = members["result"].pop("dimensions")
    if not asked.names_reducer:
        members |= {"memory_bytes": None, "result": None}
    return _write(encode(members))


def _write(body: bytes) -> Reply:
    return Reply(200, [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))], body)


def _fill_empty_cells(asked: ArrayRequest, answer: ArrayAnswer) -> ArrayAnswer:
    """The answer with NaN in cells without elements, where there are several cells."""
    if not ARRAY_REDUCERS[asked.reduction.reducer].needs_elements or not answer.result.shape:
        return answer
    return replace(answer, result=answer.result.with_nan_where_empty())


def _stream(
    asked: ArrayRequest, credentials: Credentials | None, request: Request, service: Service, held: ExitStack
) -> Reply:
    """The reply that is sent while the sections are reduced."""
    settings, stop = service.settings, threading.Event()
    scope = request.scope.in_sections(settings.deadline, settings.array_deadline)
    is_abandoned = scope.is_abandoned
    scope = replace(scope, is_abandoned=lambda: stop.is_set() or is_abandoned())
    container = _open_container(asked, credentials, request, service, scope)

    def make_partials(put: Put) -> None:
        plan, partials = service.arrays.reduce_sections(asked.reduction, container, scope, asked.sections, asked.plan)
        sections = plan.ensure_sections(asked.sections)
        put(list_header(plan, sections))
        done, of_chunks = Progress(), plan.count_chunks(sections)
        for section in partials:
            chunks, bytes_read = plan.count_chunks([section.number]), done.bytes_read + section.bytes_read
            done = Progress(done.sections + 1, done.chunks + chunks, bytes_read)
            scope.record.add(bytes_read=bytes_read)
            items.tell(partial(list_progress, done, len(sections), of_chunks))
            put({**list_section(section), "chunks": chunks})
            # The time of a client that reads slowly is not that of the next section.
            scope.renew(settings.deadline)

    def make_result(put: Put) -> None:
        told: str | None = None

        def tell(plan: ArrayPlan, find_progress: Callable[[], Progress]) -> None:
            nonlocal told

            def list_now() -> dict[str, Any]:
                return list_progress(find_progress(), plan.sections, plan.chunks)

            items.tell(list_now)
            # A reduction that starts over tells of its plan again, which can be another one.
            put(list_now() if plan.digest == told else list_header(plan, range(plan.sections)))
            told = plan.digest
            scope.renew(settings.deadline)

        answer = service.arrays.reduce(asked.reduction, container, scope, tell)
        scope.record.add(bytes_read=answer.bytes_read, requests=answer.requests)
        put({"type": "result", **list_answer(_fill_empty_cells(asked, answer), asked.counts)})

    make, gate = make_partials if asked.answer == "partials" else make_result, service.engine.gate
    items = Items(make, stop, scope.record, held.pop_all(), gate)
    items.start()
    return Reply(200, [("Content-Type", SEQUENCE_TYPE)], items)

"""What the doors of S3 clients share for whole arrays: from names and headers to an answer, and to an object's reply.

A container stands where the data type would. ``s3_door.py`` does the same for a reduction of one object. The reply has
the same form, with the dimensions, the units and the number of absent chunks among its facts.

The ETag of an answer is known only when all chunks were asked for, so that conditions are compared at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from active_storage.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotModified,
    PreconditionFailed,
    StoreError,
    Unsupported,
)
from active_storage.grammar.arrays import build_array_reduction
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.etag import ETag, allows_match, allows_none_match
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.engine import ArrayAnswer
from handler.doors.containers import StoreContainer
from handler.doors.door import Reply
from handler.doors.results import describe_answer, result_headers
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.store_request import StoreRequest

# Names in the query of S3's GetObject that select bytes of one object.
_PART_NAME = "partNumber"

# AWS's JavaScript client adds this name to every request.
_NAME_WITHOUT_MEANING = "x-id"


@dataclass(frozen=True, slots=True)
class ArrayQuestion:
    """What a request asks for, wherever the array lies.

    Attributes:
        reduction: The reduction.
        only_if: The ETags that the answer may have, as in ``If-Match``; empty for any.
        unless: The ETags that the answer must not have, as in ``If-None-Match``; empty for none.
        is_signed: Whether the request has a signature.
    """

    reduction: ArrayReduction
    only_if: str
    unless: str
    is_signed: bool


def parse_array_question(texts: Mapping[str, str], headers: Mapping[str, str], request: StoreRequest) -> ArrayQuestion:
    """What the texts and the headers of a request ask for.

    Args:
        texts: Reducer, container and parameters, as texts by name.
        headers: The client's headers, names in lower case.
        request: What goes to the store.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A text has a wrong value, or a header or a name of the query means nothing with a container.
    """
    for name in ("range", "if-range"):
        if name in headers:
            raise InvalidArgument(
                name.title(), "selects bytes of an object, and a container has arrays; use the parameter selection"
            )
    reduction = build_array_reduction(texts)
    if request.query.find(_PART_NAME):
        raise InvalidArgument(_PART_NAME, "selects bytes of an object, and a container has arrays")
    if reduction.container == "zarr":
        _ensure_can_ask_for_many(request)
    # A signed condition goes to the store, and is about the object.
    only_if, unless = (
        "" if name in request.signed else headers.get(name, "") for name in ("if-match", "if-none-match")
    )
    return ArrayQuestion(reduction, only_if, unless, request.is_signed)


def reply_with_array(
    question: ArrayQuestion, container: StoreContainer, service: Service, scope: Scope, is_head: bool = False
) -> Reply:
    """The answer as the reply to GetObject or HeadObject.

    Args:
        question: What is asked for.
        container: Where the array lies.
        service: What all requests share.
        scope: The request's.
        is_head: Whether only the headers are asked for.

    Raises:
        Unsupported: Only the headers are asked for, and the request is signed.
        ActiveStorageError: There is no answer.
    """
    reduction = question.reduction
    scope.record.add(reducer=reduction.reducer, container=reduction.container)
    if is_head:
        if question.is_signed:
            raise Unsupported(
                "a signature for HEAD cannot read the metadata, which says how long the answer is; ask by GET"
            )
        return _write(service.arrays.describe(reduction, container, scope))
    try:
        answer = service.arrays.reduce(reduction, container, scope)
    except NotModified:
        # A signed condition. The ETag of the object is not that of the answer.
        raise NotModified(None) from None
    except DeadlineExceeded as error:
        raise error.explained("POST /arrays/v1/reducer answers longer requests, section by section") from None
    except StoreError as error:
        if error.status == 403 and question.is_signed and reduction.container == "kerchunk":
            error.message += "; the signature covers the references only: send your keys to POST /arrays/v1/reducer"
        raise
    scope.record.add(bytes_read=answer.bytes_read, requests=answer.requests)
    _ensure_conditions(question, answer.etag)
    answer.result.ensure_not_empty(reduction.reducer)
    if ARRAY_REDUCERS[reduction.reducer].needs_elements:
        answer = replace(answer, result=answer.result.with_nan_where_empty())
    return _write(answer)


def _ensure_can_ask_for_many(request: StoreRequest) -> None:
    """Pass if a request can be repeated for other objects than the one that it names.

    Raises:
        InvalidArgument: A signature covers one path, or the query names something of one object.
    """
    if request.is_signed:
        raise InvalidArgument(
            "dtype",
            "zarr is an array of many objects, and a signature covers one; ask without a signature, or send your keys "
            "to POST /arrays/v1/reducer",
        )
    for name, _, _ in request.query.pairs:
        if name and name != _NAME_WITHOUT_MEANING:
            raise InvalidArgument(name, "is about one object, and zarr is an array of many")


def _ensure_conditions(question: ArrayQuestion, etag: ETag | None) -> None:
    """Pass if the caller's conditions hold for the ETag of an answer.

    Raises:
        PreconditionFailed: ``If-Match`` does not hold.
        NotModified: ``If-None-Match`` does not hold: the caller has the answer.
    """
    if question.only_if and not allows_match(question.only_if, etag):
        raise PreconditionFailed("If-Match: lists another ETag than that of the answer")
    if question.unless and not allows_none_match(question.unless, etag):
        raise NotModified(etag)


def _write(answer: ArrayAnswer) -> Reply:
    headers = result_headers(answer.result, describe_answer(answer))
    if answer.etag:
        headers.append(("ETag", str(answer.etag)))
    return Reply(200, headers, answer.result.data)

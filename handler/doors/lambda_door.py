"""Shared code of the object-lambda doors: from a store's event to a reply in the form of an object."""

from collections.abc import Mapping

from active_storage.grammar.arrays import names_container
from handler.doors.array_door import parse_array_question, reply_with_array
from handler.doors.containers import make_call_container
from handler.doors.door import Reply
from handler.doors.lambda_event import LambdaEvent
from handler.doors.s3_door import parse_question, reply_with_object
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.passthrough import build_link_request
from handler.stores.store_request import StoreRequest
from handler.stores.store_source import StoreSource


def reduce_event(
    event: LambdaEvent, texts: Mapping[str, str], service: Service, scope: Scope, is_head: bool = False
) -> Reply:
    """The reply to the client of the store that sent an event.

    Args:
        event: The store's event.
        texts: Reducer, data type and parameters, as texts by name.
        service: The service, which all requests share.
        scope: The scope of the request.
        is_head: Whether only the headers are requested; the link must then be presigned for HEAD.

    Raises:
        ActiveStorageError: There is no result.
    """
    store_request = request_of(event)
    if names_container(texts):
        asked = parse_array_question(texts, event.headers, store_request)
        container = make_call_container(store_request, service, scope)
        return reply_with_array(asked, container, service, scope, is_head)
    question = parse_question(texts, event.headers, store_request.signed)
    source = StoreSource(service.transport, store_request.with_headers(question.conditions), scope)
    return reply_with_object(question, source, service, scope, is_head)


def request_of(event: LambdaEvent) -> StoreRequest:
    """The request of an event's link to the store.

    Raises:
        InvalidArgument: The link's signature covers a header that the client did not send.
    """
    return build_link_request(event.link.origin, event.link.path or "/", event.query, event.headers)

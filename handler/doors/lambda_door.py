"""Shared code of the object-lambda doors: from a store's event to a reply in the form of an object."""

from collections.abc import Mapping

from handler.doors.door import Reply
from handler.doors.lambda_event import LambdaEvent
from handler.doors.s3_door import parse_question, reply_with_object
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.passthrough import PassthroughSource, SignedCall, build_request
from handler.stores.presigned import replay
from handler.stores.store_request import StoreRequest


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
    call = _replay(event)
    question = parse_question(texts, event.headers, call.signed)
    store_request = build_request(event.link.origin, event.link.origin, call, question.conditions)
    source = PassthroughSource(service.transport, store_request, scope)
    return reply_with_object(question, source, service, scope, is_head)


def request_of(event: LambdaEvent) -> StoreRequest:
    """The request to the store for a document that is forwarded to the caller, such as a listing.

    Raises:
        InvalidArgument: The link's signature covers a header that the client did not send.
    """
    return build_request(event.link.origin, event.link.origin, _replay(event), conditions={})


def _replay(event: LambdaEvent) -> SignedCall:
    return replay(event.link.path or "/", event.query, event.headers)

"""What the object-lambda doors share: from a store's event to the reply that a client of S3 takes for an object."""

from collections.abc import Mapping

from handler.contracts.door import Reply, Service
from handler.contracts.event import Event
from handler.contracts.s3_door import read_wanted, reply_with_object
from handler.upstream.deadline import Deadline
from handler.upstream.passthrough import PassthroughSource, SignedCall, build_request
from handler.upstream.presigned import replay
from handler.upstream.transport import StoreRequest


def reduce_event(
    event: Event, given: Mapping[str, str], service: Service, deadline: Deadline, is_head: bool = False
) -> Reply:
    """The reply to the client of the store that sent an event.

    Args:
        event: What the store sent.
        given: Reducer, data type and parameters, as texts by their names.
        service: What the reduction is made with.
        deadline: When the reply must be there.
        is_head: Whether only what is said of the result is wanted; the link must then be one for HEAD.

    Raises:
        ActiveStorageError: There is no result.
    """
    call = _replay(event)
    wanted = read_wanted(given, event.headers, call.signed)
    store_request = build_request(event.link.origin, event.link.origin, call, wanted.conditions)
    source = PassthroughSource(service.transport, store_request, deadline)
    return reply_with_object(wanted, source, service, is_head)


def request_of(event: Event) -> StoreRequest:
    """What to ask the store for, where it is no object that is reduced.

    Raises:
        InvalidArgument: The link's signature covers a header that the client did not send.
    """
    return build_request(event.link.origin, event.link.origin, _replay(event), conditions={})


def _replay(event: Event) -> SignedCall:
    return replay(event.link.path or "/", event.query, event.headers)

"""The direct proxy: ``GET /{reducer}/{dtype}[;param=value]*/{bucket}/{key}``, for every S3 client.

A container in the place of the data type asks for a whole array.

The caller signs the request for the object in the store, and the store verifies the signature.
"""

from active_storage.grammar.arrays import names_container
from active_storage.grammar.query import split_query
from active_storage.grammar.reductions import merge, parse_path
from active_storage.grammar.targets import split_path
from active_storage.grammar.text import ensure_encoded
from handler.doors.array_door import parse_array_question, reply_with_array
from handler.doors.containers import make_call_container
from handler.doors.door import Reply, Request
from handler.doors.error_replies import write_xml_error
from handler.doors.s3_door import ensure_known, parse_question, reply_with_object
from handler.doors.service import Service
from handler.stores.headers import drop_nominated
from handler.stores.passthrough import build_request
from handler.stores.store_source import StoreSource

METHODS = ("GET", "HEAD")

write_error = write_xml_error


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction.

    Raises:
        ActiveStorageError: There is no result.
    """
    path = split_path(request.path)
    query = split_query(request.query)
    ensure_known(query.rest)
    ensure_encoded(path.object_path, field="key")
    store, host = service.settings.store, service.settings.public_store.authority
    store_request = build_request(store, host, path.object_path, query.rest, request.headers)
    texts, headers = merge(parse_path(path), query.parameters), drop_nominated(request.headers)
    is_head = request.method == "HEAD"
    if names_container(texts):
        asked = parse_array_question(texts, headers, store_request)
        container = make_call_container(store_request, service, request.scope)
        return reply_with_array(asked, container, service, request.scope, is_head)
    question = parse_question(texts, headers, store_request.signed)
    source = StoreSource(service.transport, store_request.with_headers(question.conditions), request.scope)
    return reply_with_object(question, source, service, request.scope, is_head)

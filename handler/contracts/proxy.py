"""The direct proxy: ``GET /{reducer}/{dtype}[;param=value]*/{bucket}/{key}``, for every S3 client there is.

The caller signs for the object as it lies in the store, and the store verifies.
"""

from handler.contracts.door import Reply, Request, Service, write_xml_error
from handler.contracts.s3_door import ensure_known, read_wanted, reply_with_object
from handler.params import ensure_encoded, merge, parse_path, split_path, split_query
from handler.upstream.passthrough import PassthroughSource, SignedCall, build_request

METHODS = ("GET", "HEAD")

write_error = write_xml_error


def answer(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction.

    Raises:
        ActiveStorageError: There is no result.
    """
    path = split_path(request.path)
    query = split_query(request.query)
    ensure_known(query.rest)
    ensure_encoded(path.object_path, field="key")
    call = SignedCall.of(path.object_path, query.rest, request.headers)
    wanted = read_wanted(merge(parse_path(path), query.parameters), call.headers, call.signed)
    store_request = build_request(service.settings.store, service.settings.public_store, call, wanted.conditions)
    source = PassthroughSource(service.transport, store_request, request.deadline)
    return reply_with_object(wanted, source, service, is_head=request.method == "HEAD")

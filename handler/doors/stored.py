"""The object itself, unchanged: ``GET /obj/{bucket}/{key}``, so that a client needs one endpoint only."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack

from active_storage.errors import ActiveStorageError
from active_storage.grammar.query import StoreQuery
from active_storage.grammar.ranges import NEGOTIATED_HEADERS, parse_range
from active_storage.grammar.targets import split_path
from active_storage.grammar.text import ensure_encoded
from handler.doors.door import Reply, Request
from handler.doors.error_replies import write_xml_error
from handler.doors.service import Service
from handler.observe.record import Record
from handler.stores.headers import drop_nominated
from handler.stores.passthrough import build_request
from handler.stores.source import ObjectFacts, Stream
from handler.stores.store_source import StoreSource

METHODS = ("GET", "HEAD")

# Headers about the object (RFC 9110, sections 8 and 14.3; RFC 9111, section 5). All others are about the exchange, or
# are instructions to the recipient: a gateway before this service follows ``X-Accel-Redirect``, and a browser stores a
# ``Set-Cookie`` for the service's own host.
_OBJECT_HEADERS = frozenset(
    {
        *("accept-ranges", "cache-control", "content-disposition", "content-encoding", "content-language"),
        *("content-length", "content-md5", "content-range", "content-type", "etag", "expires", "last-modified", "vary"),
    }
)

# The stores' own headers are forwarded, except those about the exchange: our reply has its own id.
_STORES_PREFIXES = ("x-amz-", "x-goog-", "x-ms-")
_OF_EXCHANGE = frozenset({"x-amz-request-id", "x-amz-id-2", "x-ms-request-id", "x-ms-client-request-id"})

write_error = write_xml_error


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request for the object: the store's own headers and bytes.

    Raises:
        ActiveStorageError: The store does not deliver the object.
    """
    path = split_path(request.path)
    ensure_encoded(path.object_path, field="key")
    ensure_encoded(request.query, field="query")
    store, host = service.settings.store, service.settings.public_store.authority
    store_request = build_request(store, host, path.object_path, StoreQuery.of(request.query), request.headers)
    headers = drop_nominated(request.headers)
    byte_range = parse_range(headers["range"]) if "range" in headers else None
    conditions = {name: headers[name] for name in (NEGOTIATED_HEADERS - {"range"}) & headers.keys()}
    source = StoreSource(service.transport, store_request.with_headers(conditions), request.scope)
    if request.method == "HEAD":
        facts = source.head(byte_range)
        return Reply(facts.status, _object_headers(facts))
    resources = ExitStack()
    with resources:
        most = service.engine.sizes.block_bytes
        resources.enter_context(service.engine.gate.account()).hold(most)
        stream = resources.enter_context(source.open(byte_range))
        # The first piece is read before the status is sent. Until then, an error can become the reply.
        buffer = memoryview(bytearray(min(most, stream.facts.length)))
        first = stream.readinto(buffer)
        # The resources are released after the last piece is sent.
        pieces = _Pieces(stream, buffer, first, resources.pop_all(), request.record)
        return Reply(stream.facts.status, _object_headers(stream.facts), pieces)


def _object_headers(facts: ObjectFacts) -> list[tuple[str, str]]:
    kept = drop_nominated(facts.headers)
    return [(name, value) for name, value in kept.items() if _is_of_object(name)]


def _is_of_object(name: str) -> bool:
    return name in _OBJECT_HEADERS or (name.startswith(_STORES_PREFIXES) and name not in _OF_EXCHANGE)


class _Pieces:
    """The object's bytes. The first ``filled`` are in the buffer already, and ``close`` releases the resources."""

    def __init__(self, stream: Stream, buffer: memoryview, filled: int, resources: ExitStack, record: Record) -> None:
        self._stream = stream
        self._buffer = buffer
        self._filled = filled
        self._resources = resources
        self._record = record

    def __iter__(self) -> Iterator[bytes]:
        count = self._filled
        try:
            while count:
                yield bytes(self._buffer[:count])
                count = self._stream.readinto(self._buffer)
        except ActiveStorageError as error:
            # The status is sent already. On a ConnectionResetError the server closes the client's connection before
            # the last byte, so that the client sees a short body.
            self._record.add(outcome=error.logged_code)
            raise ConnectionResetError(errno.ECONNRESET, "the object could not be read to its end") from None
        finally:
            self._record.add(bytes_read=self._stream.bytes_read)

    def close(self) -> None:
        """Release the resources."""
        self._resources.close()

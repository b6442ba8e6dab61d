"""The object itself, untouched: ``GET /obj/{bucket}/{key}``, so that one endpoint serves a client for everything."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack

from handler.contracts.door import Reply, Request, Service, write_xml_error
from handler.core.blocks import BLOCK_BYTES
from handler.errors import ActiveStorageError
from handler.logs import note
from handler.params import NEGOTIATED_HEADERS, StoreQuery, ensure_encoded, parse_range, split_path
from handler.upstream.headers import drop_nominated, is_hop
from handler.upstream.passthrough import PassthroughSource, SignedCall, build_request
from handler.upstream.source import ObjectFacts, Stream

METHODS = ("GET", "HEAD")

# What is said of one exchange, not of the object: the reply has its own.
_OWN_HEADERS = frozenset({"date", "server", "x-amz-request-id"})

write_error = write_xml_error


def answer(request: Request, service: Service) -> Reply:
    """The reply to a request for the object: the store's own headers and bytes.

    Raises:
        ActiveStorageError: It cannot be had.
    """
    path = split_path(request.path)
    ensure_encoded(path.object_path, field="key")
    ensure_encoded(request.query, field="query")
    call = SignedCall.of(path.object_path, StoreQuery.of(request.query), request.headers)
    byte_range = parse_range(call.headers["range"]) if "range" in call.headers else None
    conditions = {name: call.headers[name] for name in (NEGOTIATED_HEADERS - {"range"}) & call.headers.keys()}
    store_request = build_request(service.settings.store, service.settings.public_store, call, conditions)
    source = PassthroughSource(service.transport, store_request, request.deadline)
    if request.method == "HEAD":
        facts = source.head(byte_range)
        return Reply(facts.status, _object_headers(facts))
    held = ExitStack()
    with held:
        held.enter_context(service.gate.account()).hold(BLOCK_BYTES)
        stream = held.enter_context(source.open(byte_range))
        # The first piece is fetched before anything is sent: what is wrong with it can still be said.
        buffer = memoryview(bytearray(min(BLOCK_BYTES, stream.facts.length)))
        first = stream.readinto(buffer)
        # What is held stays held until the last piece is sent.
        pieces = _Pieces(stream, buffer, first, held.pop_all())
        return Reply(stream.facts.status, _object_headers(stream.facts), pieces)


def _object_headers(facts: ObjectFacts) -> list[tuple[str, str]]:
    kept = drop_nominated(facts.headers)
    return [(name, value) for name, value in kept.items() if name not in _OWN_HEADERS and not is_hop(name)]


class _Pieces:
    """The object's bytes, of which ``filled`` are in the buffer already, and what is held until they are sent."""

    def __init__(self, stream: Stream, buffer: memoryview, filled: int, held: ExitStack) -> None:
        self._stream = stream
        self._buffer = buffer
        self._filled = filled
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        count = self._filled
        try:
            while count:
                yield bytes(self._buffer[:count])
                count = self._stream.readinto(self._buffer)
        except ActiveStorageError as error:
            # The status is sent; what is left to say is that this is not the whole object. A server that is told of a
            # broken connection closes its own before the last byte, and the client sees a short body.
            note(outcome=error.code)
            raise ConnectionResetError(errno.ECONNRESET, "the object could not be read to its end") from None
        finally:
            note(bytes_read=self._stream.bytes_read)

    def close(self) -> None:
        """Let go of what is held."""
        self._held.close()

"""The one place that connects to stores, and decides where a request may go.

Before a socket is opened, the origin is looked up on the allow-list, and the addresses of its name are judged
(``addresses.py``). Redirects are refused. The environment's proxies and netrc are not used. After a transient failure a
request is sent again (``tries.py``), for the bytes that are still missing (``stream.py``).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from active_storage.errors import ActiveStorageError, OriginNotAllowed, StoreTimeout
from active_storage.grammar.ranges import format_range
from active_storage.model.origins import Origin, OriginPattern
from active_storage.model.ranges import ByteRange
from handler.scope import CLOCK, Clock, Scope
from handler.stores.addresses import Addresses, Reach, Trust
from handler.stores.exchange import Exchange
from handler.stores.library_errors import LIBRARY_ERRORS, translate
from handler.stores.source import ObjectFacts, Stream
from handler.stores.store_request import StoreRequest
from handler.stores.stream import HttpStream
from handler.stores.tries import Tries
from handler.stores.watchdog import Watchdog
from handler.stores.wire import WireAdapter

# The number of judged origins that are remembered. Callers can name any number of origins.
_MAX_ORIGINS = 1024


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """The limits of requests to stores.

    Attributes:
        connect_seconds: The longest wait for a connection.
        read_seconds: The longest wait for the next bytes.
        tries: The largest number of tries for one range.
        connections: The number of connections to one origin that are kept.
    """

    connect_seconds: float
    read_seconds: float
    tries: int
    connections: int


class Transport:
    """The connections to stores, which all requests of a process share.

    Args:
        allowed: The origins that may be asked.
        limits: The limits of requests.
        pause: Waits for a number of seconds between tries.
        trust: Which addresses the names of origins may have.
        addresses: Finds the addresses of a name.
        clock: Tells the time of requests.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # tests give most of them
        self,
        allowed: tuple[OriginPattern, ...],
        limits: TransportLimits,
        pause: Callable[[float], None] = time.sleep,
        trust: Trust | None = None,
        addresses: Addresses | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        self._allowed = allowed
        self._limits = limits
        self._pause = pause
        self._trust = trust or Trust()
        self._addresses = addresses or Addresses()
        self._find_reach = lru_cache(_MAX_ORIGINS)(self._judge)
        self._adapter = WireAdapter(limits.connections)
        self._watchdog = Watchdog(clock)

    def open(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> Stream:
        """The bytes of ``byte_range``, or of the whole object, resumed after a cut.

        Raises:
            ActiveStorageError: The store does not send them.
        """
        return HttpStream(partial(self._ask, "GET", scope), request, byte_range, self._tries(scope))

    def head(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> ObjectFacts:
        """The facts that ``open`` would find, without the bytes.

        Raises:
            ActiveStorageError: The store does not send them.
        """
        exchange = self._tries(scope).run(lambda: self._ask("HEAD", scope, request, byte_range))
        exchange.close()
        return exchange.facts

    def read_document(self, request: StoreRequest, scope: Scope, limit_bytes: int) -> bytes:
        """The whole of a document that is not an object, such as a listing.

        Args:
            request: The request.
            scope: The scope of the caller's request.
            limit_bytes: The largest size of the document.

        Raises:
            EntityTooLarge: The document is larger.
            ActiveStorageError: The store does not send it.
        """
        return self._tries(scope).run(lambda: self._read_document(request, scope, limit_bytes))

    def ensure_answers(self, origin: Origin, scope: Scope) -> None:
        """Pass if a server at ``origin`` sends any HTTP response.

        Raises:
            ActiveStorageError: There is none.
        """
        self._send("HEAD", StoreRequest.unsigned(origin, "/"), scope).close()

    def close(self) -> None:
        """Close the connections that are kept, and end the thread of the watchdog."""
        self._adapter.close()
        self._watchdog.close()

    def _tries(self, scope: Scope) -> Tries:
        return Tries(self._limits.tries, scope, self._pause)

    def _read_document(self, request: StoreRequest, scope: Scope, limit_bytes: int) -> bytes:
        exchange = self._send("GET", request, scope)
        try:
            return exchange.read_document(limit_bytes)
        finally:
            exchange.close()

    def _ask(self, method: str, scope: Scope, request: StoreRequest, byte_range: ByteRange | None) -> Exchange:
        """An exchange whose response holds the object, or ``byte_range`` of it."""
        exchange = self._send(method, request, scope, byte_range)
        try:
            exchange.take_facts(byte_range)
        except ActiveStorageError:
            exchange.close()
            raise
        return exchange

    def _judge(self, origin: Origin) -> Reach | None:
        """How far an origin is trusted; None if it may not be asked."""
        matches = [pattern for pattern in self._allowed if pattern.matches(origin)]
        return self._trust.find_reach(origin, any(pattern.is_exact for pattern in matches)) if matches else None

    def _send(self, method: str, request: StoreRequest, scope: Scope, byte_range: ByteRange | None = None) -> Exchange:
        """An exchange whose response is not judged yet."""
        origin = request.origin
        reach = self._find_reach(origin)
        if reach is None:
            raise OriginNotAllowed(f"{origin} is not one of the origins that may be fetched from")
        left = scope.remaining_seconds
        if not left:
            raise StoreTimeout("the time for this request was over before the store was asked")
        extra = {} if byte_range is None or request.has_fixed_range else {"Range": format_range(byte_range)}
        head = request.write_head(method, extra)
        timeouts = (min(self._limits.connect_seconds, left), min(self._limits.read_seconds, left))
        watch = self._watchdog.watch(scope)
        try:
            response = self._adapter.send(head, origin, partial(self._addresses.find, origin, reach), watch, timeouts)
        except LIBRARY_ERRORS as error:
            watch.release()
            raise translate(error, origin, scope) from None
        except BaseException:
            watch.release()
            raise
        return Exchange(request, response, scope)

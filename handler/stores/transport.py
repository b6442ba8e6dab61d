"""The one place that connects: what may be fetched, and by which connection.

The origin is looked up on the allow-list before a socket is opened, and what its name resolves to is judged
(``addresses.py``); redirects are refused, the environment's proxies and netrc are not asked. A try that fails in
passing is made again (``tries.py``), from where the bytes broke off (``stream.py``).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from active_storage.errors import ActiveStorageError, OriginNotAllowed, StoreTimeout
from active_storage.grammar.ranges import format_range
from active_storage.model.origins import Origin, OriginPattern
from active_storage.model.ranges import ByteRange
from handler.scope import CLOCK, Clock, Scope
from handler.stores.addresses import Addresses, Reach, Trust
from handler.stores.exchange import Exchange, Leash
from handler.stores.library_errors import LIBRARY_ERRORS, translate
from handler.stores.source import ObjectFacts, Stream
from handler.stores.store_request import StoreRequest, own_headers
from handler.stores.stream import HttpStream
from handler.stores.tries import Tries
from handler.stores.watchdog import Watchdog
from handler.stores.wire import WireAdapter, WireRequest

# Callers can name as many origins as they like; few of them are allowed.
_MAX_ORIGINS = 1024


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """How long and how often: ``tries`` for one range, times in seconds, ``connections`` kept to one origin."""

    connect_seconds: float
    read_seconds: float
    tries: int
    connections: int


class Transport:
    """Connections to stores, shared by all requests of a process.

    Args:
        allowed: The origins that may be fetched from.
        limits: How long and how often.
        pause: Waits so many seconds between tries.
        trust: What their names may resolve to.
        addresses: Finds what they resolve to.
        clock: Tells the time of the requests.
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
        """The bytes of ``byte_range``, or of the whole object, resumed where they break off.

        Raises:
            ActiveStorageError: They cannot be had.
        """
        exchange = partial(self._exchange, "GET", scope)
        return HttpStream(exchange, request, byte_range, self._tries(scope), scope)

    def head(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> ObjectFacts:
        """What ``open`` would find, without its bytes.

        Raises:
            ActiveStorageError: It cannot be had.
        """
        exchange = self._tries(scope).make(lambda: self._exchange("HEAD", scope, request, byte_range))
        exchange.close()
        return exchange.facts

    def read_document(self, request: StoreRequest, scope: Scope, most: int) -> bytes:
        """The whole of what a store says of something else than an object, such as a listing.

        Args:
            request: What to ask for.
            scope: What bounds the work.
            most: How many bytes it may have.

        Raises:
            EntityTooLarge: It has more.
            ActiveStorageError: It cannot be had.
        """
        return self._tries(scope).make(lambda: self._read_document(request, scope, most))

    def ensure_answers(self, origin: Origin, scope: Scope) -> None:
        """Pass where something at ``origin`` speaks HTTP, whatever it says.

        Raises:
            ActiveStorageError: Nothing does.
        """
        self._send("HEAD", StoreRequest(origin, "/", own_headers(origin.authority)), scope, {}).close()

    def close(self) -> None:
        """Close the connections that are kept, and end the thread that watches over deadlines."""
        self._adapter.close()
        self._watchdog.close()

    def _read_document(self, request: StoreRequest, scope: Scope, most: int) -> bytes:
        exchange = self._send("GET", request, scope, {})
        try:
            return exchange.read_document(most)
        finally:
            exchange.close()

    def _tries(self, scope: Scope) -> "Tries":
        return Tries(self._limits.tries, scope, self._pause)

    def _exchange(self, method: str, scope: Scope, request: StoreRequest, byte_range: ByteRange | None) -> "Exchange":
        extra = {}
        if byte_range is not None and not request.has_fixed_range:
            extra["Range"] = format_range(byte_range)
        exchange = self._send(method, request, scope, extra)
        try:
            exchange.take_facts(byte_range)
        except ActiveStorageError:
            exchange.close()
            raise
        return exchange

    def _judge(self, origin: Origin) -> Reach | None:
        """How far an origin is trusted; None where nothing may be fetched from it."""
        matches = [pattern for pattern in self._allowed if pattern.matches(origin)]
        return self._trust.find_reach(origin, any(pattern.is_exact for pattern in matches)) if matches else None

    def _send(self, method: str, request: StoreRequest, scope: Scope, extra: Mapping[str, str]) -> "Exchange":
        reach = self._find_reach(request.origin)
        if reach is None:
            raise OriginNotAllowed(f"{request.origin} is not one of the origins that may be fetched from")
        if scope.is_over:
            raise StoreTimeout("the time for this request was over before the store was asked")
        left = scope.remaining_seconds
        leash = Leash(self._watchdog, scope)
        wired = WireRequest(method, request.origin, request.target, {**request.headers, **extra}, on_send=leash.fasten)
        wired.locate = partial(self._addresses.find, request.origin, reach)
        try:
            response = self._adapter.send(
                wired,
                timeout=(min(self._limits.connect_seconds, left), min(self._limits.read_seconds, left)),
                stream=True,
            )
        except OriginNotAllowed:
            leash.release()
            raise
        except LIBRARY_ERRORS as error:
            leash.release()
            raise translate(error, request.origin, scope) from None
        return Exchange(method, request, response, scope, leash)

"""The service behind the doors: the objects that all requests of a process share.

It is made once, from the settings. A door uses it to reach stores and the engine, and keeps no state of its own.
"""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from handler.arrays.engine import ArrayEngine, ArrayLimits
from handler.arrays.sections import CHUNK_FETCHERS
from handler.containers.reader import ReadLimits
from handler.engine.engine import Engine
from handler.engine.executor import FETCHERS
from handler.engine.memory import MemoryGate
from handler.observe.log import RequestLog
from handler.observe.record import NOBODY, Record, Subscribers
from handler.scope import CLOCK, Clock, Scope
from handler.settings import Settings
from handler.stores.addresses import Trust
from handler.stores.kept import Kept
from handler.stores.regions import Regions
from handler.stores.signers import SigningKeys
from handler.stores.transport import Transport, TransportLimits


@dataclass(frozen=True, slots=True)
class Service:
    """The objects that the requests of a process share.

    Attributes:
        settings: The configuration.
        transport: Connects to stores.
        engine: Makes the reductions of objects.
        arrays: Makes the reductions of whole arrays.
        signing_keys: The signing keys of secrets in use.
        regions: The known regions of buckets.
        subscribers: Are notified of each request.
        clock: The time of requests.
    """

    settings: Settings
    transport: Transport
    engine: Engine
    arrays: ArrayEngine
    signing_keys: SigningKeys = field(default_factory=SigningKeys)
    regions: Regions = field(default_factory=Regions)
    subscribers: Subscribers = NOBODY
    clock: Clock = CLOCK

    @classmethod
    def of(cls, settings: Settings, transport: Transport | None = None, clock: Clock = CLOCK) -> Self:
        """The service for these settings; a test gives a ``transport`` and a ``clock`` of its own."""
        limits = TransportLimits(
            connect_seconds=settings.connect_timeout,
            read_seconds=settings.read_timeout,
            tries=settings.retries,
            connections=settings.threads + FETCHERS + CHUNK_FETCHERS,
        )
        gate = MemoryGate(settings.memory_limit, settings.max_object_memory)
        own_hosts = frozenset((settings.store.host, settings.public_store.host))
        trust = Trust(own_hosts, settings.allow_special_addresses)
        regions = Regions(settings.s3_region)
        transport = transport or Transport(settings.allow_list, limits, trust=trust)
        subscribers = Subscribers(ends=(RequestLog(settings).write,))
        engine = Engine(gate, kept=Kept(settings.cache_bytes, gate))
        arrays = ArrayEngine(engine, _array_limits(settings))
        return cls(settings, transport, engine, arrays, regions=regions, subscribers=subscribers, clock=clock)

    def open_scope(
        self,
        seconds: float,
        is_abandoned: Callable[[], bool] = lambda: False,
        request_id: str | None = None,
        latest_seconds: float = math.inf,
    ) -> Scope:
        """The scope of a new request.

        Args:
            seconds: The time until its deadline.
            is_abandoned: Returns whether the caller has closed the connection.
            request_id: The id of the request; None to make a new one.
            latest_seconds: The time beyond which its deadline cannot lie.
        """
        record = Record(request_id or secrets.token_hex(8).upper(), self.subscribers)
        now = self.clock()
        return Scope(now + min(seconds, latest_seconds), is_abandoned, record, self.clock, now + latest_seconds)


def _array_limits(settings: Settings) -> ArrayLimits:
    reading = ReadLimits(settings.max_metadata_bytes, settings.max_metadata_requests, settings.max_references)
    return ArrayLimits(reading, settings.max_chunks, settings.quantile_passes)

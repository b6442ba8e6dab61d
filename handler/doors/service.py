"""The service behind the doors: the objects that all requests of a process share.

It is made once, from the settings. A door uses it to reach stores and the engine, and keeps no state of its own.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from handler.engine.engine import Engine
from handler.engine.executor import FETCHERS
from handler.engine.memory import MemoryGate
from handler.observe.log import RequestLog
from handler.observe.record import NOBODY, Record, Subscribers
from handler.scope import CLOCK, Clock, Scope
from handler.settings import Settings
from handler.stores.addresses import Trust
from handler.stores.regions import Regions
from handler.stores.signers import SigningKeys
from handler.stores.transport import Transport, TransportLimits


@dataclass(frozen=True, slots=True)
class Service:
    """The objects that the requests of a process share.

    Attributes:
        settings: The configuration.
        transport: Connects to stores.
        engine: Makes the reductions.
        signing_keys: The signing keys of secrets in use.
        regions: The known regions of buckets.
        subscribers: Are notified of each request.
        clock: The time of requests.
    """

    settings: Settings
    transport: Transport
    engine: Engine
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
            connections=settings.threads + FETCHERS,
        )
        gate = MemoryGate(settings.memory_limit, settings.max_object_memory)
        own_hosts = frozenset((settings.store.host, settings.public_store.host))
        trust = Trust(own_hosts, settings.allow_special_addresses)
        regions = Regions(settings.s3_region)
        transport = transport or Transport(settings.allow_list, limits, trust=trust)
        subscribers = Subscribers(ends=(RequestLog(settings).write,))
        return cls(settings, transport, Engine(gate), regions=regions, subscribers=subscribers, clock=clock)

    def open_scope(
        self, seconds: float, is_abandoned: Callable[[], bool] = lambda: False, request_id: str | None = None
    ) -> Scope:
        """The scope of a new request.

        Args:
            seconds: The time until its deadline.
            is_abandoned: Returns whether the caller has closed the connection.
            request_id: The id of the request; None to make a new one.
        """
        record = Record(request_id or secrets.token_hex(8).upper(), self.subscribers)
        return Scope.after(seconds, is_abandoned, record, self.clock)

"""What a name may resolve to: every kind of address, for every kind of name, with real sockets on loopback.

No name is looked up anywhere: what resolves is given to the transport, as the system's resolver is outside of tests.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from active_storage.errors import OriginNotAllowed, StoreTimeout, StoreUnreachable
from active_storage.model.origins import Origin, OriginPattern
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.addresses import (
    Addresses,
    AddressInfo,
    Kind,
    Reach,
    Resolver,
    Trust,
    ensure_reachable,
    find_kinds,
    read_address,
)
from handler.stores.store_request import StoreRequest
from handler.stores.transport import Transport, TransportLimits
from tests.faulty_store import FaultyStore
from tests.helpers import make_settings

PATIENCE_SECONDS = 30.0
LIMITS = TransportLimits(connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS, tries=1, connections=1)

METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254",
            "fd00:a9fe:a9fe::1", "fd00:100::100:200")  # fmt: skip
SPECIAL = {
    Kind.LOOPBACK: ("127.0.0.1", "127.255.255.254", "::1"),
    Kind.LINK_LOCAL: ("169.254.0.1", "fe80::1", "fe80::1%eth0"),
    Kind.UNSPECIFIED: ("0.0.0.0", "0.1.2.3", "::"),
    Kind.MULTICAST: ("224.0.0.1", "ff02::1"),
    Kind.RESERVED: ("240.0.0.1", "255.255.255.255", "192.0.2.1", "2001:db8::1", "100::1", "fec0::1"),
}
PRIVATE = ("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12::1")
PUBLIC = ("8.8.8.8", "172.32.0.1", "100.128.0.1", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        *((address, Kind.METADATA) for address in METADATA),
        *((address, kind) for kind, addresses in SPECIAL.items() for address in addresses),
        *((address, Kind.PRIVATE) for address in PRIVATE),
        *((address, Kind.PUBLIC) for address in PUBLIC),
        # Mapped, compatible, translated, NAT64 (both), 6to4, Teredo (server and client) and ISATAP.
        *((f"{start}{end}", kind) for start in ("::ffff:", "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::")
          for end, kind in (("127.0.0.1", Kind.LOOPBACK), ("10.0.0.1", Kind.PRIVATE),
                            ("169.254.169.254", Kind.METADATA))),
        ("2002:7f00:1::1", Kind.LOOPBACK),
        ("2002:a9fe:a9fe::", Kind.METADATA),
        # RFC 6052, section 2.2: behind prefixes of 32, 40, 48, 56 and 64 bits.
        *((address, Kind.METADATA) for address in ("64:ff9b:a9fe:a9fe::", "64:ff9b:1a9:fea9:fe::",
                                                   "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9:fe:a9fe::",
                                                   "64:ff9b:1:ab:a9:fea9:fe00::")),
        ("2001:0:7f00:1::", Kind.LOOPBACK),
        ("2001:0:808:808:0:0:80ff:fffe", Kind.LOOPBACK),
        ("2a00:1450::5efe:127.0.0.1", Kind.LOOPBACK),
        ("2a00:1450::200:5efe:10.0.0.1", Kind.PRIVATE),
    ],
)  # fmt: skip
def test_an_address_is_of_its_kind_however_it_is_wrapped(address: str, kind: Kind) -> None:
    assert kind in find_kinds(address)


ORIGIN = Origin.parse("http://store.test:9000")


@pytest.mark.parametrize(
    ("is_exact", "own", "allows_special", "allowed"),
    [
        (True, False, False, {Kind.PRIVATE}),
        (False, False, False, set()),
        (True, True, False, {Kind.PRIVATE, *SPECIAL}),
        (False, True, False, {Kind.PRIVATE, *SPECIAL}),
        (True, False, True, {Kind.PRIVATE, *SPECIAL}),
        (False, False, True, set(SPECIAL)),
    ],
)
def test_a_name_leads_only_as_far_as_it_is_trusted(
    is_exact: bool, own: bool, allows_special: bool, allowed: set[Kind]
) -> None:
    """To the address of a metadata service, no name leads."""
    trust = Trust(frozenset({ORIGIN.host}) if own else frozenset(), allows_special)
    reach = trust.find_reach(ORIGIN, is_exact)
    table = {**SPECIAL, Kind.PRIVATE: PRIVATE, Kind.METADATA: METADATA, Kind.PUBLIC: PUBLIC}
    for kind, addresses in table.items():
        for address in addresses:
            if kind in {*allowed, Kind.PUBLIC}:
                ensure_reachable(ORIGIN, ["8.8.4.4", address], reach)
            else:
                with pytest.raises(OriginNotAllowed) as refused:
                    ensure_reachable(ORIGIN, ["8.8.4.4", address], reach)
                assert kind.value in refused.value.message
                assert address not in refused.value.message.replace(str(ORIGIN), "")


def test_localhost_is_what_it_says_where_it_is_named() -> None:
    localhost = Origin.parse("http://localhost:9000")
    assert Trust().find_reach(localhost, is_exact=True) is Reach.OWN
    assert Trust().find_reach(localhost, is_exact=False) is Reach.CHOSEN


# Over real sockets


def leads_to(*hosts: str) -> Callable[[str, int], Sequence[AddressInfo]]:
    """A resolver that says the same of every name."""
    return lambda _, port: [found for host in hosts for found in read_address(Origin("http", host, port))]


def ask(store: FaultyStore, host: str, pattern: str, resolve: Any, **trust: Any) -> None:
    """Ask the store for its object by another name of its host."""
    port = urlsplit(store.url).port
    patterns = tuple(OriginPattern.parse(f"http://{each}:{port}") for each in pattern.split(","))
    request = StoreRequest(Origin("http", host, port or 0), "/bucket/key", {"host": host})
    with closing(Transport(patterns, LIMITS, trust=Trust(**trust), addresses=Addresses(resolve))) as transport:
        try:
            transport.head(request, None, Scope.after(PATIENCE_SECONDS))
        finally:
            assert transport._watchdog._watches == set()


@pytest.mark.parametrize(
    ("host", "pattern", "trust"),
    [
        ("store.test", "store.test", {"own_hosts": frozenset({"store.test"})}),
        ("store.test", "store.test", {"allows_special": True}),
        ("a.store.test", "*.store.test", {"allows_special": True}),
        ("localhost", "localhost", {}),
        ("127.0.0.1", "127.0.0.1", {}),
    ],
)
def test_a_name_that_is_trusted_is_connected_to(
    store: FaultyStore, host: str, pattern: str, trust: dict[str, Any]
) -> None:
    ask(store, host, pattern, leads_to("127.0.0.1"), **trust)
    assert store.connections == 1


@pytest.mark.parametrize(
    ("host", "pattern", "address"),
    [
        ("store.test", "store.test", "127.0.0.1"),
        ("a.store.test", "*.store.test", "127.0.0.1"),
        ("localhost", "*", "127.0.0.1"),
        ("127.0.0.1", "*.*.*.*", "127.0.0.1"),
        ("2130706433", "*", "127.0.0.1"),
        ("store.test", "store.test", "[::ffff:127.0.0.1]"),
    ],
)
def test_any_other_name_of_this_machine_is_refused_unconnected(
    store: FaultyStore, host: str, pattern: str, address: str
) -> None:
    with pytest.raises(OriginNotAllowed):
        ask(store, host, pattern, leads_to(address))
    assert store.connections == 0


def test_no_name_leads_to_a_metadata_service(store: FaultyStore) -> None:
    """Not even that of the endpoint, with special addresses allowed; nor beside an address that is good."""
    trust = {"own_hosts": frozenset({"store.test"}), "allows_special": True}
    with pytest.raises(OriginNotAllowed, match="metadata"):
        ask(store, "store.test", "store.test", leads_to("127.0.0.1", "169.254.169.254"), **trust)
    assert store.connections == 0


def test_a_name_is_resolved_once_for_each_connection(store: FaultyStore) -> None:
    """What was judged is what is connected to, whatever the resolver says the next time (DNS rebinding)."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[AddressInfo]:
        asked.append(host)
        return leads_to("127.0.0.1" if len(asked) == 1 else "169.254.169.254")(host, port)

    port = urlsplit(store.url).port
    origin = Origin("http", "store.test", port or 0)
    request = StoreRequest(origin, "/bucket/key", {"host": "store.test"})
    trust = Trust(own_hosts=frozenset({"store.test"}))
    patterns = (OriginPattern.parse(str(origin)),)
    with closing(Transport(patterns, LIMITS, trust=trust, addresses=Addresses(resolve))) as transport:
        for _ in range(3):
            transport.head(request, None, Scope.after(PATIENCE_SECONDS))
    assert (asked, store.connections) == (["store.test"], 1)


def test_the_settings_say_whom_to_trust() -> None:
    """The hosts of both endpoints; the rest only where special addresses are allowed."""
    values = {"s3_endpoint": "http://minio:9000", "s3_public_endpoint": "https://s3.example.org"}
    for allows_special in (False, True):
        service = Service.of(make_settings(**values, allow_special_addresses=allows_special))
        with closing(service.transport):
            trust = Trust(frozenset({"minio", "s3.example.org"}), allows_special)
            assert service.transport._trust == trust
    assert make_settings().allow_special_addresses is False


# Time


class Hanging:
    """A resolver that does not answer for a name, until it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[AddressInfo]:
        self.asked.append(host)
        if not host.startswith("good"):
            self.go.wait(PATIENCE_SECONDS)
        return leads_to("127.0.0.1")(host, port)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.go.set()
    for thread in threading.enumerate():
        if thread.name == "resolver":
            thread.join(PATIENCE_SECONDS)


def test_a_resolver_that_hangs_is_a_store_that_does_not_answer_in_time(store: FaultyStore, hanging: Hanging) -> None:
    origin = Origin.parse("http://store.test:9000")
    transport = Transport((OriginPattern.parse(str(origin)),), LIMITS, addresses=Addresses(hanging))
    with closing(transport), pytest.raises(StoreTimeout):
        transport.head(StoreRequest(origin, "/bucket/key", {}), None, Scope.after(0.05))
    assert transport._watchdog._watches == set()


def test_one_name_is_asked_for_once_at_a_time(hanging: Hanging) -> None:
    resolver = Resolver(hanging, threads=2)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            resolver.find("slow.test", 80, 0.01)
    assert hanging.asked == ["slow.test"]


def test_threads_that_hang_are_bounded_and_come_back(hanging: Hanging) -> None:
    resolver = Resolver(hanging, threads=2)
    for host in ("slow-1.test", "slow-2.test", "good.test"):
        with pytest.raises(TimeoutError):
            resolver.find(host, 80, 0.01)
    assert hanging.asked == ["slow-1.test", "slow-2.test"]
    hanging.go.set()
    assert resolver.find("good.test", 80, PATIENCE_SECONDS)
    assert resolver.find("slow-1.test", 80, PATIENCE_SECONDS)
    assert not resolver._lookups


def test_names_that_callers_choose_do_not_hold_up_the_operators(hanging: Hanging) -> None:
    addresses = Addresses(hanging)
    for number in range(20):
        with suppress(TimeoutError):
            addresses.find(Origin.parse(f"http://slow-{number}.test"), Reach.CHOSEN, 0.001)
    assert addresses.find(Origin.parse("http://good.test"), Reach.OWN, PATIENCE_SECONDS)


@pytest.mark.parametrize("fault", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_name_that_there_is_not_is_a_store_that_is_not_there(store: FaultyStore, fault: Exception) -> None:
    def resolve(_: str, __: int) -> Sequence[AddressInfo]:
        raise fault

    with pytest.raises(StoreUnreachable):
        ask(store, "store.test", "store.test", resolve)


def test_many_threads_can_ask_for_the_same() -> None:
    asked: list[str] = []
    release, begun = threading.Event(), threading.Event()

    def resolve(host: str, port: int) -> Sequence[AddressInfo]:
        asked.append(host)
        begun.set()
        release.wait(PATIENCE_SECONDS)
        return leads_to("127.0.0.1")(host, port)

    resolver = Resolver(resolve, threads=1)
    found: list[Sequence[AddressInfo]] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolver.find("store.test", 80, PATIENCE_SECONDS)))
        for _ in range(8)
    ]
    with ExitStack() as stack:
        stack.callback(release.set)
        for thread in threads:
            thread.start()
        assert begun.wait(PATIENCE_SECONDS)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(found) == 8
    assert len({each[0][4] for each in found}) == 1


def test_without_a_thread_for_it_the_store_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the place of that thread is free for the next request."""
    resolver = Resolver(leads_to("127.0.0.1"), threads=1)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(OSError, match="no thread"):
            resolver.find("store.test", 80, PATIENCE_SECONDS)
    assert resolver.find("store.test", 80, PATIENCE_SECONDS)

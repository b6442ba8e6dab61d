"""Which addresses a name may resolve to, and how it is resolved: in a time that is bounded, once for each connection.

The allow-list holds names, and the owner of a name's DNS zone decides where it leads: to the machine itself, to a
cloud's metadata service, into the network behind a firewall (DNS rebinding). So the addresses are judged, and the
socket is connected to one of them; the name is not resolved again in between.

An address that the operator wrote into the allow-list is not judged: it is what was meant. A name is judged by the
table below, which has a row for each kind of address.

Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), and the clouds' own documentation for
metadata services. Addresses that embed an IPv4 address: RFC 4291 (compatible, mapped), 2765 (translated), 3056 (6to4),
4380 (Teredo), 5214 (ISATAP), 6052 and 8215 (NAT64).
"""

import enum
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from active_storage.errors import OriginNotAllowed
from active_storage.model.origins import Origin

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What ``socket.getaddrinfo`` gives for each address of a host.
Found = tuple[Any, Any, int, str, tuple[Any, ...]]
Resolve = Callable[[str, int], Sequence[Found]]


class Kind(enum.Enum):
    """Of an address; the value is what a message calls it."""

    METADATA = "the address of a metadata service"
    LOOPBACK = "a loopback address"
    LINK_LOCAL = "a link-local address"
    UNSPECIFIED = "an unspecified address"
    MULTICAST = "a multicast address"
    RESERVED = "a reserved address"
    PRIVATE = "a private address"
    PUBLIC = "a public address"


class Reach(enum.Enum):
    """How far a name is trusted; the value is the kinds of addresses that it must not resolve to."""

    # The hosts of the endpoints, ``localhost``; every exact name where special addresses are allowed.
    OWN = frozenset({Kind.METADATA})
    # A name that the operator wrote down whole. Stores are often in private networks.
    NAMED = frozenset(set(Kind) - {Kind.PRIVATE, Kind.PUBLIC})
    # A name that a caller chose under a ``*``: it has no business in a private network.
    CHOSEN = frozenset(set(Kind) - {Kind.PUBLIC})
    # The same where special addresses are allowed.
    CHOSEN_SPECIAL = frozenset({Kind.METADATA, Kind.PRIVATE})


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted beyond the allow-list.

    Attributes:
        own_hosts: The hosts of the service's own stores, whatever they resolve to but a metadata service.
        allows_special: Whether other names may resolve to loopback, link-local and the like, too.
    """

    own_hosts: frozenset[str] = frozenset()
    allows_special: bool = False

    def find_reach(self, origin: Origin, is_exact: bool) -> Reach:
        """How far an allowed origin is trusted.

        Args:
            origin: Where to connect.
            is_exact: The allow-list has it as it is, and not only under a ``*``.
        """
        if origin.host in self.own_hosts or (is_exact and origin.host == "localhost"):
            return Reach.OWN
        if self.allows_special:
            return Reach.OWN if is_exact else Reach.CHOSEN_SPECIAL
        return Reach.NAMED if is_exact else Reach.CHOSEN


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# The first row that an address is in says what it is. What is in none is public, IPv6 only if it is in 2000::/3.
_NETWORKS: Mapping[Kind, tuple[_Network, ...]] = MappingProxyType(
    {
        Kind.METADATA: _networks(
            "169.254.169.254/32",  # AWS, Google, Azure, Oracle, OpenStack, DigitalOcean, Hetzner and others
            *("169.254.170.2/32", "169.254.170.23/32"),  # AWS: credentials of containers (ECS, EKS)
            *("fd00:ec2::254/128", "fd00:ec2::23/128"),  # AWS: both over IPv6
            "fd00:a9fe:a9fe::1/128",  # Akamai (Linode)
            "fd20:ce::254/128",  # Google
            "fd00:c1::a9fe:a9fe/128",  # Oracle
            "fe80::a9fe:a9fe/128",  # OpenStack
            *("169.254.42.42/32", "fd00:42::42/128"),  # Scaleway
            "169.254.0.23/32",  # Tencent
            *("100.100.100.200/32", "fd00:100::100:200/128"),  # Alibaba
            "168.63.129.16/32",  # Azure: the host's wire server
            "192.0.0.192/32",  # Oracle, classic
        ),
        Kind.LOOPBACK: _networks("127.0.0.0/8", "::1/128"),
        Kind.LINK_LOCAL: _networks("169.254.0.0/16", "fe80::/10"),
        Kind.UNSPECIFIED: _networks("0.0.0.0/8", "::/128"),
        Kind.MULTICAST: _networks("224.0.0.0/4", "ff00::/8"),
        Kind.PRIVATE: _networks("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        # Here the address that is embedded says more than its wrapping; see below.
        Kind.PUBLIC: _networks("::ffff:0:0/96", "64:ff9b::/96", "192.0.0.9/32", "192.0.0.10/32"),
        Kind.RESERVED: _networks(
            *("192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
            *("2001:2::/48", "2001:10::/28", "2001:db8::/32", "3fff::/20"),
        ),
    }
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

# Where an IPv4 address is embedded: the network, how far it is shifted, and what its bits are turned by.
_EMBEDDINGS: tuple[tuple[ipaddress.IPv6Network, int, int], ...] = (
    (ipaddress.IPv6Network("::/96"), 0, 0),
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0, 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0, 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0, 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0, 0),
    (ipaddress.IPv6Network("2002::/16"), 80, 0),
    # Teredo: the server's, and the client's, whose bits are turned.
    (ipaddress.IPv6Network("2001::/32"), 64, 0),
    (ipaddress.IPv6Network("2001::/32"), 0, 0xFFFFFFFF),
)
_ISATAP_IDENTIFIERS = frozenset({0x00005EFE, 0x02005EFE})

# RFC 6052, section 2.2: behind a prefix of such a length, an IPv4 address goes round the octet at bit 64. Any prefix
# within the networks that RFC 6052 and 8215 set aside may be in use. That of /96 stands above.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/32")
_NAT64_LENGTHS = (32, 40, 48, 56, 64)


@lru_cache(maxsize=1024)
def find_kinds(text: str) -> frozenset[Kind]:
    """The kinds of an address, and of every IPv4 address embedded in it; ``text`` may have a zone (``%eth0``)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return frozenset(map(_find_kind, (address, *_find_embedded(address))))


def ensure_reachable(origin: Origin, addresses: Sequence[str], reach: Reach) -> None:
    """Pass where all addresses that the name of an origin resolves to are such as it may have.

    One that is not refuses all: a name which leads here at one time and there at another is what rebinding looks like.

    Raises:
        OriginNotAllowed: One is of a kind that it must not be of. The message names the kind, not the address.
    """
    for address in addresses:
        refused = find_kinds(address) & reach.value
        if refused:
            kind = next(each for each in Kind if each in refused)
            raise OriginNotAllowed(f"{origin} resolves to {kind.value}, from which nothing may be fetched by that name")


def ask_system(host: str, port: int) -> Sequence[Found]:
    """What the system's resolver says of a host."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def read_address(origin: Origin) -> Sequence[Found]:
    """An origin's host, which is an address, in the form that sockets take. No resolver is asked.

    Raises:
        OSError: It is a name.
    """
    host = origin.host.strip("[]")
    return socket.getaddrinfo(host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


class Resolver:
    """Asks the system's resolver, which cannot be interrupted, in threads of its own, and waits for a bounded time.

    Requests that need the same host at the same time share one thread. The number of threads is bounded: when a
    resolver that hangs holds all of them, a request waits for a free one until its time is over.

    Args:
        resolve: What asks.
        threads: How many hosts may be asked for at a time.
    """

    def __init__(self, resolve: Resolve = ask_system, threads: int = 8) -> None:
        self._resolve = resolve
        self._free = threading.BoundedSemaphore(threads)
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], Future[Sequence[Found]]] = {}

    def find(self, host: str, port: int, seconds: float) -> Sequence[Found]:
        """What the resolver says of a host.

        Raises:
            TimeoutError: It says nothing in so many seconds, or has no thread free for as long.
            OSError, UnicodeError: There is no such host.
        """
        ends_at = time.monotonic() + seconds
        with self._lock:
            lookup = self._lookups.get((host, port))
        if lookup is None:
            if not self._free.acquire(timeout=seconds):
                raise TimeoutError("the resolver is busy")
            lookup = self._begin(host, port)
        return lookup.result(max(0.0, ends_at - time.monotonic()))

    def _begin(self, host: str, port: int) -> Future[Sequence[Found]]:
        with self._lock:
            if lookup := self._lookups.get((host, port)):
                # Another one began it meanwhile.
                self._free.release()
                return lookup
            lookup = self._lookups[host, port] = Future()
        # As a daemon, so that a resolver that hangs does not keep the process from ending.
        thread = threading.Thread(target=self._ask, args=(host, port, lookup), name="resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no thread left.
            self._end(host, port)
            lookup.set_exception(OSError("no thread for the resolver"))
        return lookup

    def _ask(self, host: str, port: int, lookup: Future[Sequence[Found]]) -> None:
        try:
            found = self._resolve(host, port)
        except Exception as error:  # noqa: BLE001  # raised again in the threads that wait
            self._end(host, port)
            lookup.set_exception(error)
        else:
            self._end(host, port)
            lookup.set_result(found)

    def _end(self, host: str, port: int) -> None:
        with self._lock:
            del self._lookups[host, port]
        self._free.release()


class Addresses:
    """Finds the addresses of origins, and refuses those that a name must not lead to.

    Names that callers choose under a ``*`` have threads of their own: were those held by a name whose servers do not
    answer, the stores that the operator named would still be found.

    Args:
        resolve: What asks for a host.
    """

    def __init__(self, resolve: Resolve = ask_system) -> None:
        self._named, self._chosen = Resolver(resolve), Resolver(resolve)

    def find(self, origin: Origin, reach: Reach, seconds: float) -> Sequence[Found]:
        """Where to connect for an origin, in the order of preference.

        Raises:
            OriginNotAllowed: Its name leads to an address that it must not lead to.
            TimeoutError: It was not resolved in so many seconds.
            OSError, UnicodeError: It has no address.
        """
        if origin.is_address:
            return read_address(origin)
        resolver = self._chosen if reach in (Reach.CHOSEN, Reach.CHOSEN_SPECIAL) else self._named
        found = resolver.find(origin.host, origin.port, seconds)
        ensure_reachable(origin, [address[0] for *_, address in found], reach)
        return found


def _find_kind(address: _Address) -> Kind:
    for kind, networks in _NETWORKS.items():
        if any(address.version == network.version and address in network for network in networks):
            return kind
    if address.version == 4 or address in _GLOBAL_UNICAST:
        return Kind.PUBLIC
    return Kind.RESERVED


def _find_embedded(address: _Address) -> Iterator[ipaddress.IPv4Address]:
    bits = int(address)
    # ``::`` and ``::1`` embed nothing. To ``is_loopback`` of Python 3.13 ``::ffff:127.0.0.1`` would be one of them.
    if isinstance(address, ipaddress.IPv4Address) or bits <= 1:
        return
    for network, shift, turned in _EMBEDDINGS:
        if address in network:
            yield ipaddress.IPv4Address((bits >> shift & 0xFFFFFFFF) ^ turned)
    if address in _NAT64:
        # Without the octet at bit 64, the four others lie side by side.
        joined = (bits >> 64) << 56 | (bits & (1 << 56) - 1)
        for length in _NAT64_LENGTHS:
            embedded = joined >> (120 - length - 32) & 0xFFFFFFFF
            # None leads to 0.0.0.0/8: there is another prefix.
            if embedded >> 24:
                yield ipaddress.IPv4Address(embedded)
    if bits >> 32 & 0xFFFFFFFF in _ISATAP_IDENTIFIERS:
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)

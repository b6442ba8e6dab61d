"""Which addresses a name may resolve to, and how it is resolved: in a limited time, once for each connection.

The allow-list holds names. The owner of a DNS zone decides which address a name has: it can be this machine, a cloud's
metadata service, or a host behind the firewall (DNS rebinding). So the addresses of a name are judged, and the socket
connects to one of them without resolving the name again.

An address that the operator wrote into the allow-list is not judged. The addresses of a name are judged by the table
below, which has a row for each kind of address.

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

# One of the tuples that ``socket.getaddrinfo`` returns.
AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
Resolve = Callable[[str, int], Sequence[AddressInfo]]


class Kind(enum.Enum):
    """The kind of an address. The value is its name in a message."""

    METADATA = "the address of a metadata service"
    LOOPBACK = "a loopback address"
    LINK_LOCAL = "a link-local address"
    UNSPECIFIED = "an unspecified address"
    MULTICAST = "a multicast address"
    RESERVED = "a reserved address"
    PRIVATE = "a private address"
    PUBLIC = "a public address"


class Reach(enum.Enum):
    """How far a name is trusted. The value is the set of kinds of addresses that it must not resolve to."""

    # The hosts of the endpoints, and ``localhost``. If special addresses are allowed: every exact name.
    OWN = frozenset({Kind.METADATA})
    # A name on the allow-list without a ``*``. Stores are often in private networks.
    NAMED = frozenset(set(Kind) - {Kind.PRIVATE, Kind.PUBLIC})
    # A name that a caller chose and a ``*`` matches. It must not lead into a private network.
    CHOSEN = frozenset(set(Kind) - {Kind.PUBLIC})
    # The same, if special addresses are allowed.
    CHOSEN_SPECIAL = frozenset({Kind.METADATA, Kind.PRIVATE})


@dataclass(frozen=True, slots=True)
class Trust:
    """The settings that decide how far a name on the allow-list is trusted.

    Attributes:
        own_hosts: The hosts of the service's endpoints. They may resolve to any address but a metadata service's.
        allows_special: Whether other names may resolve to loopback, link-local and similar addresses as well.
    """

    own_hosts: frozenset[str] = frozenset()
    allows_special: bool = False

    def find_reach(self, origin: Origin, is_exact: bool) -> Reach:
        """How far an allowed origin is trusted.

        Args:
            origin: The origin.
            is_exact: Whether the allow-list holds the origin itself, and not only a pattern with ``*``.
        """
        if origin.host in self.own_hosts or (is_exact and origin.host == "localhost"):
            return Reach.OWN
        if self.allows_special:
            return Reach.OWN if is_exact else Reach.CHOSEN_SPECIAL
        return Reach.NAMED if is_exact else Reach.CHOSEN


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# The kind of an address is the first row that it is in. An address in no row is public; in IPv6, only if it is in
# 2000::/3.
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
        # In the first two, the embedded address decides; see below.
        Kind.PUBLIC: _networks("::ffff:0:0/96", "64:ff9b::/96", "192.0.0.9/32", "192.0.0.10/32"),
        Kind.RESERVED: _networks(
            *("192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
            *("2001:2::/48", "2001:10::/28", "2001:db8::/32", "3fff::/20"),
        ),
    }
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

# The networks whose addresses embed an IPv4 address: the network, the shift of the IPv4 address, and the mask that its
# bits are inverted with.
_EMBEDDINGS: tuple[tuple[ipaddress.IPv6Network, int, int], ...] = (
    (ipaddress.IPv6Network("::/96"), 0, 0),
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0, 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0, 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0, 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0, 0),
    (ipaddress.IPv6Network("2002::/16"), 80, 0),
    # Teredo: the address of the server, and that of the client, whose bits are inverted.
    (ipaddress.IPv6Network("2001::/32"), 64, 0),
    (ipaddress.IPv6Network("2001::/32"), 0, 0xFFFFFFFF),
)
_ISATAP_IDENTIFIERS = frozenset({0x00005EFE, 0x02005EFE})

# RFC 6052, section 2.2: after a prefix of one of these lengths, an IPv4 address leaves out the octet at bit 64. Any
# prefix in the networks that RFC 6052 and 8215 reserve may be in use. The prefix of 96 bits is in the table above.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/32")
_NAT64_LENGTHS = (32, 40, 48, 56, 64)


@lru_cache(maxsize=1024)
def find_kinds(text: str) -> frozenset[Kind]:
    """The kinds of an address and of every IPv4 address embedded in it. ``text`` may have a zone (``%eth0``)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return frozenset(map(_find_kind, (address, *_find_embedded(address))))


def ensure_reachable(origin: Origin, addresses: Sequence[str], reach: Reach) -> None:
    """Pass if the name of an origin may resolve to all of these addresses.

    One forbidden address refuses the name: a name with allowed and forbidden addresses is a sign of DNS rebinding.

    Raises:
        OriginNotAllowed: An address is of a forbidden kind. The message names the kind, not the address.
    """
    for address in addresses:
        refused = find_kinds(address) & reach.value
        if refused:
            kind = next(each for each in Kind if each in refused)
            raise OriginNotAllowed(f"{origin} resolves to {kind.value}, which this name must not resolve to")


def ask_system(host: str, port: int) -> Sequence[AddressInfo]:
    """The addresses of a host, from the system's resolver."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def read_address(origin: Origin) -> Sequence[AddressInfo]:
    """The address in an origin, in the form that sockets take. No resolver is asked.

    Raises:
        OSError: The host of the origin is a name.
    """
    host = origin.host.strip("[]")
    return socket.getaddrinfo(host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


class Resolver:
    """Asks the system's resolver in threads of its own, because a call of it cannot be interrupted.

    Requests for the same host at the same time share one thread. The number of threads is limited. If the resolver
    hangs in all of them, a request waits for a free one until its time is over.

    Args:
        resolve: Asks the resolver.
        threads: The largest number of hosts that are resolved at the same time.
    """

    def __init__(self, resolve: Resolve = ask_system, threads: int = 8) -> None:
        self._resolve = resolve
        self._free = threading.BoundedSemaphore(threads)
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], Future[Sequence[AddressInfo]]] = {}

    def find(self, host: str, port: int, seconds: float) -> Sequence[AddressInfo]:
        """The addresses of a host.

        Raises:
            TimeoutError: The resolver has not answered after ``seconds``, or no thread was free.
            OSError, UnicodeError: The host is unknown.
        """
        ends_at = time.monotonic() + seconds
        with self._lock:
            lookup = self._lookups.get((host, port))
        if lookup is None:
            if not self._free.acquire(timeout=seconds):
                raise TimeoutError("the resolver is busy")
            lookup = self._begin(host, port)
        return lookup.result(max(0.0, ends_at - time.monotonic()))

    def _begin(self, host: str, port: int) -> Future[Sequence[AddressInfo]]:
        with self._lock:
            if lookup := self._lookups.get((host, port)):
                # Another request has begun it meanwhile.
                self._free.release()
                return lookup
            lookup = self._lookups[host, port] = Future()
        # A daemon thread, so that a resolver that hangs does not keep the process from ending.
        thread = threading.Thread(target=self._ask, args=(host, port, lookup), name="resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system can start no more threads.
            self._end(host, port)
            lookup.set_exception(OSError("no thread for the resolver"))
        return lookup

    def _ask(self, host: str, port: int, lookup: Future[Sequence[AddressInfo]]) -> None:
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
    """Finds the addresses of origins, and refuses names that resolve to a forbidden one.

    Names that callers choose under a ``*`` have threads of their own. Even if a name whose servers do not answer holds
    all of these, the stores that the operator named are found.

    Args:
        resolve: Asks the resolver.
    """

    def __init__(self, resolve: Resolve = ask_system) -> None:
        self._named, self._chosen = Resolver(resolve), Resolver(resolve)

    def find(self, origin: Origin, reach: Reach, seconds: float) -> Sequence[AddressInfo]:
        """The addresses of an origin, in the order of preference.

        Raises:
            OriginNotAllowed: The name resolves to a forbidden address.
            TimeoutError: The name was not resolved after ``seconds``.
            OSError, UnicodeError: The name has no address.
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
    # ``::`` and ``::1`` embed no address. They are compared as numbers, because ``is_loopback`` of Python 3.13 is true
    # for ``::ffff:127.0.0.1`` as well.
    if isinstance(address, ipaddress.IPv4Address) or bits <= 1:
        return
    for network, shift, mask in _EMBEDDINGS:
        if address in network:
            yield ipaddress.IPv4Address((bits >> shift & 0xFFFFFFFF) ^ mask)
    if address in _NAT64:
        # Without the octet at bit 64, the four octets of the address are adjacent.
        joined = (bits >> 64) << 56 | (bits & (1 << 56) - 1)
        for length in _NAT64_LENGTHS:
            embedded = joined >> (120 - length - 32) & 0xFFFFFFFF
            # No translator leads to 0.0.0.0/8: the prefix has another length.
            if embedded >> 24:
                yield ipaddress.IPv4Address(embedded)
    if bits >> 32 & 0xFFFFFFFF in _ISATAP_IDENTIFIERS:
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)

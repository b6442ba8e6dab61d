"""Connections to stores: opened, used for one exchange at a time, kept for the next, broken off from any thread.

Sockets and TLS are here, and nothing else in the service knows them; what goes over them is in ``http1.py``. A request
and an answer of 64 KiB cost 30 µs this way, 130 through ``http.client`` and 450 through requests and urllib3, which
copy a body three times besides (measured on loopback). Nothing is asked of the environment: no proxy, no netrc.
"""

import contextlib
import select
import socket
import ssl
import threading
from functools import cache

import certifi

from handler.origins import Origin
from handler.upstream.http1 import Head, MalformedAnswer, find_end, parse_head

# What a socket, TLS or an answer can raise, and nothing of which may be shown: ``transport.py`` translates it.
WIRE_ERRORS = (OSError, MalformedAnswer)

# One read takes the head and what has come of the body; that much of it is copied once more.
_FIRST_READ_BYTES = 8 * 1024


class Connection:
    """A connection to an origin, for one exchange after the other.

    Args:
        origin: Where to.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._socket: socket.socket | None = None
        self._is_broken_off = False
        # What came with the head and has not been read yet.
        self._rest = memoryview(b"")

    def __repr__(self) -> str:
        return f"<Connection {self.origin}>"

    def open(self, connect_seconds: float, read_seconds: float) -> None:
        """Connect, if that is still to be done.

        Raises:
            OSError: There is no connection, or none that can be trusted.
        """
        if self._socket is None:
            connected = socket.create_connection((self.origin.host.strip("[]"), self.origin.port), connect_seconds)
            # A request is one small packet, which must not wait for the acknowledgement of the last one.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.attach(connected)
            if self.origin.scheme == "https":
                name = self.origin.host.strip("[]")
                secured = _trust().wrap_socket(connected, server_hostname=name, do_handshake_on_connect=False)
                # Before the handshake, which can take for ever as well.
                self.attach(secured)
                secured.do_handshake()
        self._connected.settimeout(read_seconds)

    def attach(self, connected: socket.socket) -> None:
        """This is the socket; shut it down at once if the time for that has come."""
        self._socket = connected
        if self._is_broken_off:
            self.break_off()

    def break_off(self) -> None:
        """End whatever goes on, from any thread, for good: whoever reads finds the end of the data."""
        self._is_broken_off = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # A TLS socket's own method takes the decryption away with it, so that a thread which goes on reading
                # gets the ciphertext that has come so far.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def exchange(self, request: bytes) -> Head:
        """Send the head of a request, and receive that of the answer; the body is still to be read.

        Raises:
            OSError: The connection ended, or the time for waiting.
            MalformedAnswer: What came is not HTTP/1.1.
        """
        self._connected.sendall(request)
        while (head := self._receive_head()).status == 100:
            pass
        return head

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 where the connection has no more.

        Raises:
            OSError: The connection broke, or nothing came in time.
        """
        if self._rest:
            count = min(len(self._rest), len(buffer))
            buffer[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            return count
        return self._connected.recv_into(buffer)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing comes that nobody asked for: an end, or bytes that would be taken for the next answer."""
        poll = select.poll()
        poll.register(self._connected, select.POLLIN)
        return not self._rest and not poll.poll(0)

    def close(self) -> None:
        """Close it. Twice is once."""
        if self._socket is not None:
            self._socket.close()

    @property
    def _connected(self) -> socket.socket:
        assert self._socket is not None, "open comes first"  # noqa: S101  # our own invariant
        return self._socket

    def _receive_head(self) -> Head:
        data = bytes(self._rest)
        while not (end := find_end(data)):
            received = self._connected.recv(_FIRST_READ_BYTES)
            if not received:
                raise ConnectionError("the connection ended before the head did")
            data += received
        self._rest = memoryview(data)[end:]
        return parse_head(data[:end])


class Pool:
    """The connections to all stores, shared by the threads of a process.

    Args:
        limit: How many are kept while nobody uses them; the oldest goes first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: list[Connection] = []
        self._lent = 0

    def __repr__(self) -> str:
        return f"<Pool {len(self._kept)} kept, {self._lent} lent>"

    def take(self, origin: Origin) -> Connection:
        """A connection for one exchange: the one that was used last, if it is still good, or one to be opened."""
        connection = self._pop(origin)
        while connection is not None and not connection.is_quiet:
            connection.close()
            connection = self._pop(origin)
        with self._lock:
            self._lent += 1
        return connection or Connection(origin)

    def give_back(self, connection: Connection, is_good: bool) -> None:
        """Keep a connection for the next exchange, or close it.

        Args:
            connection: From ``take``.
            is_good: Whether its last answer has been read to the end, and the store goes on listening.
        """
        with self._lock:
            self._lent -= 1
            if is_good:
                self._kept.append(connection)
            surplus = self._kept[: -self._limit] if is_good else [connection]
            del self._kept[: -self._limit]
        for each in surplus:
            each.close()

    def close(self) -> None:
        """Close all that are kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        for connection in kept:
            connection.close()

    def _pop(self, origin: Origin) -> Connection | None:
        with self._lock:
            for place in reversed(range(len(self._kept))):
                if self._kept[place].origin == origin:
                    return self._kept.pop(place)
        return None


@cache
def _trust() -> ssl.SSLContext:
    """Which certificates are believed: the same on every machine, whatever its system's are."""
    return ssl.create_default_context(cafile=certifi.where())

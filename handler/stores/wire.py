"""HTTP/1.1 over the connections of requests and urllib3.

requests and urllib3 keep the connections and do TLS. Their requests and responses are not used, for four reasons:

- The head of a request is sent as ``store_request.py`` writes it, because a signature may cover it. The libraries would
  normalise the target, and add headers of their own.
- A request can be broken off at any time (``watchdog.py``).
- A response whose head is incomplete or malformed is refused as a whole.
- A body is read into a given buffer.
"""

import http.client
import io
import queue
import re
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from requests import certs
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from active_storage.model.origins import Origin
from handler.stores.addresses import AddressInfo
from handler.stores.headers import FIELD_NAME, FIELD_VALUE
from handler.stores.watchdog import Watch

# Finds the addresses to connect to, in at most the given number of seconds.
Locate = Callable[[float], Sequence[AddressInfo]]

# How long to wait for a connection, and for the next bytes, in seconds.
Timeouts = tuple[float, float]

# The certificate authorities of requests, which are the same on every machine.
_TRUST = {"cert_reqs": "CERT_REQUIRED", "ca_certs": certs.where()}  # type: ignore[attr-defined]  # not in the stub

# The smallest receive buffer of a new connection, on Linux. A buffer begins with 128 KiB otherwise, and often stays
# there on a fast network: the reader empties it before the kernel sees that it could be larger. Two parallel streams
# then take a quarter longer. The kernel fits the buffer to a low-water mark (``tcp_set_rcvlowat``) and, unlike with
# SO_RCVBUF, can still enlarge it for a distant store. The mark is set back to 1 afterwards.
_RECEIVE_BYTES = 512 * 1024
_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    *((socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark) for mark in (_RECEIVE_BYTES, 1) if sys.platform == "linux"),
]

_VERSIONS = {"HTTP/1.0": 10, "HTTP/1.1": 11}

# RFC 9112, section 4. Some servers leave out the space before an empty reason.
_STATUS_RE = re.compile(rb"(HTTP/[0-9.]{1,8}) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r?\n")

# A response with one of these statuses has no body, whatever its headers say (RFC 9112, section 6.3).
_BODILESS = frozenset({http.client.SWITCHING_PROTOCOLS, http.client.NO_CONTENT, http.client.NOT_MODIFIED})

# A longer number is not a length; ``answers.py`` has the same bound.
_LENGTH_RE = re.compile(r"[0-9]{1,19}", re.ASCII)

# The limits of http.client.
_MAX_LINE_BYTES = 65536
_MAX_FIELDS = 100

# A folded line (RFC 9112, section 5.2) does not match: some gateways refuse it.
_FIELDS_RE = re.compile(rb"(?:%b:%b\r?\n)*" % (FIELD_NAME, FIELD_VALUE))
_BLANK_LINES = frozenset({b"\r\n", b"\n"})


class Response(http.client.HTTPResponse):
    """A response of http.client's, with a stricter parser of the head, over a connection that can be kept.

    http.client takes the end of the connection, or a malformed header line, for the end of the head. It would then
    believe half of a length, and miss an encoding that comes after it. It also uses its parser of e-mail for headers,
    which takes longer than everything else of a small exchange together.

    Args:
        wire: The connection that it comes over.
        method: The method of the request.
        watch: Breaks the request off. It is released before the connection is given back.
        give_back: Takes the connection, and whether it can be used again.

    Attributes:
        method: The method of the request.
        watch: Breaks the request off.
        headers: Names in lower case. The values of a repeated header are joined to one list.
    """

    headers: Mapping[str, str]  # type: ignore[assignment]  # http.client needs no more of it

    def __init__(self, wire: "_Wire", method: str, watch: Watch, give_back: Callable[["_Wire", bool], None]) -> None:
        self.method = method
        self.watch = watch
        self._wire: _Wire | None = wire
        self._give_back = give_back
        self._is_followed = False
        super().__init__(wire.sock, method=method)

    def release(self) -> None:
        """Keep the connection if the body was read to its end and no bytes follow it; else close it. Idempotent.

        Reads nothing, so that it neither blocks nor fails. Bytes after a body would be taken for the next response.
        """
        if self.length == 0 and not self.isclosed():
            # http.client notices the end of a body when it reads the last byte. An empty body has no last byte.
            self._close_conn()
        is_read = self.isclosed() and not self.length
        if is_read and not (self.will_close or self._is_followed or self.watch.is_broken_off):
            self._leave(is_good=True)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, whatever is still to be read. Idempotent."""
        super().close()
        self._leave(is_good=False)

    def _close_conn(self) -> None:
        """http.client calls this at the end of the body."""
        if self._wire is not None:
            self._is_followed = self._wire.has_received_more(self.fp)
        super()._close_conn()  # type: ignore[misc]  # not in the stub

    def _leave(self, is_good: bool) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            # Before another request can use the connection.
            self.watch.release()
            self._give_back(wire, is_good)

    def begin(self) -> None:
        """Read the head; after ``100 Continue``, the head that follows it.

        Raises:
            http.client.HTTPException: The head is not well-formed HTTP/1.1, or the connection ended inside it.
        """
        status = http.client.CONTINUE
        while status == http.client.CONTINUE:
            version, status, self.reason = self._read_status()
            if version not in _VERSIONS:
                raise http.client.UnknownProtocol("not HTTP/1")
            fields = self._read_fields()
        self.version, self.code, self.status = _VERSIONS[version], status, status
        self.headers = self.msg = fields  # type: ignore[assignment]
        # The length of the body (RFC 9112, section 6.3), as http.client finds it. ``answers.py`` refuses an object with
        # a length in another form.
        length, coding = fields.get("content-length"), fields.get("transfer-encoding")
        is_head = self.method == "HEAD"
        is_bodiless = is_head or status in _BODILESS
        self.chunked = coding is not None and coding.lower() == "chunked" and not is_bodiless
        self.chunk_left = None
        self.length = int(length) if length and coding is None and _LENGTH_RE.fullmatch(length) else None
        if is_bodiless:
            self.length = 0
        # Some servers send more than these rules allow, and that would be taken for the next response: after an early
        # status, after a body with two lengths, or with a status that has no body.
        is_doubtful = (
            status < http.client.OK
            or (coding is not None and (is_bodiless or length is not None))
            or (is_bodiless and not is_head and length not in (None, "0"))
        )
        is_endless = self.length is None and not self.chunked
        self.will_close = is_endless or is_doubtful or self._check_close()  # type: ignore[attr-defined]

    def _read_status(self) -> tuple[str, int, str]:
        """Version, status and reason. Unlike in http.client, a status is three ASCII digits."""
        line = self.fp.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
            raise http.client.RemoteDisconnected("the connection ended before the status")
        match = _STATUS_RE.fullmatch(line)
        if match is None:
            raise http.client.BadStatusLine("malformed status line")
        version, status, reason = (part.decode("latin-1") for part in match.groups(default=b""))
        return version, int(status), reason

    def _read_fields(self) -> dict[str, str]:
        """The header fields: names in lower case, the values of a repeated one joined to one list."""
        lines: list[bytes] = []
        while (line := self.fp.readline(_MAX_LINE_BYTES)) not in _BLANK_LINES:
            if not line.endswith(b"\n"):
                if len(line) < _MAX_LINE_BYTES:
                    raise http.client.RemoteDisconnected("the connection ended inside the headers")
                raise http.client.HTTPException("a header line is too long")
            if len(lines) == _MAX_FIELDS:
                raise http.client.HTTPException("too many headers")
            lines.append(line)
        block = b"".join(lines)
        # One search for all lines takes a third of the time.
        if _FIELDS_RE.fullmatch(block) is None:
            raise http.client.HTTPException("malformed header line")
        fields: dict[str, str] = {}
        for text in block.decode("latin-1").split("\n")[:-1]:
            name, _, value = text.partition(":")
            name, value = name.lower(), value.strip("\t \r")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields


def _read_nothing(_: object) -> int:
    """The ``readinto`` of a raw stream at its end."""
    return 0


class _Wire(HTTPConnection):
    # Both belong to the current request. Connecting is a part of a request.
    _watch: Watch
    _locate: Locate

    def has_received_more(self, body: io.BufferedReader) -> bool:
        """Whether bytes after the end of a body have been received. ``body`` must not be read after this call.

        The bytes can be in the reader's buffer, or decrypted in the TLS layer. Bytes that are still in the kernel are
        found when the connection is taken for the next request.
        """
        # ``peek`` must not wait for the socket.
        body.raw.readinto = _read_nothing  # type: ignore[method-assign]
        return bool(body.peek(1)) or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0)

    def ask(self, head: bytes, locate: Locate, watch: Watch, timeouts: Timeouts) -> None:
        """Send the head of a request, over a new socket if there is none."""
        self._watch, self._locate = watch, locate
        connect_seconds, read_seconds = timeouts
        if self.is_closed:
            self.timeout = connect_seconds
            self.connect()
        else:
            watch.attach(self.sock)
        # Setting a timeout is a system call, even if it does not change.
        if self.sock.gettimeout() != read_seconds:
            self.sock.settimeout(read_seconds)
        self.sock.sendall(head)

    def connect(self) -> None:
        """Connect. The request can be broken off meanwhile and from then on."""
        super().connect()
        # With TLS it is another socket than the one that was connected.
        self._watch.attach(self.sock)

    def _new_conn(self) -> socket.socket:
        """A connection to the first address that accepts one.

        Each address has the whole time for a connection, as in urllib3. No further address is tried once the request is
        broken off. The addresses are judged, so that the host is not resolved again.
        """
        fault: OSError = TimeoutError("broken off")
        for family, kind, protocol, _, address in self._locate(float(self.timeout or 0)):
            if self._watch.is_broken_off:
                break
            connected = socket.socket(family, kind, protocol)
            try:
                self._prepare(connected)
                connected.connect(address)
            except OSError as error:
                connected.close()
                fault = error
            else:
                return connected
        raise fault

    def _prepare(self, connected: socket.socket) -> None:
        for option in self.socket_options or ():
            connected.setsockopt(*option)
        connected.settimeout(self.timeout)
        self._watch.attach(connected)


class _SecureWire(_Wire, HTTPSConnection):
    # A second descriptor of the socket during the handshake.
    _second: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        # TLS takes the descriptor away from this socket, so that only a second one can break the handshake off.
        self._second = connected.dup()
        self._watch.attach(self._second)
        return connected

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            if self._second is not None:
                self._second.close()
                self._second = None


class _Idle:
    """The idle connections of a pool, the last one first. Thread-safe; several times as fast as ``LifoQueue``.

    It has what urllib3 calls of a queue. The pool never waits for a connection.

    Attributes:
        maxsize: The most connections. Threads that put some at the same time may exceed it, by one each.
    """

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self._connections: list[HTTPConnection | None] = []

    def qsize(self) -> int:
        """The number of connections."""
        return len(self._connections)

    def put(self, connection: HTTPConnection | None, block: bool = True) -> None:  # noqa: ARG002  # a queue's
        """Keep a connection.

        Raises:
            queue.Full: There are enough.
        """
        if len(self._connections) >= self.maxsize:
            raise queue.Full
        self._connections.append(connection)

    def get(self, block: bool = True, timeout: float | None = None) -> HTTPConnection | None:  # noqa: ARG002
        """The connection that was put last.

        Raises:
            queue.Empty: There is none.
        """
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None


class _WirePool(HTTPConnectionPool):
    ConnectionCls = _Wire
    QueueCls = _Idle  # type: ignore[assignment]  # has the methods that urllib3 calls

    def exchange(self, head: bytes, locate: Locate, watch: Watch, timeouts: Timeouts) -> Response:
        """Send a request over a connection of the pool, or over a new one, and receive the head of the response.

        A response of http.client's fills a given buffer from the socket. The response objects of urllib3 and requests
        copy a body three times, which costs more than the exchange itself (64 KiB, loopback).
        """
        wire = self._get_conn()
        assert isinstance(wire, _Wire)  # noqa: S101  # ConnectionCls
        try:
            wire.ask(head, locate, watch, timeouts)
            response = Response(wire, "HEAD" if head.startswith(b"HEAD ") else "GET", watch, self._take_back)
        except BaseException:
            watch.release()
            self._take_back(wire, is_good=False)
            raise
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response

    def _take_back(self, wire: _Wire, is_good: bool) -> None:
        if not is_good:
            wire.close()
        self._put_conn(wire)


class _SecureWirePool(_WirePool, HTTPSConnectionPool):
    ConnectionCls = _SecureWire


class WireAdapter(HTTPAdapter):
    """Connections to every store, which are kept and shared by all threads.

    Args:
        connections: How many connections to one origin are kept.
    """

    def __init__(self, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self.poolmanager.pool_classes_by_scheme = {"http": _WirePool, "https": _SecureWirePool}
        self._pool_options = self.poolmanager.connection_pool_kw | _TRUST | {"socket_options": _SOCKET_OPTIONS}

    def send(  # type: ignore[override]  # a rendered head in place of a request of requests'
        self, head: bytes, origin: Origin, locate: Locate, watch: Watch, timeouts: Timeouts
    ) -> Response:
        """Send a request and receive the head of the response. The body is still to be read.

        Redirects are not followed, and the environment's proxies and netrc are not used: those belong to ``Session``.

        Args:
            head: The request line and the headers. The request has no body.
            origin: The server.
            locate: Finds the server's addresses, if a connection must be made.
            watch: Breaks the request off. The response releases it.
            timeouts: How long to wait for a connection, and for the next bytes, in seconds.

        Raises:
            OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: There is no response.
            OriginNotAllowed: ``locate`` refuses the addresses.
        """
        # Pools differ in nothing but the origin. urllib3 would make a key of all options for each request.
        options = {**self._pool_options, "scheme": origin.scheme, "host": origin.host, "port": origin.port}
        pool: Any = self.poolmanager.connection_from_pool_key(origin, options)
        response: Response = pool.exchange(head, locate, watch, timeouts)
        return response

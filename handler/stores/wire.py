"""The HTTP libraries, taught four things.

Targets go out as they came in, requests can be broken off, headers are taken whole or not at all, and bodies are read
into a given buffer.

requests and urllib3 keep the connections and do TLS, http.client parses what comes over one. They would normalise a
target (the case of escapes, characters they would rather see escaped), which a client's signature may cover as it was,
and add headers of their own. ``WireAdapter`` is one of requests' transport adapters, and takes and gives what they do,
as far as it is asked for here.
"""

import contextlib
import http.client
import io
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import requests
from requests import certs
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from active_storage.errors import InvalidArgument
from active_storage.model.origins import Origin
from handler.stores.addresses import Found, read_address

Abort = Callable[[], None]

# Gives the addresses to connect to, in so many seconds.
Locate = Callable[[float], Sequence[Found]]

# How long to wait for a connection, and for the next bytes: as requests has it.
Seconds = tuple[float, float]

# As requests has it: the same authorities on every machine, whatever its system's are.
_TRUST = {"cert_reqs": "CERT_REQUIRED", "ca_certs": certs.where()}  # type: ignore[attr-defined]  # not in the stub

# How large the receive buffer of a new connection is at least, on Linux. It begins with 128 KiB otherwise, and often
# stays there on a fast network, whose reader takes what comes before the kernel sees that more could have: two streams
# side by side then take a quarter longer. Asking for a low-water mark makes the buffer fit it (``tcp_set_rcvlowat``)
# and, other than SO_RCVBUF, leaves the kernel free to make it larger for a distant store. The mark is taken back.
_RECEIVE_BYTES = 512 * 1024
_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    *((socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark) for mark in (_RECEIVE_BYTES, 1) if sys.platform == "linux"),
]

_VERSIONS = {"HTTP/1.0": 10, "HTTP/1.1": 11}

# RFC 9112, section 4. Some servers leave out the space before a reason that is empty.
_STATUS_RE = re.compile(rb"(HTTP/[0-9.]{1,8}) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r?\n")

# RFC 9112, section 6.3: whatever their headers say.
_BODILESS = frozenset({http.client.SWITCHING_PROTOCOLS, http.client.NO_CONTENT, http.client.NOT_MODIFIED})

# More digits than this are no length, to ``answers.py`` neither.
_LENGTH_RE = re.compile(r"[0-9]{1,19}", re.ASCII)

# http.client's own limits.
_MAX_LINE_BYTES = 65536
_MAX_FIELDS = 100

# RFC 9110, sections 5.1, 5.5 and 5.6.2: field-name is a token, field-value holds no control characters. A folded line
# (RFC 9112, section 5.2), which a gateway may refuse, is none.
_NAME, _VALUE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", rb"[\t\x20-\x7e\x80-\xff]*"
_FIELD_RE = re.compile(rb"(%b):(%b)\r?\n" % (_NAME, _VALUE))

# A request without a body; its target is as RFC 9112, section 3.2, has it: visible characters.
_HEAD_RE = re.compile(rb"(?:GET|HEAD) [!-~]+ HTTP/1\.1\r\n(?:%b: %b\r\n)*\r\n" % (_NAME, _VALUE))


class WireRequest(requests.PreparedRequest):
    """A request as it goes to the socket. Its URL is without the query, which can be a signature.

    Args:
        method: GET or HEAD.
        origin: Where to.
        target: The request target, as it is to be sent.
        headers: Names and values, as they are to be sent.
        on_send: Called with what breaks the request off, before anything is written.

    Attributes:
        locate: Asked where to connect, if a connection must be made. By itself it knows addresses only, no names.
    """

    def __init__(
        self, method: str, origin: Origin, target: str, headers: dict[str, str], on_send: Callable[[Abort], None]
    ) -> None:
        super().__init__()
        self.method: str = method
        self.url = f"{origin}{target.partition('?')[0]}"
        self.headers = headers  # type: ignore[assignment]  # any mapping will do
        self.origin = origin
        self.target = target
        self.on_send = on_send
        self.locate: Locate = lambda _: read_address(origin)


class _Breaker:
    """Breaks one request off, from any thread, before or after it has a socket, but not after it gave it back."""

    def __init__(self, connected: socket.socket | None) -> None:
        self._socket = connected
        # Between the last byte and the end of the request, the next one can have the connection already.
        self._lock = threading.Lock()
        self.is_pulled = False

    def attach(self, connected: socket.socket) -> None:
        """Take the request's socket, and shut it down at once if the request was broken off before."""
        with self._lock:
            self._socket = connected
            if self.is_pulled:
                self._shut_down()

    def detach(self) -> None:
        """Leave the socket alone from now on."""
        with self._lock:
            self._socket = None

    def pull(self) -> None:
        """Shut the socket down: whoever reads from it finds the end of the data."""
        with self._lock:
            self.is_pulled = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # A TLS socket's own method takes the decryption away with it, so that a thread which goes on reading
                # gets the ciphertext that has come so far.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Answer(http.client.HTTPResponse):
    """http.client's answer, but for its head, which is read whole or not at all, and its connection, which is kept.

    http.client takes the end of the connection, or a line that is no header, for the end of the headers: what is left
    of a length would be believed, and an encoding after it not seen. And it has headers parsed by what parses e-mail,
    which takes longer than everything else of a small exchange together.

    What it adds has the names of ``requests.Response`` and its ``raw``.

    Args:
        wire: The connection that it comes over.
        method: Of the request.
        give_back: Takes the connection, and whether it can be used again.

    Attributes:
        status_code: Three digits.
        headers: Names in lower case; the values of one that came more than once in one list.
    """

    headers: Mapping[str, str]  # type: ignore[assignment]  # all that http.client asks of them

    def __init__(self, wire: "_Wire", method: str, give_back: Callable[["_Wire", bool], None]) -> None:
        self._wire: _Wire | None = wire
        self._give_back = give_back
        self._is_followed = False
        super().__init__(wire.sock, method=method)

    @property
    def raw(self) -> Self:
        """What the body is read from."""
        return self

    def release_conn(self) -> None:
        """Give the connection back where the body was read to its end and nothing follows it, else close it.

        Reads nothing, so that it neither waits nor fails. What follows a body would be taken for the next answer.
        """
        if self.length == 0 and not self.isclosed():
            # http.client learns only by reading a last byte that a body is over, and an empty one does not have any.
            self._close_conn()
        if self.isclosed() and not (self.length or self.will_close or self._is_followed):
            self._leave(is_good=True)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, whatever it still has to say. Idempotent."""
        super().close()
        self._leave(is_good=False)

    def _close_conn(self) -> None:
        """What http.client calls when the body is over."""
        if self._wire is not None:
            self._is_followed = self._wire.has_received_more(self.fp)
        super()._close_conn()  # type: ignore[misc]  # not in the stub

    def _leave(self, is_good: bool) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.end()
            self._give_back(wire, is_good)

    def begin(self) -> None:
        """Read the head; of ``100 Continue``, that of the answer proper after it.

        Raises:
            http.client.HTTPException: It is not one of HTTP/1.1, or the connection ended inside it.
        """
        status = http.client.CONTINUE
        while status == http.client.CONTINUE:
            version, status, self.reason = self._read_status()
            if version not in _VERSIONS:
                raise http.client.UnknownProtocol("not HTTP/1")
            fields = self._read_fields()
        self.version, self.code, self.status, self.status_code = _VERSIONS[version], status, status, status
        self.headers = self.msg = fields  # type: ignore[assignment]
        # How far the body reaches (RFC 9112, section 6.3), as http.client has it. What a length is worth that is
        # written otherwise, ``answers.py`` knows.
        length, coding = fields.get("content-length"), fields.get("transfer-encoding")
        is_head = self._method == "HEAD"  # type: ignore[attr-defined]
        is_bodiless = is_head or status in _BODILESS
        self.chunked = coding is not None and coding.lower() == "chunked" and not is_bodiless
        self.chunk_left = None
        self.length = int(length) if length and coding is None and _LENGTH_RE.fullmatch(length) else None
        if is_bodiless:
            self.length = 0
        # Not every server keeps to where a body ends by these rules, and what it sends after that would be the next
        # answer: a body that must not be there, one with two lengths, what follows a status before the last.
        is_doubtful = (
            status < http.client.OK
            or (coding is not None and (is_bodiless or length is not None))
            or (is_bodiless and not is_head and length not in (None, "0"))
        )
        is_endless = self.length is None and not self.chunked
        self.will_close = is_endless or is_doubtful or self._check_close()  # type: ignore[attr-defined]

    def _read_status(self) -> tuple[str, int, str]:
        """Version, status and reason; the digits are digits, where http.client takes what Python takes for a number."""
        line = self.fp.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
            raise http.client.RemoteDisconnected("the connection ended before the status did")
        match = _STATUS_RE.fullmatch(line)
        if match is None:
            raise http.client.BadStatusLine("the status line is none")
        version, status, reason = (part.decode("latin-1") for part in match.groups(default=b""))
        return version, int(status), reason

    def _read_fields(self) -> dict[str, str]:
        """The header fields, names in lower case, the values of one that came more than once in one list."""
        fields: dict[str, str] = {}
        for _ in range(_MAX_FIELDS + 1):
            line = self.fp.readline(_MAX_LINE_BYTES)
            if line in (b"\r\n", b"\n"):
                return fields
            if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
                raise http.client.RemoteDisconnected("the connection ended before the headers did")
            match = _FIELD_RE.fullmatch(line)
            if match is None:
                raise http.client.HTTPException("a line of the headers is none")
            name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1").strip("\t ")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        raise http.client.HTTPException("there are too many headers")


def _write_head(request: WireRequest) -> bytes:
    """The head of a request, which has no body (RFC 9112, section 3).

    Raises:
        InvalidArgument: A part of it (the caller's) is more than its line, or has characters that none may have.
    """
    fields = (f"{name}: {value}" for name, value in request.headers.items())
    text = "\r\n".join((f"{request.method} {request.target} HTTP/1.1", *fields, "", ""))
    # With a character beyond Latin-1 it is none.
    head = text.encode("latin-1", errors="ignore")
    if len(head) != len(text) or not _HEAD_RE.fullmatch(head) or head.count(b"\n") != len(request.headers) + 2:
        raise InvalidArgument("request", "holds a character that cannot be sent on to a store")
    return head


def _bring_nothing(_: object) -> int:
    """What a raw stream does that is at its end."""
    return 0


class _Wire(HTTPConnection):
    # The request's; connecting is a part of one.
    _breaker: _Breaker
    _locate: Locate

    def has_received_more(self, answer: io.BufferedReader) -> bool:
        """Whether bytes beyond an answer have been received. Nothing is read from ``answer`` after that.

        They can be in its buffer, or decrypted in the TLS layer. What is still in the kernel is found when the
        connection is taken for the next request.
        """
        # No more comes from the socket, so that looking into the buffer does not wait for it.
        answer.raw.readinto = _bring_nothing  # type: ignore[method-assign]
        return bool(answer.peek(1)) or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0)

    def ask(self, head: bytes, request: WireRequest, timeout: Seconds) -> None:
        """Send the head of a request, having told its ``on_send`` what breaks it off."""
        self._breaker = _Breaker(self.sock)
        self._locate = request.locate
        request.on_send(self._breaker.pull)
        connect_seconds, read_seconds = timeout
        if self.is_closed:
            self.timeout = connect_seconds
            self.connect()
        # To set it is a system call, whatever it was.
        if self.sock.gettimeout() != read_seconds:
            self.sock.settimeout(read_seconds)
        self.sock.sendall(head)

    def end(self) -> None:
        """The request is over, and the connection can go to another one."""
        self._breaker.detach()

    def connect(self) -> None:
        """Connect, so that the request can be broken off meanwhile and from then on."""
        super().connect()
        # With TLS it is another socket than the one that was connected.
        self._breaker.attach(self.sock)

    def _new_conn(self) -> socket.socket:
        """A connection to the first address of the host that takes one.

        As urllib3 has it, each address has the time for a connection; but none is tried once the request is broken off.
        What locates the host has judged these addresses, so that it is not resolved again here.
        """
        fault: OSError = TimeoutError("broken off")
        for family, kind, protocol, _, address in self._locate(float(self.timeout or 0)):
            if self._breaker.is_pulled:
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
        self._breaker.attach(connected)


class _SecureWire(_Wire, HTTPSConnection):
    # A second descriptor of the socket, during the handshake.
    _second: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        # TLS takes the descriptor away from this socket, and the handshake can be broken off by a second one only.
        self._second = connected.dup()
        self._breaker.attach(self._second)
        return connected

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            if self._second is not None:
                self._second.close()
                self._second = None


class _WirePool(HTTPConnectionPool):
    ConnectionCls = _Wire

    def exchange(self, request: WireRequest, timeout: Seconds) -> Answer:
        """Send a request over a connection of the pool, or over one more, and receive the answer's head.

        http.client's answer fills a given buffer from the socket. What urllib3 makes of one, and requests of that,
        copies a body three times and costs more than the exchange itself (64 KiB, loopback).
        """
        # First of all: what cannot be sent takes no connection, and is watched by nobody.
        head = _write_head(request)
        wire = self._get_conn()
        assert isinstance(wire, _Wire)  # noqa: S101  # ConnectionCls
        try:
            wire.ask(head, request, timeout)
            answer = Answer(wire, request.method, self._take_back)
        except BaseException:
            self._take_back(wire, is_good=False)
            raise
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    def _take_back(self, wire: _Wire, is_good: bool) -> None:
        if not is_good:
            wire.close()
        self._put_conn(wire)


class _SecureWirePool(_WirePool, HTTPSConnectionPool):
    ConnectionCls = _SecureWire


class WireAdapter(HTTPAdapter):
    """Shared, kept-alive connections to every store, one for each thread that may want one at a time.

    Args:
        connections: How many connections are kept to one origin.
    """

    def __init__(self, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self.poolmanager.pool_classes_by_scheme = {"http": _WirePool, "https": _SecureWirePool}
        self._pool_options = self.poolmanager.connection_pool_kw | _TRUST | {"socket_options": _SOCKET_OPTIONS}

    def send(self, request: WireRequest, timeout: Seconds, **_: Any) -> Answer:  # type: ignore[override]
        """Send a request and receive the answer's head; the body is still to be read.

        Follows no redirect and asks nothing of the environment: no proxy, no netrc, since those live in ``Session``.

        Raises:
            InvalidArgument: It cannot be sent.
            OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: It did not come about.
        """
        to = request.origin
        # By the origin: all that pools can differ in, of which urllib3 would make its own key each time, is the same.
        made_of = {**self._pool_options, "scheme": to.scheme, "host": to.host, "port": to.port}
        pool: Any = self.poolmanager.connection_from_pool_key(to, made_of)
        answer: Answer = pool.exchange(request, timeout)
        return answer

"""The HTTP library, taught four things, and relieved of what is not needed here.

Targets go out as they came in, requests can be broken off, headers are taken whole or not at all, and bodies are read
into a given buffer.

requests and urllib3 normalise a target (the case of escapes, characters they would rather see escaped), and a client's
signature may cover it as it was. So the target travels beside the URL, in ``WireHeaders``, and is put back at the one
place where a request is written to the socket. Everything else is the library's: pools, TLS, parsing.

What is overridden beside that is what costs: cookies, proxies, several copies of the headers, the machinery of trying
again. An exchange of 64 KiB takes about half the CPU so, and its body is copied once instead of four times.
"""

import contextlib
import http.client
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout

from handler.origins import Origin

Abort = Callable[[], None]

# RFC 9110, sections 5.1, 5.5 and 5.6.2: field-name is a token, field-value holds no control characters. A folded line
# (RFC 9112, section 5.2), which a gateway may refuse, is none.
_HEADER_LINE_RE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r?\n")


class WireHeaders(dict[str, str]):
    """The headers of a request, and what goes with them to the socket.

    Args:
        headers: Names and values, as they are to be sent.
        origin: Where to.
        target: The request target, as it is to be sent.
        on_send: Called with what breaks the request off, before anything is written.
    """

    def __init__(
        self, headers: Mapping[str, str], origin: Origin, target: str, on_send: Callable[[Abort], None]
    ) -> None:
        super().__init__(headers)
        self.origin = origin
        self.target = target
        self.on_send = on_send

    def __repr__(self) -> str:
        return f"<WireHeaders {', '.join(self)}>"

    def copy(self) -> Self:
        """The same, whole: urllib3 copies headers on their way."""
        return type(self)(self, self.origin, self.target, self.on_send)


class _Breaker:
    """Breaks one request off, from any thread, before or after it has a socket."""

    def __init__(self, connected: socket.socket | None) -> None:
        self._socket = connected
        self._is_pulled = False

    def attach(self, connected: socket.socket) -> None:
        """This is the request's socket; shut it down at once if the time for that has come."""
        self._socket = connected
        if self._is_pulled:
            self.pull()

    def pull(self) -> None:
        """Shut the socket down: whoever reads from it finds the end of the data."""
        self._is_pulled = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # A TLS socket's own method takes the decryption away with it, so that a thread which goes on reading
                # gets the ciphertext that has come so far.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Lines:
    """The lines of an answer's head, each of them whole and a header: else there is no answer.

    http.client takes the end of the connection, or a line that is no header, for the end of the headers: what is left
    of a length would be believed, and an encoding after it not seen.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._is_status_next = True

    def readline(self, limit: int) -> bytes:
        """The next line, or as much of it as ``limit`` allows.

        Raises:
            http.client.HTTPException: It is not one of HTTP/1.1.
        """
        line: bytes = self._reader.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            raise http.client.RemoteDisconnected("the connection ended before the headers did")
        is_last = line in (b"\r\n", b"\n")
        if not (self._is_status_next or is_last or _HEADER_LINE_RE.fullmatch(line)):
            raise http.client.HTTPException("a line of the headers is none")
        # After a 100 Continue, the head of the answer proper.
        self._is_status_next = is_last
        return line

    def close(self) -> None:
        """Close what the lines come from."""
        self._reader.close()


class _Answer(http.client.HTTPResponse):
    def begin(self) -> None:
        reader: Any = self.fp
        lines: Any = _Lines(reader)
        self.fp = lines
        try:
            super().begin()
        finally:
            # None, where http.client has closed it.
            self.fp = self.fp and reader


class _Wire(HTTPConnection):
    # Where http.client looks for it.
    response_class = _Answer

    _target: str
    _breaker: _Breaker | None = None

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        self._target = url
        self._breaker = None
        if isinstance(headers, WireHeaders):
            self._target = headers.target
            self._breaker = _Breaker(self.sock)
            headers.on_send(self._breaker.pull)
        super().request(method, url, body, headers, **options)

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Write the request line, with the target as it is to be sent; the library knows the URL only."""
        super().putrequest(method, self._target, *args, **options)

    def connect(self) -> None:
        """Connect, so that the request can be broken off even when http.client has let go of the socket."""
        super().connect()
        if self._breaker is not None:
            self._breaker.attach(self.sock)

    def getresponse(self) -> Any:
        """Receive the answer's head, without the three copies of it that the library makes."""
        # What the library waits for is set when it connects; this is the time for the answer.
        self.sock.settimeout(self.timeout)
        return Answer(http.client.HTTPConnection.getresponse(self))


class _SecureWire(_Wire, HTTPSConnection):
    pass


class Answer:
    """An answer whose body is still to be read, and the connection that it comes on.

    ``http.client`` reads from the socket straight into a given buffer; urllib3's own answer copies each piece.

    Attributes:
        status: HTTP's.
        headers: Names in lower case; what came more than once is joined, as HTTP has it (RFC 9110, section 5.3).
    """

    # What urllib3 logs of an answer, beside its status.
    version_string = "HTTP/1.1"

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = _join_headers(answer.getheaders())
        self.length_remaining = answer.length
        self._answer = answer
        self._give_back: Callable[[], None] = lambda: None
        self._connection: _Wire | None = None

    def comes_on(self, connection: "_Wire", give_back: Callable[[], None]) -> None:
        """Remember the connection, and what puts it back where it can be taken again."""
        self._connection = connection
        self._give_back = give_back

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 where the connection has no more.

        Raises:
            OSError, http.client.HTTPException: The connection broke.
        """
        return self._answer.readinto(buffer)

    def release_conn(self) -> None:
        """Give the connection back, its body having been read to the end."""
        # Nothing is left; http.client learns only by reading that an empty body is over, and frees the connection.
        self._answer.read()
        self._give_back()

    def close(self) -> None:
        """Close the connection, whatever it still has to say."""
        self._answer.close()
        if self._connection is not None:
            self._connection.close()
        self._give_back()


def _join_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return headers


class _WirePool(HTTPConnectionPool):
    ConnectionCls = _Wire

    def urlopen(self, method: str, url: str, *_: Any, **options: Any) -> Any:
        """Ask once, on a connection of the pool, and follow nothing; the ``Answer`` gives the connection back.

        Raises:
            urllib3.exceptions.HTTPError, http.client.HTTPException, OSError: It did not come about.
        """
        connection: Any = self._get_conn()
        try:
            answer: Any = self._make_request(
                connection, method, url, headers=options["headers"], timeout=options["timeout"]
            )
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        answer.comes_on(connection, lambda: self._put_conn(connection))
        return answer


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

    def exchange(
        self, method: str, headers: WireHeaders, connect_seconds: float, read_seconds: float
    ) -> requests.Response:
        """Send a request and receive the answer's headers; the body is still to be read.

        Follows no redirect and asks nothing of the environment: no proxy, no netrc, since those live in ``Session``.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError: It did not
                come about.
        """
        request = requests.PreparedRequest()
        request.method = method
        # Without the query, which may hold a signature: this URL is what the library's errors and debug lines show.
        request.url = f"{headers.origin}{headers.target.partition('?')[0]}"
        request.headers = headers  # type: ignore[assignment]  # any mapping will do, and this one holds the target
        timeout = Timeout(connect=connect_seconds, read=read_seconds)
        return self.send(request, stream=True, timeout=timeout)  # type: ignore[arg-type]  # documented, not in the stub

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """The pool of the request's origin; proxies are never between."""
        origin: Origin = request.headers.origin  # type: ignore[attr-defined]  # they are ``WireHeaders``
        return self.poolmanager.connection_from_host(origin.host, origin.port, origin.scheme)

    def request_url(self, request: requests.PreparedRequest, proxies: object) -> str:  # noqa: ARG002  # the library's
        """What the library's own words call the target; the one that is sent travels with the headers."""
        return str(request.url)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """The answer as it is: no cookies are kept, and nothing is guessed from its headers."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.request = req
        return response

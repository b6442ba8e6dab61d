"""The HTTP library, taught three things.

Targets go out as they came in, connections can be broken off, and bodies are read into a given buffer.

requests and urllib3 normalise a target (the case of escapes, characters they would rather see escaped), and a client's
signature may cover it as it was. So the target travels beside the URL, in ``WireHeaders``, and is put back at the one
place where a request is written to the socket. Everything else is the library's: pools, TLS, parsing.
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout

from handler.origins import Origin

Abort = Callable[[], None]


class WireHeaders(dict[str, str]):
    """The headers of a request, and what goes with them to the socket.

    Args:
        headers: Names and values, as they are to be sent.
        target: The request target, as it is to be sent.
        on_send: Called with what breaks the connection off, before anything is written.
    """

    def __init__(self, headers: dict[str, str], target: str, on_send: Callable[[Abort], None]) -> None:
        super().__init__(headers)
        self.target = target
        self.on_send = on_send

    def copy(self) -> Self:
        """The same, whole: urllib3 copies headers on their way."""
        return type(self)(self, self.target, self.on_send)


class _Wire(HTTPConnection):
    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        if isinstance(headers, WireHeaders):
            url = headers.target
            headers.on_send(self.abort)
        super().request(method, url, body, headers, **options)

    def abort(self) -> None:
        """Shut the socket down, from any thread: whoever reads from it finds the end of the data."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class _SecureWire(_Wire, HTTPSConnection):
    pass


class _WirePool(HTTPConnectionPool):
    ConnectionCls = _Wire


class _SecureWirePool(HTTPSConnectionPool):
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
        self, method: str, origin: Origin, headers: WireHeaders, connect_seconds: float, read_seconds: float
    ) -> requests.Response:
        """Send a request and receive the answer's headers; the body is still to be read.

        Follows no redirect and asks nothing of the environment: no proxy, no netrc, since those live in ``Session``.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError: It did not come about.
        """
        request = requests.PreparedRequest()
        request.method = method
        # Without the query, which may hold a signature: this URL is what the library's errors and debug lines show.
        request.url = f"{origin}{headers.target.partition('?')[0]}"
        request.headers = headers  # type: ignore[assignment]  # any mapping will do, and this one holds the target
        timeout = Timeout(connect=connect_seconds, read=read_seconds)
        return self.send(request, stream=True, timeout=timeout)  # type: ignore[arg-type]  # documented, not in the stub


class Body:
    """The body of an answer, read into a given buffer.

    ``http.client`` reads from the socket straight into it; urllib3's own ``read`` copies each piece three times.
    """

    def __init__(self, response: requests.Response) -> None:
        self._raw: HTTPResponse = response.raw
        self._reader: Any = self._raw._fp  # noqa: SLF001  # the reader below urllib3's copies has no public name

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 where the connection has no more.

        Raises:
            OSError, http.client.HTTPException: The connection broke.
        """
        read: int = self._reader.readinto(buffer)
        return read

    def release(self) -> None:
        """Give the connection back, its body having been read to the end."""
        # Nothing is left; http.client learns only by reading that an empty body is over, and frees the connection.
        self._reader.read()
        self._raw.release_conn()

    def drop(self) -> None:
        """Close the connection, whatever it still has to say."""
        self._raw.close()
        self._raw.release_conn()

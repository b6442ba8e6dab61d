"""The connections to one service: pooled, shared by threads, never redirected, and retried where that is safe.

A reduction changes nothing, so that each request can be repeated. It is repeated if there was no connection, if the
connection broke before the reply, and if the service is full or its object has just changed (503), after as long as
``Retry-After`` says.
"""

import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Protocol

import urllib3
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from active_storage.client.failures import IncompleteReply, ServiceUnreachable
from active_storage.errors import ActiveStorageError, InvalidArgument, SlowDown
from active_storage.model.origins import Origin

# The connections that wait for the next request. More threads than these make connections of their own.
_KEPT_CONNECTIONS = 32

# Connecting takes at most this long: the service is near, or down.
_MOST_CONNECT_SECONDS = 10.0

# The pause before a repeated request, for the first one. It doubles with each.
_FIRST_PAUSE_SECONDS = 0.25

# What a reader of a body takes at a time, if there is as much.
_READ_BYTES = 1 << 16

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

# From a reply that is no result to its error.
ReadError = Callable[[int, Mapping[str, str], bytes], ActiveStorageError]

# The headers of a request. Called for each attempt: keys can be renewed, and signatures have a time.
MakeHeaders = Callable[[], Mapping[str, str]]


class Response(Protocol):
    """A response, of the library for HTTP or of this process."""

    @property
    def status(self) -> int:
        """The status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""

    def read1(self, amount: int, /) -> bytes:
        """The next bytes of the body, at most ``amount``, as soon as some have come; empty at the end of the body."""

    def close(self) -> None:
        """End it."""


class Reply:
    """A reply whose body is read while it comes.

    Args:
        response: The response.

    Attributes:
        headers: The headers, by names in lower case.
        stream: The body, a binary file. Reading it raises ``IncompleteReply`` if the connection breaks.
    """

    def __init__(self, response: Response) -> None:
        self._response = response
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.stream = io.BufferedReader(_Body(response), _READ_BYTES)

    def read(self) -> bytes:
        """The rest of the body.

        Raises:
            IncompleteReply: The connection broke.
        """
        return self.stream.read()

    def close(self) -> None:
        """End the reply. The connection is kept for the next request if the body was read to its end."""
        self._response.close()


class _Body(io.RawIOBase):
    """The body of a response, as Python reads files: what has come, without waiting for more."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._response.read1(len(buffer))
        except ReadTimeoutError:
            raise IncompleteReply("the service sent nothing more within the reply before the timeout") from None
        except (HTTPError, OSError) as error:
            raise IncompleteReply(f"the connection broke within the reply ({type(error).__name__})") from None
        buffer[: len(data)] = data
        return len(data)


class Channel(ABC):
    """What carries requests to one service, and repeats them. Threads may share it.

    Args:
        origin: The service.
        timeout: The longest silence, in seconds, before and within a reply.
        retries: How often a request is repeated.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self, origin: Origin, timeout: float, retries: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not timeout > 0:
            raise InvalidArgument("timeout", "should be more than 0 seconds")
        if retries < 0:
            raise InvalidArgument("retries", "should be 0 or more")
        self._origin = origin
        self._timeout = timeout
        self._sleep = sleep
        self.retries = retries

    @abstractmethod
    def close(self) -> None:
        """Close the connections that wait."""

    @abstractmethod
    def _open(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """The response to one attempt, whatever its status.

        Raises:
            _Broken: There is no reply, and the request can be repeated.
            ServiceUnreachable: There is no reply.
        """

    @contextmanager
    def ask(
        self, method: str, target: str, read_error: ReadError, make_headers: MakeHeaders, body: bytes | None = None
    ) -> Iterator[Reply]:
        """The reply to a request, with status 200. Its connection is closed if the block does not read all of it.

        Args:
            method: The method.
            target: The path and the query, percent-encoded.
            read_error: Makes the error of any other reply.
            make_headers: Makes the headers of an attempt.
            body: The body; None for none.

        Raises:
            ServiceUnreachable: There is no reply.
            InvalidArgument: The connections were closed.
            ActiveStorageError: The service refuses the request.
        """
        reply = self._try(method, target, read_error, make_headers, body)
        try:
            yield reply
        finally:
            reply.close()

    def pause(self, attempt: int, after: float = 0.0) -> None:
        """Wait before a repeated request.

        Args:
            attempt: How many there were before, from 0.
            after: The seconds that the service asks for.
        """
        self._sleep(max(after, _FIRST_PAUSE_SECONDS * 2**attempt))

    def _try(
        self, method: str, target: str, read_error: ReadError, make_headers: MakeHeaders, body: bytes | None
    ) -> Reply:
        attempt = 0
        while True:
            after = 0.0
            try:
                return self._send(method, target, read_error, make_headers(), body)
            except _Broken as error:
                failure: ActiveStorageError = ServiceUnreachable(f"{self._origin} {error}")
            except ActiveStorageError as error:
                # 503 says that the same request can succeed later.
                if error.status != 503:
                    raise
                failure, after = error, float(error.retry_after_seconds) if isinstance(error, SlowDown) else 0.0
            # Nobody waits longer for a full service than for a silent one.
            if attempt == self.retries or after > self._timeout:
                raise failure from None
            self.pause(attempt, after)
            attempt += 1

    def _send(
        self, method: str, target: str, read_error: ReadError, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        response = self._open(method, target, headers, body)
        reply = Reply(response)
        if response.status == 200:
            return reply
        try:
            content = reply.read()
        except IncompleteReply:
            content = b""
        finally:
            reply.close()
        raise read_error(response.status, reply.headers, content)


class Connections(Channel):
    """The connections to a service."""

    def __init__(
        self, origin: Origin, timeout: float, retries: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(origin, timeout, retries, sleep)
        # The environment names authorities for TLS as it does for boto3.
        self._authorities = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        self._pool, self._process = self._open_pool(), os.getpid()

    def close(self) -> None:
        """Close the connections that wait."""
        self._pool.close()

    def _open(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        try:
            return self._find_pool().urlopen(
                method, target, body=body, headers=headers, redirect=False, preload_content=False, decode_content=False
            )
        except (ConnectTimeoutError, NewConnectionError, ProtocolError) as error:
            raise _Broken(f"does not answer ({type(error).__name__})") from None
        except ReadTimeoutError:
            # It may still work on the request: repeating would double its work.
            raise ServiceUnreachable(f"{self._origin} sent nothing for {self._timeout:g} s") from None
        except ClosedPoolError:
            raise InvalidArgument("client", "is closed; make another one") from None
        except SSLError as error:
            raise ServiceUnreachable(f"{self._origin} has no certificate that can be trusted ({error})") from None
        except HTTPError as error:
            raise ServiceUnreachable(f"{self._origin} cannot be asked ({type(error).__name__})") from None

    def _open_pool(self) -> urllib3.HTTPConnectionPool:
        # A redirect or a proxy could send the secret elsewhere: neither is followed.
        return urllib3.connection_from_url(
            str(self._origin),
            maxsize=_KEPT_CONNECTIONS,
            timeout=urllib3.Timeout(connect=min(self._timeout, _MOST_CONNECT_SECONDS), read=self._timeout),
            retries=False,
            **({"ca_certs": self._authorities} if self._authorities and self._origin.scheme == "https" else {}),
        )

    def _find_pool(self) -> urllib3.HTTPConnectionPool:
        """The connections of this process. A process that was forked has those of its parent, which are not its own."""
        if self._process != os.getpid():
            self._pool, self._process = self._open_pool(), os.getpid()
        return self._pool


# From method, target, headers and body of a request to status, headers and pieces of the reply, which are closed.
Answer = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, Sequence[tuple[str, str]], Iterable[bytes]]]


class InProcess(Channel):
    """A service that answers in this process, without a connection.

    Args:
        answer: The service.
        origin: What messages call it.
    """

    def __init__(self, answer: Answer, origin: Origin) -> None:
        super().__init__(origin, timeout=1.0, retries=0)
        self._answer = answer

    def close(self) -> None:
        """There are no connections."""

    def _open(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        return _Pieces(*self._answer(method, target, headers, body))


class _Pieces:
    """A response that was made in this process."""

    def __init__(self, status: int, headers: Sequence[tuple[str, str]], pieces: Iterable[bytes]) -> None:
        self.status = status
        self.headers = dict(headers)
        self._made = pieces
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def read1(self, amount: int) -> bytes:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = memoryview(piece)
        taken, self._left = self._left[:amount], self._left[amount:]
        return bytes(taken)

    def close(self) -> None:
        if close := getattr(self._made, "close", None):
            close()


class _Broken(Exception):
    """There was no reply, and the request can be repeated."""

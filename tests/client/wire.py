"""A service of bytes: it answers over real connections with what a test gives, and sees when the client closes them."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import cbor2

from active_storage.grammar.targets import DISCOVERY_PATH

# Tests wait at most this long for what should happen at once.
SECONDS = 20.0

_SEQUENCE = b"Content-Type: application/cbor-seq\r\n"


def in_chunks(*items: Mapping[str, Any]) -> bytes:
    """A reply with a sequence, each item in a chunk of HTTP."""
    chunks = [b"%x\r\n%b\r\n" % (len(item), item) for item in map(cbor2.dumps, items)]
    return b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (_SEQUENCE, b"".join(chunks))


def with_length(*items: Mapping[str, Any]) -> bytes:
    """A reply with a sequence of a known length."""
    body = b"".join(map(cbor2.dumps, items))
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (_SEQUENCE, len(body), body)


def until_closed(*items: Mapping[str, Any]) -> bytes:
    """A reply with a sequence that ends with the connection."""
    return b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\n%b" % (_SEQUENCE, b"".join(map(cbor2.dumps, items)))


@dataclass(frozen=True)
class Answer:
    """What is sent for a request.

    Attributes:
        data: The bytes.
        end: What follows: "keep" for the next request on the connection, "close", "reset", or "silence" until the
            client closes it.
    """

    data: bytes
    end: str = "keep"


# Makes the answer to the members of a request.
MakeAnswer = Callable[[dict[str, Any]], Answer]


@dataclass
class Connection:
    """A connection that the client made.

    Attributes:
        requests: How many requests came on it.
        has_answered: Set when an answer to a question was sent.
        is_closed: Set when the client has closed it, or this side did.
    """

    requests: int = 0
    has_answered: threading.Event = field(default_factory=threading.Event)
    is_closed: threading.Event = field(default_factory=threading.Event)


class Service:
    """A service that answers the discovery itself, and questions with what a function makes.

    Attributes:
        url: Its URL.
        connections: The connections, in the order in which they came.
        asked: The members of all questions.
    """

    def __init__(self, document: Mapping[str, Any], make_answer: MakeAnswer) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._document = json.dumps(document).encode()
        self._make_answer = make_answer
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[Connection] = []
        self.asked: list[dict[str, Any]] = []
        self._start(self._accept)

    def close(self) -> None:
        """End all connections, and wait for all threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def wait_until_closed(self) -> None:
        """Pass if the client has closed all connections."""
        for each in self.connections:
            assert each.is_closed.wait(SECONDS)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                each, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection()
            self._sockets.append(each)
            self.connections.append(connection)
            self._start(self._serve, each, connection)

    def _serve(self, each: socket.socket, connection: Connection) -> None:
        with each, suppress(OSError):
            stream = each.makefile("rb")
            for head, body in iter(lambda: _read_request(stream), None):
                connection.requests += 1
                if DISCOVERY_PATH.encode() in head:
                    each.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self._document) + self._document
                    )
                    continue
                self.asked.append(cbor2.loads(body) if body else {})
                answer = self._make_answer(self.asked[-1])
                each.sendall(answer.data)
                connection.has_answered.set()
                if answer.end == "silence":
                    while stream.read(1):
                        pass
                if answer.end == "reset":
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                if answer.end != "keep":
                    break
            stream.close()
        connection.is_closed.set()


def _read_request(stream: Any) -> tuple[bytes, bytes] | None:
    """The head and the body of the next request; None if the client has closed the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return head, stream.read(int(found[1])) if found else b""


@contextmanager
def serving(document: Mapping[str, Any], make_answer: MakeAnswer) -> Iterator[Service]:
    """A service until the block ends."""
    service = Service(document, make_answer)
    try:
        yield service
    finally:
        service.close()

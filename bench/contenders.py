"""Who is compared: each way of coming by the sum of an object, and the store alone, which every other is measured by.

A contender opens what it keeps between requests (a connection, a buffer) and fetches one object after another through
it. It says what it received and which sum it came to; whether that is right is not for it to judge.
"""

import http.client
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.cases import MIB
from bench.scene import BUCKET, DTYPE, Scene, StoredObject, format_total
from deploy.local.store import Store

# No smaller and no larger one is faster for the store alone.
_BUFFER_BYTES = 1 * MIB

# Nobody waits as long; it ends a run that hangs.
_TIMEOUT_SECONDS = 600

# boto3 keeps 10 connections and opens the others anew for each request; no case has more clients than this.
_BOTO3_CONNECTIONS = 64


class WrongReply(Exception):
    """A contender was refused, received too little, or came to another sum than numpy."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one request.

    Attributes:
        received: How many bytes of body.
        total: The sum, as the service would send it; None for who does not add up.
    """

    received: int
    total: bytes | None = None


Fetch = Callable[[StoredObject], Fetched]


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        name: What the page calls it.
        does: What it does with an object, for the page.
        open: What fetches, for one client at a time, until the context ends.
        colour: Its own in all charts: grey, or one of Okabe and Ito's, which colour-blind people can tell apart too.
        marker: The same of the points of its line, as matplotlib calls it.
        copies: How many times the object it holds in memory at once.
    """

    name: str
    does: str
    open: Callable[[Scene], AbstractContextManager[Fetch]]
    colour: str
    marker: str
    copies: int = 0

    def needed_bytes(self, size: int, clients: int) -> int:
        """The memory that so many clients take, beyond what they always have."""
        return self.copies * size * clients


@contextmanager
def _open_store(scene: Scene) -> Iterator[Fetch]:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with closing(_connect(scene.store.endpoint)) as connection:

        def fetch(stored: StoredObject) -> Fetched:
            response = _get(connection, stored.target)
            received = 0
            while read := response.readinto(buffer):
                received += read
            return Fetched(received)

        yield fetch


@contextmanager
def _open_proxy(scene: Scene) -> Iterator[Fetch]:
    with closing(_connect(scene.service)) as connection:

        def fetch(stored: StoredObject) -> Fetched:
            body = _get(connection, f"/sum/float32{stored.target}").read()
            return Fetched(len(body), body)

        yield fetch


@contextmanager
def _open_client(scene: Scene) -> Iterator[Fetch]:
    client = _boto3_client(scene.store)

    def fetch(stored: StoredObject) -> Fetched:
        body = client.get_object(Bucket=BUCKET, Key=stored.key)["Body"].read()
        return Fetched(len(body), format_total(np.frombuffer(body, DTYPE)))

    yield fetch


@cache
def _boto3_client(store: Store) -> Any:
    """One for all threads of a process, as boto3's documentation recommends: it takes a tenth of a second to make."""
    return store.client(max_pool_connections=_BOTO3_CONNECTIONS)


def _connect(endpoint: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=_TIMEOUT_SECONDS)


def _get(connection: http.client.HTTPConnection, target: str) -> http.client.HTTPResponse:
    connection.request("GET", target)
    response = connection.getresponse()
    if response.status != 200:
        raise WrongReply(f"{response.status} {response.reason}: {response.read(1000).decode(errors='replace')}")
    return response


STORE = Contender(
    "store",
    "downloads the object by a presigned link over a kept connection into one reused buffer, and drops it",
    _open_store,
    colour="#555555",
    marker="s",
)
PROXY = Contender(
    "proxy",
    "sends the same link with `/sum/float32` in front of its path to the service, over a kept connection",
    _open_proxy,
    colour="#0072b2",
    marker="o",
)
CLIENT = Contender(
    "client",
    "downloads the object with boto3's `get_object`, and adds it up with numpy in float64",
    _open_client,
    colour="#d55e00",
    marker="^",
    copies=1,
)

CONTENDERS = (STORE, PROXY, CLIENT)

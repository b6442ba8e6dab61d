"""Several services that share the work: which one is asked for a part, what happens if it fails, and with whose keys.

Each part of the work has an order of the services, by rendezvous hashing: the same part goes to the same service while
that is there, so that what it keeps is of use, and a service that comes or goes moves only its own parts. See Thaler
and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6 (1), 1998.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from time import sleep
from typing import TypeVar

from active_storage.client.client import Client
from active_storage.client.failures import IncompleteReply, ServiceUnreachable
from active_storage.errors import ActiveStorageError, InvalidArgument, SlowDown

# The URLs of services, or a function that lists those that there are now.
Urls = Sequence[str] | Callable[[], Sequence[str]]

# The clients that a process keeps. Keys can be renewed, and services can be replaced.
_MOST_CLIENTS = 64

# The pause before all services are asked again, for the first time. It doubles with each, up to the longest.
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Access:
    """How services are asked, by the names of ``AccessArguments``. ``repr`` hides the keys, and ``pickle`` does not.

    Attributes:
        key: As for ``Client``, and so are the others.
    """

    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    anon: bool = False
    profile: str | None = None
    insecure: bool = False
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Services:
    """Services of the same version, any of which can do a part of the work. It can be pickled, and holds no connection.

    Attributes:
        urls: Their URLs, or a function that lists those that there are now. It is called before each round.
        access: How they are asked.
        retries: How often all of them are asked again, if all are full or cannot be reached.
    """

    urls: Urls
    access: Access
    retries: int

    def ensure_valid(self) -> None:
        """Pass if the services can be asked, as far as can be known without asking.

        Raises:
            InvalidArgument: There is no URL, or one is not that of a service, or the access contradicts itself.
            InsecureService: The secret would be sent over http to another machine.
        """
        if callable(self.urls):
            return
        if isinstance(self.urls, str) or not self.urls:
            raise InvalidArgument("services", "should be a list of at least one URL, or a function that returns it")
        for url in self.urls:
            find_client(url, self.access)

    def ask(self, part: str, ask: Callable[[Client], _Answer]) -> _Answer:
        """The answer of the first service in the order of a part that is not full and can be reached.

        Args:
            part: Names the part of the work.
            ask: Asks one of them. What it has got from one that fails it need not ask the next one for.

        Raises:
            ServiceUnreachable: There is no service, or none can be reached.
            ActiveStorageError: There is no answer.
        """
        attempt = 0
        while True:
            failure: ActiveStorageError = ServiceUnreachable("there is no service in the list")
            pause = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
            soonest: float | None = None
            for url in rank(self._list(), part):
                try:
                    return ask(find_client(url, self.access))
                except ActiveStorageError as error:
                    if not _is_passing(error):
                        raise
                    failure, after = error, error.retry_after_seconds if isinstance(error, SlowDown) else 0.0
                    soonest = after if soonest is None else min(soonest, after)
            if attempt == self.retries:
                raise failure
            sleep(max(pause, soonest or 0.0))
            attempt += 1

    def _list(self) -> Sequence[str]:
        if not callable(self.urls):
            return self.urls
        try:
            return self.urls()
        except OSError:
            # A name server or a file that is not there at the moment.
            return ()


def rank(urls: Sequence[str], part: str) -> list[str]:
    """The services in the order in which they are asked for a part: by the hash of both, the highest first.

    Args:
        urls: The URLs of the services. Their order has no effect.
        part: Names the part of the work.
    """
    return sorted(set(urls), key=lambda url: hashlib.sha256(f"{url}\n{part}".encode()).digest(), reverse=True)


@lru_cache(_MOST_CLIENTS)
def find_client(url: str, access: Access) -> Client:
    """The client of a service, one for the threads of this process. It does not repeat requests.

    Raises:
        InvalidArgument: The URL is not that of a service, or the access contradicts itself.
        InsecureService: The secret would be sent over http to another machine.
    """
    return Client(url, **asdict(access), retries=0)


# A forked process makes clients of its own: another thread could have held a lock of these.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=find_client.cache_clear)


def _is_passing(error: ActiveStorageError) -> bool:
    """Whether another service, or the same one later, may answer: there is no connection, or the service is full."""
    return isinstance(error, ServiceUnreachable | IncompleteReply) or error.status == 503

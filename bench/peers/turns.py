"""One turn: a contender is asked for some seconds by wrk, or so many times by threads; what comes is a rate.

wrk asks again as soon as it has an answer, and costs little. What it has not got when the time is over it forgets, so
that objects that take long are asked for a number of times instead.
"""

import http.client
import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import requests

from bench.cases import MIB
from bench.contenders import WrongReply
from bench.peers.programs import need

_BUFFER_BYTES = 1 * MIB
_TIMEOUT_SECONDS = 600
_RATE_RE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_FAILURE_RE = re.compile(r"Non-2xx or 3xx responses: \d+|Socket errors: .*")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, to be made again and again.

    Attributes:
        url: Where to.
        method: GET or POST.
        headers: Beside the usual.
        body: Of a POST.
    """

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = ""


def ask_json(endpoint: str, operation: str, members: Mapping[str, object]) -> Ask:
    """A request of the JSON interface."""
    headers = {"Content-Type": "application/json"}
    return Ask(f"{endpoint}/v2/{operation}/", "POST", headers, json.dumps(members))


def take_by_wrk(ask: Ask, clients: int, seconds: int) -> float:
    """Requests per second.

    Raises:
        RuntimeError: There is no wrk.
        WrongReply: One of them failed.
    """
    with TemporaryDirectory(prefix="active-storage-") as folder:
        script = Path(folder) / "ask.lua"
        script.write_text(_to_lua(ask))
        done = subprocess.run(  # noqa: S603  # the arguments are ours
            [
                *(need("wrk"), "-t", str(min(clients, 2)), "-c", str(clients), "-d", f"{seconds}s"),
                *("--timeout", f"{_TIMEOUT_SECONDS}s", "-s", script, ask.url),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    rate = _RATE_RE.search(done.stdout)
    failure = _FAILURE_RE.search(done.stdout)
    if failure or not rate or not float(rate[1]):
        raise WrongReply(f"wrk: {failure[0] if failure else done.stderr or 'no answer in time'}")
    return float(rate[1])


def take_by_threads(ask: Ask, clients: int, times: int) -> float:
    """Requests per second, from the first request to the last answer."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.monotonic()
        list(pool.map(lambda _: _repeat(ask, times), range(clients)))
        return clients * times / (time.monotonic() - started)


def take_by_requests(ask: Ask, size: int) -> float:
    """The same of one object of ``size`` bytes, downloaded with requests as programs do, piece by piece."""
    started, received = time.monotonic(), 0
    with requests.get(ask.url, headers=dict(ask.headers), stream=True, timeout=_TIMEOUT_SECONDS) as response:
        for piece in response.iter_content(_BUFFER_BYTES):
            received += len(piece)
    elapsed = time.monotonic() - started
    _ensure_whole(received, size)
    return 1 / elapsed


def take_by_ranges(ask: Ask, size: int, streams: int) -> float:
    """The same of one object of ``size`` bytes, downloaded by so many ranges at once and dropped."""
    cuts = [size * number // streams for number in range(streams + 1)]
    parts = [Ask(ask.url, headers={"Range": f"bytes={start}-{stop - 1}"}) for start, stop in itertools.pairwise(cuts)]
    with ThreadPoolExecutor(streams) as pool:
        started = time.monotonic()
        received = sum(pool.map(lambda part: _repeat(part, 1), parts))
        elapsed = time.monotonic() - started
    _ensure_whole(received, size)
    return 1 / elapsed


def _ensure_whole(received: int, size: int) -> None:
    if received != size:
        raise WrongReply(f"{received} bytes of {size} came")


def fetch(ask: Ask) -> bytes:
    """The body of one answer.

    Raises:
        WrongReply: It is a refusal.
    """
    pieces: list[bytes] = []
    _repeat(ask, 1, lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces)


def _repeat(ask: Ask, times: int, keep: Callable[[memoryview], None] = lambda _: None) -> int:
    parts, buffer, received = urlsplit(ask.url), memoryview(bytearray(_BUFFER_BYTES)), 0
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    with closing(http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)) as connection:
        for _ in range(times):
            connection.request(ask.method, target, ask.body or None, dict(ask.headers))
            response = connection.getresponse()
            if response.status not in (200, 206):
                raise WrongReply(f"{response.status}: {response.read(300).decode(errors='replace')}")
            while read := response.readinto(buffer):
                received += read
                keep(buffer[:read])
    return received


def _to_lua(ask: Ask) -> str:
    headers = "".join(f"wrk.headers[{_quoted(name)}] = {_quoted(value)}\n" for name, value in ask.headers.items())
    body = f"wrk.body = {_quoted(ask.body)}\n" if ask.body else ""
    return f"wrk.method = {_quoted(ask.method)}\n{headers}{body}"


def _quoted(text: str) -> str:
    # JSON's strings of ASCII without escapes for letters are Lua's.
    return json.dumps(text)

"""Where the time of a small request goes: a worker under load, looked at by py-spy some hundred times a second.

Each look finds what the worker's busy threads are at. A look counts for the innermost place that a row of ``LAYERS``
knows, so that the time of a library is its caller's.
"""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.peers.programs import find
from bench.peers.turns import Ask, take_by_wrk

_SECONDS = 6
_LOOKS_PER_SECOND = 250
_CLIENTS = 8

# What the page calls a part of the way, and what the stack says of a place in it.
LAYERS: tuple[tuple[str, str], ...] = (
    ("the server: its loop, its threads", "gunicorn/workers"),
    ("the server: waiting threads woken, work handed over", "concurrent/futures"),
    ("the server: its loop, its threads", "handler/server"),
    ("the server: the request parsed", "gunicorn/http/message"),
    ("the server: the request parsed", "gunicorn/http/parser"),
    ("the server: the request parsed", "gunicorn/http/unreader"),
    ("the server: the request parsed", "gunicorn/http/body"),
    ("the server: WSGI, and the reply sent", "gunicorn/http/wsgi"),
    ("the server: WSGI, and the reply sent", "gunicorn/util"),
    ("the application: from WSGI to a door", "handler/app"),
    ("the application: from WSGI to a door", "flask/"),
    ("the application: from WSGI to a door", "handler/doors/door"),
    ("the application: from WSGI to a door", "handler/doors/request_target"),
    ("the application: from WSGI to a door", "handler/doors/service"),
    ("the door: JSON in, CBOR out", "handler/doors/json"),
    ("the door: JSON in, CBOR out", "active_storage/"),
    ("the log line", "handler/observe/"),
    ("the pipeline", "handler/engine/engine"),
    ("the pipeline", "handler/engine/memory"),
    ("the upstream call: around it", "handler/stores"),
    ("the upstream call: request out, head in", "handler/stores/wire"),
    ("the upstream call: bytes of the body", "handler/engine/blocks"),
    ("decoding", "handler/codecs/chain"),
    ("decoding", "handler/codecs/"),
    ("the arithmetic and the walk", "handler/kernels/walk"),
    ("the arithmetic and the walk", "handler/engine/extent"),
    ("the arithmetic and the walk", "handler/engine/result"),
    ("the arithmetic and the walk", "handler/kernels/"),
)
_ELSEWHERE = "elsewhere"

# Where a thread waits for something to do. py-spy takes many of these waits for work.
_WAITING = ("selectors.py", "threading.py", "concurrent/futures/thread.py", "Worker._is_followed")


def measure(ask: Ask, pid: int) -> Mapping[str, float]:
    """The share of each layer in the time of a busy worker; nothing where py-spy is missing."""
    program = find("py-spy")
    if program is None:
        return {}
    asking = threading.Thread(target=take_by_wrk, args=(ask, _CLIENTS, _SECONDS + 2))
    asking.start()
    time.sleep(1)
    with TemporaryDirectory(prefix="active-storage-") as folder:
        stacks = Path(folder) / "stacks"
        options = ["--duration", str(_SECONDS), "--rate", str(_LOOKS_PER_SECOND), "--format", "raw", "--full-filenames"]
        subprocess.run(  # noqa: S603  # the arguments are ours
            [program, "record", *options, "--pid", str(pid), "--output", stacks], capture_output=True, check=False
        )
        asking.join()
        return count_layers(stacks.read_text()) if stacks.exists() else {}


def count_layers(stacks: str) -> dict[str, float]:
    """The share of each layer in stacks as py-spy writes them: frames from the outermost on, and how often."""
    looks: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, times = line.rpartition(" ")
        if any(place in stack.rpartition(";")[2] for place in _WAITING):
            continue
        looks[_find_layer(stack)] += int(times)
    total = sum(looks.values())
    return {name: number / total for name, number in looks.most_common()}


def _find_layer(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        layers = [name for name, place in LAYERS if place in frame]
        if layers:
            # A longer place, further down the table, knows better.
            return layers[-1]
    return _ELSEWHERE

"""gunicorn's options for this application, and the functions that gunicorn calls at startup.

- ``gthread``: a request mostly waits for the store, and releases the interpreter's lock while it waits.
- One worker for each core: numpy and Python can keep a core busy.
- ``reuse_port``: the kernel spreads kept-alive connections over the workers.
"""

import os
import socket
import sys
from functools import partial
from typing import Any

from gunicorn.arbiter import Arbiter

from handler.server.cores import Cores
from handler.server.worker import MAX_REQUEST_LINE_BYTES, Worker
from handler.settings import Settings

# Longer than clients keep idle connections in their pools (boto3 and s3fs: about 10 s). Then the client closes them,
# and no request is sent on a connection that the server is closing.
_KEEP_ALIVE_SECONDS = 75


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """Gunicorn's options for these settings."""
    return {
        "bind": settings.bind,
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": type(
            "Worker", (Worker,), {"stall_seconds": settings.read_timeout, "cores": Cores(settings.workers)}
        ),
        "reuse_port": not settings.bind.startswith("unix:"),
        "on_starting": _ensure_free,
        "pre_fork": _assign_slot,
        "when_ready": partial(_announce, settings),
        "keepalive": _KEEP_ALIVE_SECONDS,
        "limit_request_line": MAX_REQUEST_LINE_BYTES,
        # Headers of proxies have no effect here, so that gunicorn need not check whether to trust the peer's address.
        "forwarded_allow_ips": "*",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        # The application logs one line for each request.
        "accesslog": None,
        # gunicorn's own lines are not JSON, and its debug lines contain paths.
        "loglevel": "error" if settings.log_level == "error" else "warning",
        # This server is not managed through a socket in the home folder.
        "control_socket_disable": True,
        "proc_name": "active-storage",
    }


def _assign_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Give a worker that is about to start the slot that the fewest other workers have."""
    others = (other for other in arbiter.WORKERS.values() if isinstance(other, Worker))
    worker.slot = worker.cores.pick_slot([other.slot for other in others])


def _ensure_free(arbiter: Arbiter) -> None:
    """Check that no other process listens at our address. With ``reuse_port`` the kernel would let two share it.

    Raises:
        RuntimeError: Another process listens there.
    """
    if "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ:
        # gunicorn was started with sockets that listen already.
        return
    for address in arbiter.cfg.address:
        if not isinstance(address, tuple):
            continue
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
            # Servers set this too: connections of an earlier server then do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise RuntimeError(f"{address[0]}:{address[1]}: {error.strerror}") from None


def _announce(settings: Settings, _: Arbiter) -> None:
    sys.stderr.write(f"active-storage listens on {settings.bind}; the store is {settings.store}\n")

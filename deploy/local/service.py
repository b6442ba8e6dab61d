"""The service itself on loopback, in front of a store.

It is started as any user starts it, by its own command line, and knows of the store only what the environment says.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from deploy.local.processes import LOOPBACK, Program, http_status, running, take_port
from deploy.local.store import Store
from handler.settings import ENV_PREFIX

ROOT = Path(__file__).resolve().parents[2]

_NOTHING: Mapping[str, str] = MappingProxyType({})
# Who sets these for a shell does not mean this service: its store is on loopback, its server has settings of its own.
_NOT_INHERITED = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "gunicorn_cmd_args", "web_concurrency"}


@contextmanager
def service(
    store: Store,
    settings: Mapping[str, str] = _NOTHING,
    log: Path | None = None,
    port: int | None = None,
) -> Iterator[str]:
    """The service, ready to answer; yields its endpoint.

    Args:
        store: What it stands in front of.
        settings: More of its settings by their full names, for instance ``ACTIVE_STORAGE_WORKERS``; they win.
        log: The file that its log is added to; when not given, it is only kept for an error's text.
        port: Where it listens, a free port when not given.

    Raises:
        RuntimeError: The port is taken, or the service did not start.
    """
    address = f"{LOOPBACK}:{take_port(port)}"
    endpoint = f"http://{address}"
    ours = {f"{ENV_PREFIX}S3_ENDPOINT": store.endpoint, f"{ENV_PREFIX}BIND": address}
    # An empty folder to run in: a .env file where the caller stands is not for this service.
    with TemporaryDirectory(prefix="active-storage-", ignore_cleanup_errors=True) as folder:
        server = Program(
            name="the service",
            command=[sys.executable, "-m", "handler.cli", "serve"],
            env={**_inherited(), **ours, **settings},
            ready=lambda: http_status(f"{endpoint}/readyz") == 200,
            cwd=Path(folder),
            log=log,
        )
        with running(server):
            yield endpoint


def _inherited() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENV_PREFIX) and name.lower() not in _NOT_INHERITED
    }
    path = [str(ROOT), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, path))}

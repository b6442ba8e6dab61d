"""The service itself on loopback, in front of a store.

It is started by its command line, as users start it, and configured by the environment only.
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
# Variables of the shell that are not meant for this service: its store is on loopback, and its server is configured
# here.
_NOT_INHERITED = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "gunicorn_cmd_args", "web_concurrency"}


@contextmanager
def service(
    store: Store,
    settings: Mapping[str, str] = _NOTHING,
    log: Path | None = None,
    port: int | None = None,
) -> Iterator[str]:
    """Run the service, and yield its endpoint when it is ready.

    Args:
        store: The store of its direct proxy.
        settings: Further settings by their full names, such as ``ACTIVE_STORAGE_WORKERS``. They override the others.
        log: The file to which its log is appended; None to keep the log for error messages only.
        port: The port to listen on; None for a free one.

    Raises:
        RuntimeError: The port is in use, or the service did not start.
    """
    address = f"{LOOPBACK}:{take_port(port)}"
    endpoint = f"http://{address}"
    ours = {f"{ENV_PREFIX}S3_ENDPOINT": store.endpoint, f"{ENV_PREFIX}BIND": address}
    # It runs in an empty folder, so that it does not read a .env file of the current one.
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

"""The programs of others: where they are, how they are started, and what to say where one is missing."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cases import MIB
from deploy.local.processes import LOOPBACK, Program, free_ports, http_status, running
from deploy.local.service import ROOT
from handler.affinity import count_cores

PEER, SKETCH = "Reductionist", "a sketch"

# Under this path the web server gives each connection so much a second, as stores at a distance do.
SHARED_PATH = "/shared"
SHARE_BYTES = 256 * MIB

# What each is called, and how it is installed.
_INSTALL = {
    "nginx": "apt-get install nginx-light",
    "wrk": "apt-get install wrk",
    "reductionist": "cargo install reductionist --version 0.13.1   (a recent stable Rust; ten minutes on two cores)",
}

_NGINX = """\
daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address};
        root {folder}/objects;
        location {shared}/ {{ alias {folder}/objects/; limit_rate {share}; }}
    }}
}}
"""


def find(name: str) -> Path | None:
    """A program: what the variable of its name in capitals says, or what is on PATH or where such programs lie."""
    named = os.environ.get(name.upper())
    places = (os.environ.get("PATH", ""), Path(sys.executable).parent, "/usr/sbin", Path.home() / ".cargo" / "bin")
    path = os.pathsep.join(map(str, places))
    found = named or shutil.which(name, path=path)
    return Path(found) if found else None


def need(name: str) -> Path:
    """The same of a program that nothing can be measured without.

    Raises:
        RuntimeError: It is missing; the text says how to install it.
    """
    program = find(name)
    if program is None:
        raise RuntimeError(tell_missing())
    return program


def tell_missing() -> str:
    """What is missing, and how to install it; nothing where all is there."""
    lines = [f"  {name}: {how}" for name, how in _INSTALL.items() if find(name) is None]
    if not lines:
        return ""
    return "\n".join(["make bench-peers needs programs that are not here:", *lines, f"or {_VARIABLES}"])


_VARIABLES = "say where they are: NGINX=..., WRK=..., REDUCTIONIST=..."


@contextmanager
def web_server() -> Iterator[tuple[str, Path]]:
    """nginx, and the folder whose files it serves.

    Raises:
        RuntimeError: It did not start.
    """
    with TemporaryDirectory(prefix="active-storage-", ignore_cleanup_errors=True) as name:
        folder, address = Path(name), f"{LOOPBACK}:{free_ports(1)[0]}"
        # Its workers may run as another user.
        folder.chmod(0o755)
        (folder / "objects").mkdir()
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _NGINX.format(workers=count_cores(), folder=folder, address=address, shared=SHARED_PATH, share=SHARE_BYTES)
        )
        program = Program(
            name="nginx",
            command=[need("nginx"), "-p", folder, "-c", configuration, "-e", "stderr"],
            env={"PATH": os.defpath},
            ready=lambda: http_status(f"http://{address}/") is not None,
        )
        with running(program):
            yield f"http://{address}", folder / "objects"


@contextmanager
def peer() -> Iterator[tuple[str, int]]:
    """Reductionist with its defaults: its endpoint and its process.

    Raises:
        RuntimeError: It did not start.
    """
    port = free_ports(1)[0]
    endpoint = f"http://{LOOPBACK}:{port}"
    program = Program(
        name=PEER,
        command=[need("reductionist"), "--host", LOOPBACK, "--port", str(port)],
        env={"PATH": os.defpath, "HOME": str(Path.home()), "RUST_LOG": "error"},
        ready=lambda: http_status(f"{endpoint}/.well-known/reductionist-schema") is not None,
    )
    with running(program) as process:
        yield endpoint, process.pid


@contextmanager
def sketch() -> Iterator[str]:
    """``sketch.py`` under gunicorn, set up like the service: its endpoint.

    Raises:
        RuntimeError: It did not start.
    """
    address = f"{LOOPBACK}:{free_ports(1)[0]}"
    options = {
        "bind": address,
        "worker-class": "gthread",
        "workers": count_cores(),
        "threads": 32,
        "keep-alive": 75,
        "log-level": "error",
    }
    program = Program(
        name=SKETCH,
        command=[
            *(sys.executable, "-m", "gunicorn", "--reuse-port"),
            *(f"--{name}={value}" for name, value in options.items()),
            "bench.peers.sketch:app",
        ],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        ready=lambda: http_status(f"http://{address}/") is not None,
    )
    with running(program):
        yield f"http://{address}"

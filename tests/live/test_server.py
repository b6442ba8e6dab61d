"""The real server: malformed requests, its log, its memory, its connections and its processes."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import numpy as np
import psutil
import pytest

from deploy.local.samples import sample_array
from deploy.local.service import service
from deploy.local.store import Store, make_bucket
from handler.app import _HANG_UP_SECONDS
from handler.settings import ENV_PREFIX
from tests import faulty_store
from tests.faulty_store import Call, FaultyStore, HangUp, plain, well
from tests.helpers import BLOCK_BYTES
from tests.live.processes import find_listeners

pytestmark = pytest.mark.live

CANARY = "0123456789canary0123456789"
KEY = "/sum/float32/sample-data/data-float32.dat"


def send(endpoint: str, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a raw request, and return the status and the body of the reply."""
    parts = urlsplit(endpoint)
    head = "\r\n".join([*lines, "Host: proxy", "Connection: close", "", ""])
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(head.encode("latin-1") + body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        ([f"GET /sum/float32/b/{'k' * 8192}?X-Amz-Signature={CANARY} HTTP/1.1"], 414, "RequestURITooLong"),
        ([f"GARBAGE {CANARY}"], 400, "InvalidArgument"),
        ([f"GET /sum/{CANARY} x HTTP/1.1"], 400, "InvalidArgument"),
        ([f"GET /sum?{CANARY} HTTP/9.9"], 400, "InvalidArgument"),
        (["GET /sum/float32/bucket/\xe9 HTTP/1.1"], 400, "InvalidArgument"),
        (["GET /sum/float32/bucket/\x01 HTTP/1.1"], 400, "InvalidArgument"),
        (["GET /sum/float32/bucket/k HTTP/1.1", f"Authori zation: {CANARY}"], 400, "InvalidArgument"),
        (["GET /sum/float32/bucket/k HTTP/1.1", f"Authorization: {CANARY * 400}"], 400, "InvalidArgument"),
        (["GET /sum/float32/bucket/k HTTP/1.1", *(f"h{n}: {CANARY}" for n in range(200))], 400, "InvalidArgument"),
        (["GET /sum/float32/bucket/k HTTP/1.1", f"Transfer-Encoding: {CANARY}"], 400, "InvalidArgument"),
        (["PROPFIND /sum/float32/bucket/k HTTP/1.1"], 405, "MethodNotAllowed"),
        (["OPTIONS * HTTP/1.1"], 405, "MethodNotAllowed"),
    ],
)
def test_an_unparsable_request_is_refused_in_s3s_xml(endpoint: str, lines: list[str], status: int, code: str) -> None:
    answered, body = send(endpoint, *lines)
    assert (answered, ET.fromstring(body).findtext("Code")) == (status, code)
    assert CANARY.encode() not in body


_GET = f"GET {KEY} HTTP/1.1"
_POST = "POST /v2/sum/ HTTP/1.1"
_CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ([_GET], b""),
        ([_GET, "Host: proxy", "Host: proxy"], b""),
        ([_GET, "Host:"], b""),
        ([_GET, "Host: a b"], b""),
        ([_GET, "Host: proxy\xe9"], b""),
        ([_POST], b"{}"),
        (["GET healthz HTTP/1.1", "Host: proxy"], b""),
        (["GET ftp://proxy/healthz HTTP/1.1", "Host: proxy"], b""),
        (["get /healthz HTTP/1.1", "Host: proxy"], b""),
        ([_GET, "Host: proxy", "X: a", " b"], b""),
        ([_GET, "Host: proxy", "X: a\x00b"], b""),
        ([_POST, "Host: proxy", "Content-Length: 2", "Content-Length: 3"], b"{}"),
        ([_POST, "Host: proxy", "Content-Length: +2"], b"{}"),
        ([_POST, "Host: proxy", "Content-Length: \xb2"], b"{}"),
        ([_POST, "Host: proxy", "Content-Length: 3"], b"{}"),
        ([_POST, "Host: proxy", "Content-Length: 2", _CHUNKED], b"0\r\n\r\n"),
        ([_POST, "Host: proxy", "Transfer-Encoding: identity, chunked, chunked"], b"0\r\n\r\n"),
        ([_POST, "Host: proxy", _CHUNKED], b"-2\r\n{}\r\n0\r\n\r\n"),
        ([_POST, "Host: proxy", _CHUNKED], b"5\r\n{}"),
        ([_POST, "Host: proxy", _CHUNKED], b"2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n"),
        ([_POST, "Host: proxy", "Expect: magic"], b""),
        (["PRI * HTTP/2.0"], b"SM\r\n\r\n"),
    ],
)
def test_malformed_http_is_refused(endpoint: str, lines: list[str], body: bytes) -> None:
    """RFC 9112, sections 2.2, 3.2, 5.2, 6.1 and 6.3. gunicorn refuses them before any door."""
    parts = urlsplit(endpoint)
    head = "\r\n".join([*lines, "Connection: close", "", ""])
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(head.encode("latin-1") + body)
        connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 400
        assert b"InvalidArgument" in response.read() or response.getheader("Content-Type") == "application/json"


def test_a_header_with_an_underscore_is_not_the_one_with_a_hyphen(endpoint: str) -> None:
    """WSGI does not distinguish them, and a signature covers only one of them."""
    assert send(endpoint, "GET /healthz HTTP/1.1", "Content_Length: 5")[0] == 200
    # As a Range header it would change the result. Without it, the store refuses the anonymous request.
    status, body = send(endpoint, _GET, "If_Range: x")
    assert (status, ET.fromstring(body).findtext("Code")) == (403, "AccessDenied")


def test_a_key_of_1024_escaped_bytes_reaches_the_store(endpoint: str) -> None:
    status, body = send(endpoint, f"GET /sum/float32/sample-data/{'%E2%82%AC' * 341} HTTP/1.1")
    assert (status, ET.fromstring(body).findtext("Code")) == (403, "AccessDenied")


def test_an_unread_body_does_not_end_the_connection(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    for _ in range(2):
        connection.request("POST", KEY, body=b"x" * 1000)
        response = connection.getresponse()
        assert (response.status, response.getheader("Allow")) == (405, "GET, HEAD")
        response.read()
    connection.close()


def test_the_absolute_form_of_a_target_is_accepted(endpoint: str) -> None:
    assert send(endpoint, f"GET {endpoint}/healthz HTTP/1.1") == (200, b"ok\n")


@pytest.fixture
def logged(live_store: Store, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A service with the log level debug, and its log."""
    log = tmp_path / "log"
    settings = {"ACTIVE_STORAGE_WORKERS": "1", "ACTIVE_STORAGE_LOG_LEVEL": "debug"}
    with service(live_store, settings, log=log) as url:
        yield url, log


def test_the_log_has_one_line_for_each_request_and_no_secret(logged: tuple[str, Path], live_store: Store) -> None:
    url, log = logged
    link = live_store.client().generate_presigned_url(
        "get_object", Params={"Bucket": "sample-data", "Key": "data-float32.dat"}
    )
    path, query = link.removeprefix(live_store.endpoint).split("?", 1)
    status, body = send(url, f"GET /sum/float32{path}?{query} HTTP/1.1", "x-request: 1")
    assert (status, body) == (200, sample_array("float32").sum(dtype=np.float64).astype("<f4").tobytes())
    authorization = f"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={CANARY}"
    for lines in (
        [f"GET {KEY} HTTP/1.1", authorization, f"x-amz-security-token: {CANARY}"],
        [f"GET {KEY}?X-Amz-Signature={CANARY}&X-Amz-Security-Token={CANARY} HTTP/1.1"],
        [f"GET /sum/{CANARY}/sample-data/{CANARY} HTTP/1.1"],
        [f"GET /sum/float32/sample-data/{CANARY}?{CANARY}=1 HTTP/1.1"],
        [f"NONSENSE {CANARY}"],
    ):
        assert send(url, *lines)[0] >= 400
    text, reductions = read_log(log, lines=5)
    signature = re.search("X-Amz-Signature=([0-9a-f]+)", query)
    assert signature
    assert CANARY not in text
    assert signature[1] not in text
    assert "data-float32" not in text
    assert "Traceback" not in text
    assert len(reductions) == 5
    well = next(line for line in reductions if line["outcome"] == "ok")
    assert {"id", "milliseconds", "status"} <= well.keys()
    assert (well["reducer"], well["dtype"]) == ("sum", "float32")
    assert (well["bytes_read"], well["bytes_sent"]) == (sample_array("float32").nbytes, 4)


def read_log(log: Path, lines: int) -> tuple[str, list[dict[str, Any]]]:
    """The log, and its lines of the direct proxy, when there are as many as expected.

    A line is written when the reply has been sent: the client is there first, and requests may change places.
    """
    deadline = time.monotonic() + 10
    while True:
        text = log.read_text()
        logged = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        reductions = [line for line in logged if line["door"] == "proxy"]
        if len(reductions) >= lines or time.monotonic() > deadline:
            return text, reductions
        time.sleep(0.02)


def test_a_large_object_takes_no_more_memory_than_a_small_one(live_store: Store) -> None:
    """The limit is 16 MiB over the idle process. The object has 96 MiB, and would not fit."""
    client = live_store.client()
    make_bucket(client, "memory")
    block = np.random.default_rng(3).random(1 << 20, np.float32).tobytes()
    client.put_object(Bucket="memory", Key="large", Body=block * 24)
    with service(live_store, {"ACTIVE_STORAGE_WORKERS": "1"}) as url:
        links = [
            client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
            for bucket, key in (("sample-data", "data-float32.dat"), ("memory", "large"))
        ]
        small, large = (f"GET /sum/float32{link.removeprefix(live_store.endpoint)} HTTP/1.1" for link in links)
        assert send(url, small)[0] == 200
        worker = _worker_of(url)
        before = worker.memory_info().rss
        assert send(url, large)[0] == 200
        assert worker.memory_info().rss - before < 16 << 20


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHo",
        b"POST /v2/sum/ HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100\r\n\r\n{",
        b"GET /obj/bucket/key HTTP/1.1\r\nHost: proxy\r\n\r\n",
    ],
    ids=["in the head", "in the body", "while it should read"],
)
def test_stalled_clients_are_disconnected(sent: bytes) -> None:
    settings = {"READ_TIMEOUT": "300ms", "WORKERS": "1", "THREADS": "2"}

    def answer(call: Call) -> None:
        faulty_store.send(call, faulty_store.answer_well(call, bytes(64 << 20)))

    with ExitStack() as held:
        store = held.enter_context(FaultyStore(answer))
        named = {f"{ENV_PREFIX}{name}": value for name, value in settings.items()}
        endpoint = held.enter_context(service(Store(store.url), named))
        for _ in range(4):
            stalled = held.enter_context(socket.socket())
            # A small buffer of the kernel, for a client that does not read.
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((urlsplit(endpoint).hostname, urlsplit(endpoint).port))
            stalled.sendall(sent)
        assert send(endpoint, "GET /healthz HTTP/1.1")[0] == 200


def test_more_kept_connections_than_threads_are_answered(live_store: Store) -> None:
    settings = {"ACTIVE_STORAGE_WORKERS": "1", "ACTIVE_STORAGE_THREADS": "2"}
    with service(live_store, settings) as endpoint, ExitStack() as held:
        address = urlsplit(endpoint).netloc
        clients = [held.enter_context(closing(http.client.HTTPConnection(address, timeout=10))) for _ in range(8)]
        # All connections at the same time, then one after the other while the rest are idle.
        for turns in ([clients] * 3, [[client] for client in clients * 3]):
            for asking in turns:
                for client in asking:
                    client.request("GET", "/healthz")
                for client in asking:
                    with client.getresponse() as response:
                        response.read()
                        assert response.status == 200


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="SCHED_BATCH exists on Linux only")
def test_all_threads_of_a_worker_use_sched_batch(live_store: Store) -> None:
    with service(live_store, {"ACTIVE_STORAGE_WORKERS": "1"}) as endpoint:
        assert send(endpoint, "GET /healthz HTTP/1.1")[0] == 200
        threads = [thread.id for thread in _worker_of(endpoint).threads()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
    assert len(threads) > 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity exists on Linux only")
def test_busy_workers_keep_to_a_core_each(live_store: Store) -> None:
    mine = os.sched_getaffinity(0)
    cores = sorted(mine)[:2]
    # The service's processes may run where this thread may.
    os.sched_setaffinity(0, cores)
    try:
        with service(live_store, {"ACTIVE_STORAGE_WORKERS": str(len(cores))}) as endpoint, ExitStack() as held:
            address = urlsplit(endpoint)
            # The kernel chooses the worker of a connection: more of them, until every worker waits for some bodies.
            for _ in range(50):
                client = held.enter_context(socket.create_connection((address.hostname or "", address.port or 0), 10))
                client.sendall(b"POST /v2/sum/ HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100\r\n\r\n{")
                time.sleep(0.02)
                kept = sorted(_find_kept_cores(worker) for worker in _workers_of(endpoint, len(cores)))
                if kept == [[core] for core in cores]:
                    break
    finally:
        os.sched_setaffinity(0, mine)
    assert kept == [[core] for core in cores]


def _find_kept_cores(worker: psutil.Process) -> list[int]:
    """The cores to which threads of a worker keep."""
    may = [os.sched_getaffinity(thread.id) for thread in worker.threads()]
    return sorted({core for allowed in may for core in allowed if len(allowed) == 1})


def test_two_services_cannot_share_an_address(live_store: Store, tmp_path: Path) -> None:
    """The kernel would allow it, since the workers of a service share their address."""
    log = tmp_path / "log"
    with service(live_store, log=log) as endpoint:
        port = str(urlsplit(endpoint).port)
        second = subprocess.run(
            [sys.executable, "-m", "handler.cli", "serve", "--bind", f"127.0.0.1:{port}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert second.returncode != 0
    assert f"127.0.0.1:{port}: Address already in use" in second.stderr
    assert f"listens on 127.0.0.1:{port}; the store is {live_store.endpoint}" in log.read_text()
    assert "listens on" not in second.stderr


def test_the_service_stops_reading_when_the_client_hangs_up() -> None:
    asked, has_hung_up, was_cut = threading.Event(), threading.Event(), threading.Event()
    body = bytes(64 << 20)

    def behave(call: Call) -> None:
        call.send(plain("200 OK", body, {"ETag": '"1"'}).head + body[:BLOCK_BYTES])
        asked.set()
        has_hung_up.wait(10)
        # The service checks the connection at intervals, and could read the rest within one.
        time.sleep(2 * _HANG_UP_SECONDS)
        try:
            call.send(body[BLOCK_BYTES:])
        except HangUp:
            was_cut.set()
            raise

    with FaultyStore(well) as store, service(Store(store.url), {"ACTIVE_STORAGE_WORKERS": "1"}) as url:
        store.order(behave)
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as client:
            client.sendall(b"GET /sum/float32/bucket/key HTTP/1.1\r\nHost: proxy\r\n\r\n")
            assert asked.wait(10)
        has_hung_up.set()
        assert was_cut.wait(10)


def _worker_of(url: str) -> psutil.Process:
    return _workers_of(url, 1)[0]


def _workers_of(url: str, count: int) -> list[psutil.Process]:
    # Without the first process, which has started them.
    return find_listeners(url)[-count:]

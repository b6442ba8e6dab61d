"""The client before a service that breaks at any byte, is silent, or sends garbage: one error, and a closed connection.

Also Ctrl+C, many threads, and a process that is forked.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import cbor2
import numpy as np
import pytest

from active_storage import Client, Result
from active_storage.client.failures import BadReply, IncompleteReply, ServiceUnreachable
from active_storage.errors import ActiveStorageError, InvalidArgument
from tests.client.test_client_faults import DOCUMENT, END, HEADER, PLAN, RESULT, URL, section
from tests.client.wire import SECONDS, Answer, MakeAnswer, Service, in_chunks, serving, until_closed, with_length

PROGRESS = {"type": "progress", "sections": 1, "of": 3}
ITEMS = (HEADER, PROGRESS, RESULT, END)
PARTIALS = (HEADER, *map(section, range(3)), END)

Start = Callable[..., tuple[Service, Client]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a service that gives an answer to every question, and a client of it that repeats no request."""
    with ExitStack() as stack:

        def begin(answer: Answer | MakeAnswer, **options: Any) -> tuple[Service, Client]:
            make = answer if callable(answer) else lambda _: answer
            service = stack.enter_context(serving(DOCUMENT, make))
            options = {"anon": True, "retries": 0, "timeout": SECONDS, **options}
            return service, stack.enter_context(Client(service.url, **options))

        yield begin


QUESTIONS: dict[str, Callable[[Client], Any]] = {
    "sum": lambda client: client.sum(URL, "tas", progress=lambda *_: None),
    "partials": lambda client: Client.join(client.partials("sum", URL, "tas")),
    "plan": lambda client: client.plan(URL, "tas"),
    "describe": lambda client: client.describe(URL),
}


# Breaks


@pytest.mark.parametrize("form", [in_chunks, with_length, until_closed])
@pytest.mark.parametrize(("question", "items"), [("sum", ITEMS), ("partials", PARTIALS)])
def test_a_reply_that_ends_at_any_byte_is_a_whole_result_or_an_error(
    start: Start, form: Callable[..., bytes], question: str, items: Any
) -> None:
    """It is a result from the byte on that completes the last item."""
    whole = form(*items)
    head = whole.index(b"\r\n\r\n") + 4
    complete = whole.rindex(cbor2.dumps(END)) + len(cbor2.dumps(END))
    ends: list[int] = []
    service, client = start(lambda _: Answer(whole[: ends[-1]], "close"))
    wanted = {"sum": [3.0, 4.0], "partials": [3.0, 6.0]}[question]
    for end in range(len(whole) + 1):
        ends.append(end)
        if end >= complete:
            assert np.asarray(QUESTIONS[question](client)).tolist() == wanted
            continue
        # Half a header can be another one.
        with pytest.raises(IncompleteReply if end >= head else (ServiceUnreachable, IncompleteReply, BadReply)):
            QUESTIONS[question](client)
    service.wait_until_closed()


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("question", ["plan", "describe"])
def test_a_map_that_is_cut_is_no_answer(start: Start, question: str, end: str) -> None:
    for whole in (with_length(PLAN), until_closed(PLAN)):
        service, client = start(Answer(whole[:-1], end))
        with pytest.raises(IncompleteReply):
            QUESTIONS[question](client)
        service.wait_until_closed()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_service_that_stops_is_left(start: Start, question: str, is_begun: bool) -> None:
    """It sends nothing more, and keeps the connection open: the client closes it, and says what has happened."""
    data = in_chunks(HEADER, PROGRESS)[:-5] if is_begun else b""
    service, client = start(Answer(data, "silence"), timeout=0.2)
    with pytest.raises(IncompleteReply if is_begun else ServiceUnreachable, match="sent nothing"):
        QUESTIONS[question](client)
    service.wait_until_closed()


GARBAGE = {
    "no http": b"\x00\x01\x02\x03\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "a page without a type": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "a page of a gateway": b"HTTP/1.1 504 Timeout\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "a page that is absent": b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "a sign-in": b"HTTP/1.1 302 Found\r\nLocation: https://login.example.org\r\nContent-Length: 0\r\n\r\n",
    "json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "wrong chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "long headers": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "empty maps": with_length({}, {}),
    "lists": with_length([], []),  # type: ignore[arg-type]  # what no service sends
    "numbers": with_length({"type": 5}, {"type": [1]}),
    "an error that says nothing": with_length({"type": "error", "status": "x", "error": 7}),
    "a header that says nothing": with_length({"type": "header"}, END),
    "progress that says nothing": with_length(HEADER, {"type": "progress"}, END),
    "a result that says nothing": with_length(HEADER, {"type": "result"}, END),
    "a section that says nothing": with_length(HEADER, {"type": "section"}, END),
    "sections that cannot be joined": with_length(
        HEADER, *({**section(number), "pieces": [{"cells": [["a", "b", "c"]], "count": 1}]} for number in range(3)), END
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_one_error(start: Start, question: str, garbage: str) -> None:
    service, client = start(Answer(GARBAGE[garbage], "close"))
    with pytest.raises((BadReply, IncompleteReply, ServiceUnreachable)) as caught:
        QUESTIONS[question](client)
    assert "\n" not in str(caught.value)
    service.wait_until_closed()


@pytest.mark.parametrize(("question", "items"), [("sum", ITEMS), ("partials", PARTIALS)])
def test_damaged_replies_are_errors_of_the_client_or_results(start: Start, question: str, items: Any) -> None:
    """Whatever byte is another one: never an exception of a library."""
    body = b"".join(map(cbor2.dumps, items))
    draw = random.Random(5)
    replies: list[bytes] = []
    service, client = start(lambda _: Answer(replies[-1], "close"))
    for number in range(600):
        damaged = bytearray(body)
        for _ in range(draw.choice([1, 1, 1, 5])):
            damaged[draw.randrange(len(damaged)) if number % 2 else draw.randrange(60)] = draw.randrange(256)
        replies.append(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(damaged), bytes(damaged)))
        try:
            answer = QUESTIONS[question](client)
        except ActiveStorageError:
            continue
        assert isinstance(answer, Result)
    service.wait_until_closed()


# Ctrl+C


def _interrupt(service: Service) -> None:
    """Do what Ctrl+C does, once a service has answered a question."""
    main = threading.main_thread().ident
    assert main is not None
    while not service.connections:
        threading.Event().wait(0.001)
    service.connections[0].has_answered.wait(SECONDS)
    signal.pthread_kill(main, signal.SIGINT)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("is_begun", [False, True])
def test_ctrl_c_while_the_client_waits_closes_the_connection(start: Start, question: str, is_begun: bool) -> None:
    answers = [
        Answer(in_chunks(*ITEMS if question == "sum" else PARTIALS)),
        Answer(in_chunks(HEADER, PROGRESS)[:-5] if is_begun else b"", "silence"),
    ]
    service, client = start(lambda _: answers.pop())
    interrupting = threading.Thread(target=_interrupt, args=(service,))
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        QUESTIONS[question](client)
    service.wait_until_closed()
    interrupting.join()
    # It can be used again.
    if question in ("sum", "partials"):
        assert QUESTIONS[question](client).shape == (2,)


@pytest.mark.parametrize("question", ["sum", "partials"])
def test_what_a_callback_raises_closes_the_connection(start: Start, question: str) -> None:
    answers = [Answer(in_chunks(*PARTIALS if question == "partials" else ITEMS)) for _ in range(2)]
    service, client = start(lambda _: answers.pop())

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    def ask() -> None:
        if question == "sum":
            client.sum(URL, "tas", progress=stop)
        for _ in client.partials("sum", URL, "tas"):
            stop()

    with pytest.raises(KeyboardInterrupt):
        ask()
    service.wait_until_closed()
    assert QUESTIONS[question](client).shape == (2,)


# Threads and processes


def echo(members: dict[str, Any]) -> Answer:
    """The threshold of a request as its result, so that each reply belongs to one request."""
    value = np.array([members["gt"], 0.0])
    return Answer(in_chunks(HEADER, PROGRESS, {**RESULT, "bytes": value.tobytes()}, END))


def test_threads_share_a_client(start: Start) -> None:
    service, client = start(echo)

    def ask(number: int) -> float:
        return float(client.sum(URL, "tas", gt=number).values[0])

    numbers = range(600)
    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(ask, numbers)) == list(numbers)
    # Connections are kept for the next request, and one discovery serves all.
    assert len(service.connections) <= 24
    assert sum(each.requests for each in service.connections) == len(numbers) + 1
    client.close()
    service.wait_until_closed()
    with pytest.raises(InvalidArgument, match="client: is closed"):
        ask(7)


_FORKING = """
import os, sys
from active_storage import Client

client = Client(sys.argv[1], anon=True)
ask = lambda number: float(client.sum("s3://bucket/a.zarr", "tas", gt=number).values[0])
assert ask(0) == 0
child = os.fork()
start = 1000 if child else 2000
wrong = [number for number in range(start, start + 100) if ask(number) != number]
if not child:
    os._exit(len(wrong))
_, status = os.waitpid(child, 0)
sys.exit(f"{wrong} {status}" if wrong or status else 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_was_forked_has_connections_of_its_own(start: Start) -> None:
    service, _ = start(echo)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FORKING, service.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    # One connection for each process, with 101 and 100 requests, and the discovery.
    assert sorted(each.requests for each in service.connections) == [100, 102]

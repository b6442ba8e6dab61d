"""Writes ``docs/faults.md``: every fault of a store, and every slip of a caller, as the service answers it.

``python -m tests.faults_page``, or ``make faults``. Nothing on the page is typed in: each line is what came back from
the real application. ``tests/upstream/test_faults.py`` fails when the page in the repository is another one.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask
import numpy as np
from werkzeug.test import TestResponse

from tests.events import LINK_QUERY, asking, make_event, post, read_failure
from tests.faulty_store import (
    CHAPTERS,
    OBJECT_BYTES,
    RANGE_HEADER,
    RANGE_SUM,
    WHOLE_SUM,
    Behaviour,
    Fault,
    FaultyStore,
    holds,
    service,
    well,
)
from tests.helpers import ask, read_error

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"

KEY = "/sum/float32/bucket/key"

_MOST_MESSAGE_CHARACTERS = 100


def _show(result: bytes) -> str:
    return str(np.frombuffer(result, "<f4")[0].item())


_INTRODUCTION = f"""\
# What goes wrong, and what the caller sees

This page is written by `make faults`, which asks the service for each line of it; do not edit it by hand. The store is
at `http://store`, the request is `GET /sum/float32/bucket/key`, and three tries are allowed.

An error is a document in S3's XML: `Code` is for programs, `Message` for people, and neither holds anything that was
signed. A status of 4xx is about the request, 502 to 504 about the store. There is never a number that could be wrong:
either the right one ({_show(WHOLE_SUM)} for the whole object, {_show(RANGE_SUM)} for the range) or an error.

Where an object is read by several requests (the rest after a cut, ranges side by side), each later answer is compared
with the first: ETag, size, version, date, `Content-Encoding`, client-side encryption. Another object is
`ObjectChanged`, and worth asking for again. The same object in another form contradicts itself and is
`StoreProtocolError`. Where only a range read side by side differs so, the service does without it.

`/obj/bucket/key`, which sends the object itself, gives the same errors; where the object breaks off after the reply has
begun, the connection is closed before the last byte.
"""

_STORE_TABLE = """\
| The store | The caller sees | Message | Tries |
|---|---|---|---|
"""

_CALLER_TABLE = """\
| The request | The caller sees | Message | Asks the store |
|---|---|---|---|
"""

_EVENT_TABLE = """\
| The event | The answer | Message | Asks the store |
|---|---|---|---|
"""

_EVENTS = """\
## Events

Here MinIO posts an event to `/sum/float32`, and the store does nothing wrong. MinIO's client sees status, code and
message in S3's XML, unless nothing came that could be sent back as route and token: then MinIO says that those are
wrong.

"""

_SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders={}, Signature=0"


@dataclass(frozen=True)
class Slip:
    """A request that cannot be answered, or of which one could think so.

    Attributes:
        does: What is odd about it, for people.
        target: Where it goes.
        headers: What it says beside.
        method: GET, if it says nothing else.
        behave: The store that it meets.
        settings: The service's, where the slip needs its own.
    """

    does: str
    target: str = KEY
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    behave: Behaviour = well
    settings: Mapping[str, Any] = field(default_factory=dict)


# fmt: off
SLIPS = (
    Slip("names a reducer that there is not", "/frobnicate/float32/bucket/key"),
    Slip("names a data type that there is not", "/sum/float31/bucket/key"),
    Slip("names a parameter that there is not", "/sum/float32;colour=red/bucket/key"),
    Slip("gives a parameter a value that it cannot have", "/sum/float32;byte_order=middle/bucket/key"),
    Slip("gives a parameter no value", "/sum/float32;byte_order/bucket/key"),
    Slip("gives a parameter twice", "/sum/float32;byte_order=big;byte_order=big/bucket/key"),
    Slip("says one thing in the path and another in the query",
         "/sum/float32;byte_order=big/bucket/key?byte_order=little"),
    Slip("has a name in the query that nobody knows", f"{KEY}?axes=0"),
    Slip("names no bucket", "/sum/float32"),
    Slip("names no key", "/sum/float32/bucket"),
    Slip("names nothing", "/"),
    Slip("has half an escape in the key", "/sum/float32/bucket/100%"),
    Slip("has a key that is not UTF-8", "/sum/float32/bucket/%FF"),
    Slip("has a control character in the key", "/sum/float32/bucket/\x01"),
    Slip("is a POST", method="POST"),
    Slip("asks for several ranges", headers={"Range": "bytes=0-3,8-11"}),
    Slip("asks for a range in another unit", headers={"Range": "elements=0-3"}),
    Slip("asks for a range that ends before it starts", headers={"Range": "bytes=8-4"}),
    Slip("asks for a range that starts inside an element", headers={"Range": "bytes=2-5"}),
    Slip("asks for a range that ends inside an element", headers={"Range": "bytes=0-4"}),
    Slip("asks for a range beyond the object", headers={"Range": f"bytes={OBJECT_BYTES}-{OBJECT_BYTES + 3}"}),
    Slip("asks for the last 0 bytes", headers={"Range": "bytes=-0"}),
    Slip("asks for a range that runs past the end", headers={"Range": f"bytes={OBJECT_BYTES - 4}-{2 * OBJECT_BYTES}"}),
    Slip("asks with `If-Range`", headers={"Range": RANGE_HEADER, "If-Range": '"0"'}),
    Slip("asks with an `If-Match` on something else", headers={"If-Match": '"0"'}),
    Slip("is of an object that is not a whole number of elements", behave=holds(bytes(7))),
    Slip("asks for the maximum of an empty object", "/max/float32/bucket/key", behave=holds(b"")),
    Slip("asks for the sum of an empty object", behave=holds(b"")),
    Slip("has a signature that covers a header which was not sent",
         headers={"Authorization": _SIGNATURE.format("host;x-amz-date")}),
    Slip("has a signature that covers a header of the connection",
         headers={"Authorization": _SIGNATURE.format("connection;host"), "Connection": "close"}),
    Slip("leads to an origin that is not allowed", settings={"allowed_origins": "https://s3.example.org"}),
    Slip("needs more memory than one may have", settings={"max_object_memory": 1000}),
)
# fmt: on

_TOKENS = {"webhook_tokens": "the-token"}


@dataclass(frozen=True)
class EventSlip:
    """An event that cannot be answered, or of which one could think so.

    Attributes:
        does: What is odd about it, for people.
        make: The event, or the bytes of one, from the store's origin.
        target: Where it is posted.
        headers: What MinIO says beside.
        settings: The service's, where the slip needs its own.
    """

    does: str
    make: Callable[[str], Any] = lambda store: make_event(_link(store))
    target: str = "/sum/float32"
    headers: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def _link(store: str) -> str:
    return f"{store}/bucket/key?{LINK_QUERY}"


def _asks(query: str, **headers: str) -> Callable[[str], Any]:
    return lambda store: make_event(_link(store), asking(query), headers)


def _links(change: Callable[[str], str]) -> Callable[[str], Any]:
    return lambda store: make_event(change(_link(store)))


# fmt: off
EVENT_SLIPS = (
    EventSlip("is well", settings=_TOKENS, headers={"Authorization": "Bearer the-token"}),
    EventSlip("comes without a token", settings=_TOKENS),
    EventSlip("comes with another token", settings=_TOKENS, headers={"Authorization": "Bearer another"}),
    EventSlip("is not JSON", lambda _: b"event"),
    EventSlip("is longer than 1 MiB", lambda _: b" " * (1 << 20) + b"{}"),
    EventSlip("is empty", lambda _: {}),
    EventSlip("has a newline in its route", lambda store: make_event(_link(store), route="a\nb")),
    EventSlip("has a link to an origin that is not allowed", lambda _: make_event(_link("http://[::ffff:127.0.0.1]"))),
    EventSlip("has a link with a user in it", _links(lambda link: link.replace("://", "://store@"))),
    EventSlip("has a link that is not encoded", _links(lambda link: link.replace("/key", "/the key"))),
    EventSlip("says the reduction in the client's query", _asks("reducer=sum&dtype=float32"), "/"),
    EventSlip("says it nowhere", target="/"),
    EventSlip("says another in the query than the endpoint", _asks("reducer=max")),
    EventSlip("has a parameter twice", _asks("axis=0&axis=0")),
    EventSlip("has a name in the query that nobody knows", _asks("axes=0")),
    EventSlip("is for an older version", _asks("versionId=1")),
    EventSlip("is for a range", _asks("", Range=RANGE_HEADER)),
    EventSlip("is for a range inside an element", _asks("", Range="bytes=2-5")),
    EventSlip("is for a range beyond the object", _asks("", Range=f"bytes={OBJECT_BYTES}-")),
    EventSlip("has an `If-Match` on something else", _asks("", **{"If-Match": '"0"'})),
)
# fmt: on


@contextlib.contextmanager
def _serving(store: FaultyStore, settings: Mapping[str, Any]) -> Iterator[flask.Flask]:
    # The log is not what the page is about.
    with contextlib.redirect_stderr(io.StringIO()), service(store, **settings) as (app, _):
        yield app


def write_page() -> str:
    """The page, from the answers to every question on it."""
    chapters = [_INTRODUCTION]
    for title, faults in CHAPTERS.items():
        lines = [line for fault in faults for line in _write_fault(fault)]
        chapters.append(f"## {title}\n\n{_STORE_TABLE}" + "".join(lines))
    lines = [_write_slip(slip) for slip in SLIPS]
    chapters.append(f"## Requests\n\nHere the store does nothing wrong.\n\n{_CALLER_TABLE}" + "".join(lines))
    lines = [_write_event_slip(slip) for slip in EVENT_SLIPS]
    chapters.append(f"{_EVENTS}{_EVENT_TABLE}" + "".join(lines))
    return "\n".join(chapters)


def _write_fault(fault: Fault) -> Iterator[str]:
    """A line, or two where it matters whether a range is asked for."""
    asks: dict[str, dict[str, str]] = {"": {}}
    if fault.ranged is not None:
        asks = {", asked for the whole object": {}, ", asked for a range": {"Range": RANGE_HEADER}}
    for name, headers in asks.items():
        with FaultyStore(fault.behave, fault.listens) as store, _serving(store, fault.settings) as app:
            response = ask(app, KEY, headers=headers)
            if response.status_code == 200 and response.data != (RANGE_SUM if headers else WHOLE_SUM):
                raise AssertionError(f"a wrong number from a store that {fault.does}")
            yield _write_line(fault.does + name, *_describe(response, store), str(store.tries))


def _write_slip(slip: Slip) -> str:
    with FaultyStore(slip.behave) as store, _serving(store, slip.settings) as app:
        response = ask(app, slip.target, slip.method, slip.headers)
        return _write_line(slip.does, *_describe(response, store), "yes" if store.tries else "no")


def _write_event_slip(slip: EventSlip) -> str:
    with FaultyStore(well) as store, _serving(store, slip.settings) as app:
        response = post(app, slip.target, slip.make(store.url), slip.headers)
        if response.status_code != 200:
            read_failure(response)
        return _write_line(slip.does, *_describe(response, store), "yes" if store.tries else "no")


def _describe(response: TestResponse, store: FaultyStore) -> tuple[str, str]:
    if response.status_code == 200:
        return f"200, {_show(response.data)}", ""
    error = read_error(response)
    message = error["Message"].replace(store.url.removeprefix("http://"), "store")
    if len(message) > _MOST_MESSAGE_CHARACTERS:
        message = message[:_MOST_MESSAGE_CHARACTERS] + " ..."
    return f"{response.status_code} `{error['Code']}`", message


def _write_line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")

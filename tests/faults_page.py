"""Writes ``docs/faults.md``: the replies to faults of a store, and to faulty requests.

Run it by ``python -m tests.faults_page`` or ``make faults``. Each line of the page is a reply of the real application.
``tests/stores/test_faults.py`` fails if the page in the repository differs.
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
# Faults, and what the caller sees

`make faults` writes this page from the replies of the service; do not edit it by hand. The store is at `http://store`,
the request is `GET /sum/float32/bucket/key`, and the service tries each range up to three times.

An error is a document in S3's XML: `Code` is for programs, `Message` for people. Neither contains signed parts of the
request. A status of 4xx means a fault in the request, 502 to 504 a fault of the store. A result is always correct
({_show(WHOLE_SUM)} for the whole object, {_show(RANGE_SUM)} for the range); otherwise the reply is an error.

If an object is read by several requests (the rest after a lost connection, or ranges in parallel), each later response
is compared with the first: ETag, size, version, date, `Content-Encoding`, client-side encryption. If they are of
different objects, the error is `ObjectChanged`, and the request can be sent again. If they describe the same object
differently, it is `StoreProtocolError`. If only a range that is read in parallel differs in this way, the service reads
its bytes by the first request instead.

`/obj/bucket/key`, which sends the object itself, has the same errors. If the object ends early after the reply has
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

Here MinIO posts an event to `/sum/float32`, and the store has no faults. MinIO's client receives status, code and
message in S3's XML. If the event has no valid route and token, the service cannot repeat them, and MinIO reports that
they are wrong.

"""

_SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders={}, Signature=0"


@dataclass(frozen=True)
class Slip:
    """A faulty or unusual request.

    Attributes:
        does: The description on the page.
        target: The target of the request.
        headers: The headers of the request.
        method: The method of the request.
        behave: The behaviour of the store.
        settings: Further settings of the service.
    """

    does: str
    target: str = KEY
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    behave: Behaviour = well
    settings: Mapping[str, Any] = field(default_factory=dict)


# fmt: off
SLIPS = (
    Slip("names an unknown reducer", "/frobnicate/float32/bucket/key"),
    Slip("names an unknown data type", "/sum/float31/bucket/key"),
    Slip("names an unknown parameter", "/sum/float32;colour=red/bucket/key"),
    Slip("has a parameter with an invalid value", "/sum/float32;byte_order=middle/bucket/key"),
    Slip("has a parameter without a value", "/sum/float32;byte_order/bucket/key"),
    Slip("has a parameter twice", "/sum/float32;byte_order=big;byte_order=big/bucket/key"),
    Slip("has different values in the path and in the query",
         "/sum/float32;byte_order=big/bucket/key?byte_order=little"),
    Slip("has an unknown name in the query", f"{KEY}?axes=0"),
    Slip("names no bucket", "/sum/float32"),
    Slip("names no key", "/sum/float32/bucket"),
    Slip("has an empty path", "/"),
    Slip("has an incomplete escape in the key", "/sum/float32/bucket/100%"),
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
    Slip("asks for a range that ends after the object",
         headers={"Range": f"bytes={OBJECT_BYTES - 4}-{2 * OBJECT_BYTES}"}),
    Slip("has an `If-Range`", headers={"Range": RANGE_HEADER, "If-Range": '"0"'}),
    Slip("has an `If-Match` with another ETag", headers={"If-Match": '"0"'}),
    Slip("is for an object whose size is not a multiple of the element size", behave=holds(bytes(7))),
    Slip("asks for the maximum of an empty object", "/max/float32/bucket/key", behave=holds(b"")),
    Slip("asks for the sum of an empty object", behave=holds(b"")),
    Slip("has a signature that covers an absent header",
         headers={"Authorization": _SIGNATURE.format("host;x-amz-date")}),
    Slip("has a signature that covers a header of the connection",
         headers={"Authorization": _SIGNATURE.format("connection;host"), "Connection": "close"}),
    Slip("is for a store that is not on the allow-list", settings={"allowed_origins": "https://s3.example.org"}),
    Slip("needs more memory than a request may hold", settings={"max_object_memory": 1000}),
)
# fmt: on

_TOKENS = {"webhook_tokens": "the-token"}


@dataclass(frozen=True)
class EventSlip:
    """A faulty or unusual event.

    Attributes:
        does: The description on the page.
        make: Makes the event, or the bytes of the body, from the store's origin.
        target: The path to which it is posted.
        headers: Further headers from MinIO.
        settings: Further settings of the service.
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
    EventSlip("is valid", settings=_TOKENS, headers={"Authorization": "Bearer the-token"}),
    EventSlip("has no token", settings=_TOKENS),
    EventSlip("has a wrong token", settings=_TOKENS, headers={"Authorization": "Bearer another"}),
    EventSlip("is not JSON", lambda _: b"event"),
    EventSlip("is longer than 1 MiB", lambda _: b" " * (1 << 20) + b"{}"),
    EventSlip("is empty", lambda _: {}),
    EventSlip("has a newline in its route", lambda store: make_event(_link(store), route="a\nb")),
    EventSlip("has a link to an origin that is not allowed", lambda _: make_event(_link("http://[::ffff:127.0.0.1]"))),
    EventSlip("has a link with a user in it", _links(lambda link: link.replace("://", "://store@"))),
    EventSlip("has a link that is not encoded", _links(lambda link: link.replace("/key", "/the key"))),
    EventSlip("has the reduction in the client's query", _asks("reducer=sum&dtype=float32"), "/"),
    EventSlip("has no reduction", target="/"),
    EventSlip("has different reducers in the query and in the endpoint", _asks("reducer=max")),
    EventSlip("has a parameter twice", _asks("axis=0&axis=0")),
    EventSlip("has an unknown name in the query", _asks("axes=0")),
    EventSlip("is for an older version", _asks("versionId=1")),
    EventSlip("is for a range", _asks("", Range=RANGE_HEADER)),
    EventSlip("is for a range inside an element", _asks("", Range="bytes=2-5")),
    EventSlip("is for a range beyond the object", _asks("", Range=f"bytes={OBJECT_BYTES}-")),
    EventSlip("has an `If-Match` with another ETag", _asks("", **{"If-Match": '"0"'})),
)
# fmt: on


@contextlib.contextmanager
def _serving(store: FaultyStore, settings: Mapping[str, Any]) -> Iterator[flask.Flask]:
    # The log is discarded.
    with contextlib.redirect_stderr(io.StringIO()), service(store, **settings) as (app, _):
        yield app


def write_page() -> str:
    """The page, from the replies to every request on it."""
    chapters = [_INTRODUCTION]
    for title, faults in CHAPTERS.items():
        lines = [line for fault in faults for line in _write_fault(fault)]
        chapters.append(f"## {title}\n\n{_STORE_TABLE}" + "".join(lines))
    lines = [_write_slip(slip) for slip in SLIPS]
    chapters.append(f"## Requests\n\nHere the store has no faults.\n\n{_CALLER_TABLE}" + "".join(lines))
    lines = [_write_event_slip(slip) for slip in EVENT_SLIPS]
    chapters.append(f"{_EVENTS}{_EVENT_TABLE}" + "".join(lines))
    return "\n".join(chapters)


def _write_fault(fault: Fault) -> Iterator[str]:
    """One line, or two if the outcome for a range differs."""
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

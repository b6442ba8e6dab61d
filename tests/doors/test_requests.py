"""Malformed and random requests to every door: each gets one reply, and never an internal error."""

import base64
import contextlib
import io
import json
import random
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import MagicMock

import flask
import pytest
from werkzeug.test import TestResponse, create_environ, run_wsgi_app

from active_storage.errors import InvalidArgument
from handler.doors.aws import Function
from handler.doors.door import Request
from handler.doors.json_body import read_body
from handler.doors.request_target import find_fault
from handler.doors.service import Service
from handler.doors.table import find_door
from handler.scope import Scope
from handler.stores.fake import FakeStore
from tests.conftest import NUMBERS
from tests.doors.test_aws import Context, event, http_event
from tests.events import asking, make_event
from tests.helpers import ask, make_settings, read_error

KEY = "/sum/float32/bucket/key"
ALL = NUMBERS.sum(dtype="<f4").tobytes()

V1 = {"source": "http://store.test:9000", "bucket": "bucket", "object": "key", "dtype": "float32"}
V2 = {"interface_type": "s3", "url": "http://store.test:9000/bucket/key", "dtype": "float32"}
MORE = {
    "byte_order": "little",
    "shape": [2, 5],
    "selection": [[0, 2, 1], [0, 5, 2]],
    "missing": {"valid_range": [1, 9]},
    "offset": 0,
    "size": 40,
    "filters": [{"id": "shuffle", "element_size": 4}],
    "compression": {"id": "zlib"},
}


# Host and target


def send(app: flask.Flask, target: str, host: str | None, method: str = "GET", **environ: str) -> tuple[int, str]:
    """The status and the body of the reply to a request with this ``Host``; None for no ``Host``."""
    given = {**create_environ(method=method), "RAW_URI": target, **environ}
    del given["HTTP_HOST"]
    if host is not None:
        given["HTTP_HOST"] = host
    body, status, _ = run_wsgi_app(app, given, buffered=True)
    return int(status[:3]), b"".join(body).decode("latin-1")


@pytest.mark.parametrize("path", [KEY, "/obj/bucket/key", "/healthz", "/v2/sum/", "/nothing"])
def test_a_request_without_a_host_is_refused_by_every_door(app: flask.Flask, path: str) -> None:
    """RFC 9112, section 3.2."""
    status, body = send(app, path, host=None)
    assert status == 400
    assert "Host: is required" in body


def test_a_request_of_http_1_0_needs_no_host(app: flask.Flask) -> None:
    assert send(app, KEY, host=None, SERVER_PROTOCOL="HTTP/1.0") == (200, ALL.decode("latin-1"))
    assert send(app, KEY, host="a b", SERVER_PROTOCOL="HTTP/1.0")[0] == 400


@pytest.mark.parametrize(
    "host", ["proxy", "proxy:8000", "PROXY.", "10.0.0.1", "[::1]", "[::1]:8000", "a_b", "a%20b", "proxy:"]
)
def test_a_well_formed_host_is_accepted(app: flask.Flask, host: str) -> None:
    assert send(app, KEY, host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "a,b", "user@a", "a/b", "a?b", "a#b", "a:b", "a:1:2", "a:123456", "[::1", "::1", "[::1]x", "a%zz",
     "\xe9", "a\xa0", "a\t", "a\n", "a\\b", '"a"', "<a>", ":80", "[]"],
)  # fmt: skip
def test_a_malformed_host_is_refused(app: flask.Flask, host: str) -> None:
    status, body = send(app, KEY, host)
    assert status == 400
    assert "Host: is not of the form" in body


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "healthz"), ("GET", "*"), ("GET", "?x"), ("GET", ""), ("GET", "ftp://proxy/healthz"),
     ("GET", "http:/healthz"), ("GET", "http:///healthz"), ("GET", "http://user@proxy/healthz"),
     ("GET", "http://proxy#x"), ("GET", "http://proxy/healthz#x"), ("GET", "http\u017f://proxy/healthz")],
)  # fmt: skip
def test_a_malformed_target_is_refused(method: str, target: str) -> None:
    fault = find_fault(method, target, "proxy", needs_host=True)
    assert isinstance(fault, InvalidArgument)
    assert fault.field == "target"


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "http://proxy"), ("OPTIONS", "*"), ("CONNECT", "proxy:80")]
)
def test_a_well_formed_target_reaches_a_door(method: str, target: str) -> None:
    assert find_fault(method, target, "proxy", needs_host=True) is None


@pytest.mark.parametrize(
    "target", ["http://proxy#x", "http://proxy#/a/b", "#x", "x", "", "*", "?", "http://", "http://proxy?x#"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_a_target_without_a_path_is_refused_by_a_door(
    app: flask.Flask, capfd: pytest.CaptureFixture[str], target: str, method: str
) -> None:
    """The table of doors chooses one before errors are caught, so that it must not raise."""
    status, _ = send(app, target, "proxy", method)
    assert 400 <= status < 500
    assert '"outcome": "InternalError"' not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["", "x", "#x", "?", "/", "//", "\x00"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_every_path_has_a_door(path: str, method: str) -> None:
    request = Request(Scope.after(60), method, path, "", {}, lambda _: b"")
    assert find_door(request).METHODS


def test_a_target_in_absolute_form_overrides_the_host(make_app: Callable[..., flask.Flask]) -> None:
    """RFC 9112, section 3.2.2."""
    app = make_app(base_domain="proxy.test")
    assert send(app, "http://sum.proxy.test/float32/bucket/key", "max.proxy.test") == (200, ALL.decode("latin-1"))
    assert send(app, "http://other.test/float32/bucket/key", "sum.proxy.test")[0] == 400


# Bodies


@pytest.mark.parametrize("path", ["/sum/float32", "/v1/sum/", "/v2/sum/"])
def test_a_body_shorter_than_its_content_length_is_refused(app: flask.Flask, path: str) -> None:
    """The client stopped in the middle. The part that arrived could be valid by chance."""
    body = b'{"dtype": "float32"}'
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body) + 1)}
    response = ask(app, path, "POST", **environ)
    assert response.status_code == 400
    assert "body: is shorter than its Content-Length" in response.text


def test_a_content_length_of_other_digits_is_ignored() -> None:
    """A function's event has the header as a string of any characters."""
    request = Request(Scope.after(10), "POST", "/", "", {"content-length": "\u0662" * 30}, lambda _: b"{}")
    assert read_body(request) == b"{}"


# The AWS function, whose JSON Lambda has parsed


def make_function() -> tuple[Function, list[dict[str, Any]]]:
    """The function with the store in memory, and its replies to S3."""
    answers: list[dict[str, Any]] = []

    class Client:
        meta = MagicMock()

        def write_get_object_response(self, **given: Any) -> None:
            answers.append(given)

    store = FakeStore({"/bucket/key": NUMBERS.tobytes()})
    settings = make_settings(s3_endpoint="http://store.test:9000", webhook_tokens="a-token")
    return Function(Service.of(settings, store), Client()), answers


@pytest.mark.parametrize("member", ["userRequest", "configuration", "userIdentity"])
def test_an_unpaired_surrogate_in_a_functions_event_is_refused(member: str) -> None:
    function, answers = make_function()
    assert function({**event(), member: {"a": [{"b": "\ud800"}]}}, Context()) is None
    [answer] = answers
    assert (answer["StatusCode"], answer["ErrorCode"]) == (400, "InvalidArgument")
    assert answer["ErrorMessage"] == f"event.{member}.a[0].b: has an unpaired surrogate, which UTF-8 cannot encode"


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"rawPath": "/v2/sum/\ud800"}, "event.rawPath: has an unpaired surrogate, which UTF-8 cannot encode"),
        ({"body": "\udfff"}, "event.body: has an unpaired surrogate, which UTF-8 cannot encode"),
        ({"headers": {"authorization": "\ud800"}}, "event.headers.authorization: has an unpaired"),
        ({"body": "!", "isBase64Encoded": True}, "body: is not valid base64"),
        ({"body": "e30=\n", "isBase64Encoded": True}, "body: is not valid base64"),
        ({"body": "\xe9", "isBase64Encoded": True}, "body: is not valid base64"),
        ({"headers": [], "body": "{}"}, "dtype: is required"),
        ({"requestContext": {"http": 1}}, "GET' is not allowed for this path; allowed: POST"),
    ],
)
def test_a_malformed_request_of_a_function_is_refused(fields: dict[str, Any], part: str) -> None:
    function, _ = make_function()
    given = http_event("/v2/sum/", method="POST") | fields
    reply = function(given, Context())
    assert reply is not None
    assert reply["statusCode"] in (400, 405)
    assert part in base64.b64decode(reply["body"]).decode()


# Random requests


ODD = (
    "\ud800", "\udfff", "\0", "\t", "\r\n", " ", "\x7f", "\x85", "\xa0", "\u2028", "\u202e", "\u212a", "\u0130",
    "\u0663", "\uff11", "\xe9", "\U0001f600", "%", "%00", "%ED%A0%80", "%C0%AF", "%2F", "..", "//", "?", "#", ";", "&",
    "=", ",", ":", "@", "[", "]", "*", "+", "-1", "9" * 30, "1e999", "1_0", "nan", "'", '"', "\\", "{", "}", "a" * 300,
)  # fmt: skip
WORDS = (
    "sum",
    "argmax",
    "select",
    "std",
    "int8",
    "uint64",
    "bool",
    "complex64",
    "zlib",
    "delta",
    "F",
    "big",
    "bytes=-4",
)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, 10**30, 2**63, "", "\ud800", [], {}, [[]], [None], {"a": 1}, [1] * 40, float("nan"),
)  # fmt: skip
TARGETS = (
    KEY,
    "/max/float32;shape=2,5;axis=0/bucket/key",
    "/select/float32;shape=2,5;selection=0:1,1:4:2/bucket/key?versionId=1&X-Amz-SignedHeaders=host",
    "/obj/bucket/key",
    "/sum/float32;compression=zlib;filters=shuffle:4/bucket/key",
    "/count/float32/bucket/key?valid_range=1,2&axis=",
    "/.well-known/s3-active-storage",
    "http://proxy/sum/float32/bucket/key",
)
HEADERS = {
    "Range": "bytes=0-7",
    "If-Match": '"abc-123"',
    "If-None-Match": 'W/"x", "y"',
    "Authorization": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=00",
    "x-amz-date": "20261123T060000Z",
    "Host": "proxy:80",
}
PAYLOADS = ("sum/float32;axis=0", '{"reducer": "sum", "dtype": "float32", "shape": [2, 5], "missing_values": [1, 2.5]}')


def change_text(chance: random.Random, text: str) -> str:
    """A text with a random change."""
    place = chance.randrange(len(text) + 1)
    gone = chance.choice((0, 0, 1, 5))
    return text[:place] + chance.choice((*ODD, *WORDS, "")) + text[place + gone :]


def change(chance: random.Random, value: Any) -> Any:
    """A JSON value with one part replaced, removed, renamed or added."""
    if isinstance(value, str):
        return change_text(chance, value)
    if chance.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return chance.choice(VALUES)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        return [*value[:place], change(chance, value[place]), *value[place + 1 :]]
    name = chance.choice([*value])
    match chance.randrange(8):
        case 0:
            return {other: part for other, part in value.items() if other != name}
        case 1:
            return {**value, change_text(chance, name): value[name]}
        case 2:
            return {**value, name.upper(): value[name]}
        case _:
            return {**value, name: change(chance, value[name])}


def as_sent(text: str) -> str:
    """A text in the form of WSGI's strings (PEP 3333)."""
    return text.encode(errors="surrogatepass").decode("latin-1")


def perhaps(chance: random.Random, headers: Mapping[str, str]) -> dict[str, str]:
    """Some of the headers, some of them changed, without line breaks, which the server refuses."""
    chosen = {name: value for name, value in headers.items() if chance.random() < 0.3}
    return {
        name: as_sent(change_text(chance, value) if chance.random() < 0.5 else value)
        .replace("\n", "")
        .replace("\r", "")
        for name, value in chosen.items()
    }


def ask_s3(app: flask.Flask, chance: random.Random) -> TestResponse:
    target = as_sent(change_text(chance, chance.choice(TARGETS)))
    return ask(app, target, chance.choice(("GET", "GET", "HEAD", "POST")), perhaps(chance, HEADERS))


def ask_json(app: flask.Flask, chance: random.Random) -> TestResponse:
    version, document = chance.choice((("v1", V1), ("v2", V2)))
    members = {**document, **{name: value for name, value in MORE.items() if chance.random() < 0.3}}
    path = f"/{version}/{chance.choice(('sum', 'count', 'select', 'argmax'))}/"
    headers = perhaps(chance, {"Authorization": "Basic bWluaW86c2VjcmV0"})
    return ask_with(app, path, json.dumps(change(chance, members)), headers)


def ask_webhook(app: flask.Flask, chance: random.Random) -> TestResponse:
    query = chance.choice(("", "reducer=sum&dtype=float32", "shape=2,5&axis=0"))
    given = make_event(url=asking(query), headers=perhaps(chance, HEADERS))
    given["configuration"] = {
        "payload": chance.choice((*PAYLOADS, json.dumps(change(chance, json.loads(PAYLOADS[1])))))
    }
    return ask_with(app, chance.choice(("/", "/sum/float32")), json.dumps(change(chance, given)), {})


def ask_with(app: flask.Flask, path: str, body: str, headers: Mapping[str, str]) -> TestResponse:
    sent = body.encode()
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(sent), "CONTENT_LENGTH": str(len(sent))}
    return ask(app, path, "POST", headers, **environ)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("asks", [ask_s3, ask_json, ask_webhook])
def test_no_request_causes_an_internal_error(
    app: flask.Flask, asks: Callable[[flask.Flask, random.Random], TestResponse], seed: int
) -> None:
    chance = random.Random(seed)
    for number in range(200):
        with contextlib.redirect_stderr(io.StringIO()) as log:
            response = asks(app, chance)
        assert response.status_code < 500, f"request {number}: {log.getvalue()}"
        assert all(value.isprintable() for value in response.headers.values())
        if response.status_code >= 400 and response.data:
            assert response.is_json or read_error(response)


@pytest.mark.parametrize("seed", range(5))
def test_no_event_of_a_function_causes_an_internal_error(seed: int) -> None:
    function, answers = make_function()
    chance = random.Random(seed)
    for _ in range(200):
        given = chance.choice(
            (
                event(payload=chance.choice(PAYLOADS), headers=perhaps(chance, HEADERS)),
                event(context="headObjectContext"),
                http_event(chance.choice(TARGETS)),
                http_event("/v2/sum/", method="POST", body=json.dumps(change(chance, {**V2, **MORE}))),
            )
        )
        with contextlib.redirect_stderr(io.StringIO()) as log:
            try:
                reply = function(change(chance, given), Context())
            except InvalidArgument:
                # Not an event: there is no route for a reply.
                continue
        status = answers[-1]["StatusCode"] if reply is None else reply["statusCode"]
        assert status < 500, log.getvalue()

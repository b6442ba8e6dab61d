"""The object-lambda webhook, in process: the events of stores, the requests to them, and the replies."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from active_storage.errors import WrongToken
from active_storage.grammar.query import format_query
from active_storage.grammar.reductions import format_reduction, parse_reduction
from handler.app import create_app
from handler.doors import json_body, webhook
from handler.doors.json_body import MAX_BODY_BYTES
from handler.engine.engine import Engine
from handler.stores.fake import FakeStore
from tests.array_cases import CASES, ArrayCase
from tests.conftest import NUMBERS
from tests.events import (
    ARN,
    ASKED,
    FORWARD,
    LINK_QUERY,
    ROUTE,
    SENT_HEADERS,
    STORE,
    TOKEN,
    asking,
    check_addressed,
    check_forwarded,
    make_event,
    post,
    read_failure,
)
from tests.faulty_store import FAULTS, RANGE_HEADER, RANGE_SUM, WHOLE_SUM, Fault, FaultyStore, well
from tests.faulty_store import service as faulty_service
from tests.helpers import ask, examples, make_settings
from tests.judge import check_data

SUM = "/sum/float32"
ALL = NUMBERS.sum(dtype="<f4").tobytes()


def check_result(response: TestResponse, data: bytes = ALL, status: int = 200) -> None:
    """Pass if the reply has this result, and the headers that MinIO needs."""
    assert (response.status_code, response.data) == (status, data)
    check_addressed(response)


def check_refused(response: TestResponse, status: int, code: str, part: str = "") -> None:
    """Pass if the reply is this error, with the headers that MinIO needs, and its message has ``part``."""
    failure = read_failure(response)
    assert failure[:2] == (status, code)
    assert part in failure[2]
    check_addressed(response)


# Events


def upper(members: Any) -> Any:
    """The same event with all names in capitals, at every level."""
    return {name.upper(): upper(value) for name, value in members.items()} if isinstance(members, dict) else members


def with_more(event: dict[str, Any]) -> dict[str, Any]:
    """The same event with unknown members."""
    more = {"x": [1, {"y": None}], "configuration": {"accessPointArn": "arn:aws:s3-object-lambda:x", "payload": ""}}
    return {**event, "userRequest": {**event["userRequest"], "future": {"headers": 1}}, **more}


EVENTS: Mapping[str, Any] = {
    "MinIO's": make_event(headers={"Range": ["bytes=0-7"], "Accept": ["*/*", "a/b"]}),
    "RustFS's, values as text": make_event(headers={"Range": "bytes=0-7", "Accept": "*/*"}),
    "members in capitals": upper(make_event(headers={"Range": ["bytes=0-7"]})),
    "headers in small letters": make_event(headers={"range": "bytes=0-7"}),
    "unknown members": with_more(make_event(headers={"Range": ["bytes=0-7"]})),
    "an absolute URL": make_event(url=f"https://minio.example.org{ASKED}", headers={"Range": ["bytes=0-7"]}),
    "a URL without a query": make_event(url="/bucket/key", headers={"Range": ["bytes=0-7"]}),
    "a URL that was decoded": make_event(url=f"/bucket/key?lambdaArn={ARN}", headers={"Range": ["bytes=0-7"]}),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("path", [SUM, f"{SUM}/", "/sum/float32%3Bbyte_order%3Dlittle"])
def test_events_of_all_stores_are_parsed(app: flask.Flask, event: Any, path: str) -> None:
    check_result(post(app, path, event), NUMBERS[:2].sum(dtype="<f4").tobytes())


def test_an_event_can_lack_headers(app: flask.Flask) -> None:
    event = make_event()
    del event["userRequest"]["headers"]
    check_result(post(app, SUM, event))


def test_a_key_in_a_decoded_url_can_have_a_question_mark(app: flask.Flask, store: FakeStore) -> None:
    store.sources["/bucket/a%3Faxis%3D0"] = store.sources["/bucket/key"]
    link = f"{STORE}/bucket/a%3Faxis%3D0?{LINK_QUERY}"
    check_result(post(app, SUM, make_event(link, "/bucket/a?axis=0")))
    check_result(post(app, SUM, make_event(link, "/bucket/a?axis=0?shape=10")))
    check_result(post(app, SUM, make_event(link, "/bucket/a%3Faxis%3D0?shape=10")))
    check_refused(post(app, SUM, make_event(link, "/bucket/a?axis=0?shape=11")), 400, "InvalidArgument", "shape")


# Where the reduction is named


def payload(text: Any) -> dict[str, Any]:
    return {"configuration": {"payload": text}}


WHERE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "path": ("/max/float32;shape=2,5;axis=1", make_event()),
    "path, escaped": ("/max/float32%3Bshape%3D2%2C5;axis=1", make_event()),
    "the endpoint's query": ("/?reducer=max&dtype=float32&shape=2,5&axis=1", make_event()),
    "the client's query": ("/", make_event(url=asking("reducer=max&dtype=float32&shape=2%2C5&axis=1"))),
    "both": ("/max", make_event(url=asking("dtype=float32&shape=2,5&axis=1"))),
    "both, the same": (
        "/max/float32;shape=2,5",
        make_event(url=asking("reducer=max&dtype=float32&axis=1&shape=2%2C5")),
    ),
    "a header": ("/", make_event(headers={"x-activestorage-reduction": ["max/float32;shape=2,5;axis=1"]})),
    "a payload of text": ("/", make_event() | payload("max/float32;shape=2,5;axis=1")),
    "a payload of JSON": (
        "/",
        make_event() | payload('{"reducer": "max", "dtype": "float32", "shape": [2, 5], "axis": 1, "order": null}'),
    ),
    "everywhere": (
        "/max",
        make_event(url=asking("dtype=float32"), headers={"X-ActiveStorage-Reduction": "/;axis=1"})
        | payload("/;shape=2,5"),
    ),
}


@pytest.mark.parametrize(("path", "event"), WHERE.values(), ids=WHERE)
def test_the_reduction_can_be_named_in_several_places(app: flask.Flask, path: str, event: Any) -> None:
    check_result(post(app, path, event), NUMBERS.reshape(2, 5).max(axis=1).tobytes())


CONFLICTS: Mapping[str, tuple[str, Any, str]] = {
    "path and query": (SUM, make_event(url=asking("dtype=float64")), "dtype"),
    "path and query, of the reducer": (SUM, make_event(url=asking("reducer=max")), "reducer"),
    "path and the endpoint's query": (f"{SUM}?reducer=max", make_event(), "reducer"),
    "path and header": (SUM, make_event(headers={"x-activestorage-reduction": "max"}), "reducer"),
    "path and payload": (f"{SUM};axis=0", make_event() | payload("/;axis="), "axis"),
    "query and header": (
        SUM,
        make_event(url=asking("axis=0"), headers={"x-activestorage-reduction": "/;axis="}),
        "axis",
    ),
    "query and payload": (SUM, make_event(url=asking("axis=0")) | payload('{"axis": []}'), "axis"),
    "twice in the query": (SUM, make_event(url=asking("axis=0&axis=0")), "axis"),
    "twice in the path": (f"{SUM};axis=0;axis=0", make_event(), "axis"),
    "infinity in the payload": (SUM, make_event() | payload('{"valid_max": 1e400}'), "valid_max"),
    "infinities in the payload": (SUM, make_event() | payload('{"missing_values": [1, -1e400]}'), "missing_values[1]"),
    "twice in the payload": (SUM, make_event() | payload('{"axis": 0, "axis": 0}'), "axis"),
}


@pytest.mark.parametrize(("path", "event", "name"), CONFLICTS.values(), ids=CONFLICTS)
def test_contradicting_places_are_an_error_that_names_the_parameter(
    app: flask.Flask, path: str, event: Any, name: str
) -> None:
    check_refused(post(app, path, event), 400, "InvalidArgument", f"{name}: ")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_arrays_give_numpys_bytes(case: ArrayCase) -> None:
    app = create_app(make_settings(s3_endpoint=STORE), FakeStore({f"/arrays/{case.key}": case.stored}))
    query = format_query(parse_reduction(format_reduction(case.spec)))
    response = post(app, "/", make_event(f"{STORE}/arrays/{case.key}?{LINK_QUERY}", asking(query)))
    check_addressed(response)
    check_data(case.spec, case.array, response.data, has_nan_for_nothing=True)


# Tokens


GOOD = ("the-old-one", "Key the-new-one")
TOKENS = ",".join(GOOD)


@pytest.mark.parametrize("authorization", ["Bearer the-old-one", "the-old-one", "Key the-new-one"])
def test_either_token_is_accepted(make_app: Callable[..., flask.Flask], authorization: str) -> None:
    check_result(post(make_app(webhook_tokens=TOKENS), SUM, make_event(), {"Authorization": authorization}))


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        ("", 401, "MissingWebhookToken"),
        ("Bearer the-other-one", 403, "InvalidWebhookToken"),
        ("Bearer the-old-one2", 403, "InvalidWebhookToken"),
        ("Bearer the-old-on", 403, "InvalidWebhookToken"),
        ("bearer the-old-one", 403, "InvalidWebhookToken"),
        ("Bearer", 403, "InvalidWebhookToken"),
        (TOKENS, 403, "InvalidWebhookToken"),
        ("Key", 403, "InvalidWebhookToken"),
        ("zażółć".encode().decode("latin-1"), 403, "InvalidWebhookToken"),
    ],
)
def test_without_a_valid_token_the_body_is_not_read(
    make_app: Callable[..., flask.Flask], store: FakeStore, authorization: str, status: int, code: str
) -> None:
    """Then no route is repeated, and other faults of the request are not revealed."""
    app = make_app(webhook_tokens=TOKENS)
    headers = {"Authorization": authorization} if authorization else {}
    stream = io.BytesIO(json.dumps(make_event()).encode())
    refused = ask(app, SUM, "POST", headers, **{"wsgi.input": stream, "CONTENT_LENGTH": str(10**9)})
    failure = read_failure(refused)
    assert failure[:2] == (status, code)
    assert failure[2].startswith("Authorization: ")
    # RFC 9110, section 15.5.2: a 401 says what is missing.
    assert refused.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    check_forwarded(refused)
    assert {"x-amz-request-route", "x-amz-request-token"}.isdisjoint(refused.headers.keys())
    assert stream.tell() == 0
    assert store.requests == []


@pytest.mark.parametrize("path", [SUM, "/sum/float31", "/median/float32"])
def test_an_event_is_parsed_once(app: flask.Flask, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """An error repeats the route and the token that were parsed before."""
    parsed: list[object] = []

    def count(*given: Any) -> Any:
        parsed.append(given)
        return json_body.read_object(*given)

    monkeypatch.setattr(webhook, "read_object", count)
    check_addressed(post(app, path, make_event()))
    assert len(parsed) == 1


def test_an_authorization_of_any_characters_is_compared() -> None:
    """In a function's event it is a string, which can have an unpaired surrogate."""
    for authorization in ("\ud800", "Bearer \U0001f600", "\u202e", "\x00"):
        with pytest.raises(WrongToken):
            webhook.ensure_caller(authorization, GOOD)


# Requests to the store


CUSTOMERS_KEY = {
    "X-Amz-Server-Side-Encryption-Customer-Algorithm": ["AES256"],
    "X-Amz-Server-Side-Encryption-Customer-Key": ["a2V5"],
    "X-Amz-Server-Side-Encryption-Customer-Key-Md5": ["bWQ1"],
}


def test_the_link_is_sent_verbatim_with_the_clients_encryption_key_only(app: flask.Flask, store: FakeStore) -> None:
    """The client's signature is for another request, and S3 refuses a request with two signatures."""
    store.sources["/bucket/a%2Bb%20%c3%a9"] = store.sources["/bucket/key"]
    target = f"/bucket/a%2Bb%20%c3%a9?{LINK_QUERY}"
    headers = {
        "Authorization": ["AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=00"],
        "Cookie": ["c=1"],
        "X-Amz-Date": ["20261123T060000Z"],
        "X-Amz-Content-Sha256": ["UNSIGNED-PAYLOAD"],
        "X-Amz-Security-Token": ["of the client"],
        "X-Amz-Checksum-Mode": ["ENABLED"],
        **CUSTOMERS_KEY,
    }
    check_result(post(app, SUM, make_event(f"{STORE}{target}", headers=headers), {"Authorization": "Bearer t"}))
    sent = store.requests[-1]
    assert (sent.target, str(sent.origin)) == (target, STORE)
    assert sent.headers == {
        "host": "store.test:9000",
        "user-agent": "s3-active-storage",
        "accept-encoding": "identity",
        **{name.lower(): value for name, [value] in CUSTOMERS_KEY.items()},
    }


def test_headers_that_the_link_covers_are_forwarded(app: flask.Flask, store: FakeStore) -> None:
    link = f"{STORE}/bucket/key?{LINK_QUERY.replace('SignedHeaders=host', 'SignedHeaders=host%3Bx-goog-custom')}"
    check_result(post(app, SUM, make_event(link, headers={"X-Goog-Custom": ["1"], "X-Other": ["2"]})))
    assert store.requests[-1].headers["x-goog-custom"] == "1"
    assert "x-other" not in store.requests[-1].headers
    check_refused(post(app, SUM, make_event(link)), 400, "InvalidArgument", "'x-goog-custom'")


def test_an_allowed_origin_need_not_be_the_proxys_store(make_app: Callable[..., flask.Flask], store: FakeStore) -> None:
    check_result(post(make_app(), SUM, make_event(f"https://other.test/bucket/key?{LINK_QUERY}")))
    assert store.requests[-1].headers["host"] == "other.test"


@pytest.mark.parametrize(
    ("query", "link_query", "name"),
    [
        ("versionId=1", "", "versionId"),
        ("versionId=null", "", "versionId"),
        ("versionId=1&versionId=", "", "versionId"),
        ("version%49d=1", "", "versionId"),
        ("versionId=1", "versionId=2", "versionId"),
        ("", "versionId=2", "versionId"),
        ("partNumber=2", "", "partNumber"),
        ("", "partNumber=2", "partNumber"),
    ],
)
def test_a_link_to_other_bytes_than_requested_is_refused(
    app: flask.Flask, store: FakeStore, query: str, link_query: str, name: str
) -> None:
    """MinIO drops the client's ``versionId``, so that the link is to the latest version."""
    event = make_event(f"{STORE}/bucket/key?{link_query}&{LINK_QUERY}", asking(query))
    check_refused(post(app, SUM, event), 501, "NotImplemented", name)
    assert store.requests == []


def test_a_link_to_the_same_part_is_followed(app: flask.Flask, store: FakeStore) -> None:
    event = make_event(f"{STORE}/bucket/key?partNumber=1&{LINK_QUERY}", asking("partNumber=%31&versionId="))
    check_result(post(app, SUM, event))
    assert store.requests[-1].asks_for_part


def test_names_of_s3_in_the_query_are_accepted_and_unknown_ones_refused(app: flask.Flask) -> None:
    known = "response-content-disposition=attachment%3B%20filename%3D%22a%26b%3D1%22&X-Amz-Date=20261123T060000Z&x-id="
    check_result(post(app, SUM, make_event(url=asking(known))))
    check_refused(post(app, SUM, make_event(url=asking("axes=0"))), 400, "InvalidArgument", "'axes'")
    check_refused(post(app, SUM, make_event(url=asking("ax%65s=0"))), 400, "InvalidArgument", "'axes'")
    check_refused(post(app, f"{SUM}?axes=0", make_event()), 400, "InvalidArgument", "query")


# Range and conditions


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("bytes=0-7", slice(0, 2)),
        ("bytes=4-", slice(1, None)),
        ("bytes=-12", slice(7, None)),
        ("bytes=32-1000", slice(8, None)),
        ("bytes=0-", slice(None)),
    ],
)
def test_a_range_selects_the_bytes_to_reduce(app: flask.Flask, header: str, chosen: slice) -> None:
    response = post(app, SUM, make_event(headers={"Range": [header]}))
    check_result(response, NUMBERS[chosen].sum(dtype="<f4").tobytes())
    assert "Content-Range" not in response.headers


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        (["bytes=2-5"], 400, "InvalidArgument"),
        (["bytes=0-3,8-11"], 400, "InvalidArgument"),
        (["bytes=0-3", "bytes=8-11"], 400, "InvalidArgument"),
        ([], 400, "InvalidArgument"),
        (["lines=0-3"], 400, "InvalidArgument"),
        (["bytes=40-"], 416, "InvalidRange"),
    ],
)
def test_an_invalid_range_is_refused(app: flask.Flask, value: list[str], status: int, code: str) -> None:
    response = post(app, SUM, make_event(headers={"Range": value}))
    check_refused(response, status, code, "ange")
    if status == 416:
        assert response.headers[f"{FORWARD}Content-Range"] == "bytes */40"


def test_conditions_apply_to_the_results_etag(app: flask.Flask, store: FakeStore) -> None:
    etag = post(app, SUM, make_event()).headers["ETag"]
    assert '"40-fake"' not in etag
    check_result(post(app, SUM, make_event(headers={"If-Match": [etag]})))
    check_result(post(app, SUM, make_event(headers={"If-None-Match": ['"40-fake"']})))
    check_refused(post(app, SUM, make_event(headers={"If-Match": ['"40-fake"']})), 412, "PreconditionFailed")
    unchanged = post(app, SUM, make_event(headers={"If-None-Match": [etag]}))
    assert (unchanged.status_code, unchanged.data, unchanged.headers[f"{FORWARD}ETag"]) == (304, b"", etag)
    check_addressed(unchanged)
    assert store.requests[-1].headers["if-none-match"] == '"40-fake"'


def test_a_range_with_the_results_etag_selects_bytes_of_the_result(app: flask.Flask) -> None:
    etag = post(app, SUM, make_event()).headers["ETag"]
    response = post(app, SUM, make_event(headers={"If-Match": [etag], "Range": ["bytes=1-2"]}))
    check_result(response, ALL[1:3], status=206)
    assert response.headers[f"{FORWARD}Content-Range"] == "bytes 1-2/4"


# Replies


def test_a_result_has_its_headers_plain_and_prefixed(app: flask.Flask) -> None:
    response = post(app, SUM, make_event())
    expected = {
        "Content-Type": "application/octet-stream",
        "Content-Length": "4",
        "x-activestorage-dtype": "float32",
        "x-amz-meta-activestorage-dtype": "float32",
        "x-amz-meta-activestorage-shape": "[]",
        "x-amz-meta-activestorage-count": "[10]",
        "x-amz-meta-activestorage-count-total": "10",
        "x-amz-meta-activestorage-byte-order": "little",
    }
    for name, value in expected.items():
        assert response.headers.getlist(name) == response.headers.getlist(f"{FORWARD}{name}") == [value]
    assert response.headers["x-amz-fwd-status"] == "200"
    assert "x-amz-fwd-error-code" not in response.headers


@pytest.mark.parametrize(
    ("path", "event", "status", "code", "part"),
    [
        ("/median/float32", make_event(), 404, "NoSuchReducer", "'median'"),
        ("/sum/float31", make_event(), 400, "InvalidArgument", "dtype: "),
        ("/sum/float32;byte_order=odd", make_event(), 400, "InvalidArgument", "byte_order: "),
        ("/sum/float32;colour=red", make_event(), 400, "InvalidArgument", "colour"),
        ("/sum/%FF", make_event(), 400, "InvalidArgument", "path: "),
        ("/sum%2Ffloat32%2Fkey", make_event(), 400, "InvalidArgument", "reducer/dtype"),
        ("/", make_event(), 400, "InvalidArgument", "reducer: is required"),
        ("/sum", make_event(), 400, "InvalidArgument", "dtype: is required"),
        (SUM, make_event(f"{STORE}/bucket/none?{LINK_QUERY}"), 404, "NoSuchKey", "does not exist"),
        (SUM, make_event(f"{STORE}/bucket/odd?{LINK_QUERY}"), 400, "IncompleteElement", "7 bytes"),
        ("/max/float32", make_event(f"{STORE}/bucket/empty?{LINK_QUERY}"), 400, "NothingToReduce", "max"),
        (SUM, make_event(headers={"If-Range": ['"x"']}), 400, "InvalidArgument", "If-Range"),
        (
            SUM,
            make_event(headers={"a\u0142": ["1"]}),
            400,
            "InvalidArgument",
            "headers.'a\\u0142': is not a valid header name",
        ),
        (SUM, make_event(headers={"x-amz-\u212aey": ["1"]}), 400, "InvalidArgument", "is not a valid header name"),
        (SUM, make_event(headers={"": ["1"]}), 400, "InvalidArgument", "headers.'': is not a valid header name"),
        (SUM, make_event(headers={"A": ["x\r\ny"]}), 400, "InvalidArgument", "userRequest.headers.A: "),
        (SUM, make_event(headers={"A": [1]}), 400, "InvalidArgument", "userRequest.headers.A: "),
        (SUM, make_event(headers={"A": ["1"], "a": ["2"]}), 400, "InvalidArgument", "userRequest.headers.a: "),
        (SUM, make_event(url=asking("shape=%zz")), 400, "InvalidArgument", "shape: "),
        (SUM, make_event() | payload(7), 400, "InvalidArgument", "configuration.payload: "),
        (SUM, make_event() | payload('{"axes": 0}'), 400, "InvalidArgument", "configuration.payload.axes: "),
        (SUM, make_event() | payload('{"axis": true}'), 400, "InvalidArgument", "configuration.payload.axis: "),
        (SUM, make_event() | payload('{"axis": '), 400, "InvalidArgument", "configuration.payload: is not JSON"),
        (SUM, make_event() | payload('{"axis": 0, "axis": 1}'), 400, "InvalidArgument", "payload.axis: is given twice"),
        (
            SUM,
            make_event() | payload('{"axis": %s}' % ("[" * 500 + "]" * 500)),
            400,
            "InvalidArgument",
            "nested deeper",
        ),
        (SUM, make_event() | payload('{"dtype": "\\ud800"}'), 400, "InvalidArgument", "payload.dtype: has an unpaired"),
        (SUM, make_event() | payload("\u3000sum/float32"), 400, "InvalidArgument", "reducer"),
    ],
)
def test_each_error_names_the_fault_and_repeats_route_and_token(
    app: flask.Flask, path: str, event: Any, status: int, code: str, part: str
) -> None:
    check_refused(post(app, path, event), status, code, part)


def test_an_unexpected_exception_gets_one_reply(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(LINK_QUERY)

    monkeypatch.setattr(Engine, "reduce", fail)
    response = post(app, SUM, make_event())
    check_refused(response, 500, "InternalError", "the server's log has the details")
    [line] = capfd.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["outcome"], logged["level"], logged["door"]) == ("InternalError", "error", "webhook")
    assert logged["id"] == response.headers[f"{FORWARD}x-activestorage-request-id"]
    assert "RuntimeError in fail:" in logged["fault"]
    assert LINK_QUERY not in line


# The webhook and the direct proxy in one server


@pytest.mark.parametrize("path", ["/", "/sum", SUM, f"{SUM};axis=0"])
def test_a_store_that_checks_the_endpoint_gets_200(
    make_app: Callable[..., flask.Flask], store: FakeStore, path: str
) -> None:
    """MinIO sends a HEAD when a target is first used, with its token or without."""
    for headers in ({}, {"Authorization": "Bearer the-old-one"}):
        response = ask(make_app(webhook_tokens=TOKENS), path, "HEAD", {"User-Agent": "Go-http-client/1.1", **headers})
        assert (response.status_code, response.data) == (200, b"")
    assert store.requests == []


def test_the_same_paths_with_an_object_belong_to_the_direct_proxy(app: flask.Flask) -> None:
    assert ask(app, f"{SUM}/bucket/key").data == ALL
    head = ask(app, f"{SUM}/bucket/key", "HEAD")
    assert (head.status_code, head.headers["Content-Length"]) == (200, "4")
    response = post(app, f"{SUM}/bucket/key", make_event())
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert ask(app, SUM).status_code == 400
    # An S3 client that looks for a bucket is not MinIO.
    assert ask(app, SUM, "HEAD", {"x-amz-date": "20261123T060000Z"}).status_code == 400


# Invalid events


def without(member: str, name: str | None = None) -> dict[str, Any]:
    """An event without a member, or without a member of a member."""
    event = make_event()
    del (event[member] if name else event)[name or member]
    return event


def with_(member: str, name: str, value: Any) -> dict[str, Any]:
    """An event with another value in a member of a member."""
    event = make_event()
    event[member][name] = value
    return event


def nested(levels: int) -> Any:
    """Nested lists."""
    return [nested(levels - 1)] if levels else []


def renamed(name: str, other: str) -> Any:
    """An event with a member of its context under another name."""
    event = make_event()
    event["getObjectContext"][other] = event["getObjectContext"].pop(name)
    return event


NO_EVENTS: Mapping[str, tuple[Any, str]] = {
    "nothing": (b"", "body: is not JSON"),
    "text": (b"hello", "body: is not JSON"),
    "half": (json.dumps(make_event()).encode()[:-1], "body: is not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "body: is not UTF-8"),
    "a list": ([make_event()], "body: should be a JSON object"),
    "deep": (b'{"axis": ' + b"[" * 1000 + b"]" * 1000 + b"}", "body: is nested deeper"),
    "deep, and well": (make_event() | {"more": nested(32)}, "body: is nested deeper"),
    "many lists": (b'{"a": [%s[]]}' % (b"[]," * 20_000), "body: has more than 16384 elements"),
    "many of them": (b"[" * 100_000, "body: has more than 16384 elements"),
    "many digits": (b'{"a": ' + b"1" * 5000 + b"}", "body: has an integer with too many digits"),
    "not a number": (b'{"a": NaN}', "body: is not JSON"),
    "twice": (b'{"a": 1, "a": 2}', "a: is given twice"),
    "twice, within": (b'{"a": [{"b": 1, "b": 2}]}', "a[0].b: is given twice"),
    "twice, in another case": (make_event() | {"GETOBJECTCONTEXT": {}}, "getObjectContext: is given twice"),
    "a Kelvin sign for a K": (renamed("outputToken", "outputTo\u212aen"), "getObjectContext.outputToken: is required"),
    "empty": ({}, "getObjectContext: is required"),
    "no context": (
        without("getObjectContext"),
        "getObjectContext: is required in a store's event; send requests",
    ),
    "a context of text": (make_event() | {"getObjectContext": "x"}, "getObjectContext.inputS3Url: is required"),
    "no route": (without("getObjectContext", "outputRoute"), "getObjectContext.outputRoute: is required"),
    "no token": (without("getObjectContext", "outputToken"), "getObjectContext.outputToken: is required"),
    "a route of numbers": (
        with_("getObjectContext", "outputRoute", 7),
        "getObjectContext.outputRoute: should be a string",
    ),
    "an empty route": (make_event(route=""), "getObjectContext.outputRoute: should be 1 to 4096"),
    "a newline in the route": (
        make_event(route="a\r\nx-amz-fwd-status: 200"),
        "getObjectContext.outputRoute: should be 1 to 4096",
    ),
    "a newline after the route": (make_event(route=f"{ROUTE}\n"), "getObjectContext.outputRoute: should be 1 to 4096"),
    "a newline in the token": (make_event(token="a\nb"), "getObjectContext.outputToken: should be 1 to 4096"),
    "a token outside ASCII": (make_event(token="\u0142"), "getObjectContext.outputToken: should be 1 to 4096"),
    "an unpaired surrogate in the token": (
        make_event(token="\ud800"),
        "getObjectContext.outputToken: has an unpaired surrogate",
    ),
    "an unpaired surrogate in a name": (
        make_event() | {"userIdentity": {"\udfff": 1}},
        "userIdentity: has an unpaired",
    ),
    "an unpaired surrogate in a list": (
        make_event(headers={"X": ["a", "\ud800"]}),
        "userRequest.headers.X[1]: has an unpaired surrogate, which UTF-8 cannot encode",
    ),
    "a token of 5,000 characters": (make_event(token="t" * 5000), "getObjectContext.outputToken: should be 1 to 4096"),
}


@pytest.mark.parametrize(("event", "part"), NO_EVENTS.values(), ids=NO_EVENTS)
def test_an_invalid_event_is_an_error_that_names_the_member(
    app: flask.Flask, store: FakeStore, event: Any, part: str
) -> None:
    """Without a valid route and token, the reply repeats neither."""
    response = post(app, SUM, event)
    failure = read_failure(response)
    assert failure[:2] == (400, "InvalidArgument")
    assert part in failure[2]
    check_forwarded(response)
    assert {"x-amz-request-route", "x-amz-request-token"}.isdisjoint(response.headers.keys())
    assert store.requests == []


NO_REQUESTS: Mapping[str, tuple[Any, str]] = {
    "no link": (without("getObjectContext", "inputS3Url"), "getObjectContext.inputS3Url: is required"),
    "a link of none": (with_("getObjectContext", "inputS3Url", None), "getObjectContext.inputS3Url: is required"),
    "a link of numbers": (
        with_("getObjectContext", "inputS3Url", [1]),
        "getObjectContext.inputS3Url: should be a string",
    ),
    "no request": (without("userRequest"), "userRequest.url: is required"),
    "no URL": (without("userRequest", "url"), "userRequest.url: is required"),
    "headers of text": (with_("userRequest", "headers", "Range"), "userRequest.headers: should be a JSON object"),
}


@pytest.mark.parametrize(("event", "part"), NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_an_absent_member_of_an_event_is_named(app: flask.Flask, store: FakeStore, event: Any, part: str) -> None:
    check_refused(post(app, SUM, event), 400, "InvalidArgument", part)
    assert store.requests == []


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_body_over_a_mebibyte_is_not_read_further(app: flask.Flask, tells_length: bool) -> None:
    body = json.dumps(make_event() | {"more": "x" * MAX_BODY_BYTES}).encode()
    stream = io.BytesIO(body)
    length = {"CONTENT_LENGTH": str(len(body))} if tells_length else {"wsgi.input_terminated": True}
    response = ask(app, SUM, "POST", SENT_HEADERS, **{"wsgi.input": stream}, **length)
    assert read_failure(response)[:2] == (400, "InvalidArgument")
    assert stream.tell() <= (0 if tells_length else MAX_BODY_BYTES + 1)
    check_forwarded(response)


def test_a_body_of_a_mebibyte_is_read(app: flask.Flask) -> None:
    body = json.dumps(make_event()).encode().ljust(MAX_BODY_BYTES)
    check_result(post(app, SUM, body))


# Links to origins that are not allowed. The store listens on 127.0.0.1, and is allowed by that name.


@pytest.fixture
def faulty() -> Iterator[tuple[FaultyStore, flask.Flask]]:
    """A store on loopback, and an application that may fetch from it."""
    with FaultyStore(well) as store, faulty_service(store) as (app, _):
        yield store, app


def link_to(store: FaultyStore, host: str = "127.0.0.1") -> str:
    """A link to the object of the store, with another name of its host."""
    return f"{store.url.replace('127.0.0.1', host)}/bucket/key?{LINK_QUERY}"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "127.000.000.001",
        "127.0.0.2",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "127.0.0.1.example.org",
        "a127.0.0.1",
    ],
)
def test_another_name_of_an_allowed_address_is_not_allowed(faulty: tuple[FaultyStore, flask.Flask], host: str) -> None:
    store, app = faulty
    check_refused(post(app, SUM, make_event(link_to(store, host))), 403, "OriginNotAllowed")
    assert store.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "user@127.0.0.1",
        "127.0.0.1@evil.example",
        "user:password@127.0.0.1",
        "evil.example\\@127.0.0.1",
        "127.0.0.1\\.evil.example",
        "127.0.0.1%2eevil.example",
        "%31%32%37.0.0.1",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "127.0.0.1 ",
        " 127.0.0.1",
        "127.0.0.1\t",
        "127.0.0.1\r\nHost: evil.example",
        "127.0.0.1,evil.example",
        "[::1%25eth0]",
        "[127.0.0.1]",
        "*",
        "",
    ],
)
def test_a_link_with_an_ambiguous_host_is_refused(faulty: tuple[FaultyStore, flask.Flask], host: str) -> None:
    store, app = faulty
    response = post(app, SUM, make_event(link_to(store, host)))
    check_refused(response, 400, "InvalidArgument", "getObjectContext.inputS3Url: ")
    assert store.connections == 0


@pytest.mark.parametrize(
    "template",
    [
        "{url}:80/bucket/key",
        "{origin}#/bucket/key",
        "{origin}/bucket/key#@evil.example",
        "//{authority}/bucket/key",
        "/bucket/key",
        "ftp://{authority}/bucket/key",
        "file:///etc/passwd",
        "gopher://{authority}/bucket/key",
        "http:/{authority}/bucket/key",
        "http:\\\\{authority}\\bucket\\key",
        "http://http://{authority}/bucket/key",
        "{origin}/bucket/a b",
        "{origin}/bucket/\u00e9",
        "{origin}/bucket/100%",
        "{origin}/bucket/key HTTP/1.1\r\nX: y",
        "",
    ],
)
def test_a_link_that_is_not_an_http_url_is_refused(faulty: tuple[FaultyStore, flask.Flask], template: str) -> None:
    store, app = faulty
    parts = {"origin": store.url, "url": store.url, "authority": store.url.removeprefix("http://")}
    response = post(app, SUM, make_event(template.format(**parts)))
    check_refused(response, 400, "InvalidArgument", "getObjectContext.inputS3Url: ")
    assert store.connections == 0


def test_another_port_or_scheme_is_another_origin(faulty: tuple[FaultyStore, flask.Flask]) -> None:
    store, app = faulty
    with FaultyStore(well) as other:
        check_refused(post(app, SUM, make_event(link_to(other))), 403, "OriginNotAllowed")
        assert other.connections == 0
    link = link_to(store).replace("http://", "https://")
    check_refused(post(app, SUM, make_event(link)), 403, "OriginNotAllowed")
    check_refused(post(app, SUM, make_event("http://127.0.0.1/bucket/key")), 403, "OriginNotAllowed")
    assert store.connections == 0


# A faulty store: the same table and the same outcomes as for the direct proxy, without the faults that take time.


@pytest.mark.parametrize("headers", [{}, {"Range": [RANGE_HEADER]}], ids=["whole", "range"])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if not fault.settings], ids=lambda fault: fault.name)
def test_an_error_of_the_store_reaches_the_client(fault: Fault, headers: dict[str, Any]) -> None:
    outcome = fault.outcome(is_ranged=bool(headers))
    with (
        FaultyStore(fault.behave, fault.listens) as store,
        faulty_service(store) as (app, _),
    ):
        response = post(app, SUM, make_event(link_to(store), headers=headers))
        assert store.tries == outcome.tries
        if outcome.status == 200:
            check_result(response, RANGE_SUM if headers else WHOLE_SUM)
        else:
            check_refused(response, outcome.status, outcome.code)


def test_head_is_never_sent_to_a_link(faulty: tuple[FaultyStore, flask.Flask]) -> None:
    """The link is signed for GET. The service sends one GET, for the bytes that the reduction needs."""
    store, app = faulty
    check_result(post(app, f"{SUM};size=8;offset=4", make_event(link_to(store))), np.float32(3).tobytes())
    [head] = store.heads
    assert head.startswith(f"GET /bucket/key?{LINK_QUERY} HTTP/1.1\r\n".encode())


def test_a_store_that_closes_the_connection_leaves_no_open_stream(app: flask.Flask, store: FakeStore) -> None:
    body = json.dumps(make_event()).encode()
    environ = {"RAW_URI": SUM, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    app.test_client().open("/", method="POST", environ_overrides=environ).close()
    assert [source.open_streams for source in store.sources.values()] == [0, 0, 0]
    check_result(post(app, SUM, make_event()))


# Random events


_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["bytes=0-3", "*", '"a"', "/bucket/key", f"{STORE}/bucket/key", "sum/float32", ROUTE, TOKEN]),
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_NAMES = ("outputRoute", "outputToken", "inputS3Url", "url", "headers", "payload", "Range", "If-Match", "axis")


@st.composite
def odd_events(draw: st.DrawFn) -> dict[str, Any]:
    """An event with some members replaced, removed or added."""
    event = make_event() | payload("")
    for _ in range(draw(st.integers(0, 3))):
        members = draw(st.sampled_from([event, *(each for each in event.values() if isinstance(each, dict))]))
        name = draw(st.sampled_from([*members, *_NAMES]))
        members[name] = draw(_VALUES)
    return event


@st.composite
def odd_queries(draw: st.DrawFn) -> str:
    pairs = st.tuples(st.sampled_from(["reducer", "dtype", "shape", "axis", "versionId", "x", ""]), _TEXTS)
    return "&".join(f"{name}={value}" for name, value in draw(st.lists(pairs, max_size=4)))


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd_events(), odd_queries(), st.sampled_from(["/", "/sum", SUM, f"{SUM};axis=", "/%"]))
def test_any_event_gets_one_reply(app: flask.Flask, event: Any, query: str, path: str) -> None:
    if isinstance(event.get("userRequest"), dict) and event["userRequest"].get("url") == ASKED:
        event["userRequest"]["url"] = asking(query)
    with contextlib.redirect_stderr(io.StringIO()):
        response = post(app, path, event)
    assert response.status_code != 500
    check_forwarded(response)
    if response.status_code >= 400:
        read_failure(response)


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), _VALUES.map(lambda value: json.dumps(value).encode())))
def test_any_body_gets_one_reply(app: flask.Flask, body: bytes) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        assert read_failure(post(app, SUM, body))[0] == 400

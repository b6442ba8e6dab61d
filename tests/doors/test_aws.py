"""The AWS function: botocore sends its replies to a server that simulates S3 Object Lambda's endpoint."""

import base64
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import botocore.session
import cbor2
import numpy as np
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.stub import Stubber

from active_storage import errors
from active_storage.grammar.reductions import format_reduction
from active_storage.grammar.text import encode
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.etag import ETag
from active_storage.model.spec import ReductionSpec
from handler.doors import aws, aws_object_lambda
from handler.doors.aws import Function, lambda_handler
from handler.doors.aws_http import MAX_RETURNED_BYTES
from handler.doors.aws_object_lambda import ALLOWED_STATUSES
from handler.doors.lambda_event import parse_event
from handler.doors.results import make_result_etag
from handler.doors.service import Service
from handler.stores.fake import FakeStore
from handler.stores.source import Stream
from handler.stores.store_request import StoreRequest
from tests import lambda_endpoint
from tests.array_cases import CASES, ArrayCase
from tests.client.signed_store import KEYS, REGION, Recorder, Served, SignedStore, serving
from tests.conftest import NUMBERS
from tests.doors.array_stores import make_store
from tests.doors.fake_arrays import FakeArrays, make_answer
from tests.events import LINK_QUERY
from tests.helpers import make_settings
from tests.judge import check_data
from tests.lambda_endpoint import Answered, LambdaEndpoint

ORIGIN = "http://store.test:9000"
CANARY = "canary0123456789canary0123456789"

_numbers = itertools.count()


class Context:
    """Lambda's context, with a minute left."""

    def __init__(self, milliseconds: int = 60_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[Any, LambdaEndpoint]]:
    """The function's S3 client, with a local endpoint; and that endpoint."""
    endpoint = LambdaEndpoint()
    with serving(endpoint) as url:
        config = Config(
            s3={"payload_signing_enabled": False}, retries={"total_max_attempts": 1}, inject_host_prefix=False
        )
        session = botocore.session.get_session()
        session.set_credentials(KEYS.access_key, KEYS.secret_key)
        client = session.create_client("s3", endpoint_url=url, region_name=REGION, config=config)
        yield client, endpoint
        client.close()


Call = Callable[..., Answered]


def make_function(s3: tuple[Any, LambdaEndpoint], store: FakeStore | None = None, origin: str = ORIGIN) -> Function:
    settings = make_settings(s3_endpoint=origin)
    return Function(Service.of(settings, store), s3[0])


@pytest.fixture
def function(store: FakeStore, s3: tuple[Any, LambdaEndpoint]) -> Function:
    return make_function(s3, store)


@pytest.fixture
def call(function: Function, s3: tuple[Any, LambdaEndpoint]) -> Call:
    """Sends an event to the function, and returns what the client of S3 receives."""

    def hand_over(given: dict[str, Any], by: Function = function, milliseconds: int = 60_000) -> Answered:
        before = len(s3[1].answers)
        assert by(given, Context(milliseconds)) is None
        assert len(s3[1].answers) == before + 1
        context = given["getObjectContext"]
        return s3[1].answers[context["outputRoute"], context["outputToken"]]

    return hand_over


def event(
    path: str = "/bucket/key",
    query: str = "",
    headers: dict[str, str] | None = None,
    payload: str = "sum/float32",
    link_query: str = "X-Amz-SignedHeaders=host",
    context: str = "getObjectContext",
) -> dict[str, Any]:
    """An event as S3 sends it. Each has a new token."""
    named = {"outputRoute": "io-use1-001", "outputToken": f"token-{next(_numbers)}"}
    return {
        "xAmzRequestId": "request-1",
        context: {"inputS3Url": f"{ORIGIN}{path}?{link_query}", **(named if context == "getObjectContext" else {})},
        "configuration": {"accessPointArn": "arn:aws:s3:1", "supportingAccessPointArn": "arn:2", "payload": payload},
        "userRequest": {"url": f"https://point.s3-object-lambda.example/key?{query}", "headers": headers or {}},
        "userIdentity": {"type": "AssumedRole", "accessKeyId": CANARY},
        "protocolVersion": "1.00",
    }


def test_the_result_has_metadata_and_its_own_etag(call: Call) -> None:
    answered = call(event())
    assert (answered.status, answered.body) == (200, np.float32(55).tobytes())
    assert answered.headers["content-type"] == "application/octet-stream"
    assert answered.headers["etag"] == str(make_result_etag(ETag("40-fake"), ReductionSpec("sum", "float32")))
    assert answered.metadata == {
        "activestorage-dtype": "float32",
        "activestorage-shape": "[]",
        "activestorage-byte-order": "little",
        "activestorage-count": "[10]",
        "activestorage-count-total": "10",
    }
    assert not [name for name in answered.headers if "checksum" in name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_arrays_give_numpys_bytes_wherever_the_reduction_is_named(case: ArrayCase, s3: Any, call: Call) -> None:
    store = FakeStore({f"/arrays/{case.key}": case.stored})
    function = make_function(s3, store)
    text = format_reduction(case.spec)
    reducer, _, segment = text.partition("/")
    dtype, *pairs = segment.split(";")
    members = {"reducer": reducer, "dtype": dtype, **dict(pair.split("=", 1) for pair in pairs)}
    ways: list[dict[str, Any]] = [
        {"payload": text},
        {"payload": json.dumps(members)},
        {"payload": "", "query": "&".join(f"{name}={encode(value)}" for name, value in members.items())},
        {"payload": "", "headers": {"X-ActiveStorage-Reduction": text}},
        {"payload": f"{reducer}/{dtype}", "query": "&".join(pairs)},
    ]
    for way in ways:
        answered = call(event(f"/arrays/{case.key}", **way), function)
        assert answered.status == 200, answered
        check_data(case.spec, case.array, answered.body, has_nan_for_nothing=True)


def test_a_payload_can_have_numbers_and_lists(call: Call) -> None:
    payload = json.dumps({"reducer": "sum", "dtype": "float32", "shape": [2, 5], "axis": 0, "ddof": None})
    assert call(event(payload=payload)).body == NUMBERS.reshape(2, 5).sum(axis=0).tobytes()


@pytest.mark.parametrize(
    ("changes", "status", "code", "part"),
    [
        ({"payload": ""}, 400, "InvalidArgument", "reducer: is required"),
        ({"payload": "median/float32"}, 404, "NoSuchReducer", "median"),
        ({"payload": "sum/float33"}, 400, "InvalidArgument", "float33"),
        ({"payload": "sum/float32/bucket"}, 400, "InvalidArgument", "reduction"),
        ({"payload": '{"reducer": "sum", "type": "float32"}'}, 400, "InvalidArgument", "type"),
        ({"payload": '{"reducer": true}'}, 400, "InvalidArgument", "reducer"),
        ({"payload": '{"reducer": '}, 400, "InvalidArgument", "JSON"),
        (
            {"query": "reducer=max"},
            400,
            "InvalidArgument",
            "reducer: is 'max' in one part of the request and 'sum' in another",
        ),
        ({"headers": {"x-activestorage-reduction": "sum/int32"}}, 400, "InvalidArgument", "dtype"),
        ({"query": "axes=0"}, 400, "InvalidArgument", "axes"),
        ({"query": "axis=0&axis=0"}, 400, "InvalidArgument", "axis"),
        ({"query": "versionId=v2"}, 400, "NotImplemented", "versionId"),
        ({"query": "partNumber=2"}, 400, "NotImplemented", "partNumber"),
        ({"path": "/bucket/none"}, 404, "NoSuchKey", "does not exist"),
        ({"path": "/bucket/odd"}, 400, "IncompleteElement", "7 bytes"),
        ({"path": "/bucket/empty", "payload": "max/float32"}, 400, "NothingToReduce", "max"),
        ({"headers": {"range": "bytes=0-1,4-5"}}, 400, "InvalidArgument", "Range"),
        ({"headers": {"Range": "bytes=400-"}}, 416, "InvalidRange", "40 bytes"),
        ({"headers": {"If-Match": '"other"'}}, 412, "PreconditionFailed", "If-Match"),
        ({"headers": {"Range": 7}}, 400, "InvalidArgument", "Range"),
        ({"headers": {"x-amz-date": "a\nb"}}, 400, "InvalidArgument", "header"),
        ({"link_query": "X-Amz-SignedHeaders=host%3Bx-amz-checksum-mode"}, 400, "InvalidArgument", "checksum"),
    ],
)
def test_each_fault_gets_one_reply_that_names_it(
    call: Call, changes: dict[str, Any], status: int, code: str, part: str
) -> None:
    answered = call(event(**changes))
    assert (answered.status, answered.code) == (status, code)
    assert part in answered.message


@pytest.mark.parametrize("url", ["http://store.test:9001", "https://store.test:9000", "http://store.test:9000@evil"])
def test_a_link_to_another_origin_is_not_followed(s3: Any, call: Call, url: str) -> None:
    function = make_function(s3)
    given = event()
    given["getObjectContext"]["inputS3Url"] = f"{url}/bucket/key?X-Amz-Signature={CANARY}"
    answered = call(given, function)
    assert (answered.status, answered.code) in ((403, "OriginNotAllowed"), (400, "InvalidArgument"))
    assert CANARY not in answered.message


@pytest.mark.parametrize("code", ["PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"])
def test_a_bucket_in_another_region_is_an_error_that_names_it(s3: Any, call: Call, code: str) -> None:
    class Elsewhere(FakeStore):
        def open(self, request: StoreRequest, byte_range: object, scope: object) -> Stream:
            raise errors.WrongRegion(code, "eu-west-2")

    answered = call(event(), make_function(s3, Elsewhere({})))
    assert (answered.status, answered.code) == (400, code)
    assert "eu-west-2" in answered.message


@pytest.mark.parametrize("status", sorted({301, 413, 429, 501, 502, 504} | ALLOWED_STATUSES - {200, 206, 304}))
def test_each_status_of_a_store_becomes_one_that_s3_accepts(s3: Any, call: Call, status: int) -> None:
    class Refusing(FakeStore):
        def open(self, request: StoreRequest, byte_range: object, scope: object) -> Stream:
            raise errors.StoreError(status, "Slow.Down-2", "one line\nand „another“")

    answered = call(event(), make_function(s3, Refusing({})))
    assert answered.status in ALLOWED_STATUSES
    assert answered.status == status or status not in ALLOWED_STATUSES
    assert answered.status // 100 in (4, 5)
    assert (answered.code, answered.message) == ("StoreError", "one line and ?another?")


def test_an_unexpected_exception_gets_one_reply(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("handler.engine.engine.Engine.reduce", fail)
    answered = call(event())
    assert (answered.status, answered.code) == (500, "InternalError")
    assert CANARY not in answered.message


def test_a_current_copy_is_not_sent_again(call: Call) -> None:
    etag = call(event()).headers["etag"]
    answered = call(event(headers={"if-none-match": etag}))
    assert (answered.status, answered.body, answered.headers["etag"]) == (304, b"", etag)


def test_a_range_selects_the_input(call: Call) -> None:
    assert call(event(headers={"Range": "bytes=4-11"})).body == np.float32(5).tobytes()


def test_an_event_without_a_token_cannot_be_answered(function: Function) -> None:
    given = event()
    del given["getObjectContext"]["outputToken"]
    with pytest.raises(errors.InvalidArgument, match="outputToken: is required"):
        function(given, Context())


@pytest.mark.parametrize("given", [None, [], {}, {"Records": []}, {"getObjectContext": "x"}])
def test_an_unknown_kind_of_event_is_refused(function: Function, given: object) -> None:
    with pytest.raises(errors.InvalidArgument, match="event: is of an unknown kind; it should have one of"):
        function(given, Context())


def test_a_reply_that_s3_refuses_is_not_sent_again(
    function: Function, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    given = event()
    call(given)
    capsys.readouterr()
    assert function(given, Context()) is None
    line = json.loads(capsys.readouterr().err)
    assert (line["outcome"], line["id"]) == ("AnswerRefused", "request-1")
    assert "token-" not in str(line)


@pytest.mark.parametrize(
    ("name", "value", "given"),
    [
        ("last-modified", "yesterday", None),
        ("last-modified", "Mon, 23 Nov 2026 06:00:00 GMT", "Mon, 23 Nov 2026 06:00:00 GMT"),
        ("last-modified", "Mon, 23 Nov 2026 06:00:00", "Mon, 23 Nov 2026 06:00:00 GMT"),
        ("last-modified", "Mon, 99 Nov 99999 06:00:00 GMT", None),
        ("last-modified", "", None),
        ("x-amz-version-id", "v\xe9", None),
        ("x-amz-version-id", "v1", "v1"),
    ],
)
def test_headers_that_s3_does_not_accept_are_left_out(
    store: FakeStore, call: Call, name: str, value: str, given: str | None
) -> None:
    """botocore refuses to send them. Without a reply, the client of S3 would wait."""
    store.sources["/bucket/key"].headers = {name: value}
    answered = call(event())
    assert (answered.status, answered.headers.get(name)) == (200, given)
    assert answered.body == np.float32(55).tobytes()


@pytest.mark.parametrize("etag", ['"v\xe9"', "", "no quotes"])
def test_an_etag_that_s3_does_not_accept_is_left_out(store: FakeStore, call: Call, etag: str) -> None:
    store.sources["/bucket/key"].etag = etag
    answered = call(event())
    assert (answered.status, answered.headers.get("etag")) == (200, None)


def test_arguments_that_botocore_refuses_become_an_internal_error(
    function: Function, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aws_object_lambda, "_arguments", lambda _: {"Metadata": 1})
    answered = call(event())
    assert (answered.status, answered.code) == (500, "InternalError")
    line = json.loads(capsys.readouterr().err)
    assert (line["outcome"], line["status"]) == ("InternalError", 500)
    assert "fault" in line


def test_the_deadline_is_within_lambdas_time(call: Call) -> None:
    answered = call(event(), milliseconds=1500)
    assert (answered.status, answered.code) == (503, "StoreTimeout")


def test_the_arguments_fit_botocores_model(store: FakeStore) -> None:
    """The arguments of the call are validated with botocore's own model of the operation."""
    session = botocore.session.get_session()
    session.set_credentials("key", "secret")
    client = session.create_client("s3", region_name=REGION)
    function = Function(Service.of(make_settings(s3_endpoint=ORIGIN), store), client)
    given = event(path="/bucket/odd")
    expected = {
        "RequestRoute": "io-use1-001",
        "RequestToken": given["getObjectContext"]["outputToken"],
        "StatusCode": 400,
        "ErrorCode": "IncompleteElement",
        "ErrorMessage": "7 bytes are not a whole number of elements; float32 elements are 4 bytes",
    }
    with Stubber(client) as stubber:
        stubber.add_response("write_get_object_response", {}, expected)
        function(given, Context())
        stubber.assert_no_pending_responses()


# With a store that verifies signatures


def test_only_signed_headers_are_forwarded(s3: Any, call: Call) -> None:
    recorder = Recorder(SignedStore({"/bucket/ключ": NUMBERS.tobytes()}))
    with serving(recorder) as url:
        request = AWSRequest("GET", f"{url}/bucket/{encode('ключ')}", headers={"x-amz-checksum-mode": "ENABLED"})
        S3SigV4QueryAuth(KEYS, "s3", REGION).add_auth(request)
        given = event(headers={"X-Amz-Checksum-Mode": "ENABLED", "Authorization": CANARY, "x-amz-date": CANARY})
        given["getObjectContext"]["inputS3Url"] = request.url
        function = make_function(s3, origin=url)
        answered = call(given, function)
        seen = Served(url, recorder).requests[-1]
    assert answered.body == np.float32(55).tobytes()
    assert seen.headers["x-amz-checksum-mode"] == "ENABLED"
    assert CANARY not in str(seen)


def test_a_listing_is_forwarded_unchanged(s3: Any) -> None:
    listing = "<ListBucketResult><Key>ключ</Key></ListBucketResult>".encode()

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(listing)))])
        return [listing]

    with serving(answer) as url:
        function = make_function(s3, origin=url)
        for context in ("listObjectsContext", "listObjectsV2Context"):
            given = event(context=context)
            given[context]["inputS3Url"] = f"{url}/?list-type=2&prefix=a"
            assert function(given, Context()) == {"statusCode": 200, "listResultXml": listing.decode()}


# HeadObject


def test_head_has_the_headers_of_get(function: Function, call: Call) -> None:
    returned = function(event(context="headObjectContext"), Context())
    assert returned is not None
    assert returned["statusCode"] == 200
    headers = {name.lower(): value for name, value in returned["headers"].items()}
    answered = call(event())
    assert headers["content-length"] == str(len(answered.body))
    assert headers["etag"] == answered.headers["etag"]
    assert headers["x-amz-meta-activestorage-count"] == "[10]"


def test_an_error_of_head_is_returned(function: Function) -> None:
    assert function(event("/bucket/none", context="headObjectContext"), Context()) == {
        "statusCode": 404,
        "errorCode": "NoSuchKey",
        "errorMessage": "The specified key does not exist.",
    }


# HTTP


def http_event(path: str, query: str = "", method: str = "GET", **fields: Any) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "abc.lambda-url.eu-west-1.on.aws"},
        "requestContext": {
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
            "http": {"method": method, "path": path},
            "stage": "$default",
        },
        "isBase64Encoded": False,
        **fields,
    }


def returned_by(function: Function, given: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    returned = function(given, Context())
    assert returned is not None
    assert returned["isBase64Encoded"] is True
    json.dumps(returned)
    return returned["statusCode"], returned["headers"], base64.b64decode(returned["body"])


def test_a_function_url_is_the_direct_proxy(function: Function, store: FakeStore) -> None:
    status, headers, body = returned_by(function, http_event("/sum/float32%3Baxis%3D0/bucket/key", "X-Amz-Signature=0"))
    assert (status, body) == (200, np.float32(55).tobytes())
    assert headers["Content-Length"] == "4"
    assert headers["x-amz-request-id"]
    assert store.requests[-1].target == "/bucket/key?X-Amz-Signature=0"


def test_head_has_headers_only(function: Function) -> None:
    status, headers, body = returned_by(function, http_event("/sum/float32/bucket/key", method="HEAD"))
    assert (status, headers["Content-Length"], body) == (200, "4", b"")
    assert returned_by(function, http_event("/sum/float32/bucket/none", method="HEAD"))[::2] == (404, b"")


def test_a_decoded_path_is_encoded_as_clients_sign_it(store: FakeStore, s3: Any) -> None:
    """A Function URL gives the raw path. An HTTP API decodes it, and puts its stage before it."""
    objects = FakeStore({"/bucket/a%2520%C3%A9": NUMBERS.tobytes()})
    function = make_function(s3, objects)
    as_sent = http_event("/sum/float32/bucket/a%2520%C3%A9")
    context = {"domainName": "abc.execute-api.eu-west-1.amazonaws.com", "stage": "prod", "http": {"method": "GET"}}
    decoded = http_event("/prod/sum/float32/bucket/a%20é", requestContext=context)
    for given in (as_sent, decoded):
        assert returned_by(function, given)[2] == np.float32(55).tobytes()


@pytest.mark.parametrize("is_encoded", [True, False])
def test_a_function_url_has_the_json_interface(function: Function, is_encoded: bool) -> None:
    body = json.dumps({"interface_type": "s3", "url": f"{ORIGIN}/bucket/key", "dtype": "float32"})
    text = base64.b64encode(body.encode()).decode() if is_encoded else body
    given = http_event("/v2/sum/", method="POST", body=text, isBase64Encoded=is_encoded)
    status, _, reply = returned_by(function, given)
    assert status == 200
    assert cbor2.loads(reply)["bytes"] == np.float32(55).tobytes()


def test_errors_are_s3s_xml(function: Function) -> None:
    status, _, body = returned_by(function, http_event("/sum/float33/bucket/key"))
    assert status == 400
    assert b"<Code>InvalidArgument</Code>" in body


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 400)])
def test_an_object_is_returned_if_it_is_small_enough(s3: Any, extra: int, status: int) -> None:
    objects = FakeStore({"/bucket/large": bytes(MAX_RETURNED_BYTES + extra)})
    function = make_function(s3, objects)
    returned, _, body = returned_by(function, http_event("/obj/bucket/large"))
    assert returned == status
    assert len(body) == MAX_RETURNED_BYTES if status == 200 else b"EntityTooLarge" in body
    assert objects.sources["/bucket/large"].open_streams == 0


def test_an_object_that_breaks_off_is_an_error(s3: Any) -> None:
    class Breaking(FakeStore):
        def open(self, request: StoreRequest, byte_range: Any, scope: Any) -> Stream:
            stream = super().open(request, byte_range, scope)

            def fail(_: memoryview) -> int:
                raise errors.StoreCutOff("the store sent fewer bytes than it promised")

            stream.readinto = fail  # type: ignore[method-assign]
            return stream

    objects = Breaking({"/bucket/key": bytes(10)})
    function = make_function(s3, objects)
    status, _, body = returned_by(function, http_event("/obj/bucket/key"))
    assert (status, b"StoreCutOff" in body) == (502, True)


# The function, started like Lambda starts it


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("ACTIVE_STORAGE_S3_ENDPOINT", ORIGIN)
    aws._function.cache_clear()
    try:
        returned = lambda_handler(http_event("/.well-known/s3-active-storage"), Context())
        assert returned is not None
        assert json.loads(base64.b64decode(returned["body"]))["s3_endpoint"] == ORIGIN
        config = aws.make_s3_client().meta.config
        assert (config.retries["total_max_attempts"], config.s3["payload_signing_enabled"]) == (1, False)
    finally:
        aws._function.cache_clear()


def test_neither_flask_nor_gunicorn_is_needed() -> None:
    program = "import handler.doors.aws, sys; sys.exit(not {'flask', 'gunicorn'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_allowed_statuses_are_those_of_the_api() -> None:
    assert ALLOWED_STATUSES == lambda_endpoint.ALLOWED_STATUSES


def test_no_secret_of_an_event_is_shown(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    """No log line, message or ``repr`` has the link's signature, the token, or the client's signature and keys."""
    secrets = {"authorization": CANARY, "x-amz-server-side-encryption-customer-key": CANARY, "cookie": CANARY}
    link_query = f"X-Amz-Signature={CANARY}"
    changes: list[dict[str, Any]] = [
        {},
        {"path": "/bucket/none"},
        {"path": "/bucket/odd"},
        {"payload": "sum/none"},
        {"headers": {"range": CANARY}},
    ]
    for change in changes:
        given = event(**{"headers": secrets, "link_query": link_query, **change})
        given["getObjectContext"]["outputToken"] += CANARY
        answered = call(given)
        assert CANARY not in f"{answered.message}{answered.headers}{answered.metadata}"
    assert CANARY not in repr(parse_event(event(headers=secrets, link_query=link_query)))
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == len(changes)
    assert CANARY not in out + err


def test_a_container_of_one_object_is_reduced(s3: tuple[Any, LambdaEndpoint], call: Call) -> None:
    arrays = FakeArrays(make_answer())
    service = Service.of(make_settings(s3_endpoint=ORIGIN), FakeStore({"/bucket/f.nc": b"root"}))
    function = Function(replace(service, arrays=arrays), s3[0])  # type: ignore[arg-type]  # as far as a door needs it
    answered = call(event("/bucket/f.nc", payload="mean/netcdf;var=g/tas"), function)
    assert (answered.status, answered.body) == (200, arrays.answer.result.data)
    assert answered.metadata["activestorage-dims"] == '["lat"]'
    assert arrays.asked == [ArrayReduction("mean", "netcdf", "g/tas")]
    zarr = call(event("/bucket/a.zarr", payload="mean/zarr", link_query=LINK_QUERY), function)
    assert (zarr.status, zarr.code) == (400, "InvalidArgument")
    head = event("/bucket/f.nc", payload="mean/netcdf;var=tas", link_query=LINK_QUERY, context="headObjectContext")
    described = function(head, Context())
    assert described is not None
    assert (described["statusCode"], described["errorCode"]) == (400, "NotImplemented")


def test_a_whole_array_is_reduced_over_http(s3: tuple[Any, LambdaEndpoint]) -> None:
    """A function returns the items in one piece, and has no longer than Lambda gives it."""
    function = make_function(s3, make_store())
    store = {"type": "zarr", "url": f"{ORIGIN}/bucket/store.zarr", "array": "tas"}
    given = http_event("/arrays/v1/max", method="POST", body=json.dumps({"store": store, "answer": "progress"}))
    status, headers, body = returned_by(function, given)
    assert (status, headers["Content-Type"]) == (200, "application/cbor-seq")
    stream = io.BytesIO(body)
    items = [cbor2.load(stream) for _ in range(4)]
    assert [item["type"] for item in items] == ["header", "progress", "result", "end"]
    assert stream.read() == b""
    late = function(given, Context(milliseconds=1000))
    assert late is not None
    assert late["statusCode"] == 504

"""The webhook through a store that calls it, MinIO or its stand-in, with real gunicorn."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import urllib3
from botocore.exceptions import ClientError
from minio import Minio
from minio.error import S3Error

from active_storage.client.object_lambda import reducing
from active_storage.grammar.reductions import format_reduction
from active_storage.model.dtypes import DTYPES as ALL_DTYPES
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from deploy.local.processes import LOOPBACK
from deploy.local.samples import BUCKET, DTYPES, TEMPERATURES, sample_array
from deploy.local.store import Store, make_bucket
from tests.array_cases import CASES
from tests.client.signed_store import serving
from tests.events import make_event
from tests.judge import check_data
from tests.live.conftest import WEBHOOK_TOKENS, Places
from tests.minio_lambda import Target

pytestmark = pytest.mark.live

Targets = dict[str, Target]

KEY = "data-float32.dat"
OBJECT = {"Bucket": BUCKET, "Key": KEY}
NUMBERS = sample_array("float32")
SUM = NUMBERS.sum().tobytes()
REDUCE = "arn:minio:s3-object-lambda::reduce:webhook"


@pytest.fixture(scope="module")
def s3(lambda_store: Store) -> Iterator[Any]:
    """A boto3 client of the store with object lambdas."""
    with closing(lambda_store.client()) as client:
        yield client


@pytest.fixture(scope="module")
def objects(live_store: Store) -> Iterator[Any]:
    """A boto3 client of the store itself, which has the objects of the arrays."""
    with closing(live_store.client()) as client:
        make_bucket(client, "lambda")
        for case in CASES:
            client.put_object(Bucket="lambda", Key=case.key, Body=case.stored)
        yield client


def get(s3: Any, reduction: str = "sum/float32", arn: str = REDUCE, **arguments: Any) -> Any:
    """boto3's response to a GET through a lambda."""
    with reducing(s3, reduction, arn):
        return s3.get_object(**{**OBJECT, **arguments})


def read(s3: Any, reduction: str = "sum/float32", arn: str = REDUCE, **arguments: Any) -> bytes:
    """The body of that response."""
    body: bytes = get(s3, reduction, arn, **arguments)["Body"].read()
    return body


def refused(s3: Any, reduction: str = "sum/float32", arn: str = REDUCE, **arguments: Any) -> tuple[int, str, str]:
    """Status, code and message of the error that boto3 raises."""
    with pytest.raises(ClientError) as caught:
        get(s3, reduction, arn, **arguments)
    error = caught.value.response
    status = int(error["ResponseMetadata"]["HTTPStatusCode"])
    return status, error["Error"]["Code"], error["Error"].get("Message", "")


# Numbers


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_reducer_gives_numpys_number(s3: Any, dtype: str) -> None:
    for reducer, rule in REDUCERS.items():
        if ALL_DTYPES[dtype].kind in rule.kinds:
            answer = read(s3, f"{reducer}/{dtype};byte_order=little", Key=f"data-{dtype}.dat")
            check_data(ReductionSpec(reducer, dtype), sample_array(dtype), answer)


def test_every_array_is_reduced_like_by_numpy(s3: Any, objects: Any) -> None:
    for case in CASES:
        answer = read(s3, format_reduction(case.spec), Bucket="lambda", Key=case.key)
        check_data(case.spec, case.array, answer, has_nan_for_nothing=True)


def test_a_large_object_is_reduced(s3: Any) -> None:
    expected = TEMPERATURES.make().sum(dtype=np.float64).astype("<f4")
    assert read(s3, Key=TEMPERATURES.key) == expected.tobytes()


def test_a_part_of_an_object_is_reduced_by_its_number(s3: Any) -> None:
    """The object has one part. MinIO puts the number into the link, and so does the stand-in."""
    assert read(s3, PartNumber=1) == SUM


def test_names_for_the_stores_response_are_accepted(s3: Any) -> None:
    assert read(s3, ResponseContentType="text/plain; a=b&c", ResponseCacheControl="no-cache") == SUM


def test_the_endpoint_can_name_the_reduction(s3: Any, targets: Targets) -> None:
    assert read(s3, "", targets["sum"].arn) == SUM
    assert read(s3, "/;shape=4,5;axis=0", targets["sum"].arn) == NUMBERS.reshape(4, 5).sum(axis=0).tobytes()
    assert refused(s3, "max/float32", targets["sum"].arn)[:2] == (400, "InvalidArgument")


def test_the_response_is_that_of_an_object(s3: Any, objects: Any) -> None:
    answer = get(s3)
    assert answer["ContentLength"] == 4
    assert answer["ContentType"] == "application/octet-stream"
    # Go capitalises the names of headers; the direct proxy's are in lower case.
    assert answer["Metadata"] == {
        "Activestorage-Dtype": "float32",
        "Activestorage-Shape": "[]",
        "Activestorage-Count": f"[{NUMBERS.size}]",
        "Activestorage-Count-Total": str(NUMBERS.size),
        "Activestorage-Byte-Order": "little",
    }
    source = objects.head_object(**OBJECT)
    assert answer["ETag"] != source["ETag"]
    assert answer["LastModified"] == source["LastModified"]


@pytest.mark.parametrize("key", ["zażółć/ключ 鍵 😀.dat", "a+b c;~'()*!%2F&=,@.dat", "what?axis=0#1"])
def test_any_key_can_be_reduced(s3: Any, objects: Any, key: str) -> None:
    objects.put_object(Bucket="lambda", Key=key, Body=NUMBERS.tobytes())
    assert read(s3, Bucket="lambda", Key=key) == SUM


# Ranges and conditions


def test_a_range_selects_numbers(s3: Any) -> None:
    for header, chosen in (("bytes=4-15", slice(1, 4)), ("bytes=64-", slice(16, None)), ("bytes=-8", slice(18, None))):
        answer = get(s3, Range=header)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert answer["Body"].read() == NUMBERS[chosen].sum().tobytes()
    assert refused(s3, Range="bytes=2-5")[:2] == (400, "InvalidArgument")
    assert refused(s3, Range="bytes=80-")[:2] == (416, "InvalidRange")


def test_conditions_apply_to_the_result(s3: Any) -> None:
    etag = get(s3)["ETag"]
    assert read(s3, IfMatch=etag) == read(s3, IfNoneMatch='"another"') == SUM
    assert refused(s3, IfNoneMatch=etag)[0] == 304
    assert refused(s3, IfMatch='"another"')[:2] == (412, "PreconditionFailed")
    part = get(s3, IfMatch=etag, Range="bytes=1-2")
    assert (part["ResponseMetadata"]["HTTPStatusCode"], part["ContentRange"]) == (206, "bytes 1-2/4")
    assert part["Body"].read() == SUM[1:3]


# Errors


def test_errors_reach_the_client_with_their_own_codes(s3: Any, targets: Targets) -> None:
    assert refused(s3, Key="missing")[:2] == (404, "NoSuchKey")
    assert refused(s3, "sum/;byte_order=odd")[:2] == (400, "InvalidArgument")
    assert refused(s3, "sum") == (400, "InvalidArgument", "dtype: is required")
    assert refused(s3, "/float32")[:2] == (400, "InvalidArgument")
    assert refused(s3, "sum/float64;size=4")[:2] == (400, "IncompleteElement")
    assert refused(s3, VersionId="null")[:2] == (501, "NotImplemented")


@pytest.mark.parametrize("name", ["stranger", "nobody"])
def test_without_a_valid_token_no_route_is_repeated(s3: Any, targets: Targets, name: str) -> None:
    """The event is not read, so that the reply does not repeat its route."""
    assert refused(s3, arn=targets[name].arn)[:2] == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("query", "status", "code", "part"),
    [
        ({"reducer": "sum", "dtype": "float31"}, 400, "InvalidArgument", "dtype: unknown data type 'float31'"),
        ({"reducer": "median", "dtype": "float32"}, 404, "NoSuchReducer", "'median'"),
        ({"reducer": "sum", "dtype": "float32", "axes": "0"}, 400, "InvalidArgument", "'axes'"),
    ],
)
def test_invalid_names_in_the_query_are_errors(
    py_client: Minio, query: dict[str, str], status: int, code: str, part: str
) -> None:
    with pytest.raises(S3Error) as caught:
        py_client.get_object(BUCKET, KEY, extra_query_params={"lambdaArn": REDUCE, **query})
    assert (caught.value.response.status, caught.value.code) == (status, code)
    assert part in (caught.value.message or "")


def test_a_wrong_secret_is_refused_by_the_store(lambda_store: Store) -> None:
    with closing(Store(lambda_store.endpoint, lambda_store.access_key, "wrong").client()) as stranger:
        assert refused(stranger)[:2] == (403, "SignatureDoesNotMatch")


# Other clients


@pytest.fixture
def py_client(lambda_store: Store) -> Iterator[Minio]:
    """minio-py, with its own connection pool, which is closed."""
    with urllib3.PoolManager() as pool:
        yield Minio(
            urlsplit(lambda_store.endpoint).netloc,
            access_key=lambda_store.access_key,
            secret_key=lambda_store.secret_key,
            secure=False,
            region="us-east-1",
            http_client=pool,
        )


def test_minio_py_uses_extra_query_params(py_client: Minio) -> None:
    query = {"reducer": "max", "dtype": "float32", "shape": "4,5", "axis": "0"}
    with py_client.get_object(BUCKET, KEY, extra_query_params={"lambdaArn": REDUCE, **query}) as answer:
        assert answer.read() == NUMBERS.reshape(4, 5).max(axis=0).tobytes()


@pytest.mark.parametrize("header", [None, "bytes=4-15"])
def test_a_link_needs_no_keys(s3: Any, header: str | None) -> None:
    with reducing(s3, "sum/float32", REDUCE):
        link = s3.generate_presigned_url("get_object", Params=OBJECT)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(link, headers={"Range": header} if header else {}, timeout=60)
    assert (answer.status_code, answer.content) == (200, NUMBERS[1:4].sum().tobytes() if header else SUM)


def test_curl_fetches_a_link(s3: Any) -> None:
    curl = shutil.which("curl") or pytest.skip("no curl on PATH")
    with reducing(s3, "sum/float32;shape=4,5;axis=0", REDUCE):
        link = s3.generate_presigned_url("get_object", Params=OBJECT)
    command = [curl, "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", link]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    assert answer == NUMBERS.reshape(4, 5).sum(axis=0).tobytes()


def test_the_service_works_after_a_client_has_gone_away(s3: Any, endpoint: str, live_store: Store) -> None:
    """A store that closes the connection before the reply, and one that sends a part of an event."""
    with closing(live_store.client()) as presigner:
        link = presigner.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": TEMPERATURES.key})
    body = json.dumps(make_event(link)).encode()
    address = (LOOPBACK, urlsplit(endpoint).port or 0)
    head = (
        f"POST /sum/float32 HTTP/1.1\r\nHost: service\r\nAuthorization: Bearer {WEBHOOK_TOKENS[0]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for sent in (head + body, head + body[:100]):
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(sent)
    assert read(s3) == SUM


# Faulty replies of lambdas, and the store's replies to the client


@pytest.fixture
def odd_lambda(places: Places) -> Iterator[Callable[..., None]]:
    """Sets the reply of the faulty lambda: status, headers and body. It repeats the route and the token."""
    reply: dict[str, Any] = {}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            start_response("405 Method Not Allowed", [])
            return []
        event = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        context = event["getObjectContext"]
        echo = {"x-amz-request-route": context["outputRoute"], "x-amz-request-token": context["outputToken"]}
        start_response(f"{reply['status']} As ordered", list({**echo, **reply["headers"]}.items()))
        return [reply["body"]]

    def tell(status: int, headers: dict[str, str], body: bytes = b"12345678") -> None:
        reply.update(status=status, headers=headers, body=body)

    with serving(answer, places.odd.fileno()):
        yield tell


ODD = {
    "no route": (200, {"x-amz-request-route": ""}, (400, "InvalidRequest")),
    "another route": (200, {"x-amz-request-route": "x"}, (400, "InvalidRequest")),
    "no token": (200, {"x-amz-request-token": ""}, (403, "InvalidTokenId")),
    "another token": (200, {"x-amz-request-token": "x"}, (403, "InvalidTokenId")),
    "a malformed status": (200, {"x-amz-fwd-status": "fine"}, (400, "LambdaFunctionStatusError")),
    "a code alone": (404, {"x-amz-fwd-error-code": "NoSuchKey"}, (400, "InvalidRequest")),
    "a message alone": (404, {"x-amz-fwd-error-message": "gone"}, (400, "InvalidRequest")),
    "neither": (404, {}, (400, "InvalidRequest")),
    "both": (
        200,
        {"x-amz-fwd-status": "418", "x-amz-fwd-error-code": "Teapot", "x-amz-fwd-error-message": "short <&> stout"},
        (418, "Teapot"),
    ),
}


@pytest.mark.parametrize(("status", "headers", "expected"), ODD.values(), ids=ODD)
def test_a_faulty_reply_becomes_an_error_of_the_store(
    s3: Any,
    targets: Targets,
    odd_lambda: Callable[..., None],
    status: int,
    headers: dict[str, str],
    expected: tuple[int, str],
) -> None:
    odd_lambda(status, headers)
    assert refused(s3, arn=targets["odd"].arn)[:2] == expected


def test_an_unreachable_lambda_is_an_error_of_the_store(lambda_store: Store, targets: Targets) -> None:
    with closing(lambda_store.client(retries={"total_max_attempts": 1})) as s3:
        assert refused(s3, arn=targets["odd"].arn.replace("odd", "none"))[:2] == (404, "LambdaARNNotFound")
        status, code, message = refused(s3, arn=targets["down"].arn)
        assert (status, code) == (500, "InternalError")
        assert "not connected to target" in message


def test_the_store_forwards_prefixed_headers_only(s3: Any, targets: Targets, odd_lambda: Callable[..., None]) -> None:
    forwarded = "x-amz-fwd-header-x-amz-meta-"
    reply = {f"{forwarded}b": "2", f"{forwarded}activestorage-dtype": "int64"}
    odd_lambda(500, {"x-amz-fwd-status": "200", "x-amz-meta-a": "1", **reply})
    answer = get(s3, arn=targets["odd"].arn)
    assert (answer["Metadata"], answer["Body"].read()) == (
        {"B": "2", "Activestorage-Dtype": "int64"},
        b"12345678",
    )

"""``reducing``: the requests of a client inside the block, to a store that verifies their signatures."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from contextvars import copy_context
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from active_storage.client.object_lambda import NotReduced, reducing
from active_storage.errors import InvalidArgument, UnknownReducer
from active_storage.grammar.query import split_query
from tests.client.conftest import NUMBERS
from tests.client.signed_store import KEYS, REGION, Seen, Served, SignedStore

MakeClient = Callable[..., Any]

ARN = "arn:minio:s3-object-lambda::reduce:webhook"
OBJECT = {"Bucket": "bucket", "Key": "key"}
REDUCTION = "sum/float32;shape=2,5;selection=0:2,::2;axis=0,1;missing_value=-1e20;filters=shuffle:4,fletcher32"
NAMES = {
    "reducer": "sum",
    "dtype": "float32",
    "shape": "2,5",
    "selection": "0:2,::2",
    "axis": "0,1",
    "missing_value": "-1e20",
    "filters": "shuffle:4,fletcher32",
}


@pytest.fixture
def s3(plain: Served, make_client: MakeClient) -> Any:
    """A client of a plain S3, with boto3's own signature."""
    return make_client(plain.endpoint, version="s3v4")


def make_session() -> boto3.session.Session:
    """A session, made as by users."""
    return boto3.session.Session(KEYS.access_key, KEYS.secret_key, region_name=REGION)


def names_in(request: Seen) -> dict[str, str]:
    """The names and values in a request's query, without its signature."""
    return {name: value for name, value in parse_qsl(request.query, True) if not name.startswith("X-Amz-")}


def check_asked(plain: Served, *expected: Mapping[str, str]) -> None:
    """Pass if the store received requests with these names, in this order."""
    assert [names_in(request) for request in plain.requests] == list(expected)


def test_a_get_inside_the_block_has_the_query_and_a_valid_signature(plain: Served, s3: Any) -> None:
    with reducing(s3, REDUCTION, ARN):
        assert s3.get_object(**OBJECT)["Body"].read() == NUMBERS.tobytes()
    s3.get_object(**OBJECT)
    check_asked(plain, {"lambdaArn": ARN, **NAMES}, {})
    assert split_query(plain.requests[0].query).parameters == NAMES
    assert "lambdaArn=arn%3Aminio%3As3-object-lambda%3A%3Areduce%3Awebhook&" in plain.requests[0].query


@pytest.mark.parametrize("version", ["s3v4", "s3v4-activestorage"])
def test_a_presigned_link_inside_the_block_has_the_query(plain: Served, make_client: MakeClient, version: str) -> None:
    s3 = make_client(plain.endpoint, version=version)
    with reducing(s3, REDUCTION, ARN):
        link = s3.generate_presigned_url("get_object", Params=OBJECT)
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(link, timeout=10).content == NUMBERS.tobytes()
    check_asked(plain, {"lambdaArn": ARN, **NAMES})


def test_the_query_is_added_to_boto3s_own(plain: Served, s3: Any) -> None:
    with reducing(s3, "sum/float32", ARN):
        s3.get_object(**OBJECT, ResponseContentType="a/b; c=d")
    check_asked(
        plain,
        {"response-content-type": "a/b; c=d", "lambdaArn": ARN, "reducer": "sum", "dtype": "float32"},
    )


def test_only_get_object_is_changed(plain: Served, s3: Any) -> None:
    with reducing(s3, "sum/float32", ARN):
        s3.head_object(**OBJECT)
    check_asked(plain, {})


def test_a_transfer_gets_the_object_itself(plain: Served, s3: Any) -> None:
    """A transfer uses its own threads, and requests as many bytes as HEAD reports. A result would be truncated."""
    received = io.BytesIO()
    with reducing(s3, "sum/float32", ARN):
        s3.download_fileobj("bucket", "key", received)
    assert received.getvalue() == NUMBERS.tobytes()
    assert [names_in(request) for request in plain.requests] == [{}] * len(plain.requests)


@pytest.mark.parametrize(
    ("reduction", "arn", "names"),
    [
        ("", ARN, {"lambdaArn": ARN}),
        (";axis=0", ARN, {"lambdaArn": ARN, "axis": "0"}),
        ("/;axis=", ARN, {"lambdaArn": ARN, "axis": ""}),
        ("sum/float32", None, {"reducer": "sum", "dtype": "float32"}),
        ("", None, {}),
    ],
)
def test_names_that_the_lambda_sets_can_be_left_out(
    plain: Served, s3: Any, reduction: str, arn: str | None, names: dict[str, str]
) -> None:
    with reducing(s3, reduction, arn):
        s3.get_object(**OBJECT)
    check_asked(plain, names)


@pytest.mark.parametrize(
    ("reduction", "error"),
    [
        ("sum/float31", InvalidArgument),
        ("summe/float32", UnknownReducer),
        ("sum/float32;axes=0", InvalidArgument),
        ("/;axes=0", InvalidArgument),
        ("sum/float32;shape=0", InvalidArgument),
        ("sum/float32/bucket", InvalidArgument),
    ],
)
def test_an_invalid_reduction_is_refused_before_a_request(
    plain: Served, s3: Any, reduction: str, error: type[Exception]
) -> None:
    with pytest.raises(error), reducing(s3, reduction, ARN):
        pytest.fail("nothing to do here")
    check_asked(plain)


@pytest.mark.parametrize("byte_range", [{}, {"Range": "bytes=0-3"}])
def test_the_object_itself_raises_not_reduced(
    serve: Callable[..., Served], make_client: MakeClient, byte_range: Mapping[str, str]
) -> None:
    """A store without object lambdas ignores their parameters, and sends the object."""
    store = serve(SignedStore({"/bucket/key": NUMBERS.tobytes()}, has_lambdas=False))
    s3 = make_client(store.endpoint, version="s3v4")
    with reducing(s3, "sum/float32", ARN), pytest.raises(NotReduced):
        s3.get_object(**OBJECT, **byte_range)
    assert s3.get_object(**OBJECT)["Body"].read() == NUMBERS.tobytes()


def test_the_block_ends_after_an_error_too(plain: Served, s3: Any) -> None:
    with pytest.raises(ClientError), reducing(s3, "sum/float32", ARN):
        s3.get_object(Bucket="bucket", Key="missing")
    s3.get_object(**OBJECT)
    check_asked(plain, {"lambdaArn": ARN, "reducer": "sum", "dtype": "float32"}, {})


def test_a_retried_request_has_the_query_once(serve: Callable[..., Served]) -> None:
    """boto3 makes and signs a new request for each try."""
    store = SignedStore({"/bucket/key": NUMBERS.tobytes()})
    refusals = ["503 Slow Down"]

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if refusals:
            start_response(refusals.pop(), [("Content-Length", "0")])
            return []
        return store(environ, start_response)

    served = serve(answer)
    with closing(make_session().client("s3", endpoint_url=served.endpoint)) as s3, reducing(s3, "sum/float32", ARN):
        assert s3.get_object(**OBJECT)["Body"].read() == NUMBERS.tobytes()
    check_asked(served, *[{"lambdaArn": ARN, "reducer": "sum", "dtype": "float32"}] * 2)


def test_the_inner_of_nested_blocks_applies(plain: Served, s3: Any) -> None:
    with reducing(s3, "sum/float32", ARN):
        with reducing(s3, "max/float32", ARN):
            s3.get_object(**OBJECT)
        s3.get_object(**OBJECT)
    assert [names_in(request)["reducer"] for request in plain.requests] == ["max", "sum"]


def test_each_client_has_its_own_reduction(plain: Served, s3: Any, make_client: MakeClient) -> None:
    other, third = (make_client(plain.endpoint, version="s3v4") for _ in range(2))
    with reducing(s3, "sum/float32", ARN), reducing(other, "max/float32", ARN):
        for client in (s3, other, third):
            client.get_object(**OBJECT)
    assert [names_in(request).get("reducer") for request in plain.requests] == ["sum", "max", None]


def test_threads_share_a_client_with_different_reductions(plain: Served, s3: Any) -> None:
    """All but one are inside their blocks at the same time. Each block registers the hook, which is idempotent."""
    everyone = threading.Barrier(5)

    def ask(reducer: str) -> None:
        with reducing(s3, f"{reducer}/float32", ARN):
            everyone.wait(10)
            s3.get_object(Bucket="bucket", Key="key", ResponseContentType=reducer)

    threads = [threading.Thread(target=ask, args=(reducer,)) for reducer in ("sum", "max", "min", "mean")]
    for thread in threads:
        thread.start()
    everyone.wait(10)
    s3.get_object(**OBJECT)
    for thread in threads:
        thread.join()
    seen = [names_in(request) for request in plain.requests]
    assert sorted(names.get("reducer", "") for names in seen) == ["", "max", "mean", "min", "sum"]
    assert all(names.get("reducer") == names.get("response-content-type") for names in seen)


def test_a_block_in_another_context_changes_nothing_here(plain: Served, s3: Any) -> None:
    copy_context().run(lambda: reducing(s3, "sum/float32", ARN).__enter__())
    s3.get_object(**OBJECT)
    check_asked(plain, {})


def test_a_resources_client_can_be_used(plain: Served) -> None:
    resource = make_session().resource("s3", endpoint_url=plain.endpoint)
    with reducing(resource.meta.client, "sum/float32", ARN):
        resource.Object("bucket", "key").get()
    check_asked(plain, {"lambdaArn": ARN, "reducer": "sum", "dtype": "float32"})
    resource.meta.client.close()


@pytest.fixture
def filesystem(plain: Served) -> Any:
    """s3fs with the plain S3, if it is installed. The tests with other versions of botocore run without it."""
    s3fs = pytest.importorskip("s3fs")
    return s3fs.S3FileSystem(
        key=KEYS.access_key, secret=KEYS.secret_key, endpoint_url=plain.endpoint, skip_instance_cache=True
    )


def test_s3fs_has_the_query_in_its_own_thread(plain: Served, filesystem: Any) -> None:
    """Its event loop copies the caller's context."""
    filesystem.connect()
    with reducing(filesystem.s3, "sum/float32", ARN):
        assert filesystem.cat_file("bucket/key") == NUMBERS.tobytes()
    assert filesystem.cat_file("bucket/key") == NUMBERS.tobytes()
    gets = [names_in(request) for request in plain.requests if request.method == "GET"]
    assert gets == [{"lambdaArn": ARN, "reducer": "sum", "dtype": "float32"}, {}]


def test_tasks_of_one_loop_have_different_reductions(plain: Served, filesystem: Any) -> None:
    session = pytest.importorskip("aiobotocore.session")

    async def ask(client: Any, reducer: str) -> None:
        with reducing(client, f"{reducer}/float32", ARN):
            await asyncio.sleep(0)
            answer = await client.get_object(**OBJECT, ResponseContentType=reducer)
            async with answer["Body"] as body:
                assert await body.read() == NUMBERS.tobytes()

    async def ask_all() -> None:
        keys = {"aws_access_key_id": KEYS.access_key, "aws_secret_access_key": KEYS.secret_key}
        async with session.get_session().create_client(
            "s3", endpoint_url=plain.endpoint, region_name=REGION, **keys
        ) as client:
            await asyncio.gather(*(ask(client, reducer) for reducer in ("sum", "max", "min")))

    asyncio.run(ask_all())
    seen = [names_in(request) for request in plain.requests]
    assert sorted(names["reducer"] for names in seen) == ["max", "min", "sum"]
    assert all(names["reducer"] == names["response-content-type"] for names in seen)

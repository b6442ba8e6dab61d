"""Common clients with the real service and real stores. Results are compared with numpy's."""

import io
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import numpy as np
import pytest
import requests
import s3fs
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from deploy.local.demo import REDUCERS, numpy_result
from deploy.local.samples import BUCKET, DTYPES, TEMPERATURES, sample_array
from deploy.local.store import REGION, Store, make_bucket

pytestmark = pytest.mark.live

MakeClient = Callable[..., Any]

# The two programs of the original project, verbatim. The second continues the first.
ORIGINAL_CLIENT = """\
import boto3
from botocore.client import Config

from active_storage.client.boto3 import S3ActiveStorageV4Auth


# Register the active storage signature version
S3ActiveStorageV4Auth.register()


# Create an S3 client that uses the active storage signature version
s3 = boto3.resource(
    "s3",
    endpoint_url = "http://localhost:8000",
    aws_access_key_id = "minioadmin",
    aws_secret_access_key = "minioadmin",
    config = Config(signature_version = S3ActiveStorageV4Auth.SIGNATURE_VERSION)
)
"""
ORIGINAL_LOOP = """\
import numpy as np


for dtype in ["int32", "int64", "uint32", "uint64", "float32", "float64"]:
    print(f"dtype: {dtype}")

    obj = s3.Object("count", f"{dtype}/sample-data/data-{dtype}.dat")
    data = obj.get()["Body"].read()
    arr = np.frombuffer(data, dtype = np.int64)
    print(f"  count data: {arr}")

    for reducer in ["max", "min", "sum"]:
        obj = s3.Object(reducer, f"{dtype}/sample-data/data-{dtype}.dat")
        data = obj.get()["Body"].read()
        arr = np.frombuffer(data, dtype = getattr(np, dtype))
        print(f"  {reducer} data: {arr}")
"""

KEY = "data-float32.dat"
NUMBERS = sample_array("float32")
SUM = numpy_result("sum", NUMBERS).tobytes()
REDUCTION = {"Bucket": "sum", "Key": f"float32/{BUCKET}/{KEY}"}
OBJECT = {"Bucket": "obj", "Key": f"{BUCKET}/{KEY}"}


@pytest.fixture(scope="module")
def make_client(live_store: Store) -> Iterator[MakeClient]:
    """Makes boto3 clients of an endpoint with the store's keys and the plugin's signature version."""
    S3ActiveStorageV4Auth.register()
    with ExitStack() as stack:

        def make(endpoint: str, secret: str = live_store.secret_key, **config: Any) -> Any:
            defaults = {"signature_version": S3ActiveStorageV4Auth.SIGNATURE_VERSION, "proxies": {}}
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint,
                region_name=REGION,
                aws_access_key_id=live_store.access_key,
                aws_secret_access_key=secret,
                config=Config(**{**defaults, **config}),
            )
            return stack.enter_context(closing(client))

        yield make


@pytest.fixture(scope="module")
def s3(endpoint: str, make_client: MakeClient) -> Any:
    """A boto3 client of the service."""
    return make_client(endpoint)


@pytest.fixture(scope="module")
def store_client(live_store: Store) -> Iterator[Any]:
    """A boto3 client of the store itself."""
    with closing(live_store.client()) as client:
        yield client


# The programs of the original project


def test_the_original_program_prints_numpys_numbers(endpoint: str, tmp_path: Path) -> None:
    finished = run_program(ORIGINAL_CLIENT + ORIGINAL_LOOP, endpoint, tmp_path)
    expected = []
    for dtype in ("int32", "int64", "uint32", "uint64", "float32", "float64"):
        expected.append(f"dtype: {dtype}")
        for reducer in ("count", "max", "min", "sum"):
            result = numpy_result(reducer, sample_array(dtype))
            expected.append(f"  {reducer} data: {result.reshape(1)}")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == expected


def test_the_original_program_at_a_plain_store(live_store: Store, tmp_path: Path) -> None:
    """The signature falls back to the standard one: objects can be read, and others are not found, not forbidden."""
    ordinary = f'print(len(s3.Object("{BUCKET}", "{KEY}").get()["Body"].read()))\n'
    finished = run_program(ORIGINAL_CLIENT + ordinary + ORIGINAL_LOOP, live_store.endpoint, tmp_path)
    assert finished.stdout.splitlines() == [str(NUMBERS.nbytes), "dtype: int32"]
    assert finished.returncode == 1
    assert "(NoSuchBucket)" in finished.stderr or "(NoSuchKey)" in finished.stderr


# boto3


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_client_reads_numpys_numbers(dtype: str, reducer: str, s3: Any) -> None:
    answer = s3.get_object(Bucket=reducer, Key=f"{dtype}/{BUCKET}/data-{dtype}.dat")
    assert answer["Body"].read() == numpy_result(reducer, sample_array(dtype)).tobytes()


def test_a_large_object_is_reduced(s3: Any) -> None:
    answer = s3.get_object(Bucket="sum", Key=f"float32/{BUCKET}/{TEMPERATURES.key}")
    assert answer["Body"].read() == numpy_result("sum", TEMPERATURES.make()).tobytes()


def test_parameters_follow_the_data_type_in_the_key(s3: Any) -> None:
    answer = s3.get_object(Bucket="max", Key=f"int32;byte_order=big/{BUCKET}/data-int32.dat")
    expected = sample_array("int32").view(">i4").max().astype("<i4")
    assert answer["Body"].read() == expected.tobytes()


def test_a_range_selects_numbers(s3: Any) -> None:
    answer = s3.get_object(**REDUCTION, Range="bytes=4-15")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["Body"].read() == numpy_result("sum", NUMBERS[1:4]).tobytes()


def test_head_has_the_headers_of_get(s3: Any) -> None:
    got, described = s3.get_object(**REDUCTION), s3.head_object(**REDUCTION)
    assert got["Body"].read() == SUM
    assert described["ContentLength"] == len(SUM)
    for name in ("ContentLength", "ContentType", "ETag", "LastModified", "Metadata"):
        assert described[name] == got[name]
    assert described["Metadata"]["activestorage-count"] == f"[{NUMBERS.size}]"


def test_a_current_copy_is_not_sent_again(s3: Any) -> None:
    etag = s3.head_object(**REDUCTION)["ETag"]
    for ask in (s3.get_object, s3.head_object):
        with pytest.raises(ClientError) as caught:
            ask(**REDUCTION, IfNoneMatch=etag)
        assert status_of(caught.value) == 304
    assert s3.get_object(**REDUCTION, IfNoneMatch='"another"')["Body"].read() == SUM


def test_a_changed_object_has_another_etag(s3: Any) -> None:
    for etag in ('"another"', s3.head_object(**OBJECT)["ETag"]):
        with pytest.raises(ClientError) as caught:
            s3.get_object(**REDUCTION, IfMatch=etag)
        assert (status_of(caught.value), code_of(caught.value)) == (412, "PreconditionFailed")
    assert s3.get_object(**REDUCTION, IfMatch=s3.head_object(**REDUCTION)["ETag"])["Body"].read() == SUM


@pytest.mark.parametrize(
    ("bucket", "key", "status", "code"),
    [
        ("sum", f"float32/{BUCKET}/missing", 404, "NoSuchKey"),
        ("sum", "float32/missing-bucket/key", 404, "NoSuchBucket"),
        ("sum", f"float31/{BUCKET}/{KEY}", 400, "InvalidArgument"),
        ("sum", f"float32;axes=0/{BUCKET}/{KEY}", 400, "InvalidArgument"),
        ("nonsense", f"float32/{BUCKET}/{KEY}", 404, "NoSuchReducer"),
        ("obj", f"{BUCKET}/missing", 404, "NoSuchKey"),
    ],
)
def test_errors_have_s3s_codes(bucket: str, key: str, status: int, code: str, s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key=key)
    assert (status_of(caught.value), code_of(caught.value)) == (status, code)
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=bucket, Key=key)
    assert status_of(caught.value) == status


def test_a_wrong_secret_is_refused_by_the_store(endpoint: str, make_client: MakeClient) -> None:
    with pytest.raises(ClientError) as caught:
        make_client(endpoint, secret="wrong").get_object(**REDUCTION)
    assert (status_of(caught.value), code_of(caught.value)) == (403, "SignatureDoesNotMatch")


def test_an_anonymous_request_for_a_private_object_is_refused(endpoint: str, make_client: MakeClient) -> None:
    with pytest.raises(ClientError) as caught:
        make_client(endpoint, signature_version=UNSIGNED).get_object(**REDUCTION)
    assert (status_of(caught.value), code_of(caught.value)) == (403, "AccessDenied")


@pytest.mark.parametrize("key", ["zażółć/ключ 鍵 😀.dat", "a+b c;~'()*!%2F&=,@.dat", "/leading", "trailing/x/"])
def test_any_key_can_be_reduced(key: str, s3: Any, store_client: Any) -> None:
    store_client.put_object(Bucket=BUCKET, Key=key, Body=NUMBERS.tobytes())
    # SeaweedFS does not store the content of a key that ends in a slash.
    kept = store_client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert kept == NUMBERS.tobytes() or key.endswith("/")
    assert s3.get_object(Bucket="obj", Key=f"{BUCKET}/{key}")["Body"].read() == kept
    expected = numpy_result("sum", np.frombuffer(kept, NUMBERS.dtype)).tobytes()
    assert s3.get_object(Bucket="sum", Key=f"float32/{BUCKET}/{key}")["Body"].read() == expected


def test_each_version_has_its_own_result(s3: Any, store_client: Any) -> None:
    bucket = "versions"
    make_bucket(store_client, bucket)
    store_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    arrays = [NUMBERS[:3], NUMBERS[3:9]]
    versions = [store_client.put_object(Bucket=bucket, Key="key", Body=array.tobytes()) for array in arrays]
    for array, version in zip(arrays, versions, strict=True):
        what = {"Bucket": "sum", "Key": f"float32/{bucket}/key", "VersionId": version["VersionId"]}
        answer = s3.get_object(**what)
        assert answer["Body"].read() == numpy_result("sum", array).tobytes()
        assert answer["VersionId"] == s3.head_object(**what)["VersionId"] == version["VersionId"]
        assert fetch(s3.generate_presigned_url("get_object", Params=what)) == numpy_result("sum", array).tobytes()


def test_an_object_encrypted_by_a_customers_key(s3: Any, store_client: Any) -> None:
    customers = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    try:
        store_client.put_object(Bucket=BUCKET, Key="encrypted", Body=NUMBERS.tobytes(), **customers)
    except ClientError as error:
        pytest.skip(f"this store refuses customers' keys without TLS: {code_of(error)}")
    what = {"Bucket": "sum", "Key": f"float32/{BUCKET}/encrypted"}
    assert s3.get_object(**what, **customers)["Body"].read() == SUM
    part = s3.get_object(**what, **customers, Range="bytes=4-11")["Body"].read()
    assert part == numpy_result("sum", NUMBERS[1:3]).tobytes()
    with pytest.raises(ClientError) as caught:
        s3.get_object(**what)
    assert status_of(caught.value) == 400


# Objects themselves


def test_an_object_is_read_unchanged(s3: Any, store_client: Any) -> None:
    """boto3 verifies the body with the store's checksum, and raises FlexibleChecksumError if it differs."""
    ours = s3.get_object(**OBJECT, ChecksumMode="ENABLED")
    stores = store_client.get_object(Bucket=BUCKET, Key=KEY, ChecksumMode="ENABLED")
    assert ours["Body"].read() == stores["Body"].read() == NUMBERS.tobytes()
    assert ours["ChecksumCRC32"] == stores["ChecksumCRC32"]
    for name in ("ETag", "ContentLength", "ContentType", "LastModified"):
        assert ours[name] == stores[name] == s3.head_object(**OBJECT)[name]


def test_a_part_of_an_object_is_read(s3: Any) -> None:
    answer = s3.get_object(**OBJECT, Range="bytes=4-11")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ContentRange"] == f"bytes 4-11/{NUMBERS.nbytes}"
    assert answer["Body"].read() == NUMBERS[1:3].tobytes()


def test_an_object_is_downloaded_in_parallel_parts(s3: Any) -> None:
    received = io.BytesIO()
    s3.download_fileobj("obj", f"{BUCKET}/{TEMPERATURES.key}", received)
    assert received.getvalue() == TEMPERATURES.make().tobytes()


# Links


def test_a_link_needs_no_keys(s3: Any) -> None:
    link = s3.generate_presigned_url("get_object", Params=REDUCTION)
    assert fetch(link) == SUM
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(link, headers={"Range": "bytes=4-11"}, timeout=30)
        assert answer.content == numpy_result("sum", NUMBERS[1:3]).tobytes()
        changed = session.get(link.replace("/sum/float32/", "/max/float32/"), timeout=30)
        assert changed.content == numpy_result("max", NUMBERS).tobytes()


def test_a_link_to_the_store_works_with_the_reduction_in_front(endpoint: str, store_client: Any) -> None:
    """Without the plugin and without boto3: replace the host by the service, and put the reduction before the path."""
    link = urlsplit(store_client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": KEY}))
    assert fetch(f"{endpoint}/sum/float32{link.path}?{link.query}") == SUM


def test_a_link_that_was_changed_is_refused(s3: Any) -> None:
    link = s3.generate_presigned_url("get_object", Params=REDUCTION)
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(link.replace(KEY, "data-float64.dat"))
    with caught.value as answer:
        assert answer.status == 403
        assert b"<Code>SignatureDoesNotMatch</Code>" in answer.read()


# s3fs


@pytest.fixture(scope="module")
def filesystem(endpoint: str, live_store: Store) -> Any:
    """s3fs with the plugin's signature version."""
    S3ActiveStorageV4Auth.register()
    return s3fs.S3FileSystem(
        key=live_store.access_key,
        secret=live_store.secret_key,
        endpoint_url=endpoint,
        client_kwargs={"region_name": REGION},
        config_kwargs={"signature_version": S3ActiveStorageV4Auth.SIGNATURE_VERSION, "proxies": {}},
        skip_instance_cache=True,
        use_listings_cache=False,
    )


def test_s3fs_reads_results(filesystem: Any) -> None:
    path = f"sum/float32/{BUCKET}/{KEY}"
    assert filesystem.cat(path) == SUM
    assert filesystem.exists(path)
    assert {"size": len(SUM), "type": "file"}.items() <= filesystem.info(path).items()
    with filesystem.open(path) as file:
        assert file.read() == SUM
    with filesystem.open(path) as file:
        file.seek(1)
        assert file.read(2) == SUM[1:3]


def test_s3fs_reads_objects(filesystem: Any) -> None:
    path = f"obj/{BUCKET}/{KEY}"
    assert filesystem.cat(path) == NUMBERS.tobytes()
    assert filesystem.info(path)["size"] == NUMBERS.nbytes
    with filesystem.open(f"obj/{BUCKET}/{TEMPERATURES.key}") as file:
        assert file.read() == TEMPERATURES.make().tobytes()


@pytest.mark.parametrize("path", [f"sum/float32/{BUCKET}/missing", f"obj/{BUCKET}/missing", "sum/float32/missing/key"])
def test_an_absent_object_is_not_found_by_s3fs(path: str, filesystem: Any) -> None:
    """s3fs also looks for a folder of that name by a listing, which this service does not support."""
    assert not filesystem.exists(path)
    for ask in (filesystem.cat, filesystem.info, filesystem.open):
        with pytest.raises(FileNotFoundError):
            ask(path)


# Other host names


def test_clients_can_sign_for_another_address_of_the_store(
    live_store: Store, start_service: Callable[..., str], make_client: MakeClient
) -> None:
    """As in a container network: the service connects to one name, and clients sign for another one."""
    public = Store(live_store.endpoint.replace("127.0.0.1", "localhost"))
    with closing(make_client(start_service(s3_public_endpoint=public.endpoint))) as s3:
        assert s3.get_object(**REDUCTION)["Body"].read() == SUM
        assert s3.get_object(**OBJECT)["Body"].read() == NUMBERS.tobytes()
        assert fetch(s3.generate_presigned_url("get_object", Params=REDUCTION)) == SUM


def test_the_reducer_can_be_in_the_host(
    live_store: Store, start_service: Callable[..., str], store_client: Any, make_client: MakeClient
) -> None:
    """Virtual-host style, for clients without path style. The plugin itself always sends in path style."""
    endpoint = start_service(base_domain="localhost")
    port = urlsplit(endpoint).port
    link = urlsplit(store_client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": KEY}))
    for reducer in REDUCERS:
        answer = fetch(f"{endpoint}/float32{link.path}?{link.query}", Host=f"{reducer}.localhost:{port}")
        assert answer == numpy_result(reducer, NUMBERS).tobytes()
    answer = fetch(f"{endpoint}{link.path}?{link.query}", Host=f"obj.localhost:{port}")
    assert answer == NUMBERS.tobytes()
    with closing(make_client(f"http://localhost:{port}", s3={"addressing_style": "virtual"})) as s3:
        assert s3.get_object(**REDUCTION)["Body"].read() == SUM


# Shared code


def run_program(program: str, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the original project with another endpoint, in an environment without AWS settings."""
    seeds = '"http://localhost:8000"'
    assert program.count(seeds) == 1
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace(seeds, f'"{endpoint}"')],
        env={"PATH": os.defpath, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fetch(url: str, **headers: str) -> bytes:
    """The content of a link, fetched by a plain HTTP client."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # loopback, by our own link
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        body: bytes = answer.read()
    return body


def status_of(error: ClientError) -> int:
    """The HTTP status of an error."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def code_of(error: ClientError) -> str:
    """The code of an error."""
    return str(error.response["Error"]["Code"])

"""Errors travel between processes: each class comes back as it was, and no secret goes with it."""

import copy
import pickle
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from active_storage import Client, errors
from active_storage.client import failures
from active_storage.client.discovery import Document
from active_storage.client.failures import read_json_error, read_xml_error
from active_storage.errors import ActiveStorageError
from active_storage.model.etag import ETag
from tests.client.signed_store import KEYS

# The arguments of classes that are made of more than a message.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "InvalidArgument": ("axis", "is wrong", 3),
    "InvalidCodec": ("zstd", "level", "is wrong", "compression"),
    "UnsupportedArray": ("g/tas", "a feature"),
    "CodecNotInstalled": ("zfpy", "zfpy"),
    "ReaderNotInstalled": ("kerchunk", "pyarrow", "parquet"),
    "UndecodableData": ("zlib", "is damaged"),
    "MethodNotAllowed": ("only GET", ("GET", "HEAD")),
    "InvalidRange": ("is outside", 12),
    "NotModified": (ETag.parse('"etag"'), {"etag": '"etag"'}),
    "SlowDown": ("full", 7),
    "StoreError": (404, "NoSuchKey", "there is no such object"),
    "WrongRegion": ("PermanentRedirect", "eu-west-2"),
    "ObjectChanged": (),
    "TornRead": (),
}

CLASSES: list[type[ActiveStorageError]] = sorted(
    {
        each
        for module in (errors, failures)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, ActiveStorageError)
    },
    key=lambda each: each.__name__,
)


def make(kind: type[ActiveStorageError]) -> ActiveStorageError:
    return kind(*ARGUMENTS.get(kind.__name__, ("a message: of it",)))


def facts_of(error: ActiveStorageError) -> Any:
    return type(error), str(error), error.message, error.status, error.code, error.args, vars(error)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_comes_back_as_it_was(kind: type[ActiveStorageError], protocol: int) -> None:
    error = make(kind)
    for each in (error, make(kind).located("urls[1]"), make(kind).explained("it was so")):
        again = pickle.loads(pickle.dumps(each, protocol))  # noqa: S301  # our own
        assert facts_of(again) == facts_of(each)
    error.add_note("request id: 1")
    error.status = 503
    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301  # our own
    assert facts_of(again) == facts_of(error)
    assert (again.__notes__, again.status) == (["request id: 1"], 503)
    assert facts_of(copy.copy(error)) == facts_of(copy.deepcopy(error)) == facts_of(error)


def test_errors_of_replies_come_back_as_they_were() -> None:
    headers = {"x-amz-request-id": "4442587FB7D0A2F9", "retry-after": "9" * 5000}
    for code in ("InvalidArgument", "SlowDown", "NoSuchKey", "PermanentRedirect", "UndecodableData", "", "Odd"):
        body = f"<Error><Code>{code}</Code><Message>axis: is wrong</Message></Error>".encode()
        json = f'{{"error": {{"message": "axis: is wrong", "code": "{code}"}}}}'.encode()
        for error in (read_xml_error(400, headers, body), read_json_error(503, headers, json)):
            assert facts_of(pickle.loads(pickle.dumps(error))) == facts_of(error)  # noqa: S301  # our own


def test_what_dask_sends_of_an_error_has_no_secret() -> None:
    """dask.distributed pickles the errors of libraries below an error with it, and the lines where it was raised."""
    support = pytest.importorskip("tblib.pickling_support")
    support.install()
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as silent:
        keys: Any = {"key": KEYS.access_key, "secret": KEYS.secret_key, "token": "token-of-the-keys"}
        client = stack.enter_context(
            Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05, retries=0, **keys)
        )
        client._known = Document("http://store.test", frozenset(["sum"]), frozenset(["sum"]))
        asks: list[Any] = [lambda: client.sum("s3://b/a.zarr", "tas"), lambda: client.sum("b", "k", dtype="f4")]
        for ask in asks:
            with pytest.raises(failures.ServiceUnreachable) as caught:
                ask()
            assert caught.value.__context__ is not None
            sent = pickle.dumps(caught.value)
            assert not any(each.encode() in sent for each in (KEYS.secret_key, "token-of-the-keys", "Basic"))
            assert facts_of(pickle.loads(sent)) == facts_of(caught.value)  # noqa: S301  # our own


@pytest.mark.parametrize("body", [b"<?xml version='1.0' encoding='nothing'?><a/>", b"<a", b"\xff\xfe<a/>", b"", b"{}"])
def test_a_body_that_is_no_error_is_a_bad_reply(body: bytes) -> None:
    for read in (read_xml_error, read_json_error):
        assert type(read(400, {}, body)) is failures.BadReply
        # It can succeed later.
        unreachable = read(503, {}, body)
        assert (type(unreachable), unreachable.status) == (failures.ServiceUnreachable, 503)

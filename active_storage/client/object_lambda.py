"""Reductions through a store that calls object lambdas: MinIO, AIStor, RustFS, and AWS's access points.

The client asks the store as ever; what it wants made of the object stands in the query of the GET, beside the lambda
that is to make it. Inside ``reducing``, a boto3 client's ``get_object`` and its presigned links say so.

    with reducing(s3, "sum/float32;shape=20,5;axis=0", arn="arn:minio:s3-object-lambda::reduce:webhook"):
        s3.get_object(Bucket="bucket", Key="key")

An answer that is no reduction, because the store knows no object lambda, raises ``NotReduced`` there.

boto3 has no argument for it. The query is added before the request is signed, encoded as signatures want it: MinIO and
AWS encode again what they decoded, and a colon that was sent as a colon would be signed as another text.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any

from botocore.awsrequest import AWSRequest

from handler.params import build_spec, format_query, parse_reduction

# What each client's requests are to say, by its emitter of events, in this thread or task. Threads start without any.
_QUERIES: ContextVar[Mapping[Any, str]] = ContextVar("active_storage_queries", default=MappingProxyType({}))

_BEFORE, _AFTER = "before-sign.s3.GetObject", "after-call.s3.GetObject"

# What every result says of itself, in the object's metadata; MinIO capitalises it.
_MARK = "activestorage-dtype"

# botocore looks whether a hook is there and then adds it; two threads could both find none.
_REGISTERING = threading.Lock()


class NotReduced(Exception):
    """A store answered with the object itself: it knows no object lambdas, and takes their parameters for nothing."""


@contextmanager
def reducing(client: Any, reduction: str = "", arn: str | None = None) -> Iterator[None]:
    """Inside the block, ``get_object`` and presigned links of a client ask for a reduction.

    It holds for this thread, or this asyncio task, only, so that a client can be shared. Transfers (``download_file``)
    ask in threads of their own, for the object itself.

    Args:
        client: A boto3 client of S3; of a resource, its ``meta.client``; or an aiobotocore one, as s3fs has it.
        reduction: ``reducer/dtype;parameter=value``. What the lambda's endpoint settles already can be left out: an
            endpoint for ``sum/float32`` needs ``;axis=0`` only, and nothing at all for the sum of everything.
        arn: The lambda, as MinIO calls it; None where the bucket is an access point of AWS's, which knows its own.

    Raises:
        handler.errors.ActiveStorageError: There is no such reduction.
        NotReduced: From ``get_object``: what the store sent is no reduction.
    """
    given = parse_reduction(reduction)
    if {"reducer", "dtype"} <= given.keys():
        build_spec(given, None)
    query = format_query({**({"lambdaArn": arn} if arn else {}), **given})
    events = client.meta.events
    with _REGISTERING:
        # Once in the life of a client: the second time, botocore leaves it at the first.
        for event, hook in ((_BEFORE, _add_query), (_AFTER, _ensure_reduced)):
            events.register(event, partial(hook, events), unique_id=f"active-storage-{event}")
    before = _QUERIES.set({**_QUERIES.get(), events: query})
    try:
        yield
    finally:
        _QUERIES.reset(before)


def _add_query(events: Any, request: AWSRequest, **_: Any) -> None:
    query = _QUERIES.get().get(events)
    if query:
        request.url = f"{request.url}{'&' if '?' in str(request.url) else '?'}{query}"


def _ensure_reduced(events: Any, parsed: Mapping[str, Any], **_: Any) -> None:
    if not _QUERIES.get().get(events) or parsed["ResponseMetadata"]["HTTPStatusCode"] >= 300:
        return
    if _MARK not in map(str.lower, parsed.get("Metadata", ())):
        parsed["Body"].close()
        raise NotReduced("the store answered with the object itself: it knows no such object lambda")

"""Reductions through a store that calls object lambdas: MinIO, AIStor, RustFS, and AWS's access points.

The client sends the store a GET, whose query names the reduction and the lambda. Inside ``reducing``, a boto3 client's
``get_object`` and its presigned links have this query.

    with reducing(s3, "sum/float32;shape=20,5;axis=0", arn="arn:minio:s3-object-lambda::reduce:webhook"):
        s3.get_object(Bucket="bucket", Key="key")

If the store ignores the query, since it has no object lambdas, ``get_object`` raises ``NotReduced``.

boto3 has no argument for the query. It is added before the request is signed, and is percent-encoded like SigV4: MinIO
and AWS decode and encode it again, so that a plain colon would be verified as another text.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any

from botocore.awsrequest import AWSRequest

from active_storage.grammar.query import format_query
from active_storage.grammar.reductions import build_reduction, parse_reduction

# The query for each client, by its event emitter, in this thread or task. New threads have none.
_QUERIES: ContextVar[Mapping[Any, str]] = ContextVar("active_storage_queries", default=MappingProxyType({}))

_BEFORE, _AFTER = "before-sign.s3.GetObject", "after-call.s3.GetObject"

# A name in the metadata of every result. MinIO capitalises it.
_MARK = "activestorage-dtype"

# botocore checks for a hook and then adds it, which is not atomic.
_REGISTERING = threading.Lock()


class NotReduced(Exception):
    """The store answered with the object itself, since it has no object lambdas and ignores their parameters."""


@contextmanager
def reducing(client: Any, reduction: str = "", arn: str | None = None) -> Iterator[None]:
    """Inside the block, ``get_object`` and presigned links of a client ask for a reduction.

    It applies to this thread or asyncio task only, so that a client can be shared. Transfers (``download_file``) use
    threads of their own, and get the object itself.

    Args:
        client: A boto3 client of S3; of a resource, its ``meta.client``; or an aiobotocore one, as s3fs has it.
        reduction: ``reducer/dtype;parameter=value``. What the lambda's endpoint already sets can be left out: an
            endpoint for ``sum/float32`` needs ``;axis=0`` only, and an empty text for the sum of everything.
        arn: The ARN of the lambda in MinIO; None if the bucket is an access point of AWS, which has its own lambda.

    Raises:
        active_storage.errors.ActiveStorageError: The reduction is wrong.
        NotReduced: From ``get_object``: the store sent the object itself.
    """
    texts = parse_reduction(reduction)
    if {"reducer", "dtype"} <= texts.keys():
        build_reduction(texts)
    query = format_query({**({"lambdaArn": arn} if arn else {}), **texts})
    events = client.meta.events
    with _REGISTERING:
        # Idempotent by the unique id.
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
        raise NotReduced(
            "the store answered with the object itself, not with a reduction: it has no object lambda for this request"
        )

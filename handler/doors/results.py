"""The headers and the ETag of a result, as S3 clients see them."""

import hashlib
from functools import lru_cache

from active_storage.algebra import ARITHMETIC_VERSION
from active_storage.grammar.ranges import format_range
from active_storage.grammar.reductions import format_reduction
from active_storage.model.etag import ETag
from active_storage.model.spec import ReductionSpec
from handler.engine.result import Result

# Python's http.client, which boto3 uses, refuses header lines of 64 KiB, and S3 limits all metadata together to 2 KiB.
_MAX_COUNT_HEADER_BYTES = 1024


def describe_result(result: Result) -> dict[str, str]:
    """The facts of a result, by the end of the header's name.

    Shape and counts are lists of integers, which Python prints in the same way as JSON.
    """
    facts = {"dtype": result.dtype, "shape": str([*result.shape]), "byte-order": "little"}
    if result.count_total is not None:
        facts["count-total"] = str(result.count_total)
    if result.empty_total:
        facts["empty"] = str(result.empty_total)
    # A count takes at least three characters with its separator. The text of a longer list would be too long.
    if result.counts is not None and len(result.counts) * 3 <= _MAX_COUNT_HEADER_BYTES:
        counts = str([*result.counts])
        if len(counts) <= _MAX_COUNT_HEADER_BYTES:
            facts["count"] = counts
    return facts


def result_headers(result: Result) -> list[tuple[str, str]]:
    """The headers of a result: the facts under our own names, and as object metadata, which boto3 shows."""
    facts = describe_result(result).items()
    return [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(result.length)),
        *((f"x-activestorage-{name}", value) for name, value in facts),
        *((f"x-amz-meta-activestorage-{name}", value) for name, value in facts),
    ]


def make_result_etag(source: ETag | None, spec: ReductionSpec) -> ETag | None:
    """The ETag of the result of a reduction: different for every reduction, and never that of the object.

    Tools compare an object's ETag with the MD5 of the body. The ETag of a result is not one.

    Args:
        source: The object's ETag.
        spec: The reduction.

    Returns:
        None if the object has no ETag, or a malformed one.
    """
    return source and source.with_digest(_digest(spec))


def find_source_etag(result: ETag, spec: ReductionSpec) -> ETag | None:
    """The object's ETag, read back from that of a result of ``spec``; None if the result is another one."""
    return result.without_digest(_digest(spec))


# Clients request the same reduction of many objects. Equal specs have equal text, so that the cache cannot change an
# ETag. An entry takes some hundred bytes, or 32 KiB with a thousand missing values.
@lru_cache(maxsize=256)
def _digest(spec: ReductionSpec) -> str:
    byte_range = format_range(spec.range) if spec.range else ""
    reduction = f"{format_reduction(spec)}/{byte_range}/{ARITHMETIC_VERSION}"
    return hashlib.sha256(reduction.encode()).hexdigest()[:12]

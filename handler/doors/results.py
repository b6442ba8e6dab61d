"""The headers and the ETag of a result, as S3 clients see them."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache

from active_storage.algebra import ARITHMETIC_VERSION
from active_storage.grammar.ranges import format_range
from active_storage.grammar.reductions import format_reduction
from active_storage.model.etag import ETag
from active_storage.model.spec import ReductionSpec
from handler.arrays.engine import ArrayAnswer
from handler.engine.result import Result

# Python's http.client, which boto3 uses, refuses header lines of 64 KiB.
_MAX_HEADER_BYTES = 1024

# S3's limit of an object's metadata, names and values together ("Working with object metadata", Amazon S3 User Guide).
_MAX_METADATA_BYTES = 2048

# RFC 9110, section 5.5, without what some clients decode in their own way.
_PLAIN_RE = re.compile(r" *+[\x21-\x7e][\x20-\x7e]*+")


def describe_result(result: Result) -> dict[str, str]:
    """The facts of a result, by the end of the header's name.

    Shape and counts are lists of integers, which Python prints in the same way as JSON.
    """
    facts = {"dtype": result.dtype, "shape": str([*result.shape]), "byte-order": "little"}
    if result.count_total is not None:
        facts["count-total"] = str(result.count_total)
    if result.empty_total:
        facts["empty"] = str(result.empty_total)
    # A count takes at least three characters with its separator: a longer list cannot fit.
    if result.counts is not None and len(result.counts) * 3 <= _MAX_HEADER_BYTES:
        counts = str([*result.counts])
        if len(counts) <= _MAX_HEADER_BYTES:
            facts["count"] = counts
    return facts


def describe_answer(answer: ArrayAnswer) -> dict[str, str]:
    """The facts of the answer for a whole array: those of its result, dimensions, units, and absent chunks.

    Dimensions are a JSON list of names, with null for a dimension without a name. Labels are a JSON object of lists.
    Units that are not printable ASCII are left out: a header cannot hold them.
    """
    facts = describe_result(answer.result)
    more = {"dims": json.dumps(answer.dimensions)}
    if answer.labels:
        more["labels"] = json.dumps(answer.labels)
    if answer.missing_chunks is not None:
        more["missing-chunks"] = str(answer.missing_chunks)
    if answer.units is not None and _PLAIN_RE.fullmatch(answer.units):
        more["units"] = answer.units.strip()
    return facts | {name: value for name, value in more.items() if len(value) <= _MAX_HEADER_BYTES}


def result_headers(result: Result, facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers of a result: its facts under our own names, and as object metadata, which boto3 shows.

    Facts that exceed S3's limit of metadata are not repeated there: AWS would refuse the whole answer.
    """
    metadata, metadata_bytes = [], 0
    for name, value in facts.items():
        known_as = f"activestorage-{name}"
        if metadata_bytes + len(known_as) + len(value) <= _MAX_METADATA_BYTES:
            metadata.append((f"x-amz-meta-{known_as}", value))
            metadata_bytes += len(known_as) + len(value)
    return [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(result.length)),
        *((f"x-activestorage-{name}", value) for name, value in facts.items()),
        *metadata,
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

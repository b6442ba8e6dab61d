"""What the doors of S3 clients share: what a client may say of the result, and the result dressed as one.

Whoever asks with an S3 client asks for an object and takes the result for one: it has an ETag of its own, a length,
metadata. A ``Range`` selects the input; only together with an ``If-Match`` on the whole reduction's ETag, which names
what the range is of, does it select bytes of the result (s3fs opens files like that). Who asks, and where the object
lies, is each door's own business.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from handler import pipeline
from handler.contracts.door import Reply, Service
from handler.errors import InvalidArgument, NotModified, PreconditionFailed, shown_name
from handler.logs import note
from handler.params import StoreQuery, build_spec, ensure_encoded, parse_range
from handler.pipeline import Answer
from handler.render import format_result_etag, parse_result_etag, result_headers, split_etags
from handler.spec import REDUCERS, ByteRange, ReductionSpec
from handler.upstream import signatures
from handler.upstream.source import Source

# What S3 takes in the query of a GET, beside what signs it. Compared with botocore's model by a test.
STORE_QUERY_NAMES = frozenset(
    {
        "partNumber",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "versionId",
        # Named by AWS's JavaScript client in what it signs.
        "x-id",
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, whatever it is of.

    Attributes:
        spec: The reduction.
        result_range: The bytes of the result that are wanted, None for all.
        conditions: The conditional headers, in the source's terms.
    """

    spec: ReductionSpec
    result_range: ByteRange | None
    conditions: Mapping[str, str]


def read_wanted(given: Mapping[str, str], headers: Mapping[str, str], signed: frozenset[str]) -> Wanted:
    """What the names and the headers of a request ask for.

    Args:
        given: Reducer, data type and parameters, as texts by their names.
        headers: The client's, names in lower case.
        signed: Those that its signature covers: they go to the store as they are, so that they mean the source.

    Raises:
        ActiveStorageError: It asks for nothing that can be given.
    """
    if "if-range" in headers:
        raise InvalidArgument("If-Range", "is not supported: a range selects what is reduced")
    byte_range = parse_range(headers["range"]) if "range" in headers else None
    spec = build_spec(given, byte_range)
    result_range = None
    if byte_range and "range" not in signed:
        whole = build_spec(given, None)
        if any(parse_result_etag(etag, whole) for etag in split_etags(headers.get("if-match", ""))):
            spec, result_range = whole, byte_range
    return Wanted(spec, result_range, _translate_conditions(headers, signed, spec))


def reply_with_object(wanted: Wanted, source: Source, service: Service, is_head: bool = False) -> Reply:
    """The result, dressed as an object.

    Args:
        wanted: What is asked for.
        source: What it is of.
        service: What it is answered with.
        is_head: Whether only what is said of it is wanted.

    Raises:
        ActiveStorageError: There is no result.
    """
    note(reducer=wanted.spec.reducer, dtype=wanted.spec.dtype)
    try:
        if is_head:
            given = pipeline.describe(wanted.spec, source)
        else:
            given = pipeline.run(wanted.spec, source, service.gate, service.helpers)
    except NotModified as unchanged:
        raise NotModified(format_result_etag(unchanged.etag, wanted.spec)) from None
    pipeline.ensure_not_empty(wanted.spec, given.result)
    result = given.result
    if REDUCERS[wanted.spec.reducer].needs_elements:
        result = result.with_nan_where_empty()
    return _write(Answer(result, given.facts), wanted)


def ensure_known(query: StoreQuery, others: Iterable[str] = ()) -> None:
    """Pass where a query, rid of our own parameters, has only what S3 and signed links know, or stands in ``others``.

    A name that nobody knows is a slip that would otherwise give the wrong numbers, in silence.

    Raises:
        InvalidArgument: There is one.
    """
    ensure_encoded(query.text, field="query")
    for name, _, _ in query.pairs:
        if name and name not in STORE_QUERY_NAMES and not signatures.is_known(name, query) and name not in others:
            field = shown_name(name) or "query: a name that is not shown"
            raise InvalidArgument(field, "is neither a parameter of a reduction nor one of S3's GetObject")


def _write(given: Answer, wanted: Wanted) -> Reply:
    headers = result_headers(given.result)
    etag = format_result_etag(given.facts.etag, wanted.spec)
    if etag:
        headers.append(("ETag", etag))
    for name in ("last-modified", "x-amz-version-id"):
        if name in given.facts.headers:
            headers.append((name, given.facts.headers[name]))
    if wanted.result_range is None:
        return Reply(200, headers, given.result.data)
    start, stop = wanted.result_range.resolve(given.result.length)
    headers = [(name, value) for name, value in headers if name != "Content-Length"]
    headers += [
        ("Content-Length", str(stop - start)),
        ("Content-Range", f"bytes {start}-{stop - 1}/{given.result.length}"),
    ]
    return Reply(206, headers, given.result.data[start:stop])


def _translate_conditions(headers: Mapping[str, str], signed: frozenset[str], spec: ReductionSpec) -> dict[str, str]:
    """The conditional headers in the source's terms. A time is the source's, since the result has the same.

    Raises:
        PreconditionFailed: ``If-Match`` names only other results, whatever the source.
    """
    conditions = {name: headers[name] for name in ("if-modified-since", "if-unmodified-since") if name in headers}
    for name in ("if-match", "if-none-match"):
        header = headers.get(name, "").strip()
        if not header or name in signed:
            continue
        sources = [parse_result_etag(etag, spec) for etag in split_etags(header)]
        if name == "if-none-match":
            # It compares weakly (RFC 9110, section 13.1.2), and some stores do not.
            sources = [source and source.removeprefix("W/") for source in sources]
        text = "*" if header == "*" else ", ".join(source for source in sources if source)
        if text:
            conditions[name] = text
        elif name == "if-match":
            raise PreconditionFailed("If-Match names no result of this reduction")
    return conditions

"""The direct proxy: ``GET /{reducer}/{dtype}[;param=value]*/{bucket}/{key}``, for every S3 client there is.

The caller signs for the object as it lies in the store, and the store verifies. What comes back looks like an object:
the result's bytes, its ETag, its length. A ``Range`` selects the input; only together with an ``If-Match`` on the whole
reduction's ETag, which names what the range is of, does it select bytes of the result (s3fs opens files like that).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from handler import pipeline
from handler.contracts.door import Reply, Request, Service, write_xml_error
from handler.errors import InvalidArgument, NotModified, PreconditionFailed, shown
from handler.logs import note
from handler.params import Query, decode, parse_range, parse_reduction, split_path, split_query
from handler.pipeline import Answer
from handler.render import format_result_etag, parse_result_etag, result_headers, split_etags
from handler.spec import ByteRange, ReductionSpec
from handler.upstream.passthrough import PassthroughSource, build_request, find_signed_names
from handler.upstream.source import Source

METHODS = ("GET", "HEAD")

# What S3 takes in the query of a GET: GetObject's own, and who signs. Compared with botocore's model by a test.
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
        # Links presigned by signature version 2.
        "AWSAccessKeyId",
        "Expires",
        "Signature",
    }
)
_STORE_QUERY_PREFIX = "x-amz-"

write_error = write_xml_error


@dataclass(frozen=True, slots=True)
class Reduction:
    """What a request asks for.

    Attributes:
        spec: The reduction.
        source: The object.
        result_range: The bytes of the result that are wanted, None for all.
    """

    spec: ReductionSpec
    source: Source
    result_range: ByteRange | None = None


def answer(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction.

    Raises:
        ActiveStorageError: There is no result.
    """
    wanted = read(request, service)
    note(reducer=wanted.spec.reducer, dtype=wanted.spec.dtype)
    try:
        if request.method == "HEAD":
            given = pipeline.describe(wanted.spec, wanted.source)
        else:
            given = pipeline.run(wanted.spec, wanted.source, service.gate)
        pipeline.ensure_no_gaps(wanted.spec, given.result)
        return write(given, wanted)
    except NotModified as unchanged:
        raise NotModified(format_result_etag(unchanged.etag, wanted.spec)) from None


def read(request: Request, service: Service) -> Reduction:
    """What the request asks for.

    Raises:
        ActiveStorageError: It asks for nothing that can be given.
    """
    path = split_path(request.path)
    query = split_query(request.query)
    _ensure_known(query)
    decode(path.object_path, field="key")
    signed = find_signed_names(query.rest, request.headers)
    byte_range = parse_range(request.headers["range"]) if "range" in request.headers else None
    if "if-range" in request.headers:
        raise InvalidArgument("If-Range", "is not supported: a range selects what is reduced")

    spec = parse_reduction(path, query.parameters, byte_range)
    whole = parse_reduction(path, query.parameters, None)
    result_range = None
    if byte_range and "range" not in signed and _names_result(request.headers.get("if-match", ""), whole):
        spec, result_range = whole, byte_range

    store_request = build_request(
        store=service.settings.store,
        public_store=service.settings.public_store,
        target=path.object_path + (f"?{query.rest}" if query.rest else ""),
        headers=request.headers,
        conditions=_translate_conditions(request.headers, signed, spec),
    )
    return Reduction(spec, PassthroughSource(service.transport, store_request, request.deadline), result_range)


def write(given: Answer, wanted: Reduction) -> Reply:
    """The reply that holds a result.

    Raises:
        InvalidRange: Bytes of the result were asked for that it does not have.
    """
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


def _ensure_known(query: Query) -> None:
    """A name that nobody knows is a slip that would otherwise give the wrong numbers, in silence."""
    for pair in decode(query.rest, field="query").split("&"):
        name = pair.partition("=")[0]
        if name and name not in STORE_QUERY_NAMES and not name.lower().startswith(_STORE_QUERY_PREFIX):
            raise InvalidArgument(shown(name), "is neither a parameter of a reduction nor one of S3's GetObject")


def _names_result(header: str, spec: ReductionSpec) -> bool:
    return any(parse_result_etag(etag, spec) for etag in split_etags(header))


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
        text = "*" if header == "*" else ", ".join(source for source in sources if source)
        if text:
            conditions[name] = text
        elif name == "if-match":
            raise PreconditionFailed("If-Match names no result of this reduction")
    return conditions

"""Shared code of the doors of S3 clients: from texts and headers to a question, and from a result to an object's reply.

An S3 client treats the result as an object, with an ETag, a length and metadata. ``Range`` selects the bytes of the
object that are reduced. Together with ``If-Match`` and the ETag of the whole reduction it selects bytes of the result,
as s3fs requests them. Each door finds the credentials and the location of the object itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from active_storage.errors import InvalidArgument, NotModified, PreconditionFailed, shown_name
from active_storage.grammar.query import StoreQuery
from active_storage.grammar.ranges import parse_range
from active_storage.grammar.reductions import build_spec
from active_storage.grammar.text import ensure_encoded
from active_storage.model.etag import format_etags, parse_etags
from active_storage.model.ranges import ByteRange
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.doors.door import Reply
from handler.doors.results import describe_result, find_source_etag, make_result_etag, result_headers
from handler.doors.service import Service
from handler.engine.engine import Reduction
from handler.scope import Scope
from handler.stores import signatures
from handler.stores.source import Source

# The names in the query of S3's GetObject, besides those of signatures. A test compares them with botocore's model.
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
        # AWS's JavaScript client adds this name and signs it.
        "x-id",
    }
)


@dataclass(frozen=True, slots=True)
class Question:
    """The question of a request: everything that it asks for, apart from the object.

    Attributes:
        spec: The reduction.
        result_range: Which bytes of the result to send; None for all.
        conditions: The conditional headers for the store: with the object's ETags in place of the result's.
    """

    spec: ReductionSpec
    result_range: ByteRange | None
    conditions: Mapping[str, str]


def parse_question(texts: Mapping[str, str], headers: Mapping[str, str], signed: frozenset[str]) -> Question:
    """The question in the texts and the headers of a request.

    Args:
        texts: Reducer, data type and parameters, as texts by name.
        headers: The client's headers, names in lower case.
        signed: The headers that the signature covers. They are sent to the store unchanged, so that they apply to the
            object.

    Raises:
        ActiveStorageError: A text or a header has a wrong value.
    """
    if "if-range" in headers:
        raise InvalidArgument("If-Range", "is not supported: Range selects the bytes to reduce")
    byte_range = parse_range(headers["range"]) if "range" in headers else None
    etags = parse_etags(headers.get("if-match", ""))
    if byte_range and etags and "range" not in signed:
        # Built without the range first: as a range of the object, it would be refused together with an offset or a
        # size.
        whole = build_spec(texts, None)
        if any(find_source_etag(etag, whole) for etag in etags):
            return Question(whole, byte_range, _translate_conditions(headers, signed, whole))
    spec = build_spec(texts, byte_range)
    return Question(spec, None, _translate_conditions(headers, signed, spec))


def reply_with_object(
    question: Question, source: Source, service: Service, scope: Scope, is_head: bool = False
) -> Reply:
    """The result as the reply to GetObject or HeadObject.

    Args:
        question: The question.
        source: The object.
        service: The service, which all requests share.
        scope: The scope of the request.
        is_head: Whether only the headers are requested.

    Raises:
        ActiveStorageError: There is no result.
    """
    spec = question.spec
    scope.record.add(reducer=spec.reducer, dtype=spec.dtype)
    try:
        if is_head:
            reduction = service.engine.describe(spec, source, scope)
        else:
            reduction = service.engine.reduce(spec, source, scope)
    except NotModified as unchanged:
        raise NotModified(make_result_etag(unchanged.etag, spec)) from None
    result = reduction.result
    result.ensure_not_empty(spec.reducer)
    if REDUCERS[spec.reducer].needs_elements:
        result = result.with_nan_where_empty()
    return _write(Reduction(result, reduction.facts), question)


def ensure_known(query: StoreQuery, others: Iterable[str] = ()) -> None:
    """Pass if all names of a query are known: from GetObject, from signed links, or from ``others``.

    An unknown name is usually a misspelt parameter. Ignoring it would give wrong numbers.

    Args:
        query: The query, without our own parameters.
        others: Further names that are allowed.

    Raises:
        InvalidArgument: A name is unknown.
    """
    ensure_encoded(query.text, field="query")
    for name, _, _ in query.pairs:
        if name and name not in STORE_QUERY_NAMES and not signatures.is_known(name, query) and name not in others:
            field = shown_name(name) or "a name in the query (not shown, since it could be a secret)"
            raise InvalidArgument(field, "is neither a parameter of a reduction nor one of S3's GetObject")


def _write(reduction: Reduction, question: Question) -> Reply:
    headers = result_headers(reduction.result, describe_result(reduction.result))
    etag = make_result_etag(reduction.facts.etag, question.spec)
    if etag:
        headers.append(("ETag", str(etag)))
    for name in ("last-modified", "x-amz-version-id"):
        if name in reduction.facts.headers:
            headers.append((name, reduction.facts.headers[name]))
    if question.result_range is None:
        return Reply(200, headers, reduction.result.data)
    start, stop = question.result_range.resolve(reduction.result.length)
    headers = [(name, value) for name, value in headers if name != "Content-Length"]
    headers += [
        ("Content-Length", str(stop - start)),
        ("Content-Range", f"bytes {start}-{stop - 1}/{reduction.result.length}"),
    ]
    return Reply(206, headers, reduction.result.data[start:stop])


def _translate_conditions(headers: Mapping[str, str], signed: frozenset[str], spec: ReductionSpec) -> dict[str, str]:
    """The conditional headers for the store. Times are unchanged: a result has the object's ``Last-Modified``.

    Raises:
        PreconditionFailed: ``If-Match`` lists no ETag of a result of this reduction.
    """
    conditions = {name: headers[name] for name in ("if-modified-since", "if-unmodified-since") if name in headers}
    for name in ("if-match", "if-none-match"):
        header = headers.get(name, "").strip()
        if not header or name in signed:
            continue
        sources = [source for etag in parse_etags(header) if (source := find_source_etag(etag, spec))]
        if name == "if-none-match":
            # HTTP compares these weakly (RFC 9110, section 13.1.2), and some stores do not.
            sources = [source.as_strong() for source in sources]
        text = "*" if header == "*" else format_etags(sources)
        if text:
            conditions[name] = text
        elif name == "if-match":
            raise PreconditionFailed("If-Match: lists no ETag of a result of this reduction")
    return conditions

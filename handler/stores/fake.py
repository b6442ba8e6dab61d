"""Sources and a store in memory, so that the engine and the doors can be tested without a network.

A test of a failure subclasses them in a few lines.
"""

from collections.abc import Mapping
from urllib.parse import quote_plus, unquote
from xml.sax.saxutils import escape

from active_storage.errors import EntityTooLarge, NotModified, PreconditionFailed, StoreError, StoreTimeout
from active_storage.model.etag import ETag, parse_etags
from active_storage.model.origins import Origin
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.source import ObjectFacts, Source, Stream
from handler.stores.store_request import StoreRequest
from handler.stores.transport import Transport


class FakeStream(Stream):
    """The bytes of a ``FakeSource``, in reads of at most ``read_bytes``."""

    def __init__(self, source: "FakeSource", facts: ObjectFacts) -> None:
        self.facts = facts
        self._source = source
        source.open_streams += 1
        self._is_open = True

    def readinto(self, buffer: memoryview, /) -> int:
        start = self.facts.start + self.bytes_read
        stop = min(start + min(len(buffer), self._source.read_bytes), self.facts.stop)
        buffer[: stop - start] = self._source.data[start:stop]
        self.bytes_read += stop - start
        return stop - start

    def close(self) -> None:
        self._source.open_streams -= self._is_open
        self._is_open = False


class FakeSource(Source):
    """An object in memory.

    Args:
        data: The bytes of the object.
        etag: The ``ETag`` header; None for no header.
        read_bytes: The largest number of bytes in one read, so that a test can cut the data anywhere.
        headers: The other headers of a response, names in lower case.
    """

    def __init__(
        self,
        data: bytes,
        etag: str | None = '"fake"',
        read_bytes: int = 1 << 30,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.data = data
        self.etag = etag
        self.read_bytes = read_bytes
        self.headers = headers or {}
        self.open_streams = 0

    def __repr__(self) -> str:
        return f"<FakeSource {len(self.data)} bytes>"

    def _open(self, byte_range: ByteRange | None) -> Stream:
        return FakeStream(self, self.head(byte_range))

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        total = len(self.data)
        start, stop = (0, total) if byte_range is None else byte_range.resolve(total)
        return ObjectFacts(206 if byte_range else 200, start, stop, total, ETag.from_header(self.etag), self.headers)


class FakeStore(Transport):
    """A store in memory, in place of a ``Transport``.

    Args:
        objects: The bytes of each object, by the raw path "/bucket/key".

    Attributes:
        requests: The requests so far, in order.
        sources: The objects, which count their open streams and the bytes read.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.sources = {path: FakeSource(data, etag=f'"{len(data)}-fake"') for path, data in objects.items()}
        self.requests: list[StoreRequest] = []
        self._listed_bytes = 0

    @property
    def bytes_read(self) -> int:
        """How many bytes of all objects and listings were read so far."""
        return self._listed_bytes + sum(source.bytes_read for source in self.sources.values())

    def open(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> Stream:
        return self._find(request, scope).open(byte_range)

    def head(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> ObjectFacts:
        return self._find(request, scope).head(byte_range)

    def read_document(self, request: StoreRequest, scope: Scope, limit_bytes: int) -> bytes:
        """A page of ListObjectsV2 with a delimiter, encoded as S3 does."""
        self._note(request, scope)
        asked = {name: unquote(value) for name, value, _ in request.query.pairs}
        bucket, prefix, most = request.target.partition("?")[0], asked["prefix"], int(asked["max-keys"])
        keys = sorted(unquote(path.removeprefix(bucket)) for path in self.sources if path.startswith(bucket))
        if not keys:
            raise StoreError(404, "NoSuchBucket", "The specified bucket does not exist")
        ends = {key: key.find("/", len(prefix)) + 1 for key in keys if key.startswith(prefix)}
        grouped = {key[:end] if end else key: end > 0 for key, end in ends.items()}
        rest = {name: is_folder for name, is_folder in grouped.items() if name > asked.get("continuation-token", "")}
        document = _write_page(list(rest.items())[:most], len(rest) > most)
        if len(document) > limit_bytes:
            raise EntityTooLarge(f"the store's document has more than {limit_bytes} bytes")
        self._listed_bytes += len(document)
        return document

    def ensure_answers(self, origin: Origin, scope: Scope) -> None:
        pass

    def _note(self, request: StoreRequest, scope: Scope) -> None:
        self.requests.append(request)
        if scope.is_over:
            raise StoreTimeout("the time for this request was over before the store was asked")

    def _find(self, request: StoreRequest, scope: Scope) -> FakeSource:
        self._note(request, scope)
        source = self.sources.get(request.target.partition("?")[0])
        if source is None:
            raise StoreError(404, "NoSuchKey", "The specified key does not exist.")
        unless, only_if = (request.headers.get(name, "") for name in ("if-none-match", "if-match"))
        if not unless and not only_if:
            return source
        etag = ETag.from_header(source.etag)
        if etag is not None and any(etag.matches_weakly(each) for each in parse_etags(unless)):
            raise NotModified(etag, source.headers)
        if only_if not in ("", "*") and not (
            etag and any(etag.matches_strongly(each) for each in parse_etags(only_if))
        ):
            raise PreconditionFailed("the object has another ETag")
        return source


def _write_page(names: list[tuple[str, bool]], is_truncated: bool) -> bytes:
    """A page of a listing of keys and common prefixes, with whether each is a common prefix."""
    entries = "".join(
        f"<CommonPrefixes><Prefix>{quote_plus(name, safe='/*')}</Prefix></CommonPrefixes>"
        if is_folder
        else f"<Contents><Key>{quote_plus(name, safe='/*')}</Key><Size>1</Size></Contents>"
        for name, is_folder in names
    )
    token = f"<NextContinuationToken>{escape(names[-1][0])}</NextContinuationToken>" if is_truncated else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType><IsTruncated>{str(is_truncated).lower()}</IsTruncated>{token}{entries}"
        "</ListBucketResult>"
    ).encode()

"""A store on loopback that believes no signature it has not recomputed, and a way to serve it or anything else there.

It sees a request as a real store does, after everything on its way, and canonicalises it as S3 writes that down: path
and query decoded and encoded again, the headers that ``SignedHeaders`` names. botocore's own signers then say what the
signature must be.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.serving import WSGIRequestHandler, make_server

from active_storage.grammar.targets import DISCOVERY_PATH

KEYS = Credentials("access", "secret-of-the-keys")
REGION = "us-east-1"

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Seen:
    """A request, as it arrived: header names in lower case, the target as it was sent."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def signed_names(self) -> set[str]:
        """The headers that the signature covers."""
        return set(_read_claims(self)["SignedHeaders"].split(";"))


class Recorder:
    """Passes every request on, and keeps it.

    Attributes:
        seen: What was asked for, in order.
    """

    def __init__(self, app: Wsgi) -> None:
        self.app = app
        self.seen: list[Seen] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.seen.append(read_request(environ))
        return self.app(environ, start_response)


@dataclass(frozen=True)
class Served:
    """An application that is served: where, and what was asked of it."""

    endpoint: str
    recorder: Recorder

    @property
    def requests(self) -> list[Seen]:
        """All but discovery."""
        return [seen for seen in self.recorder.seen if seen.path != DISCOVERY_PATH]

    @property
    def discoveries(self) -> int:
        """How often the discovery document was asked for."""
        return len(self.recorder.seen) - len(self.requests)


class SignedStore:
    """Objects by their decoded path, for whoever has signed for them with ``KEYS``.

    Where it has lambdas, they leave the object as it is, but for the mark of a result.
    """

    def __init__(self, objects: Mapping[str, bytes], has_lambdas: bool = True) -> None:
        self.objects = dict(objects)
        self._has_lambdas = has_lambdas

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = read_request(environ)
        body = self.objects.get(unquote_to_bytes(request.path).decode())
        if not is_well_signed(request):
            return _refuse(start_response, "403 Forbidden", "SignatureDoesNotMatch")
        if body is None:
            return _refuse(start_response, "404 Not Found", "NoSuchKey")
        first, _, last = request.headers.get("range", "").removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last) + 1] if first else body
        headers = [("Content-Length", str(len(part))), ("ETag", '"etag"')]
        if self._has_lambdas and not {"lambdaArn", "reducer"}.isdisjoint(dict(parse_qsl(request.query))):
            headers.append(("X-Amz-Meta-Activestorage-Dtype", "float32"))
        if first:
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(body)}"))
        start_response("206 Partial Content" if first else "200 OK", headers)
        return [part] if request.method == "GET" else []


def is_well_signed(request: Seen, keys: Credentials = KEYS) -> bool:
    """Whether the signature is the one that ``keys`` make of the request, in its header or in its query."""
    claims = _read_claims(request)
    names = set(claims.get("SignedHeaders", "").split(";"))
    # What S3 wants to be signed wherever it is sent.
    wanted = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
    if not wanted <= names <= request.headers.keys():
        return False
    in_query = "authorization" not in request.headers
    signer = (S3SigV4QueryAuth if in_query else S3SigV4Auth)(keys, "s3", REGION)
    path = quote(unquote_to_bytes(request.path), safe="/-_.~")
    pairs = [pair for pair in parse_qsl(request.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    query = urlencode(pairs, quote_via=quote, safe="-_.~")
    canonical = AWSRequest(
        request.method,
        f"http://{request.headers['host']}{path}?{query}",
        headers={name: request.headers[name] for name in names},
    )
    canonical.context["timestamp"] = claims["Date"] if in_query else request.headers["x-amz-date"]
    if claims["Credential"] != signer.scope(canonical):
        return False
    text = signer.string_to_sign(canonical, signer.canonical_request(canonical))
    return bool(claims["Signature"] == signer.signature(text, canonical))


def read_request(environ: dict[str, Any]) -> Seen:
    """The request of a WSGI environment."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return Seen(environ["REQUEST_METHOD"], environ["RAW_URI"], headers)


@contextmanager
def serving(app: Wsgi, fd: int | None = None) -> Iterator[str]:
    """``app`` on loopback; its endpoint.

    Args:
        app: What answers.
        fd: A socket that listens already; a free port where there is none.
    """
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler, fd=fd)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


class _QuietHandler(WSGIRequestHandler):
    # A connection for each request, so that no thread of the server outlives the test.
    protocol_version = "HTTP/1.0"

    def log_request(self, *_: object) -> None:
        pass


def _read_claims(request: Seen) -> dict[str, str]:
    """What the caller says of the signature, by the names in ``Authorization``; the query's lose their ``X-Amz-``."""
    if "authorization" in request.headers:
        _, _, text = request.headers["authorization"].partition(" ")
        return dict(part.strip().split("=", 1) for part in text.split(","))
    return {name.removeprefix("X-Amz-"): value for name, value in parse_qsl(request.query)}


def _refuse(start_response: Callable[..., Any], status: str, code: str) -> list[bytes]:
    document = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(document)))])
    return [document]

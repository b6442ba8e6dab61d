"""A store on loopback that verifies signatures, and a function that serves any WSGI application.

The store canonicalises the request that it received as S3 documents it: path and query are decoded and encoded again,
and the headers are those in ``SignedHeaders``. botocore's own signers compute the expected signature.
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
    """A received request: header names in lower case, and the raw target."""

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
    """A WSGI middleware that records every request.

    Attributes:
        seen: The requests, in order.
    """

    def __init__(self, app: Wsgi) -> None:
        self.app = app
        self.seen: list[Seen] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.seen.append(read_request(environ))
        return self.app(environ, start_response)


@dataclass(frozen=True)
class Served:
    """A served application: its endpoint, and its requests."""

    endpoint: str
    recorder: Recorder

    @property
    def requests(self) -> list[Seen]:
        """The requests, without those for the discovery document."""
        return [seen for seen in self.recorder.seen if seen.path != DISCOVERY_PATH]

    @property
    def discoveries(self) -> int:
        """The number of requests for the discovery document."""
        return len(self.recorder.seen) - len(self.requests)


class SignedStore:
    """A store with objects by their decoded path. Requests must be signed with ``KEYS``.

    If it has lambdas, they return the object unchanged, with the metadata that marks a result.
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
    """Whether the signature of the request, in its header or its query, is valid for ``keys``."""
    claims = _read_claims(request)
    names = set(claims.get("SignedHeaders", "").split(";"))
    # S3 requires that these are signed if they are sent.
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
    """Serve an application on loopback, and yield its endpoint.

    Args:
        app: The application.
        fd: A listening socket; None for a free port.
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
    # One connection for each request, so that every thread of the server ends with the test.
    protocol_version = "HTTP/1.0"

    def log_request(self, *_: object) -> None:
        pass


def _read_claims(request: Seen) -> dict[str, str]:
    """The parts of the signature by their names in ``Authorization``; in the query, the names have ``X-Amz-``."""
    if "authorization" in request.headers:
        _, _, text = request.headers["authorization"].partition(" ")
        return dict(part.strip().split("=", 1) for part in text.split(","))
    return {name.removeprefix("X-Amz-"): value for name, value in parse_qsl(request.query)}


def _refuse(start_response: Callable[..., Any], status: str, code: str) -> list[bytes]:
    document = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(document)))])
    return [document]

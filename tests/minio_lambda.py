"""A stand-in for MinIO's object lambdas, in front of a real store.

``StandIn`` handles a GET that names a lambda like MinIO, in the same order: it verifies the client's signature,
presigns a link for an hour, checks a new endpoint by HEAD, posts the event with the headers of Go's client, and makes
the reply to the client by MinIO's rules. The same tests run against the real MinIO
(``tests/live/test_object_lambda.py``), which shows whether the two still agree.

Source: MinIO's code at RELEASE.2025-10-15, and its observed requests.
"""

import hashlib
import http.client
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.credentials import Credentials

from deploy.local.store import Store
from tests.client.signed_store import Seen, is_well_signed, read_request
from tests.events import FORWARD, SENT_HEADERS, make_event

_HOUR_SECONDS = 3600

# The names in the client's query that MinIO copies to the link, botocore's names for them, and their types.
_COPIED: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "partNumber": ("PartNumber", int),
    "response-cache-control": ("ResponseCacheControl", str),
    "response-content-disposition": ("ResponseContentDisposition", str),
    "response-content-encoding": ("ResponseContentEncoding", str),
    "response-content-language": ("ResponseContentLanguage", str),
    "response-content-type": ("ResponseContentType", str),
    "response-expires": ("ResponseExpires", str),
}


@dataclass(frozen=True)
class Target:
    """A lambda that is configured in a store: MinIO's ``MINIO_LAMBDA_WEBHOOK_..._<id>``."""

    id: str
    endpoint: str
    token: str = field(default="", repr=False)

    @property
    def arn(self) -> str:
        """The ARN by which clients name it."""
        return f"arn:minio:s3-object-lambda::{self.id}:webhook"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that configure it in MinIO."""
        values = {"ENABLE": "on", "ENDPOINT": self.endpoint, "AUTH_TOKEN": self.token}
        return {f"MINIO_LAMBDA_WEBHOOK_{name}_{self.id}": value for name, value in values.items() if value}

    @property
    def authorization(self) -> dict[str, str]:
        """The header for its token: a token of two words is sent unchanged, one of one word as ``Bearer``."""
        if not self.token:
            return {}
        return {"Authorization": self.token if len(self.token.split()) == 2 else f"Bearer {self.token}"}


@dataclass(frozen=True)
class Answer:
    """A reply; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class StandIn:
    """A WSGI application that answers GETs with a ``lambdaArn`` like MinIO, and no other requests.

    Args:
        store: The store with the objects.
        targets: The lambdas.
    """

    def __init__(self, store: Store, targets: Iterable[Target]) -> None:
        self._keys = Credentials(store.access_key, store.secret_key)
        self._presigner = store.client()
        self._targets = {target.arn: target for target in targets}
        self._tried: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._answer(read_request(environ))
        headers = {**answer.headers, "Content-Length": str(len(answer.body))}
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(headers.items()))
        return [answer.body]

    def _answer(self, request: Seen) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.query).items()}
        if request.method != "GET" or "lambdaArn" not in form:
            raise NotImplementedError("the stand-in supports only GET with a lambdaArn")
        if not is_well_signed(request, self._keys):
            return refuse(403, "SignatureDoesNotMatch", "The request signature does not match.")
        target = self._targets.get(form["lambdaArn"])
        if target is None:
            return refuse(404, "LambdaARNNotFound", "The specified lambda ARN does not exist")
        event = self._make_event(request, form)
        try:
            self._try(target)
            answer = _send(target, "POST", {**SENT_HEADERS, **target.authorization}, json.dumps(event).encode())
        except OSError:
            return refuse(500, "InternalError", "cause(not connected to target server/service)")
        return pass_on(event, answer)

    def _make_event(self, request: Seen, form: Mapping[str, str]) -> dict[str, Any]:
        bucket, _, key = unquote(request.path[1:]).partition("/")
        copied = {parameter: read(form[name]) for name, (parameter, read) in _COPIED.items() if name in form}
        link = self._presigner.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key, **copied}, ExpiresIn=_HOUR_SECONDS
        )
        # Go's headers do not include Host. Their names are capitalised, and their values are lists.
        headers = {name.title(): [value] for name, value in request.headers.items() if name != "host"}
        token = hashlib.sha256(f"{self._keys.access_key}{urlsplit(link).query}".encode()).hexdigest()
        return make_event(link, request.target, headers, secrets.token_urlsafe(16), token)

    def _try(self, target: Target) -> None:
        """Send a HEAD to a target that is used for the first time. MinIO accepts any reply."""
        if target.id not in self._tried:
            _send(target, "HEAD", {"User-Agent": SENT_HEADERS["User-Agent"], **target.authorization})
            self._tried.add(target.id)


def _send(target: Target, method: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    url = urlsplit(target.endpoint)
    path = url._replace(scheme="", netloc="").geturl() or "/"
    with closing(http.client.HTTPConnection(url.netloc, timeout=60)) as connection:
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def pass_on(event: Mapping[str, Any], answer: Answer) -> Answer:
    """MinIO's reply to the client, made from the lambda's reply to an event."""
    context = event["getObjectContext"]
    if answer.headers.get("x-amz-request-route", "") != context["outputRoute"]:
        return refuse(400, "InvalidRequest", "The request route included in the request is invalid")
    if answer.headers.get("x-amz-request-token", "") != context["outputToken"]:
        return refuse(403, "InvalidTokenId", "The request token included in the request is invalid")
    try:
        status = int(answer.headers.get("x-amz-fwd-status") or answer.status)
    except ValueError as error:
        return refuse(400, "LambdaFunctionStatusError", str(error))
    # MinIO drops all other headers of the lambda's reply, also its Content-Type. Go capitalises the names, which is
    # visible in boto3's names of metadata.
    forwarded = {name: value for name, value in answer.headers.items() if name.startswith(FORWARD)}
    headers = {name.removeprefix(FORWARD).title(): value for name, value in forwarded.items()}
    if status < 400:
        return Answer(status, headers, answer.body)
    message = answer.headers.get("x-amz-fwd-error-message", "").strip()
    code = answer.headers.get("x-amz-fwd-error-code", "").strip()
    if not message or not code:
        return refuse(400, "InvalidRequest", message or "Invalid Request", headers)
    return refuse(status, code, message, headers)


def refuse(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error in MinIO's form."""
    document = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>".encode()
    return Answer(status, {**(headers or {}), "Content-Type": "application/xml"}, document)

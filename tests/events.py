"""Events as stores post them to the webhook, and checks of the replies."""

import io
import json
from collections.abc import Mapping
from typing import Any

import flask
from werkzeug.test import TestResponse

from tests.helpers import ask, read_error

ROUTE = "kDzeX2VkLvVYyoGoNRHqXa"
TOKEN = "0b5c" * 16
STORE = "http://store.test:9000"
ARN = "arn:minio:s3-object-lambda::reduce:webhook"

# As MinIO presigns: for an hour, with ``host`` as the only signed header.
LINK_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261123%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20261123T060000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=" + "5e" * 32
)
ASKED = f"/bucket/key?lambdaArn={ARN.replace(':', '%3A')}"

# The headers of Go's HTTP client.
SENT_HEADERS = {
    "User-Agent": "Go-http-client/1.1",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
}

FORWARD = "x-amz-fwd-header-"


def make_event(
    link: str = f"{STORE}/bucket/key?{LINK_QUERY}",
    url: str = ASKED,
    headers: Mapping[str, Any] | None = None,
    route: str = ROUTE,
    token: str = TOKEN,
) -> dict[str, Any]:
    """An event, as MinIO posts it."""
    return {
        "protocolVersion": "",
        "getObjectContext": {"outputRoute": route, "outputToken": token, "inputS3Url": link},
        "userIdentity": {"type": "IAMUser", "principalId": "", "accessKeyId": "AKIDEXAMPLE"},
        "userRequest": {"url": url, "headers": headers or {}},
    }


def asking(query: str) -> str:
    """The client's URL with an addition to its query."""
    return f"{ASKED}&{query}"


def post(app: flask.Flask, path: str, event: Any, headers: Mapping[str, str] | None = None) -> TestResponse:
    """The application's reply to an event, or to the bytes of a body."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return ask(app, path, "POST", {**SENT_HEADERS, **(headers or {})}, **environ)


def check_addressed(response: TestResponse, route: str = ROUTE, token: str = TOKEN) -> None:
    """Pass if the reply has the route and the token of the event, and the headers that MinIO needs."""
    assert response.headers.getlist("x-amz-request-route") == [route]
    assert response.headers.getlist("x-amz-request-token") == [token]
    check_forwarded(response)


def check_forwarded(response: TestResponse) -> None:
    """Pass if the headers are there twice, for MinIO and for RustFS, except those of an error document."""
    assert response.headers["x-amz-fwd-status"] == str(response.status_code)
    headers = {(name.lower(), value) for name, value in response.headers}
    plain = {(name, value) for name, value in headers if not name.startswith(("x-amz-fwd-", "x-amz-request-"))}
    forwarded = {(name.removeprefix(FORWARD), value) for name, value in headers if name.startswith(FORWARD)}
    if response.status_code >= 300:
        plain = {(name, value) for name, value in plain if name not in ("content-type", "content-length")}
    own = ("x-activestorage-request-id", response.headers["x-amz-request-id"])
    assert forwarded == plain | {own}


def read_failure(response: TestResponse) -> tuple[int, str, str]:
    """Status, code and message of an error. Its document and the two headers for MinIO must agree."""
    code, message = (response.headers[f"x-amz-fwd-error-{name}"] for name in ("code", "message"))
    assert code.isalnum()
    assert message.isascii()
    assert message.isprintable()
    document = read_error(response)
    assert document["Code"] == code
    assert " ".join(document["Message"].split()).encode("ascii", "replace").decode() == message
    return response.status_code, code, message

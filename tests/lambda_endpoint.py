"""A simulated endpoint of S3 Object Lambda. It accepts one valid reply for each token.

Source: WriteGetObjectResponse, Amazon S3 API Reference.
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.client.signed_store import read_request

PATH = "/WriteGetObjectResponse"

ALLOWED_STATUSES = {200, 206, 304, 400, 401, 403, 404, 405, 409, 411, 412, 416, 500, 503}

_FORWARD = "x-amz-fwd-header-"


@dataclass(frozen=True)
class Answered:
    """The response that the client of S3 would receive."""

    status: int
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    body: bytes
    code: str
    message: str


class LambdaEndpoint:
    """A WSGI application that keeps the replies of functions.

    Attributes:
        answers: The replies, by route and token.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answered] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = read_request(environ)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        fault = None if (request.method, request.path) == ("POST", PATH) else "no such operation"
        answered = _read(request.headers, body)
        name = (request.headers.get("x-amz-request-route", ""), request.headers.get("x-amz-request-token", ""))
        with self._lock:
            fault = fault or ("the token is used up" if name in self.answers else _find_fault(answered))
            if fault is None:
                self.answers[name] = answered
        document = f"<Error><Code>ValidationError</Code><Message>{fault}</Message></Error>".encode() if fault else b""
        start_response("400 Bad Request" if fault else "200 OK", [("Content-Length", str(len(document)))])
        return [document]


def _read(headers: Mapping[str, str], body: bytes) -> Answered:
    forwarded = {name.removeprefix(_FORWARD): value for name, value in headers.items() if name.startswith(_FORWARD)}
    return Answered(
        status=int(headers.get("x-amz-fwd-status", "0")),
        headers=forwarded,
        metadata={
            name.removeprefix("x-amz-meta-"): value for name, value in headers.items() if name.startswith("x-amz-meta-")
        },
        body=body,
        code=headers.get("x-amz-fwd-error-code", ""),
        message=headers.get("x-amz-fwd-error-message", ""),
    )


def _find_fault(answered: Answered) -> str | None:
    if answered.status not in ALLOWED_STATUSES:
        return f"status {answered.status}"
    if answered.status >= 400:
        if not re.fullmatch("[A-Z][a-zA-Z]+", answered.code) or not answered.message or answered.body:
            return "an error has a code, a message and no body"
    elif answered.code or answered.message:
        return "a success has no error"
    return None

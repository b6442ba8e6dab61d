"""Further parts of the JSON doors' requests to S3: the session token, the payer, and the region."""

import io
import json
from collections.abc import Callable
from typing import Any

import flask
import pytest
from werkzeug.test import TestResponse

from handler.stores.fake import FakeStore
from tests.doors.test_json import VERSIONS, basic, read_error, request
from tests.faulty_store import Answer, Call, FaultyStore, answer_well, plain, says, send, service
from tests.helpers import ask

TOKEN = "FwoGZXIvYXdzEJr//cAnArY+token=="
TOKEN_HEADER = {"x-amz-security-token": TOKEN}
PAYER_HEADER = {"x-amz-request-payer": "requester"}


def post_with(app: flask.Flask, version: str, headers: dict[str, str], **members: Any) -> TestResponse:
    """The reply to a request for a sum, with additional headers."""
    body = json.dumps(request(version, **members)).encode()
    given = {"Content-Type": "application/json", **headers}
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return ask(app, f"/{version}/sum/", "POST", given, **environ)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("headers", [TOKEN_HEADER, PAYER_HEADER, {**TOKEN_HEADER, **PAYER_HEADER}])
def test_the_session_token_and_the_payer_are_sent_signed(
    app: flask.Flask, store: FakeStore, version: str, headers: dict[str, str]
) -> None:
    response = post_with(app, version, {**headers, "Authorization": basic("AKIDEXAMPLE", "se:cr:et")})
    assert response.status_code == 200
    assert headers.items() <= store.requests[0].headers.items()
    signed = store.requests[0].headers["authorization"]
    assert all(name in signed.partition("SignedHeaders=")[2] for name in headers)


@pytest.mark.parametrize("authorization", [None, basic("None", "None")])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_without_keys_is_refused(
    app: flask.Flask, store: FakeStore, version: str, authorization: str | None
) -> None:
    response = post_with(app, version, TOKEN_HEADER | ({"Authorization": authorization} if authorization else {}))
    assert response.status_code == 401
    assert read_error(response)[0].startswith("x-amz-security-token: ")
    assert "cAnArY" not in response.text
    assert store.requests == []


@pytest.mark.parametrize("token", ["cAnArY, another", "cAnArY token", "cAnArY\xe9", "c" * 8193])
def test_a_malformed_token_is_refused_and_not_shown(app: flask.Flask, store: FakeStore, token: str) -> None:
    response = post_with(app, "v2", {"x-amz-security-token": token, "Authorization": basic("AKIDEXAMPLE", "secret")})
    assert response.status_code == 401
    assert "cAnArY" not in response.text
    assert store.requests == []


@pytest.mark.parametrize("interface_type", ["http", "https"])
def test_a_web_server_sees_neither_token_nor_payer(app: flask.Flask, store: FakeStore, interface_type: str) -> None:
    headers = {**TOKEN_HEADER, **PAYER_HEADER, "Authorization": basic("user", "password")}
    assert post_with(app, "v2", headers, interface_type=interface_type).status_code == 200
    assert not [name for name in store.requests[0].headers if name.startswith("x-amz-")]
    assert "cAnArY" not in repr(store.requests)


def test_the_payer_must_be_requester(app: flask.Flask, store: FakeStore) -> None:
    response = post_with(app, "v2", {"x-amz-request-payer": "canary"})
    assert response.status_code == 400
    assert "canary" not in response.text
    assert store.requests == []
    assert post_with(app, "v2", PAYER_HEADER).status_code == 200
    assert PAYER_HEADER.items() <= store.requests[0].headers.items()


def test_the_configured_region_is_signed_for(make_app: Callable[..., flask.Flask], store: FakeStore) -> None:
    for region in ("us-east-1", "eu-west-2"):
        app = make_app(s3_region=region)
        post_with(app, "v2", {"Authorization": basic("AKIDEXAMPLE", "secret")})
        assert f"/{region}/s3/aws4_request" in store.requests[-1].headers["authorization"]


@pytest.mark.parametrize(
    "answer",
    [
        plain("400 Bad Request", b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2</Region></Error>"),
        plain("400 Bad Request", b"<Error><Code>IllegalLocationConstraintException</Code></Error>",
              {"x-amz-bucket-region": "eu-west-2"}),
        plain("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code><Region>eu-west-2</Region></Error>"),
    ],
)  # fmt: skip
def test_the_region_is_taken_from_a_store_that_names_it(answer: Answer) -> None:
    """Over sockets: the first request is refused and signed again; the next one is signed correctly at once."""

    def behave(call: Call) -> None:
        send(call, answer_well(call) if "/eu-west-2/s3/" in (call.header("authorization") or "") else answer)

    headers = {**TOKEN_HEADER, "Authorization": basic("AKIDEXAMPLE", "secret")}
    with FaultyStore(behave) as faulty, service(faulty) as (app, _):
        for tries in (2, 3):
            response = post_with(app, "v2", headers, url=f"{faulty.url}/bucket/key")
            assert (response.status_code, faulty.tries) == (200, tries), response.data


def test_a_bucket_at_another_endpoint_is_an_error_with_its_region() -> None:
    moved = b"<Error><Code>PermanentRedirect</Code><Endpoint>elsewhere</Endpoint><Region>eu-west-2</Region></Error>"
    with FaultyStore(says(plain("301 Moved Permanently", moved))) as faulty, service(faulty) as (app, _):
        response = post_with(app, "v2", {}, url=f"{faulty.url}/bucket/key")
    assert response.status_code == 400
    assert "eu-west-2" in " ".join(read_error(response)[1])
    assert "elsewhere" not in response.text

"""The headers and queries that are forwarded to the store, by every door that accepts signatures.

Headers that a valid signature covers are forwarded; some are never forwarded; links of other clouds are recognised.
"""

import base64
from collections.abc import Mapping
from urllib.parse import quote

import flask
import pytest

from handler.stores.fake import FakeStore
from tests.conftest import NUMBERS
from tests.events import STORE, make_event, post
from tests.helpers import ask, read_error

SUM = "/sum/float32/bucket/key"
DOORS = (SUM, "/obj/bucket/key")

AUTHORIZATION = (
    "{} Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders={}, "
    "Signature=0123456789abcdef0123456789abcdef"
)
V4 = "AWS4-HMAC-SHA256"
QUERY = {
    "Algorithm": V4,
    "Credential": "AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request",
    "SignedHeaders": "host;x-goog-custom",
    "Signature": "5e" * 32,
}
CUSTOM = {"X-Goog-Custom": "1"}

# Headers that a store could trust, or that belong to the connection, from different gateways.
NEVER = {
    "Forwarded": "for=10.1.2.3",
    "X-Forwarded-For": "10.1.2.3",
    "X-Forwarded-Host": "internal",
    "X-Forwarded-Client-Cert": "By=x",
    "X-Real-IP": "10.1.2.3",
    "X-Client-IP": "10.1.2.3",
    "X-Cluster-Client-IP": "10.1.2.3",
    "Client-IP": "10.1.2.3",
    "True-Client-IP": "10.1.2.3",
    "CF-Connecting-IP": "10.1.2.3",
    "Fastly-Client-IP": "10.1.2.3",
    "X-Azure-ClientIP": "10.1.2.3",
    "X-ProxyUser-IP": "10.1.2.3",
    "X-Remote-User": "root",
    "X-SSL-Client-Verify": "SUCCESS",
    "X-Auth-Request-Email": "root@example.org",
    "Via": "1.1 proxy",
    "Cookie": "session=1",
    "Cookie2": "session=1",
    "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE",
    "X-Method-Override": "DELETE",
    "X-Original-URL": "/minio/admin",
    "X-Original-Host": "internal",
    "X-Rewrite-URL": "/minio/admin",
    "X-Host": "internal",
    "Connection": "close",
    "Keep-Alive": "5",
    "Proxy-Authorization": "Basic QTpC",
    "Proxy-Connection": "close",
    "TE": "trailers",
    **dict.fromkeys(
        (
            *("X-Vercel-Forwarded-For", "X-Forward-For", "X-Forwarder-For", "Cdn-Src-IP", "X-Src-IP", "X-True-IP"),
            *("X-CDN-IP", "X-IP", "X-Custom-IP-Authorization", "X-Amz-Source-IP", "X-Ms-Forwarded-For"),
        ),
        "10.1.2.3",
    ),
    **dict.fromkeys(
        (
            *("X-Backend-Host", "X-URL", "X-Request-URI", "X-HTTP-DestinationURL", "X-Arr-ClientCert", "Origin"),
            *("X-Consumer-Username", "X-Auth-User", "X-Auth-Email", "X-User", "X-Minio-Source-Etag", "X-Custom"),
            *("X-Goog-IAP-JWT-Assertion", "X-Goog-Authenticated-User-Email", "X-Ms-Client-Principal-Name"),
            *("X-Ms-Token-AAD-Id-Token", "X-Amz-Method-Override", "Content-Encoding", "X-Amzn-Trace-Id"),
        ),
        "anything",
    ),
    "Trailer": "x",
    "Upgrade": "h2c",
    "Expect": "100-continue",
}


def presigned(prefix: str = "X-Amz-", /, **parts: str | None) -> str:
    """A signed query, without the parts that are None."""
    given = {**QUERY, **parts}
    return "&".join(f"{prefix}{name}={quote(value, safe='')}" for name, value in given.items() if value is not None)


def sent_to(app: flask.Flask, store: FakeStore, target: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of the request that the store receives."""
    response = ask(app, target, headers=headers)
    assert response.status_code == 200, response.data
    return store.requests[-1].headers


# Signed headers


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("algorithm", [V4, "AWS4-ECDSA-P256-SHA256", "GOOG4-RSA-SHA256"])
def test_signed_headers_are_forwarded(app: flask.Flask, store: FakeStore, door: str, algorithm: str) -> None:
    header = {"Authorization": AUTHORIZATION.format(algorithm, "host;user-agent;x-goog-custom"), "User-Agent": "a  b"}
    sent = sent_to(app, store, door, {**CUSTOM, **header})
    assert (sent["x-goog-custom"], sent["user-agent"]) == ("1", "a  b")
    for prefix in ("X-Amz-", "X-Goog-"):
        assert sent_to(app, store, f"{door}?{presigned(prefix, Algorithm=algorithm)}", CUSTOM)["x-goog-custom"] == "1"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-SignedHeaders=x-goog-custom",
        *(presigned(**{name: value}) for name in ("Algorithm", "Credential", "Signature") for value in (None, "")),
        presigned(Algorithm="made-up"),
        presigned("X-Goog-", Signature=None),
        "AWSAccessKeyId=A&Expires=1&Signature=s&X-Amz-SignedHeaders=x-goog-custom",
    ],
)
def test_a_query_without_a_valid_signature_covers_no_header(
    app: flask.Flask, store: FakeStore, door: str, query: str
) -> None:
    assert "x-goog-custom" not in sent_to(app, store, f"{door}?{query}", CUSTOM)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "authorization",
    [
        "SignedHeaders=x-goog-custom",
        f"{V4} SignedHeaders=x-goog-custom",
        f"{V4} SignedHeaders=x-goog-custom, Signature=00",
        f"{V4} Credential=a/b, SignedHeaders=x-goog-custom",
        f"{V4} Credential=a/b, SignedHeaders=x-goog-custom, Signature=",
        f"{V4} Credential=, SignedHeaders=x-goog-custom, Signature=00",
        f"{V4} Credential=a/b, SignedHeaders=x-goog-custom, Signature=made-up",
        f"{V4} Credential=a/b, SignedHeaders=x-goog-custom, SignedHeaders=x-goog-custom, Signature=00",
        f"{V4} Credential=a/b, SignedHeaders=x-goog-custom, Signature=00, More=1",
        AUTHORIZATION.format("AWS5-HMAC-SHA256", "x-goog-custom"),
        "AWS AKIDEXAMPLE:c2ln, SignedHeaders=x-goog-custom",
        "Bearer SignedHeaders=x-goog-custom",
    ],
)
def test_a_header_without_a_valid_signature_covers_no_header(
    app: flask.Flask, store: FakeStore, door: str, authorization: str
) -> None:
    sent = sent_to(app, store, door, {**CUSTOM, "Authorization": authorization, "User-Agent": "a", "Cookie": "b"})
    assert not {"x-goog-custom", "cookie"} & sent.keys()
    assert (sent["user-agent"], sent["authorization"]) == ("s3-active-storage", authorization)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        (f"{presigned(SignedHeaders='host')}&{presigned('X-Goog-', SignedHeaders='host')}", {}),
        (f"{presigned()}&X-Amz-SignedHeaders=host", CUSTOM),
        (f"X-Amz-Signature=&{presigned()}", CUSTOM),
        (f"{presigned(SignedHeaders='host')}&x-amz-signature=1", {}),
        ("x-amz-signature=1&X-Amz-Signature=2", {}),
        (f"{presigned(SignedHeaders='host')}&X-Amz-Date=1&x-amz-date=2", {}),
        *((f"{presigned(SignedHeaders='host')}&{link}", {}) for link in (
            "AWSAccessKeyId=A&Signature=s&Expires=1", "Signature=s", "AWSAccessKeyId=A", "sig=s")),
        ("Signature=a&Signature=b", {}),
        ("AWSAccessKeyId=A&Signature=a&Expires=1&Expires=2", {}),
        ("AWSAccessKeyId=A&GoogleAccessId=B&Signature=a&Expires=1", {}),
        ("Key-Pair-Id=K&Signature=a&AWSAccessKeyId=A&Expires=1", {}),
        ("AWSAccessKeyId=A&Signature=a&Expires=1&sig=b", {}),
        ("sig=a&sig=b", {}),
        ("sig=a&Sig=b", {}),
        ("sig=a&sv=1&sv=2", {}),
    ],
)  # fmt: skip
def test_a_request_with_two_signatures_is_refused(
    app: flask.Flask, store: FakeStore, door: str, query: str, headers: dict[str, str]
) -> None:
    """This service and the store could each use another one."""
    response = ask(app, f"{door}?{query}", headers=headers)
    assert (response.status_code, read_error(response)["Code"]) == (400, "InvalidArgument")
    assert store.requests == []


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "authorization",
    [AUTHORIZATION.format(V4, "host;range;x-amz-date;x-goog-custom"), "AWS A:s", "Bearer for-a-gateway"],
)
def test_a_header_signature_with_a_presigned_link_is_not_forwarded(
    app: flask.Flask, store: FakeStore, door: str, authorization: str
) -> None:
    """A Function URL with AWS_IAM has one. S3 accepts one signature, which must cover every ``x-amz-`` header."""
    headers = {**CUSTOM, "Authorization": authorization, "x-amz-date": "1", "x-amz-meta-a": "2", "Range": "bytes=0-3"}
    response = ask(app, f"{door}?{presigned(SignedHeaders='host')}", headers=headers)
    assert response.status_code in (200, 206)
    sent = store.requests[-1].headers
    assert not {"authorization", "x-goog-custom"} & sent.keys()
    assert ("x-amz-date" in sent) == (V4 not in authorization)
    assert sent["x-amz-meta-a"] == "2"
    assert response.data == NUMBERS[0].tobytes()
    both = ask(app, f"{door}?{presigned(SignedHeaders='host;x-amz-date')}", headers=headers)
    assert both.status_code in (200, 206)
    assert store.requests[-1].headers["x-amz-date"] == "1"


LINK_V2 = "AWSAccessKeyId=AKIDEXAMPLE&Expires=1&Signature=c2ln"


# The headers that SDKs sign for GetObject and HeadObject.
SIGNED_BY_SDKS = {
    "boto3": "amz-sdk-invocation-id;amz-sdk-request;range;x-amz-content-sha256;x-amz-date;x-amz-security-token",
    "aws-cli": "x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;x-amz-request-payer",
    "java-1": "amz-sdk-invocation-id;amz-sdk-retry;content-type;user-agent;x-amz-content-sha256;x-amz-date",
    "java-2": "amz-sdk-invocation-id;amz-sdk-request;if-match;range;x-amz-content-sha256;x-amz-date;x-amz-te",
    "go-2": "accept-encoding;amz-sdk-invocation-id;amz-sdk-request;content-length;x-amz-content-sha256;x-amz-date",
    "javascript-2": "x-amz-content-sha256;x-amz-date;x-amz-user-agent",
    "javascript-3": "amz-sdk-invocation-id;amz-sdk-request;accept;cache-control;x-amz-content-sha256;x-amz-date;"
    "x-amz-user-agent",
    "rust": "x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;x-amz-user-agent",
    "dotnet": "content-type;user-agent;x-amz-content-sha256;x-amz-date",
    "minio": "if-modified-since;if-none-match;range;x-amz-content-sha256;x-amz-date",
    "s3cmd": "content-md5;date;x-amz-content-sha256;x-amz-date",
    "google": "accept-language;content-type;x-goog-date;x-goog-encryption-key;x-goog-user-project",
    "azure": "if-unmodified-since;x-ms-date;x-ms-range;x-ms-version;pragma",
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("names", SIGNED_BY_SDKS.values(), ids=SIGNED_BY_SDKS)
def test_headers_that_sdks_sign_are_forwarded_unchanged(
    app: flask.Flask, store: FakeStore, door: str, names: str
) -> None:
    said = {"content-length": "0", "range": "bytes=0-3", "if-match": '"40-fake"'}
    headers = {name: said.get(name, "Mixed value") for name in names.split(";")}
    signed = {**headers, "Authorization": AUTHORIZATION.format(V4, f"host;{names}")}
    environ = {"CONTENT_LENGTH": "0"} if "content-length" in headers else {}
    response = ask(app, door, headers=signed, **environ)
    assert response.status_code in (200, 206), response.data
    assert {name: store.requests[-1].headers[name] for name in headers} == headers


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("authorization", [AUTHORIZATION.format(V4, "host;x-amz-date"), "AWS A:s", "Bearer a"])
def test_with_a_link_neither_authorization_nor_a_token_is_forwarded(
    app: flask.Flask, store: FakeStore, door: str, authorization: str
) -> None:
    for link in (LINK_V2, *LINKS):
        headers = {"Authorization": authorization, "x-amz-security-token": "a", "x-amz-date": "1", "x-amz-meta-a": "2"}
        sent = sent_to(app, store, f"{door}?{link}", headers)
        assert not {"authorization", "x-amz-security-token"} & sent.keys()
        assert ("x-amz-date" in sent) == (V4 not in authorization)
        assert sent["x-amz-meta-a"] == "2"
    covered = {"x-amz-security-token": "a", "Authorization": authorization}
    link = presigned(SignedHeaders="host;x-amz-security-token")
    assert sent_to(app, store, f"{door}?{link}", covered)["x-amz-security-token"] == "a"


@pytest.mark.parametrize("door", DOORS)
def test_a_query_with_an_empty_signature_keeps_authorization(app: flask.Flask, store: FakeStore, door: str) -> None:
    for query in ("Expires=1", "AWSAccessKeyId=A", "Signature=s", "sv=2024-11-04", "sig="):
        assert sent_to(app, store, f"{door}?{query}", {"Authorization": "AWS A:s"})["authorization"] == "AWS A:s"


# Headers that are never forwarded


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NEVER)
def test_some_headers_are_never_forwarded(app: flask.Flask, store: FakeStore, door: str, name: str) -> None:
    """Not even if they are signed. A signature that covers one is refused, since the store could not verify it."""
    headers = {name: NEVER[name]}
    covered = f"host;{name.lower()}"
    for query in ("", "?X-Amz-SignedHeaders=" + quote(covered)):
        assert name.lower() not in sent_to(app, store, door + query, headers)
    asked = len(store.requests)
    for target, more in (
        (f"{door}?{presigned(SignedHeaders=covered)}", {}),
        (f"{door}?{presigned('X-Goog-', SignedHeaders=covered)}", {}),
        (door, {"Authorization": AUTHORIZATION.format(V4, covered)}),
    ):
        response = ask(app, target, headers={**headers, **more})
        assert response.status_code == 400
        assert f"the signature covers {name.lower()}, which cannot be sent on" in read_error(response)["Message"]
    assert len(store.requests) == asked


@pytest.mark.parametrize("link", [presigned(SignedHeaders="host;x-real-ip"), "X-Amz-SignedHeaders=x-real-ip"])
def test_links_in_events_follow_the_same_rules(app: flask.Flask, store: FakeStore, link: str) -> None:
    event = make_event(f"{STORE}/bucket/key?{link}", headers={"X-Real-IP": ["10.1.2.3"], "Cookie": ["a"]})
    response = post(app, "/sum/float32", event)
    assert response.status_code == (400 if "Signature=" in link else 200)
    assert not [request for request in store.requests if {"x-real-ip", "cookie"} & request.headers.keys()]


@pytest.mark.parametrize("door", DOORS)
def test_headers_that_connection_nominates_are_not_forwarded(app: flask.Flask, store: FakeStore, door: str) -> None:
    """RFC 9110, section 7.6.1: they belong to this connection."""
    headers = {"Connection": "close, X-Amz-Date , x-amz-meta-a,If-Match, Range", "x-amz-date": "1", "X-Amz-Meta-A": "2"}
    more = {"x-amz-meta-b": "3", "If-Match": '"none"', "Range": "bytes=0-3"}
    response = ask(app, door, headers={**headers, **more})
    assert response.status_code == 200
    sent = store.requests[-1].headers
    assert sent.keys() & {"x-amz-date", "x-amz-meta-a", "x-amz-meta-b", "if-match", "range"} == {"x-amz-meta-b"}
    signed = {**headers, "Authorization": AUTHORIZATION.format(V4, "host;x-amz-date")}
    assert "covers x-amz-date" in read_error(ask(app, door, headers=signed))["Message"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_that_the_stores_connection_nominates_are_not_forwarded(
    app: flask.Flask, store: FakeStore, method: str
) -> None:
    store.sources["/bucket/key"].headers = {
        "connection": "keep-alive, X-Hop,content-length", "x-hop": "1", "x-amz-meta-a": "2", "keep-alive": "timeout=5",
        "content-length": "40", "proxy-authenticate": "Basic", "upgrade": "h2c",
    }  # fmt: skip
    response = ask(app, "/obj/bucket/key", method)
    names = {name.lower() for name, _ in response.headers}
    assert not names & {"connection", "x-hop", "keep-alive", "proxy-authenticate", "upgrade"}
    assert (response.headers["x-amz-meta-a"], response.headers["Content-Length"]) == ("2", "40")


# Links of other clouds

GOOGLE_V2 = "GoogleAccessId=reader%40project.iam.example&Expires=1&Signature=c2ln"
CLOUDFRONT = "Expires=1&Policy=eyJ_&Signature=c2ln&Key-Pair-Id=K2JCJMDEHXQW5F&Hash-Algorithm=SHA256"
AZURE = (
    "sv=2024-11-04&ss=b&srt=o&sr=b&sp=r&se=2026-11-24T00%3A00%3A00Z&st=2026-11-23T00%3A00%3A00Z&spr=https&sip=10.0.0.1"
    "&skoid=a&sktid=b&skt=c&ske=d&sks=b&skv=2024-11-04&sdd=2&saoid=e&suoid=f&scid=g&rscc=h&rscd=i&rsce=j&rscl=k&rsct=l"
    "&sig=c2ln&snapshot=m&versionid=n"
)
LINKS = (presigned("X-Goog-", SignedHeaders="host") + "&X-Goog-Date=1&X-Goog-Expires=1", GOOGLE_V2, CLOUDFRONT, AZURE)


@pytest.mark.parametrize("query", LINKS)
def test_links_of_other_clouds_are_forwarded_unchanged(app: flask.Flask, store: FakeStore, query: str) -> None:
    response = ask(app, f"{SUM}?shape=2,5&{query}&axis=0")
    assert response.data == NUMBERS.reshape(2, 5).sum(axis=0).tobytes()
    assert store.requests[-1].target == f"/bucket/key?{query}"
    assert (
        post(app, "/sum/float32", make_event(f"{STORE}/bucket/key?{query}", f"/bucket/key?{query}")).status_code == 200
    )


@pytest.mark.parametrize("query", LINKS)
@pytest.mark.parametrize("slip", ["axes=0", "Axis=0", "missing_vaule=1", "sharpe=2", "Shape=2", "sigma=1", "policy=1"])
def test_a_misspelt_parameter_in_such_a_link_is_refused(
    app: flask.Flask, store: FakeStore, query: str, slip: str
) -> None:
    response = ask(app, f"{SUM}?{query}&{slip}")
    assert (response.status_code, read_error(response)["Code"]) == (400, "InvalidArgument")
    assert repr(slip.partition("=")[0]) in read_error(response)["Message"]
    assert store.requests == []


@pytest.mark.parametrize("query", ["versionid=1", "snapshot=1"])
def test_azures_version_names_are_known_only_with_azures_signature(app: flask.Flask, query: str) -> None:
    """Otherwise a misspelt ``versionId`` would silently select another version."""
    assert ask(app, f"{SUM}?{query}").status_code == 400


def test_a_name_that_could_be_a_secret_is_not_shown(app: flask.Flask) -> None:
    for name in ("5e" * 32, base64.b64encode(b"a secret of some length").decode().replace("=", "%3D")):
        response = ask(app, f"{SUM}?{name}")
        assert response.status_code == 400
        assert name not in read_error(response)["Message"]
        signed = {"Authorization": f"{V4} Credential=a/b, SignedHeaders={name}, Signature=00"}
        assert name.lower() not in read_error(ask(app, SUM, headers=signed))["Message"].lower()


@pytest.mark.parametrize("encoding", ["canary", "canary-of-a-secret", "gzip canary"])
def test_an_unregistered_encoding_is_not_shown(app: flask.Flask, store: FakeStore, encoding: str) -> None:
    store.sources["/bucket/key"].headers = {"content-encoding": encoding}
    response = ask(app, SUM)
    assert (response.status_code, read_error(response)["Code"]) == (400, "UnsupportedContentEncoding")
    assert "canary" not in response.text

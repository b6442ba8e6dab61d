"""Sources that sign: the signature is AWS's and botocore's, keys are kept and not shown, names are tried in turn."""

import base64
import dataclasses
import datetime as dt
import threading

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from active_storage.errors import ObjectChanged, StoreError, WrongRegion
from active_storage.model.etag import ETag
from active_storage.model.origins import Origin
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.fake import FakeSource, FakeStore
from handler.stores.regions import Regions
from handler.stores.signers import (
    BasicSigner,
    Credentials,
    S3Signer,
    SignatureTemplate,
    Signer,
    SigningKeys,
    Unsigned,
    derive_key,
)
from handler.stores.source import ObjectFacts, Stream
from handler.stores.store_request import StoreRequest
from handler.stores.store_source import FallbackSource, StoreSource

MOMENT = dt.datetime(2026, 11, 23, 1, 2, 3, tzinfo=dt.UTC)
ORIGIN = Origin.parse("http://store.test:9000")
CREDENTIALS = Credentials(b"AKIDEXAMPLE", b"c/anary+Secret")

# The keys of the examples in "Signature Calculations for the Authorization Header", Amazon S3 API Reference.
AWS_SECRET = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def source_in(store: FakeStore, target: str, signer: Signer | None = None) -> StoreSource:
    return StoreSource(store, StoreRequest.unsigned(ORIGIN, target), Scope.after(60), signer)


def signer(credentials: Credentials = CREDENTIALS, region: str = "us-east-1") -> S3Signer:
    return S3Signer(credentials, SigningKeys(), region, clock=lambda: MOMENT)


@pytest.mark.parametrize(
    ("target", "more", "signature"),
    [
        ("/test.txt", {"range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_examples_of_the_documentation(target: str, more: dict[str, str], signature: str) -> None:
    key = derive_key(AWS_SECRET, "20130524", "us-east-1")
    host = "examplebucket.s3.amazonaws.com"
    template = SignatureTemplate.of(key, "20130524T000000Z", "us-east-1", host, more)
    assert template.compute("GET", target) == signature


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("origin", ["http://store.test:9000", "https://s3.example.org", "http://[::1]:8333"])
@pytest.mark.parametrize(
    "target",
    [
        "/bucket/key",
        "/bucket//leading/slash",
        "/bucket/trailing/",
        "/bucket/a/../b/./c",
        "/bucket/with%20space%2Bplus%25",
        "/bucket/%C3%A9t%C3%A9/%E2%82%AC",
        "/bucket/~%27%28%29%2A%21%40%24%26%3A%3D%3B%2C",
        "/bucket/%23%3F",
        "/bucket/" + "k" * 1024,
        "/bucket/key?versionId=a%2Fb%3D~c",
    ],
)
def test_signatures_are_botocores(monkeypatch: pytest.MonkeyPatch, method: str, origin: str, target: str) -> None:
    region = "eu-west-2"
    sent = signer(region=region).sign(method, Origin.parse(origin), target)
    request = botocore.awsrequest.AWSRequest(method, f"{origin}{target}")
    request.context["payload_signing_enabled"] = True
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: MOMENT.replace(tzinfo=None))
    keys = botocore.credentials.Credentials(CREDENTIALS.user.decode(), CREDENTIALS.secret.decode())
    botocore.auth.S3SigV4Auth(keys, "s3", region).add_auth(request)
    assert sent["authorization"] == request.headers["Authorization"]
    assert sent["x-amz-date"] == request.headers["X-Amz-Date"]
    assert sent["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"]
    assert "x-amz-security-token" not in sent


TOKEN = "FwoGZXIvYXdzEJr//cAnArY+token=="


def test_the_token_of_a_session_and_who_pays_are_signed_as_botocore_signs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = dataclasses.replace(CREDENTIALS, token=TOKEN)
    s3 = S3Signer(credentials, SigningKeys(), clock=lambda: MOMENT, headers={"x-amz-request-payer": "requester"})
    sent = s3.sign("GET", ORIGIN, "/bucket/key")
    request = botocore.awsrequest.AWSRequest("GET", f"{ORIGIN}/bucket/key", {"x-amz-request-payer": "requester"})
    request.context["payload_signing_enabled"] = True
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: MOMENT.replace(tzinfo=None))
    keys = botocore.credentials.Credentials(CREDENTIALS.user.decode(), CREDENTIALS.secret.decode(), TOKEN)
    botocore.auth.S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
    assert sent["authorization"] == request.headers["Authorization"]
    assert (sent["x-amz-security-token"], sent["x-amz-request-payer"]) == (TOKEN, "requester")
    assert "x-amz-request-payer;x-amz-security-token" in sent["authorization"]
    assert "cAnArY" not in repr([credentials, s3])


def test_who_pays_is_said_without_keys_too() -> None:
    store = FakeStore({"/bucket/key": bytes(8)})
    source_in(store, "/bucket/key", Unsigned({"x-amz-request-payer": "requester"})).head(None)
    assert store.requests[0].headers["x-amz-request-payer"] == "requester"
    assert "authorization" not in store.requests[0].headers


# Regions


class Regional(FakeStore):
    """A store whose buckets lie where ``regions`` says; of a request signed for another it says what S3 says."""

    def __init__(self, regions: dict[str, str], says: str | None = "") -> None:
        super().__init__({f"/{bucket}/key": bytes(8) for bucket in regions})
        self.regions = regions
        self.says = says

    @property
    def signed_for(self) -> list[str]:
        return [request.headers["authorization"].split("/")[2] for request in self.requests]

    def _find(self, request: StoreRequest, scope: Scope) -> FakeSource:
        found = super()._find(request, scope)
        region = self.regions[request.target.split("/")[1]]
        if self.signed_for[-1] != region:
            raise WrongRegion("AuthorizationHeaderMalformed", region if self.says == "" else self.says)
        return found


def ask_for(store: FakeStore, bucket: str, regions: Regions, keys: SigningKeys | None = None) -> StoreSource:
    s3 = S3Signer(CREDENTIALS, keys or SigningKeys(), regions, clock=lambda: MOMENT)
    return source_in(store, f"/{bucket}/key", s3)


@pytest.mark.parametrize("by", ["open", "head"])
def test_a_region_is_learned_from_the_store_and_kept_for_the_bucket(by: str) -> None:
    store, regions = Regional({"near": "us-east-1", "far": "eu-west-2"}), Regions()
    for bucket in ("far", "far", "near"):
        found = getattr(ask_for(store, bucket, regions), by)(None)
        if by == "open":
            found.close()
    assert store.signed_for == ["us-east-1", "eu-west-2", "eu-west-2", "us-east-1"]
    assert repr(regions) == "<Regions 1 of at most 1024, else us-east-1>"


@pytest.mark.parametrize("says", [None, "us-east-1", "ap-south-1"])
def test_a_store_that_names_no_other_region_or_a_wrong_one_is_asked_no_more(says: str | None) -> None:
    """Signed again once, and only for another region: it cannot be led in circles."""
    store = Regional({"far": "eu-west-2"}, says)
    with pytest.raises(WrongRegion):
        ask_for(store, "far", Regions()).open(None)
    assert store.signed_for == (["us-east-1", "ap-south-1"] if says == "ap-south-1" else ["us-east-1"])


def test_an_object_of_which_only_the_etag_is_known_is_asked_for_with_it_in_its_region() -> None:
    store = Regional({"far": "eu-west-2"})
    source = ask_for(store, "far", Regions())
    with source.open(None, ObjectFacts.named_by(ETag("8-fake"))) as stream:
        assert stream.facts.total == 8
    assert store.signed_for == ["us-east-1", "eu-west-2"]
    assert [request.headers["if-match"] for request in store.requests] == ['"8-fake"'] * 2
    with pytest.raises(ObjectChanged):
        source.open(None, ObjectFacts.named_by(ETag("other")))


def test_who_does_not_sign_is_not_asked_again() -> None:
    class Redirecting(FakeStore):
        def _find(self, request: StoreRequest, scope: Scope) -> FakeSource:
            super()._find(request, scope)
            raise WrongRegion("PermanentRedirect", "eu-west-2")

    for nobody in (None, Unsigned({}), BasicSigner(CREDENTIALS)):
        store = Redirecting({"/bucket/key": b""})
        with pytest.raises(WrongRegion):
            source_in(store, "/bucket/key", nobody).open(None)
        assert len(store.requests) == 1


def test_regions_are_of_a_bucket_at_an_origin_and_the_oldest_goes_first() -> None:
    regions = Regions("default", limit=2)
    other = Origin.parse("https://store.test:9000")
    regions.learn(ORIGIN, "/one/key", "a")
    assert regions.find(ORIGIN, "/one/other/key?versionId=1") == "a"
    assert regions.find(ORIGIN, "/two/key") == regions.find(other, "/one/key") == "default"
    regions.learn(other, "/one/key", "b")
    regions.learn(ORIGIN, "/one/key", "c")
    regions.learn(ORIGIN, "/two/key", "d")
    assert [regions.find(*each) for each in ((ORIGIN, "/one/"), (other, "/one/"), (ORIGIN, "/two/"))] == [
        "c", "default", "d"
    ]  # fmt: skip


def test_each_request_is_signed_when_it_is_made() -> None:
    """A reduction can wait for its turn; S3 refuses dates that are a quarter of an hour old."""
    store = FakeStore({"/bucket/key": bytes(8)})
    moments = iter((MOMENT, MOMENT + dt.timedelta(days=1)))
    clocked = S3Signer(CREDENTIALS, SigningKeys(), clock=lambda: next(moments))
    source = source_in(store, "/bucket/key", clocked)
    for byte_range in (None, ByteRange(0, 3)):
        source.open(byte_range).close()
    assert [request.headers["x-amz-date"] for request in store.requests] == ["20261123T010203Z", "20261124T010203Z"]
    assert all("range" not in request.headers["authorization"] for request in store.requests)
    assert all(request.takes_range for request in store.requests)


def test_nobody_signs_nothing() -> None:
    store = FakeStore({"/bucket/key": bytes(8)})
    source_in(store, "/bucket/key").head(None)
    assert store.requests[0].headers == {
        "host": "store.test:9000", "user-agent": "s3-active-storage", "accept-encoding": "identity"
    }  # fmt: skip


def test_a_web_server_is_told_user_and_password_as_they_came() -> None:
    sent = BasicSigner(Credentials(b"us\xe9r", b"pass:word")).sign("GET", ORIGIN, "/file")
    assert sent == {"authorization": "Basic " + base64.b64encode(b"us\xe9r:pass:word").decode()}


def test_what_is_read_is_counted() -> None:
    source = source_in(FakeStore({"/bucket/key": bytes(8)}), "/bucket/key")
    with source.open(None) as stream:
        stream.readinto(memoryview(bytearray(100)))
    assert source.bytes_read == 8


# Signing keys


def test_a_key_is_another_for_every_secret_day_and_region() -> None:
    keys = SigningKeys()
    asked = [
        (b"one", "20261123", "us-east-1"),
        (b"two", "20261123", "us-east-1"),
        (b"one", "20261124", "us-east-1"),
        (b"one", "20261123", "eu-west-2"),
    ]
    for _ in range(2):
        assert [keys.find(*each) for each in asked] == [derive_key(*each) for each in asked]
    assert repr(keys) == "<SigningKeys 4 of at most 1024>"


def test_the_oldest_key_goes_first() -> None:
    keys = SigningKeys(limit=2)
    for secret in (b"one", b"two", b"one", b"three"):
        keys.find(secret, "20261123", "us-east-1")
    kept = set(keys._keys.values())
    assert kept == {derive_key(secret, "20261123", "us-east-1") for secret in (b"one", b"three")}


def test_threads_can_share_the_keys() -> None:
    keys = SigningKeys(limit=3)
    wrong: list[bytes] = []

    def work() -> None:
        for number in range(500):
            secret = b"secret %d" % (number % 7)
            if keys.find(secret, "20261123", "us-east-1") != derive_key(secret, "20261123", "us-east-1"):
                wrong.append(secret)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(keys._keys) <= 3


def test_no_secret_is_shown_or_kept() -> None:
    keys = SigningKeys()
    s3 = S3Signer(CREDENTIALS, keys)
    s3.sign("GET", ORIGIN, "/bucket/key")
    source = source_in(FakeStore({}), "/bucket/key?versionId=canary", s3)
    shown = repr([CREDENTIALS, keys, s3, BasicSigner(CREDENTIALS), source, FallbackSource(source, source)])
    for word in ("anary", "AKID", "Signature"):
        assert word not in shown
    assert "<StoreSource <StoreRequest http://store.test:9000/bucket/key>>" in shown
    assert b"anary" not in b"".join(keys._keys)


# A second name


class Absent(FakeSource):
    """An object that is not there, or not for everyone."""

    def __init__(self, code: str) -> None:
        super().__init__(b"")
        self._error = StoreError(404, code, "there is nothing")

    def _open(self, byte_range: ByteRange | None) -> Stream:
        raise self._error

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        raise self._error


def test_an_object_is_looked_for_under_its_second_name() -> None:
    source = FallbackSource(Absent("NoSuchKey"), FakeSource(bytes(8)))
    with source.open(None) as stream:
        stream.readinto(memoryview(bytearray(100)))
    assert source.bytes_read == 8
    assert source.head(None).total == 8


def test_what_is_there_under_the_first_name_is_taken() -> None:
    source = FallbackSource(FakeSource(bytes(8)), Absent("NoSuchKey"))
    assert source.open(None).facts.total == source.head(None).total == 8


@pytest.mark.parametrize(("first", "second", "code"), [("AccessDenied", "NoSuchKey", "AccessDenied"),
                                                       ("NoSuchKey", "NoSuchBucket", "NoSuchBucket")])  # fmt: skip
def test_only_an_object_that_is_not_there_has_a_second_name(first: str, second: str, code: str) -> None:
    source = FallbackSource(Absent(first), Absent(second))
    for ask in (source.open, source.head):
        with pytest.raises(StoreError) as caught:
            ask(None)
        assert caught.value.code == code

"""Listings of a prefix: what a store's answer means, and every answer that is not believed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote

import pytest

from active_storage.errors import (
    ActiveStorageError,
    EntityTooLarge,
    OriginNotAllowed,
    StoreCutOff,
    StoreError,
    StoreProtocolError,
    StoreTimeout,
    WrongRegion,
)
from active_storage.model.origins import Origin, OriginPattern
from handler.scope import Scope
from handler.stores import listings
from handler.stores.fake import FakeStore
from handler.stores.listings import Folder, Page, parse_page
from handler.stores.signers import Credentials, S3Signer, SigningKeys
from handler.stores.store_request import StoreRequest
from handler.stores.store_source import StoreSource
from handler.stores.transport import Transport, TransportLimits
from handler.stores.xml_text import XmlFault, XmlLimits, read_texts
from tests.faulty_store import Answer, Behaviour, Call, FaultyStore, plain, refusal, says, send, sends

PREFIX = "x.zarr/"
ENCODED = "<EncodingType>url</EncodingType>"
LAST = "<IsTruncated>false</IsTruncated>"


def page(*members: str, root: str = "ListBucketResult", before: str = "") -> bytes:
    return f'{before}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(members)}</{root}>'.encode()


def folder(prefix: str) -> str:
    return f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"


def key(text: str) -> str:
    return f"<Contents><Key>{text}</Key><Size>1</Size></Contents>"


def truncated(*tokens: str) -> str:
    named = "".join(f"<NextContinuationToken>{token}</NextContinuationToken>" for token in tokens)
    return f"<IsTruncated>true</IsTruncated>{named}"


# One page


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a", "a"),
        # S3 and MinIO, and SeaweedFS.
        ("a+b", "a b"),
        ("a%20b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%2bb", "a+b"),
        ("a%25b", "a%b"),
        ("a%2520b", "a%20b"),
        ("%C3%BC", "ü"),
        ("ü", "ü"),
        ("a&amp;%3Cb", "a&<b"),
        ("a%0Ab", "a\nb"),
        ("", ""),
    ],
)
def test_names_are_decoded(written: str, name: str) -> None:
    assert parse_page(page(folder(f"x.zarr/{written}/"), LAST, ENCODED), PREFIX) == Page((name,), None)
    assert parse_page(page(folder(f"x%2Ezarr%2F{written}%2F"), LAST, ENCODED), PREFIX) == Page((name,), None)


@pytest.mark.parametrize("name", ["a+b", "a%20b", "a%b", "ü"])
def test_names_of_a_store_that_does_not_encode_are_read_as_they_are(name: str) -> None:
    assert parse_page(page(folder(f"x.zarr/{name}/"), LAST), PREFIX).folders == (name,)


def test_a_page_of_objects_and_folders() -> None:
    document = page(
        "<Name>bucket</Name><Prefix>x.zarr/</Prefix>", key("x.zarr/"), key("x.zarr/zarr.json"), truncated("next token"),
        "<Contents><Key>x.zarr/.zattrs</Key><Owner><Key>elsewhere</Key></Owner></Contents>", folder("x.zarr/tas/"),
        folder("x.zarr/lat/"), ENCODED, before='<?xml version="1.0" encoding="UTF-8"?>\n',
    )  # fmt: skip
    assert parse_page(document, PREFIX) == Page(("tas", "lat"), "next token")
    assert parse_page(page(truncated("ignored").replace("true", "false")), PREFIX) == Page((), None)
    # A document without a namespace is as good.
    assert parse_page(b"<ListBucketResult>" + LAST.encode() + b"</ListBucketResult>", PREFIX) == Page((), None)


ENTITIES = '<!DOCTYPE e [<!ENTITY a "x.zarr/tas/">]>'
HOSTILE = {
    "nothing": (b"", "is not well-formed XML"),
    "text": (b"\xff\xfe\x00", "is not well-formed XML"),
    "json": (b'{"IsTruncated": false}', "is not well-formed XML"),
    "cut off": (page(folder("x.zarr/tas/"), LAST)[:-9], "is not well-formed XML"),
    "two roots": (page(LAST) * 2, "is not well-formed XML"),
    "encoding": (page(LAST, before='<?xml version="1.0" encoding="shift_jis"?>'), "is not well-formed XML"),
    "not UTF-8": (page(LAST).replace(b"false", b"\xff"), "is not well-formed XML"),
    "document type": (page(LAST, before="<!DOCTYPE e>"), "has a document type"),
    "entity": (page(folder("&a;"), LAST, before=ENTITIES), "has a document type"),
    "foreign entity": (page(LAST, before='<!DOCTYPE e SYSTEM "file:///etc/passwd">'), "has a document type"),
    "elements": (page("<a/>" * 32_000, LAST), "has more than 32000 elements"),
    "root": (page(LAST, root="Error"), "is not a ListBucketResult"),
    "old root": (page(LAST, root="ListVersionsResult"), "is not a ListBucketResult"),
    "other encoding": (page(LAST, "<EncodingType>base64</EncodingType>"), "an encoding that was not asked for"),
    "two encodings": (page(LAST, ENCODED, ENCODED), "an encoding that was not asked for"),
    "not truncated": (page(folder("x.zarr/tas/")), "does not say whether it is truncated"),
    "truncated maybe": (page("<IsTruncated>perhaps</IsTruncated>"), "does not say whether it is truncated"),
    "truncated twice": (page(LAST, truncated("a")), "does not say whether it is truncated"),
    "no token": (page(truncated()), "no continuation token"),
    "empty token": (page(truncated("")), "no continuation token"),
    "two tokens": (page(truncated("a", "b")), "no continuation token"),
    "long token": (page(truncated("a" * 5000)), "no continuation token"),
    "key outside": (page(key("other/zarr.json"), LAST), "a key outside the prefix"),
    "folder outside": (page(folder("x.zarr2/tas/"), LAST), "a key outside the prefix"),
    "encoded outside": (page(folder("x%252Ezarr/tas/"), LAST, ENCODED), "a key outside the prefix"),
    "escape": (page(folder("x.zarr/a%b/"), LAST, ENCODED), "a malformed escape"),
    "not a text": (page(folder("x.zarr/%FF/"), LAST, ENCODED), "a key that is not UTF-8"),
    "a key below": (page(key("x.zarr/tas/zarr.json"), LAST), "does not group keys"),
    "a folder below": (page(folder("x.zarr/tas/c/"), LAST), "does not group keys"),
    "no folder": (page(folder("x.zarr/tas"), LAST), "does not group keys"),
    "the prefix": (page(folder("x.zarr/"), LAST), "does not group keys"),
    "many": (page(*(folder(f"x.zarr/{number}/") for number in range(1001)), LAST), "more than 1000 keys"),
}


@pytest.mark.parametrize(("document", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_page_that_is_not_one_is_an_error_of_the_store(document: bytes, message: str) -> None:
    with pytest.raises(StoreProtocolError, match=message) as refused:
        parse_page(document, PREFIX)
    assert refused.value.message.startswith("the store's listing ")
    assert "x.zarr" not in refused.value.message


def test_texts_of_deep_elements_are_not_kept() -> None:
    limits = XmlLimits(depth=2, elements=20_000)
    document = b"<a>1<b>2<c>3</c>4</b>5" + b"<d>" * 9_000 + b"</d>" * 9_000 + b"</a>"
    assert read_texts(document, limits) == [(("a", "b"), "24"), (("a", "d"), ""), (("a",), "15")]
    with pytest.raises(XmlFault, match="more than 100 elements"):
        read_texts(document, XmlLimits(depth=2, elements=100))


# Several pages


class Counts:
    """What was counted."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes: list[int] = []

    def list(self, found: Folder) -> list[str]:
        return found.list_folders(self.add, self.bytes.append)

    def add(self) -> None:
        self.requests += 1


def scripted(*documents: bytes) -> tuple[Folder, list[str]]:
    """A folder whose store gives these answers, and then the last one again; and the targets that it is asked for."""
    targets: list[str] = []

    def read(target: str, _: int) -> bytes:
        targets.append(target)
        return documents[min(len(targets), len(documents)) - 1]

    return Folder("/bucket", PREFIX, read), targets


def test_pages_follow_each_other() -> None:
    documents = (
        page(folder("x.zarr/a/"), folder("x.zarr/b/"), truncated("1/+ &amp;=")),
        page(folder("x.zarr/b/"), truncated("2")),
        page(folder("x.zarr/c/"), LAST),
    )
    found, targets = scripted(*documents)
    counts = Counts()
    assert counts.list(found) == ["a", "b", "c"]
    assert (counts.requests, counts.bytes) == (3, list(map(len, documents)))
    asked = "/bucket/?list-type=2&delimiter=%2F&encoding-type=url&max-keys=1000&prefix=x.zarr%2F"
    assert targets == [
        asked, f"{asked}&continuation-token=1%2F%2B%20%26%3D", f"{asked}&continuation-token=2",
    ]  # fmt: skip


def test_a_token_that_comes_again_ends_the_listing() -> None:
    for tokens in (["a"], ["a", "b", "c", "b"]):
        found, targets = scripted(*(page(truncated(token)) for token in tokens))
        with pytest.raises(StoreProtocolError, match="continuation token of an earlier page"):
            Counts().list(found)
        assert len(targets) <= len(tokens) + 1


def test_pages_and_folders_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    found, targets = scripted(*(page(truncated(str(number))) for number in range(listings.MAX_PAGES + 1)))
    with pytest.raises(EntityTooLarge, match="more than 100 pages"):
        Counts().list(found)
    assert len(targets) == listings.MAX_PAGES
    monkeypatch.setattr(listings, "MAX_FOLDERS", 2)
    names = [folder(f"x.zarr/{name}/") for name in "abc"]
    assert Counts().list(scripted(page(*names[:2], names[0], LAST))[0]) == ["a", "b"]
    with pytest.raises(EntityTooLarge, match="more than 2 folders"):
        Counts().list(scripted(page(*names[:2], truncated("1")), page(names[2], LAST))[0])


def test_what_counts_can_end_the_listing() -> None:
    found, targets = scripted(page(truncated("1")))

    def refuse(_: int) -> None:
        raise EntityTooLarge("enough")

    with pytest.raises(EntityTooLarge, match="enough"):
        found.list_folders(lambda: None, refuse)
    assert len(targets) == 1


# A store in memory


NAMES = ["a b", "a+b", "a%b", "a%2Bb", "a&<b", "a*b", "ü", "日本", "tas"]


def folder_of(source: Callable[[str], StoreSource], prefix: str = PREFIX) -> Folder:
    return Folder("/bucket", prefix, lambda target, limit_bytes: source(target).read_document(limit_bytes))


@pytest.mark.parametrize("most", ["1000", "2"])
def test_a_store_in_memory_lists_as_s3_does(monkeypatch: pytest.MonkeyPatch, most: str) -> None:
    monkeypatch.setattr(listings, "_PAGE_KEYS", int(most))
    paths = [f"x.zarr/{name}/{end}" for name in NAMES for end in ("zarr.json", "c/0")]
    paths += ["x.zarr/zarr.json", "x.zarr.json", "x.zarr2/tas/zarr.json", "y/tas/zarr.json"]
    store = FakeStore({f"/bucket/{quote(path)}": b"" for path in paths})
    origin, scope, counts = Origin.parse("http://store.test"), Scope.after(60), Counts()

    def open_listing(target: str) -> StoreSource:
        return StoreSource(store, StoreRequest.unsigned(origin, target), scope)

    assert sorted(counts.list(folder_of(open_listing))) == sorted(NAMES)
    assert counts.requests == len(store.requests) == (1 if most == "1000" else 5)
    assert store.bytes_read == sum(counts.bytes)
    assert counts.list(folder_of(open_listing, "none/")) == []


# A store over a socket


SECRET = b"secret-of-the-listing"
LIMITS = TransportLimits(connect_seconds=5, read_seconds=60, tries=3, connections=1)


@pytest.fixture
def transport(store: FaultyStore) -> Iterator[Transport]:
    allowed = (OriginPattern.parse(store.url),)
    with closing(Transport(allowed, LIMITS, pause=lambda _: None)) as transport:
        yield transport


def list_in(store: FaultyStore, transport: Transport, scope: Scope | None = None) -> list[str]:
    signer = S3Signer(Credentials(b"key", SECRET), SigningKeys(), clock=lambda: datetime(2026, 11, 30, tzinfo=UTC))
    origin, scope = Origin.parse(store.url), scope or Scope.after(60)
    return Counts().list(
        folder_of(lambda target: StoreSource(transport, StoreRequest.unsigned(origin, target), scope, signer))
    )


def listing(document: bytes = page(folder("x.zarr/tas/"), LAST)) -> Answer:
    return plain("200 OK", document, {"Content-Type": "application/xml"})


def in_chunks(document: bytes) -> Answer:
    """S3 sends listings in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (document[:9], document[9:], b""))
    return Answer("200 OK", {"Transfer-Encoding": "chunked"}, body)


@pytest.mark.parametrize("answer", [listing(), in_chunks(listing().body)], ids=["length", "chunks"])
def test_a_request_is_signed_for_the_caller(store: FaultyStore, transport: Transport, answer: Answer) -> None:
    store.order(says(answer))
    assert list_in(store, transport) == ["tas"]
    (head,) = store.heads
    target = head.split(b" ")[1].decode()
    assert target.startswith("/bucket/?")
    assert parse_qs(target.partition("?")[2])["prefix"] == [PREFIX]
    assert b"Credential=key/20261130/us-east-1/s3/aws4_request" in head


FAILURES: dict[str, tuple[Behaviour, type[ActiveStorageError], int]] = {
    "denied": (says(refusal("403 Forbidden", "AccessDenied", "Access Denied.")), StoreError, 1),
    "no bucket": (says(refusal("404 Not Found", "NoSuchBucket", "None.")), StoreError, 1),
    "busy": (says(refusal("503 Slow Down", "SlowDown", "Slow.")), StoreError, 3),
    "redirect": (says(plain("302 Found", b"", {"Location": "http://127.0.0.1:9/"})), StoreProtocolError, 1),
    "other region": (says(refusal("301 Moved Permanently", "PermanentRedirect", "No.")), WrongRegion, 1),
    "error with 200": (says(listing(b"<Error><Code>InternalError</Code></Error>")), StoreProtocolError, 1),
    "too long": (says(listing(page(LAST).ljust((4 << 20) + 1))), EntityTooLarge, 1),
    "encoded": (says(plain("200 OK", page(LAST), {"Content-Encoding": "gzip"})), StoreProtocolError, 1),
    "cut off": (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + page(LAST)), StoreCutOff, 3),
}


@pytest.mark.parametrize(("behave", "kind", "tries"), FAILURES.values(), ids=FAILURES.keys())
def test_the_rules_of_the_store_layer_hold(
    store: FaultyStore, transport: Transport, behave: Behaviour, kind: type[ActiveStorageError], tries: int
) -> None:
    store.order(behave)
    with pytest.raises(kind) as refused:
        list_in(store, transport)
    assert store.tries == tries
    assert SECRET.decode() not in refused.value.message


def test_a_transient_failure_is_tried_again(store: FaultyStore, transport: Transport) -> None:
    busy = refusal("503 Slow Down", "SlowDown", "Slow.")
    store.order(lambda call: send(call, listing() if call.number > 1 else busy))
    assert list_in(store, transport) == ["tas"]
    assert store.tries == 2


def test_a_request_is_signed_again_for_the_region_that_the_store_names(
    store: FaultyStore, transport: Transport
) -> None:
    def behave(call: Call) -> None:
        if b"/eu-west-2/s3/" in call.head:
            send(call, listing())
            return
        headers = {"x-amz-bucket-region": "eu-west-2"}
        send(call, plain("400 Bad Request", b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>", headers))

    store.order(behave)
    assert list_in(store, transport) == ["tas"]
    assert store.tries == 2


def test_neither_another_origin_nor_a_request_past_its_time_is_sent(store: FaultyStore, transport: Transport) -> None:
    store.order(says(listing()))
    with pytest.raises(StoreTimeout):
        list_in(store, transport, Scope.after(0))
    with FaultyStore(says(listing())) as other, pytest.raises(OriginNotAllowed):
        list_in(other, transport)
    assert (store.tries, other.tries) == (0, 0)

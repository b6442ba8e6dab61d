"""A signature version for boto3 and s3fs that signs for the store behind an active storage proxy.

The proxy passes a signature on to the store, and the store verifies it against the object as it knows it. So the
request is signed with the store's scheme, host and path, which the proxy's discovery document tells, and is sent to
the proxy. At an endpoint that has no such document, a plain S3, the signature is the standard one.

    S3ActiveStorageV4Auth.register()
    s3 = boto3.client("s3", config=Config(signature_version=S3ActiveStorageV4Auth.SIGNATURE_VERSION), ...)
    s3.get_object(Bucket="sum", Key="float32/bucket/key")
"""

import json
import os
import threading
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from handler.errors import ActiveStorageError
from handler.origins import Origin
from handler.params import DISCOVERY_PATH, NEGOTIATED_HEADERS, OBJECT_DOOR, join_target, split_path, split_query

# A proxy answers from memory. Whoever needs longer is down, and boto3 would wait a minute.
DISCOVERY_TIMEOUT_SECONDS = 10

# The proxy answers these against the result, and asks the store in the source's terms: it must be free to change them.
# If-Range it does not answer, signed or not.
_UNSIGNED_HEADERS = NEGOTIATED_HEADERS - {"if-range"}


@dataclass(frozen=True)
class Proxy:
    """What an active storage endpoint says of itself.

    Attributes:
        store: ``scheme://host[:port]`` of the store, as signatures must name it.
        doors: The first segments of paths that are answered: reducers, and the door to objects themselves.
    """

    store: str
    doors: frozenset[str]


class Discovery:
    """What is known of endpoints: each is asked once, and the answer is kept for good. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._known: dict[str, Proxy | None] = {}

    def find(self, endpoint: str, config: Config | None = None) -> Proxy | None:
        """The proxy at ``scheme://host[:port]``, None where there is none.

        Args:
            endpoint: Where to ask.
            config: The client's, None where it is not known: what is between it and the endpoint.

        Raises:
            botocore.exceptions.HTTPClientError: The endpoint does not answer. It is asked again the next time.
        """
        with self._lock:
            asking = self._asking.setdefault(endpoint, threading.Lock())
        with asking:
            if endpoint not in self._known:
                status, body = _fetch(endpoint + DISCOVERY_PATH, config)
                # 5xx says nothing of what the endpoint is, only that it is not well now.
                if status >= 500:
                    return None
                self._known[endpoint] = _read_document(body) if status == 200 else None
            return self._known[endpoint]


DISCOVERY = Discovery()


class _SignsForStore:
    """What header and query signatures share: the request is signed as the store will see it."""

    def add_auth(self, request: AWSRequest) -> None:
        """Sign ``request``; one to a proxy goes there in path style, with a signature for the store.

        Raises:
            botocore.exceptions.BotoCoreError: There are no credentials, or the endpoint does not answer.
        """
        url = _path_style(request)
        proxy = DISCOVERY.find(f"{url.scheme}://{url.netloc}", request.context.get("client_config"))
        request.context[_CONTEXT_KEY] = proxy is not None
        if proxy is None:
            super().add_auth(request)  # type: ignore[misc]  # botocore's signer is the other base
            return
        # The proxy's own parameters are not the store's to see, so that no signature covers them.
        request.url, own_query = _object_url(proxy, url)
        super().add_auth(request)  # type: ignore[misc]
        query = (own_query, urlsplit(str(request.url)).query)
        request.url = url._replace(query="&".join(part for part in query if part)).geturl()

    def headers_to_sign(self, request: AWSRequest) -> Any:
        """The headers that the signature covers: at a proxy, without those that it must be free to change."""
        headers = super().headers_to_sign(request)  # type: ignore[misc]
        if request.context.get(_CONTEXT_KEY):
            for name in _UNSIGNED_HEADERS:
                del headers[name]
        return headers


class S3ActiveStorageV4Auth(_SignsForStore, botocore.auth.S3SigV4Auth):
    """Signature version 4 in the ``Authorization`` header, for the store behind a proxy."""

    SIGNATURE_VERSION: ClassVar[str] = "s3v4-activestorage"

    @classmethod
    def register(cls) -> None:
        """Make boto3 know the signature version, for requests, presigned URLs and presigned forms. Twice is once."""
        botocore.auth.AUTH_TYPE_MAPS[cls.SIGNATURE_VERSION] = cls
        botocore.auth.AUTH_TYPE_MAPS[f"{cls.SIGNATURE_VERSION}-query"] = S3ActiveStorageV4QueryAuth
        # A form to upload with, which names no object and no host: the standard one, for a plain S3.
        botocore.auth.AUTH_TYPE_MAPS[f"{cls.SIGNATURE_VERSION}-presign-post"] = botocore.auth.S3SigV4PostAuth


class S3ActiveStorageV4QueryAuth(_SignsForStore, botocore.auth.S3SigV4QueryAuth):
    """Signature version 4 in the query: presigned URLs."""


_CONTEXT_KEY = "active_storage_signs_for_store"


def _fetch(url: str, config: Config | None) -> tuple[int, bytes]:
    # botocore's own session: its errors for an endpoint that is down, its proxies and certificates. A client's
    # ``verify`` never comes to its signer, but the variables that stand for it are for every client.
    ca_bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    proxies = getattr(config, "proxies", None)
    session = URLLib3Session(
        timeout=DISCOVERY_TIMEOUT_SECONDS,
        verify=ca_bundle or True,  # type: ignore[arg-type]  # a path will do, as in Config
        proxies=get_environ_proxies(url) if proxies is None else proxies,
        proxies_config=getattr(config, "proxies_config", None),
        client_cert=getattr(config, "client_cert", None),
    )
    try:
        response = session.send(AWSRequest("GET", url).prepare())
        return response.status_code, response.content
    finally:
        session.close()


def _read_document(body: bytes) -> Proxy | None:
    """The proxy that a discovery document describes; None where it is something else, such as a website."""
    try:
        document = json.loads(body)
        if document["active_storage_version"] != "v1":
            return None
        store = Origin.parse(document["s3_endpoint"])
        doors = frozenset((*document["available_reducers"], OBJECT_DOOR))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Proxy(str(store), doors)


def _path_style(request: AWSRequest) -> SplitResult:
    """The request's URL with the bucket in the path, where botocore put it into the host."""
    url = urlsplit(str(request.url))
    call = request.context.get("s3_redirect") or {}
    bucket, key = call.get("bucket"), (call.get("params") or {}).get("Key", "")
    # An endpoint's own name may begin with the bucket's too; then the path holds more than the key.
    if not bucket or not url.netloc.startswith(f"{bucket}.") or unquote(url.path).removeprefix("/") != key:
        return url
    return url._replace(netloc=url.netloc.removeprefix(f"{bucket}."), path=f"/{bucket}{url.path}")


def _object_url(proxy: Proxy, url: SplitResult) -> tuple[str, str]:
    """The URL of the object in the store, and the part of the query that is the proxy's own.

    A URL that names no object stays as it is: whatever the signature, the proxy says what is wrong.
    """
    try:
        path = split_path(url.path)
        query = split_query(url.query)
    except ActiveStorageError:
        return url.geturl(), ""
    if path.reducer not in proxy.doors:
        return url.geturl(), ""
    return proxy.store + join_target(path.object_path, query.rest.text), query.own

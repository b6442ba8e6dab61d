"""A signature version for boto3 and s3fs that signs for the store behind an active storage proxy.

The proxy passes the signature on to the store, and the store verifies it for its own address of the object. Therefore
the request is signed with the store's scheme, host and path, which are in the proxy's discovery document, and is sent
to the proxy. For an endpoint without such a document, which is a plain S3 store, the signature is the standard one.

    S3ActiveStorageV4Auth.register()
    s3 = boto3.client("s3", config=Config(signature_version=S3ActiveStorageV4Auth.SIGNATURE_VERSION), ...)
    s3.get_object(Bucket="sum", Key="float32/bucket/key")
"""

import os
import threading
from typing import Any, ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from active_storage.client.discovery import Document, read_document
from active_storage.errors import ActiveStorageError
from active_storage.grammar.query import split_query
from active_storage.grammar.ranges import NEGOTIATED_HEADERS
from active_storage.grammar.targets import DISCOVERY_PATH, join_target, split_path

# A proxy answers from memory. One that takes longer than this is down. boto3's own timeout is a minute.
DISCOVERY_TIMEOUT_SECONDS = 10

# The proxy applies these headers to the result, and changes them for the store. Therefore they are not signed. If-Range
# is refused, signed or not.
_UNSIGNED_HEADERS = NEGOTIATED_HEADERS - {"if-range"}


class Discovery:
    """The discovery documents of endpoints. Each is asked for once and kept. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._known: dict[str, Document | None] = {}

    def find(self, endpoint: str, config: Config | None = None) -> Document | None:
        """The proxy at ``scheme://host[:port]``; None if the endpoint is not a proxy.

        Args:
            endpoint: The endpoint.
            config: The client's configuration, for network proxies and certificates; None if it is not known.

        Raises:
            botocore.exceptions.HTTPClientError: The endpoint does not answer. It is asked again the next time.
        """
        with self._lock:
            asking = self._asking.setdefault(endpoint, threading.Lock())
        with asking:
            if endpoint not in self._known:
                status, body = _fetch(endpoint + DISCOVERY_PATH, config)
                # A 5xx shows only that the endpoint fails at the moment, not whether it is a proxy.
                if status >= 500:
                    return None
                self._known[endpoint] = read_document(body) if status == 200 else None
            return self._known[endpoint]


DISCOVERY = Discovery()


class _SignsForStore:
    """The base of header and query signatures: the request is signed as the store will receive it."""

    def add_auth(self, request: AWSRequest) -> None:
        """Sign ``request``. A request to a proxy is sent in path style, with a signature for the store.

        Raises:
            botocore.exceptions.BotoCoreError: There are no credentials, or the endpoint does not answer.
        """
        url = _path_style(request)
        proxy = DISCOVERY.find(f"{url.scheme}://{url.netloc}", request.context.get("client_config"))
        request.context[_CONTEXT_KEY] = proxy is not None
        if proxy is None:
            super().add_auth(request)  # type: ignore[misc]  # botocore's signer is the other base
            return
        # The proxy's own parameters are not sent to the store. Therefore the signature must not cover them.
        request.url, own_query = _object_url(proxy, url)
        super().add_auth(request)  # type: ignore[misc]
        query = (own_query, urlsplit(str(request.url)).query)
        request.url = url._replace(query="&".join(part for part in query if part)).geturl()

    def headers_to_sign(self, request: AWSRequest) -> Any:
        """The headers that the signature covers; for a proxy, without the headers that it changes."""
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
        """Register the signature version with boto3, for requests, presigned URLs and presigned forms. Idempotent."""
        botocore.auth.AUTH_TYPE_MAPS[cls.SIGNATURE_VERSION] = cls
        botocore.auth.AUTH_TYPE_MAPS[f"{cls.SIGNATURE_VERSION}-query"] = S3ActiveStorageV4QueryAuth
        # Presigned upload forms are for a plain S3 store: the standard signature.
        botocore.auth.AUTH_TYPE_MAPS[f"{cls.SIGNATURE_VERSION}-presign-post"] = botocore.auth.S3SigV4PostAuth


class S3ActiveStorageV4QueryAuth(_SignsForStore, botocore.auth.S3SigV4QueryAuth):
    """Signature version 4 in the query: presigned URLs."""


_CONTEXT_KEY = "active_storage_signs_for_store"


def _fetch(url: str, config: Config | None) -> tuple[int, bytes]:
    # botocore's session gives botocore's errors, proxies and certificates. A signer cannot see the client's ``verify``,
    # but it can use the environment variables for it.
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


def _path_style(request: AWSRequest) -> SplitResult:
    """The request's URL with the bucket in the path, even if botocore put it into the host."""
    url = urlsplit(str(request.url))
    call = request.context.get("s3_redirect") or {}
    bucket, key = call.get("bucket"), (call.get("params") or {}).get("Key", "")
    # The endpoint's own name may begin with the bucket's name. Then the path has more than the key.
    if not bucket or not url.netloc.startswith(f"{bucket}.") or unquote(url.path).removeprefix("/") != key:
        return url
    return url._replace(netloc=url.netloc.removeprefix(f"{bucket}."), path=f"/{bucket}{url.path}")


def _object_url(proxy: Document, url: SplitResult) -> tuple[str, str]:
    """The URL of the object in the store, and the part of the query that is the proxy's own.

    A URL without an object is returned unchanged: the proxy refuses it with an error, whatever the signature.
    """
    try:
        path = split_path(url.path)
        query = split_query(url.query)
    except ActiveStorageError:
        return url.geturl(), ""
    if path.reducer not in proxy.doors:
        return url.geturl(), ""
    return proxy.store + join_target(path.object_path, query.rest.text), query.own

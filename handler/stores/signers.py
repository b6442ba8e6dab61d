"""What makes a request the caller's own: a signature for an S3 store, or Basic for a web server.

The caller hands over a name and a secret, as the JSON doors do. ``Range`` stays out of the signature: a stream that
breaks off asks for the rest under the same one.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference.
The names below are its: canonical request, string to sign, credential scope, signing key.
"""

import base64
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol
from urllib.parse import unquote

from active_storage.grammar.text import encode
from active_storage.model.origins import Origin
from handler.stores.regions import DEFAULT_REGION, Regions

_ALGORITHM = "AWS4-HMAC-SHA256"

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

# One for each secret that is in use today; some two hundred bytes each.
_MAX_KEYS = 1024

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks, as they were given: an S3 key and its secret, or a user and a password of a web server's.

    Attributes:
        user: The key or the user.
        secret: The secret or the password.
        token: Of a session, for S3 only: temporary keys are worth nothing without it. Empty for keys that last.
    """

    user: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    token: str = field(default="", repr=False)


class Signer(Protocol):
    """What makes a request the caller's own."""

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:
        """The headers to send with it, names in lower case."""


class SigningKeys:
    """The signing keys of the secrets in use, so that they are not derived again for every request.

    A key is good for one secret, day and region. It is found by a digest of these, keyed with a number that dies with
    the process: no secret is kept, and none can be tried out on what is. Threads can share it; the oldest entry goes
    first.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int = _MAX_KEYS) -> None:
        self._limit = limit
        self._pepper = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SigningKeys {len(self._keys)} of at most {self._limit}>"

    def find(self, secret: bytes, day: str, region: str) -> bytes:
        """The signing key of a secret for one day, as ``YYYYMMDD``, and one region."""
        name = hmac.digest(self._pepper, b"\0".join((secret, day.encode(), region.encode())), "sha256")
        with self._lock:
            if name in self._keys:
                self._keys.move_to_end(name)
                return self._keys[name]
        key = derive_key(secret, day, region)
        with self._lock:
            self._keys[name] = key
            while len(self._keys) > self._limit:
                self._keys.popitem(last=False)
        return key


class S3Signer:
    """Signs for an S3 store.

    Args:
        credentials: The caller's.
        keys: What keeps signing keys.
        region: The store's, or what knows that of each bucket.
        clock: Tells the time, in UTC.
        headers: What else the caller says to the store, names in lower case: it is signed as well.

    Attributes:
        regions: What knows the region that a request is signed for.
    """

    def __init__(
        self,
        credentials: Credentials,
        keys: SigningKeys,
        region: str | Regions = DEFAULT_REGION,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        headers: Mapping[str, str] = _NOTHING,
    ) -> None:
        self._credentials = credentials
        self._keys = keys
        self._clock = clock
        self.regions = Regions(region) if isinstance(region, str) else region
        self._headers = dict(headers)
        if credentials.token:
            self._headers["x-amz-security-token"] = credentials.token

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:
        """The date, the hash of no body, the caller's headers, and the signature over them, the host and the target."""
        moment = f"{self._clock():%Y%m%dT%H%M%SZ}"
        headers = {"x-amz-content-sha256": _EMPTY_SHA256, "x-amz-date": moment, **self._headers}
        region = self.regions.find(origin, target)
        key = self._keys.find(self._credentials.secret, moment[:8], region)
        signed = {"host": origin.authority, **headers}
        scope = f"{moment[:8]}/{region}/s3/aws4_request"
        authorization = ", ".join(
            (
                f"{_ALGORITHM} Credential={self._credentials.user.decode('ascii')}/{scope}",
                f"SignedHeaders={';'.join(sorted(signed))}",
                f"Signature={compute_signature(key, scope, method, target, signed)}",
            )
        )
        return {**headers, "authorization": authorization}


class Unsigned:
    """Says to an S3 store what a caller without keys says to it.

    Args:
        headers: That, names in lower case.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:  # noqa: ARG002  # a Signer's
        """The same, whatever is asked for."""
        return dict(self._headers)


class BasicSigner:
    """Says to a web server who asks (RFC 7617).

    Args:
        credentials: The caller's.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:  # noqa: ARG002  # a Signer's
        """User and password, whatever is asked for."""
        pair = b":".join((self._credentials.user, self._credentials.secret))
        return {"authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def compute_signature(key: bytes, scope: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    """The signature of a request.

    Args:
        key: The signing key.
        scope: The credential scope: day, region, service and ``aws4_request``.
        method: GET or HEAD.
        target: The path and query; the path as it is sent, which S3 does not encode a second time.
        headers: All that are signed, names in lower case, ``x-amz-date`` and ``x-amz-content-sha256`` among them.
    """
    path, _, query = target.partition("?")
    canonical_request = "\n".join(
        (
            method,
            path,
            _canonical_query(query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
            "",
            ";".join(sorted(headers)),
            headers["x-amz-content-sha256"],
        )
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    string_to_sign = "\n".join((_ALGORITHM, headers["x-amz-date"], scope, digest))
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def derive_key(secret: bytes, day: str, region: str) -> bytes:
    """The signing key of a secret for one day, as ``YYYYMMDD``, and one region."""
    key = b"AWS4" + secret
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical_query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    # A slash is encoded here, unlike in a path.
    encoded = sorted((encode(unquote(name), safe=""), encode(unquote(value), safe="")) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)

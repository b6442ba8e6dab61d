"""Requests in the caller's name: signed for an S3 store, or with Basic authentication for a web server.

The caller of a JSON door hands over a name and a secret. ``Range`` is not signed, so that a stream can ask for the rest
after a cut with the same signature.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference.
Its terms are used below: canonical request, string to sign, credential scope, signing key.
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
from typing import Protocol, Self
from urllib.parse import unquote

from active_storage.grammar.text import encode
from active_storage.model.origins import Origin
from handler.stores.regions import DEFAULT_REGION, Regions

_ALGORITHM = "AWS4-HMAC-SHA256"

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

# An entry of some two hundred bytes for each secret that is in use today.
_MAX_KEYS = 1024

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Credentials:
    """The caller's credentials: an S3 access key and its secret, or a user and a password for a web server.

    Attributes:
        user: The access key, or the user.
        secret: The secret, or the password.
        token: The token of a session, which S3 requires with temporary keys; empty for long-lived keys.
    """

    user: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    token: str = field(default="", repr=False)


class Signer(Protocol):
    """Makes the headers that say in whose name a request is sent."""

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:
        """The headers to add to a request, names in lower case."""


class SigningKeys:
    """A cache of signing keys, which take time to derive. Thread-safe. The least recently used entry is dropped first.

    A key is valid for one secret, day and region. The name of an entry is a digest of these, keyed with a random number
    of this process. So no secret is kept, and none can be guessed from the entries.

    Args:
        limit: The largest number of entries.
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


@dataclass(frozen=True, slots=True)
class SignatureTemplate:
    """What the signatures of requests to one server in one second have in common.

    Attributes:
        key: The signing key.
        scope: The credential scope: day, region, service and ``aws4_request``.
        authority: The ``Host``.
        headers: The signed headers that are sent besides ``Host``, names in lower case.
        names: The names of the signed headers, as ``SignedHeaders`` lists them.
        canonical: The part of a canonical request behind the query.
    """

    key: bytes = field(repr=False)
    scope: str
    authority: str
    headers: Mapping[str, str] = field(repr=False)
    names: str
    canonical: str = field(repr=False)

    @classmethod
    def of(  # what makes a signature
        cls, key: bytes, moment: str, region: str, authority: str, more: Mapping[str, str] = _NOTHING
    ) -> Self:
        """The template.

        Args:
            key: The signing key.
            moment: The time, as ``YYYYMMDDTHHMMSSZ``.
            region: The region.
            authority: The ``Host``.
            more: Further headers to sign, names in lower case.
        """
        headers = {"x-amz-content-sha256": _EMPTY_SHA256, "x-amz-date": moment, **more}
        signed = {"host": authority, **headers}
        lines = [f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)]
        names = ";".join(sorted(signed))
        scope = f"{moment[:8]}/{region}/s3/aws4_request"
        canonical = "\n".join((*lines, "", names, _EMPTY_SHA256))
        return cls(key, scope, authority, headers, names, canonical)

    def fits(self, moment: str, region: str, authority: str) -> bool:
        """Whether it is for this time, region and ``Host``."""
        scope = f"{moment[:8]}/{region}/s3/aws4_request"
        return (self.headers["x-amz-date"], self.scope, self.authority) == (moment, scope, authority)

    def compute(self, method: str, target: str) -> str:
        """The signature of a request.

        Args:
            method: GET or HEAD.
            target: The path and the query. S3, unlike other services, does not encode the path a second time.
        """
        path, _, query = target.partition("?")
        canonical_request = f"{method}\n{path}\n{_canonical_query(query)}\n{self.canonical}"
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        string_to_sign = f"{_ALGORITHM}\n{self.headers['x-amz-date']}\n{self.scope}\n{digest}"
        return hmac.digest(self.key, string_to_sign.encode(), "sha256").hex()


class S3Signer:
    """Signs requests for an S3 store.

    Args:
        credentials: The caller's credentials.
        keys: The cache of signing keys.
        region: The region of the store, or the regions of its buckets.
        clock: Tells the time, in UTC.
        headers: Further headers of the caller, names in lower case. They are signed as well.

    Attributes:
        regions: The regions that requests are signed for.
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
        self._template: SignatureTemplate | None = None

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:
        """The headers of a signed request: its date, the hash of the empty body, the caller's headers, the signature.

        The signature covers the method, the target, ``Host`` and these headers.
        """
        moment, region = f"{self._clock():%Y%m%dT%H%M%SZ}", self.regions.find(origin, target)
        authority = origin.authority
        # Other threads may replace it at any time.
        template = self._template
        if template is None or not template.fits(moment, region, authority):
            key = self._keys.find(self._credentials.secret, moment[:8], region)
            template = self._template = SignatureTemplate.of(key, moment, region, authority, self._headers)
        user = self._credentials.user.decode("ascii")
        proof = (
            f"{_ALGORITHM} Credential={user}/{template.scope}, SignedHeaders={template.names},"
            f" Signature={template.compute(method, target)}"
        )
        return {**template.headers, "authorization": proof}


class Unsigned:
    """Adds the headers of a caller without credentials, such as the one that says who pays.

    Args:
        headers: The headers, names in lower case.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:  # noqa: ARG002  # a Signer's
        """The headers, which are the same for all requests."""
        return dict(self._headers)


class BasicSigner:
    """Adds Basic authentication for a web server (RFC 7617).

    Args:
        credentials: The caller's credentials.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def sign(self, method: str, origin: Origin, target: str) -> dict[str, str]:  # noqa: ARG002  # a Signer's
        """The header with user and password, which is the same for all requests."""
        pair = b":".join((self._credentials.user, self._credentials.secret))
        return {"authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def derive_key(secret: bytes, day: str, region: str) -> bytes:
    """The signing key of a secret for one day, as ``YYYYMMDD``, and one region."""
    key = b"AWS4" + secret
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical_query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    # Unlike in a path, a slash is encoded.
    encoded = sorted((encode(unquote(name), safe=""), encode(unquote(value), safe="")) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)

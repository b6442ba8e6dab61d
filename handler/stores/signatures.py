"""How callers sign for a store: the names that a signature has in a query or a header, and what it covers.

A table for each cloud whose stores can be behind this service. Nothing is verified here, which only the store can do;
but what is not even of the form of a signature covers nothing, whatever it claims.

Sources: "Authenticating Requests" (Amazon S3 API Reference, signature versions 2 and 4), "V4 signing process" and
"V2 signing process" (Google Cloud Storage), "Use signed URLs" (Amazon CloudFront Developer Guide), "Create a service
SAS", "an account SAS" and "a user delegation SAS" (Azure Storage REST API).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote

from active_storage.errors import InvalidArgument
from active_storage.grammar.query import StoreQuery

# What stands in the queries of links of signature version 2.
_S3_V2_NAMES = frozenset({"AWSAccessKeyId", "Expires", "Signature"})
_GOOGLE_V2_NAMES = frozenset({"GoogleAccessId", "Expires", "Signature"})
_CLOUDFRONT_NAMES = frozenset({"Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"})
_AZURE_NAMES = frozenset(
    {
        *("sv", "sig", "se", "sp", "sr", "st", "spr", "sip", "si", "ss", "srt", "sdd", "ses"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid", "saoid", "suoid", "scid", "sduoid"),
        *("rscc", "rscd", "rsce", "rscl", "rsct"),
    }
)
# Of Azure too, but a slip of S3's ``versionId`` is too near: another version would be read in silence.
_AZURE_VERSION_NAMES = frozenset({"snapshot", "versionid"})

QUERY_NAMES = _S3_V2_NAMES | _GOOGLE_V2_NAMES | _CLOUDFRONT_NAMES | _AZURE_NAMES

# Signature version 4, of which there is more with every extension. In any case of letters, as some stores read it.
QUERY_PREFIXES = ("x-amz-", "x-goog-")

# The values that say who signed, or prove it, by their names in lower case; as parts of ``Authorization`` too.
SECRET_NAMES = frozenset(
    {
        *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid", "signature", "credential"),
        *("x-goog-signature", "x-goog-credential", "googleaccessid", "policy", "key-pair-id"),
        *("sig", "skoid", "sktid", "saoid", "suoid", "scid", "skdutid", "sduoid"),
        *("x-amz-server-side-encryption-customer-key", "x-amz-server-side-encryption-customer-key-md5"),
        *("x-goog-encryption-key", "x-goog-encryption-key-sha256", "x-ms-encryption-key"),
    }
)


# The parts of a signature of version 4 in a query, of which the last names what it covers.
_PREFIXES = ("X-Amz-", "X-Goog-")
_PART_NAMES = ("Algorithm", "Credential", "Signature", "SignedHeaders")
_QUERY_PARTS = frozenset(f"{prefix}{name}" for prefix in _PREFIXES for name in _PART_NAMES)

_ALGORITHMS = frozenset({"AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "GOOG4-HMAC-SHA256", "GOOG4-RSA-SHA256"})

# In a header: "Credential=..., SignedHeaders=..., Signature=...", in any order, commas with or without white space.
_PARTS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "Credential": re.compile(r"[^\s,/]+/[^\s,]+"),
        "SignedHeaders": re.compile(r"[^\s,]+"),
        "Signature": re.compile(r"[0-9A-Fa-f]+"),
    }
)
_CLAIM_RE = re.compile(r"SignedHeaders=([^,\s]+)")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a caller says of the headers that are signed, without ``host``, in lower case.

    Attributes:
        names: All that are named.
        are_proved: Whether there is a signature, as far as can be told without its key.
        others: The headers of another signature, which is not for the store.
    """

    names: frozenset[str]
    are_proved: bool
    others: frozenset[str] = frozenset()


_NO_CLAIMS = Claims(frozenset(), are_proved=False)


def find_claims(query: StoreQuery, authorization: str) -> Claims:
    """What the signature of a request says that it covers.

    A link's signature is the store's. An ``Authorization`` beside it is for what stands before this service, such as a
    Function URL that wants AWS_IAM: a store takes one signature only.

    Raises:
        InvalidArgument: There are two signatures in the query, or a part of one stands there twice: this service and
            the store could each read another one.
    """
    parts: dict[str, str] = {}
    for name, value, _ in query.pairs:
        if name in _QUERY_PARTS:
            if name in parts:
                raise InvalidArgument(name, "is given twice")
            parts[name] = value
    if not parts and not authorization:
        return _NO_CLAIMS
    signed = [prefix for prefix in _PREFIXES if _is_whole(prefix, parts)]
    if len(signed) > 1:
        raise InvalidArgument("query", "holds two signatures, X-Amz-Signature and X-Goog-Signature; a store takes one")
    in_header = _read_authorization(authorization)
    claimed = [unquote(parts.get(f"{prefix}SignedHeaders", "")) for prefix in signed or _PREFIXES]
    if signed:
        names = _split(claimed[0])
        others = {"authorization", *(name for name in _split(in_header or "") if name.startswith("x-amz-"))}
        return Claims(names, are_proved=True, others=frozenset(others - names))
    if in_header is not None:
        return Claims(_split(in_header), are_proved=True)
    match = _CLAIM_RE.search(authorization)
    return Claims(_split(match[1] if match else ";".join(claimed)), are_proved=False)


def is_known(name: str, query: StoreQuery) -> bool:
    """Whether a name of a query is a part of some signature."""
    if name in _AZURE_VERSION_NAMES:
        return bool(query.find("sig"))
    return name in QUERY_NAMES or name.lower().startswith(QUERY_PREFIXES)


def _is_whole(prefix: str, parts: Mapping[str, str]) -> bool:
    algorithm, *others = (parts.get(f"{prefix}{name}") for name in _PART_NAMES[:-1])
    return algorithm in _ALGORITHMS and all(others)


def _read_authorization(header: str) -> str | None:
    """The names of the headers that a well-formed ``Authorization`` of version 4 covers; None for every other one."""
    algorithm, _, text = header.strip().partition(" ")
    if algorithm not in _ALGORITHMS:
        return None
    pairs = [part.strip().partition("=") for part in text.split(",")]
    parts = {name: value for name, _, value in pairs}
    if len(pairs) != len(_PARTS) or parts.keys() != _PARTS.keys():
        return None
    return parts["SignedHeaders"] if all(shape.fullmatch(parts[name]) for name, shape in _PARTS.items()) else None


def _split(names: str) -> frozenset[str]:
    return frozenset(name for name in names.lower().split(";") if name) - {"host"}

"""The signatures of callers: their parts in a query or a header, and the headers that they cover.

There is a table of names for each cloud whose stores can be behind this service. Nothing is verified here, because only
the store knows the key. But a signature that is malformed covers no header, whatever it names.

Sources: "Authenticating Requests" (Amazon S3 API Reference, signature versions 2 and 4), "V4 signing process" and
"V2 signing process" (Google Cloud Storage), "Use signed URLs" (Amazon CloudFront Developer Guide), "Create a service
SAS", "an account SAS" and "a user delegation SAS" (Azure Storage REST API).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from active_storage.errors import InvalidArgument, shown_name
from active_storage.grammar.query import StoreQuery

# The names in links of signature version 2.
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
# Azure has these names as well. Without a signature of Azure's they are refused: a misspelt ``versionId`` of S3's would
# silently read another version.
_AZURE_VERSION_NAMES = frozenset({"snapshot", "versionid"})

QUERY_NAMES = _S3_V2_NAMES | _GOOGLE_V2_NAMES | _CLOUDFRONT_NAMES | _AZURE_NAMES

# The names of signature version 4 begin so, and extensions add more of them. Some stores ignore the case of letters.
QUERY_PREFIXES = ("x-amz-", "x-goog-")

# The names, in lower case, of values that name or prove the signer. Some are parts of ``Authorization``.
SECRET_NAMES = frozenset(
    {
        *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid", "signature", "credential"),
        *("x-goog-signature", "x-goog-credential", "googleaccessid", "policy", "key-pair-id"),
        *("sig", "skoid", "sktid", "saoid", "suoid", "scid", "skdutid", "sduoid"),
        *("x-amz-server-side-encryption-customer-key", "x-amz-server-side-encryption-customer-key-md5"),
        *("x-goog-encryption-key", "x-goog-encryption-key-sha256", "x-ms-encryption-key"),
    }
)


# The names, in lower case, that tell the kind of signature in a query: version 4 of S3 and of Google, version 2 of
# both, CloudFront, Azure. Version 2 and CloudFront share ``Signature``, and differ in the name of the signer.
_PROOFS = frozenset({"x-amz-signature", "x-goog-signature", "signature", "sig"})
_SIGNERS = frozenset({"awsaccesskeyid", "googleaccessid", "key-pair-id"})

# The names of all parts in lower case: some stores ignore the case of letters.
_QUERY_PARTS = frozenset(name.lower() for name in QUERY_NAMES)

_ALGORITHMS = frozenset({"AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "GOOG4-HMAC-SHA256", "GOOG4-RSA-SHA256"})

# A well-formed ``Authorization`` of version 4: each of the three parts once, in any order.
_AUTHORIZATION_RE = re.compile(
    rf"(?:{'|'.join(sorted(_ALGORITHMS))}) "
    r"(?:\s*(?:Credential=([^\s,/]+/[^\s,]+)|SignedHeaders=([^\s,]+)|Signature=([0-9A-Fa-f]+))\s*(?:,(?!\Z)|\Z)){3}"
)

# The names that any other ``Authorization`` claims to cover.
_CLAIM_RE = re.compile(r"SignedHeaders=([^,\s]+)")

# The token of a session belongs to one signature. A link has it in the query, not in this header.
_HEADERS_OF_ANOTHER = frozenset({"authorization", "x-amz-security-token"})

# What a list of signed headers can hold besides names that are compared: the host, and nothing between two separators.
_NOT_COVERED = frozenset({"host", ""})


@dataclass(frozen=True, slots=True)
class Claims:
    """The headers that a caller names as signed: lower case, without ``host``.

    Attributes:
        names: The names.
        are_covered: Whether a well-formed signature covers them.
        others: The headers of another signature, which is not for the store.
    """

    names: frozenset[str]
    are_covered: bool
    others: frozenset[str] = frozenset()


_NO_CLAIMS = Claims(frozenset(), are_covered=False)


def find_claims(query: StoreQuery, authorization: str) -> Claims:
    """The headers that the signature of a request covers.

    A signature in the query is for the store. An ``Authorization`` beside it is for a gateway before this service, such
    as a Function URL with AWS_IAM, because a store accepts one signature only. In a query, only a signature of version
    4 covers headers.

    Args:
        query: The query for the store.
        authorization: The ``Authorization`` header; empty if there is none.

    Raises:
        InvalidArgument: The query holds two signatures, or a part of one twice. This service and the store could each
            read another one.
    """
    parts = _read_parts(query)
    if not parts:
        return _read_header_claims(authorization, frozenset()) if authorization else _NO_CLAIMS
    proofs, signers = _PROOFS & parts.keys(), _SIGNERS & parts.keys()
    if len(proofs) > 1 or len(signers) > 1 or (signers and proofs - {"signature"}):
        raise InvalidArgument("query", "holds two signatures, or parts of two; a store takes one")
    whole = [prefix for prefix in QUERY_PREFIXES if _is_whole(prefix, parts)]
    names = _split(";".join([unquote(parts.get(f"{prefix}signedheaders", "")) for prefix in whole or QUERY_PREFIXES]))
    if not (whole or parts.get("sig") or (any(map(parts.get, signers)) and parts.get("signature"))):
        return _read_header_claims(authorization, names)
    others = _HEADERS_OF_ANOTHER
    if authorization:
        others |= {name for name in _split(_read_authorization(authorization) or "") if name.startswith("x-amz-")}
    return Claims(names, are_covered=bool(whole), others=others - names if whole else others)


def _read_header_claims(authorization: str, otherwise: frozenset[str]) -> Claims:
    """The headers that an ``Authorization`` covers; ``otherwise`` if it names none."""
    names = _read_authorization(authorization)
    if names is not None:
        return Claims(_split(names), are_covered=True)
    match = _CLAIM_RE.search(authorization)
    return Claims(_split(match[1]) if match else otherwise, are_covered=False)


def is_signed(query: StoreQuery, authorization: str) -> bool:
    """Whether a request holds a part of a signature, whether or not it is a whole one."""
    return bool(authorization.strip() or _read_parts(query))


def _read_parts(query: StoreQuery) -> dict[str, str]:
    """The parts of signatures in a query, by their names in lower case."""
    parts: dict[str, str] = {}
    for name, value, _ in query.pairs:
        known_as = name.lower()
        if known_as in _QUERY_PARTS or known_as.startswith(QUERY_PREFIXES):
            if known_as in parts:
                raise InvalidArgument(shown_name(name) or "query", "is given twice")
            parts[known_as] = value
    return parts


def is_known(name: str, query: StoreQuery) -> bool:
    """Whether a name in a query is a part of a signature."""
    if name in _AZURE_VERSION_NAMES:
        return bool(query.find("sig"))
    return name in QUERY_NAMES or name.lower().startswith(QUERY_PREFIXES)


def _is_whole(prefix: str, parts: Mapping[str, str]) -> bool:
    """Whether a query holds a signature of version 4 with all its parts, whether or not it names headers."""
    has_parts = parts.get(f"{prefix}credential") and parts.get(f"{prefix}signature")
    return bool(has_parts) and parts.get(f"{prefix}algorithm") in _ALGORITHMS


def _read_authorization(header: str) -> str | None:
    """The value of ``SignedHeaders`` in a well-formed ``Authorization`` of version 4; None in any other."""
    match = _AUTHORIZATION_RE.fullmatch(header.strip())
    return match[2] if match and all(match.groups()) else None


def _split(names: str) -> frozenset[str]:
    return frozenset(names.lower().split(";")) - _NOT_COVERED

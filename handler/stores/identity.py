"""Which facts of an answer decide what its bytes are, read from its headers.

An object is often read by more than one request: the rest after a cut, ranges side by side, the same once more. The
bytes of two answers make one object only where the store says the same of both. ``ObjectFacts.ensure_same`` compares
what is read here.

What is left out: encryption by the server with its own keys (its answers are decrypted), ``Content-Type`` and other
metadata, and ``x-amz-checksum-*``, which some stores compute for the range that they send.
"""

from collections.abc import Mapping

# RFC 9110, section 8.4.1.3: what a recipient takes for the same. "aws-chunked" describes how an upload was signed; some
# stores keep it, and the bytes are as they should be.
_SAME_ENCODINGS = {"x-gzip": "gzip", "x-compress": "compress"}
_HARMLESS_ENCODINGS = frozenset({"", "identity", "aws-chunked"})

# What the S3 encryption clients leave in an object's metadata, and by which each format is known.
# Source: AWS Encryption SDK specification, "S3 Encryption Client: Content Metadata", format versions 1, 2 and 3.
_ENCRYPTION_PREFIX = "x-amz-meta-x-amz-"
# Azure's clients leave all that they say in one member ("Client-side encryption for blobs", Azure Storage).
_AZURE_ENCRYPTION = "x-ms-meta-encryptiondata"
_ENCRYPTION_MARKS = frozenset({*(_ENCRYPTION_PREFIX + name for name in ("key", "key-v2", "c")), _AZURE_ENCRYPTION})

# The headers that name a version, beside the ETag, each with the name by which a query asks for one: S3's, Google's,
# Azure's.
VERSIONS = (("x-amz-version-id", "versionId"), ("x-goog-generation", "generation"), ("x-ms-version-id", "versionid"))

# What Google says of how the bytes are stored, and by which key of the caller's a store decrypts.
_STORED_ENCODING = "x-goog-stored-content-encoding"
_KEY_NAMES = (
    "x-amz-server-side-encryption-customer-key-md5",
    "x-goog-encryption-key-sha256",
    "x-ms-encryption-key-sha256",
)


def read_encodings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The codings of ``Content-Encoding``, in the order they were applied, without those that change nothing."""
    text = headers.get("content-encoding")
    if text is None:
        return ()
    names = (part.strip().lower() for part in text.split(","))
    return tuple(_SAME_ENCODINGS.get(name, name) for name in names if name not in _HARMLESS_ENCODINGS)


def is_client_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the client that wrote the object encrypted it."""
    return not _ENCRYPTION_MARKS.isdisjoint(headers)


def read_client_encryption(headers: Mapping[str, str]) -> dict[str, str]:
    """All that an encryption client says of the object: key, initialisation vector, algorithm."""
    return {
        name: value
        for name, value in headers.items()
        if name.startswith(_ENCRYPTION_PREFIX) or name == _AZURE_ENCRYPTION
    }


def read_versions(headers: Mapping[str, str]) -> tuple[str | None, ...]:
    """Which version of the object it is, in the words of each cloud."""
    return tuple(headers.get(name) for name, _ in VERSIONS)


def read_stored_encoding(headers: Mapping[str, str]) -> str | None:
    """In which coding the bytes are stored; a store undoes one when it likes."""
    return headers.get(_STORED_ENCODING)


def read_customer_keys(headers: Mapping[str, str]) -> tuple[str | None, ...]:
    """The digests of the caller's own key by which the bytes were decrypted."""
    return tuple(headers.get(name) for name in _KEY_NAMES)


def have_same_date(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether ``Last-Modified`` is the same, where both have it."""
    dates = {headers["last-modified"] for headers in (one, other) if "last-modified" in headers}
    return len(dates) < 2

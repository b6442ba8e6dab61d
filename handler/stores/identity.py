"""The facts in the headers of a response that decide what its bytes are: the version of the object, and its form.

An object is often read by several requests: for the rest after a cut, for parallel ranges, for the same range again.
The bytes of two responses belong together only if these facts are the same in both. ``ObjectFacts.ensure_same``
compares them.

Left out are encryption by the server with its own keys (it decrypts what it sends), ``Content-Type`` and other
metadata, and ``x-amz-checksum-*``, which some stores compute for the range that they send.
"""

from collections.abc import Mapping

# RFC 9110, section 8.4.1.3: a recipient treats these names as equal. "aws-chunked" describes how an upload was signed.
# Some stores keep the name, although they store the plain bytes.
_SAME_ENCODINGS = {"x-gzip": "gzip", "x-compress": "compress"}
_HARMLESS_ENCODINGS = frozenset({"", "identity", "aws-chunked"})

# The metadata that S3 encryption clients leave with an object. Each of these names marks one format.
# Source: AWS Encryption SDK specification, "S3 Encryption Client: Content Metadata", format versions 1, 2 and 3.
_CLIENT_PREFIX = "x-amz-meta-x-amz-"
# Azure's clients write one header for all of it ("Client-side encryption for blobs", Azure Storage).
_AZURE_ENCRYPTION = "x-ms-meta-encryptiondata"
_ENCRYPTION_MARKS = frozenset({*(_CLIENT_PREFIX + name for name in ("key", "key-v2", "c")), _AZURE_ENCRYPTION})

# The headers that name a version, besides the ETag, each with the name in a query that asks for one: of S3, Google and
# Azure.
VERSIONS = (("x-amz-version-id", "versionId"), ("x-goog-generation", "generation"), ("x-ms-version-id", "versionid"))

# The encoding in which Google stores the bytes, and the caller's key with which a store decrypts them.
_STORED_ENCODING = "x-goog-stored-content-encoding"
_KEY_NAMES = (
    "x-amz-server-side-encryption-customer-key-md5",
    "x-goog-encryption-key-sha256",
    "x-ms-encryption-key-sha256",
)

# The key that an object is encrypted with (SSE-C): a store has it from the client only.
ENCRYPTION_PREFIX = "x-amz-server-side-encryption-customer-"

# How the store encrypted the object, and the values that name a key of a key service. S3 asks whether the caller may
# use it.
_SERVER_ENCRYPTION = "x-amz-server-side-encryption"
_KEY_SERVICE = "aws:kms"


def read_encodings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The codings of ``Content-Encoding`` in the order they were applied, without those that change nothing."""
    text = headers.get("content-encoding")
    if text is None:
        return ()
    names = (part.strip().lower() for part in text.split(","))
    return tuple(_SAME_ENCODINGS.get(name, name) for name in names if name not in _HARMLESS_ENCODINGS)


def is_client_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the client that wrote the object encrypted it."""
    return not _ENCRYPTION_MARKS.isdisjoint(headers)


def read_client_encryption(headers: Mapping[str, str]) -> dict[str, str]:
    """The metadata of an encryption client: key, initialisation vector, algorithm."""
    return {
        name: value for name, value in headers.items() if name.startswith(_CLIENT_PREFIX) or name == _AZURE_ENCRYPTION
    }


def read_versions(headers: Mapping[str, str]) -> tuple[str | None, ...]:
    """The version of the object, from the header of each cloud."""
    return tuple(headers.get(name) for name, _ in VERSIONS)


def read_stored_encoding(headers: Mapping[str, str]) -> str | None:
    """The coding in which the bytes are stored. The store may or may not undo it before it sends them."""
    return headers.get(_STORED_ENCODING)


def read_customer_keys(headers: Mapping[str, str]) -> tuple[str | None, ...]:
    """The digests of the caller's key with which the bytes were decrypted."""
    return tuple(headers.get(name) for name in _KEY_NAMES)


def is_encrypted_by_key(headers: Mapping[str, str]) -> bool:
    """Whether reading takes a key of the caller's, or the permission to use one of a key service."""
    return any(read_customer_keys(headers)) or headers.get(_SERVER_ENCRYPTION, "").startswith(_KEY_SERVICE)


def have_same_date(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether ``Last-Modified`` is the same, or absent from one of the two."""
    dates = {headers["last-modified"] for headers in (one, other) if "last-modified" in headers}
    return len(dates) < 2

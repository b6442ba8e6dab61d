"""Who asks, in a JSON request: Basic credentials, two headers of S3's, and the signer that they make.

The credentials are the caller's for the server of the object, and are sent to no other. Two of S3's headers say what
Basic cannot: the token of a session, and who pays.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace

from active_storage.errors import BadCredentials, InvalidArgument
from handler.doors.door import Request
from handler.doors.json_location import ObjectLocation
from handler.doors.service import Service
from handler.stores.signers import BasicSigner, Credentials, S3Signer, Signer, Unsigned

# What ``requests`` sends for a name and a password that are None, and for two that are empty.
_NOBODY = frozenset({(b"None", b"None"), (b"", b"")})

_BASIC_RE = re.compile(r"basic +(?P<token>[A-Za-z0-9+/]+=*) *", re.ASCII | re.IGNORECASE)

# In the Authorization header, the key is delimited by "=" and "/", and a comma ends the credential.
_ACCESS_KEY_RE = re.compile(rb"[!-+\--~]*")

_TOKEN_HEADER, _PAYER_HEADER = "x-amz-security-token", "x-amz-request-payer"

# STS does not document the characters of a token; all known tokens are base64. A comma would make two headers.
_TOKEN_RE = re.compile(r"[!-+\--~]{1,8192}", re.ASCII)


def parse_credentials(header: str) -> Credentials | None:
    """The credentials in an ``Authorization`` header; None for an anonymous request.

    Raises:
        BadCredentials: The header is not Basic, or malformed. An anonymous request in its place could be refused for
            another reason, which would mislead the caller.
    """
    # The white space that HTTP allows around a value (RFC 9110, section 5.5).
    header = header.strip(" \t")
    if not header:
        return None
    match = _BASIC_RE.fullmatch(header)
    try:
        decoded = base64.b64decode(match["token"] if match else "", validate=True)
    except binascii.Error:
        decoded = b""
    user, colon, secret = decoded.partition(b":")
    if not colon:
        raise BadCredentials("Authorization: is not Basic with a name and a password")
    return None if (user, secret) in _NOBODY else Credentials(user, secret)


def read_credentials(headers: Mapping[str, str]) -> Credentials | None:
    """The credentials in the headers: Basic, and the token of a session; None for an anonymous request.

    Raises:
        BadCredentials: As ``parse_credentials``; or there is a token without Basic, or a malformed one.
    """
    credentials = parse_credentials(headers.get("authorization", ""))
    token = headers.get(_TOKEN_HEADER, "").strip()
    if not token:
        return credentials
    if credentials is None:
        raise BadCredentials(f"{_TOKEN_HEADER}: needs the access key and the secret that it belongs to, as Basic")
    if not _TOKEN_RE.fullmatch(token):
        raise BadCredentials(f"{_TOKEN_HEADER}: is malformed; a session token is one word of ASCII")
    return replace(credentials, token=token)


def read_payer(headers: Mapping[str, str]) -> dict[str, str]:
    """The header that says who pays ("Requester Pays buckets", Amazon S3 User Guide); empty if there is none.

    Raises:
        InvalidArgument: S3 does not know the value.
    """
    payer = headers.get(_PAYER_HEADER, "").strip()
    if payer not in ("", "requester"):
        raise InvalidArgument(_PAYER_HEADER, "is not 'requester'")
    return {_PAYER_HEADER: payer} if payer else {}


def find_signer(
    location: ObjectLocation, credentials: Credentials | None, request: Request, service: Service
) -> Signer | None:
    """What signs the requests for an object; None if nothing is to be signed.

    Raises:
        BadCredentials: The name in the credentials cannot be an S3 access key.
        InvalidArgument: The header that says who pays has a wrong value.
    """
    if not location.is_s3:
        # S3's headers mean nothing to a web server, and the token is for an S3 store only.
        return BasicSigner(credentials) if credentials else None
    headers = read_payer(request.headers)
    if credentials is None:
        return Unsigned(headers) if headers else None
    if not _ACCESS_KEY_RE.fullmatch(credentials.user):
        raise BadCredentials("Authorization: the name has characters that no S3 access key has")
    return S3Signer(credentials, service.signing_keys, service.regions, headers=headers)

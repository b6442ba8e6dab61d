"""The credentials of a JSON request: Basic authentication, two of S3's headers, and the signer that they make.

The credentials are for the server of the object, and are sent to no other. Two of S3's headers add what Basic cannot
contain: the token of a session, and who pays for the request.
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

# The Python library ``requests`` sends these for a name and a password that are None or empty.
_NOBODY = frozenset({(b"None", b"None"), (b"", b"")})

_BASIC_RE = re.compile(r"basic +(?P<token>[A-Za-z0-9+/]+=*) *", re.ASCII | re.IGNORECASE)

# In the Authorization header for S3, the key stands between "=" and "/", and a comma ends the credential.
_ACCESS_KEY_RE = re.compile(rb"[!-+\--~]*")

_TOKEN_HEADER, _PAYER_HEADER = "x-amz-security-token", "x-amz-request-payer"

# STS does not document the characters of a token; all known tokens are base64. A comma could split the header in two.
_TOKEN_RE = re.compile(r"[!-+\--~]{1,8192}", re.ASCII)


def parse_credentials(header: str) -> Credentials | None:
    """The credentials in an ``Authorization`` header; None for an anonymous request.

    Raises:
        BadCredentials: The header is not Basic, or malformed. An anonymous request instead could fail for another
            reason, which would mislead the caller.
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
        raise BadCredentials("Authorization: should be Basic and the base64 of name:password")
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
        raise BadCredentials(f"{_TOKEN_HEADER}: needs the access key and the secret of the session, as Basic")
    if not _TOKEN_RE.fullmatch(token):
        raise BadCredentials(f"{_TOKEN_HEADER}: is malformed; it should be one word of ASCII characters without commas")
    return replace(credentials, token=token)


def read_payer(headers: Mapping[str, str]) -> dict[str, str]:
    """The header for who pays ("Requester Pays buckets", Amazon S3 User Guide); empty if it is absent.

    Raises:
        InvalidArgument: S3 does not know the value.
    """
    payer = headers.get(_PAYER_HEADER, "").strip()
    if payer not in ("", "requester"):
        raise InvalidArgument(_PAYER_HEADER, "should be 'requester', or absent")
    return {_PAYER_HEADER: payer} if payer else {}


def find_signer(
    location: ObjectLocation, credentials: Credentials | None, request: Request, service: Service
) -> Signer | None:
    """The signer of the requests for an object; None if they are not signed.

    Raises:
        BadCredentials: The name in the credentials cannot be an S3 access key.
        InvalidArgument: The header for who pays has a wrong value.
    """
    if not location.is_s3:
        # S3's headers mean nothing to a web server, and the token is for an S3 store only.
        return BasicSigner(credentials) if credentials else None
    headers = read_payer(request.headers)
    if credentials is None:
        return Unsigned(headers) if headers else None
    if not _ACCESS_KEY_RE.fullmatch(credentials.user):
        raise BadCredentials("Authorization: the name is not a valid S3 access key")
    return S3Signer(credentials, service.signing_keys, service.regions, headers=headers)

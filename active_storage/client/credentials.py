"""The keys of a client: those that were given, or those that boto3 would find; as Basic, or as a signature of S3."""

import base64
import threading
from typing import TYPE_CHECKING, Any

from active_storage.client.failures import InsecureService, NoCredentials
from active_storage.errors import InvalidArgument
from active_storage.model.origins import Origin

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

_LOOPBACK_NAMES = frozenset({"localhost", "[::1]"})

_DEFAULT_REGION = "us-east-1"


def ensure_secure(origin: Origin) -> None:
    """Pass if a secret can be sent to a service: over https, or to this machine.

    Raises:
        InsecureService: It cannot.
    """
    is_loopback = origin.host in _LOOPBACK_NAMES or (origin.is_address and origin.host.startswith("127."))
    if origin.scheme != "https" and not is_loopback:
        raise InsecureService(
            f"{origin} would receive the secret over http, where others can read it; use https, anon=True, or "
            "insecure=True if the network is trusted"
        )


class Keys:
    """The keys of a client. They are found when they are first needed. Threads may share them; ``repr`` hides them.

    Args:
        key: The access key; None for what boto3 finds: environment, shared files, and roles of the machine.
        secret: The secret key.
        token: The token of a session.
        profile: The profile in the shared files; None for boto3's default.
        is_anonymous: Whether requests have no keys.

    Raises:
        InvalidArgument: Key and secret are not given together, or beside a profile or anonymous requests.
    """

    def __init__(
        self, key: str | None, secret: str | None, token: str | None, profile: str | None, is_anonymous: bool
    ) -> None:
        if (key is None) != (secret is None) or (token is not None and key is None):
            raise InvalidArgument("key", "key and secret are given together, and a token beside them")
        if is_anonymous and not (key is None and profile is None):
            raise InvalidArgument("anon", "means without keys, and keys or a profile are given")
        if key is not None and profile is not None:
            raise InvalidArgument("profile", "names keys, and keys are given")
        self.is_anonymous = is_anonymous
        self._given = (key, secret, token)
        self._profile = profile
        self._lock = threading.Lock()
        self._session: Any = None
        self._found: Any = None
        self._regions: dict[str, str] = {}

    def __repr__(self) -> str:
        source = "none" if self.is_anonymous else "found by boto3's rules" if self._given[0] is None else "given"
        return f"<Keys: {source}>"

    def make_basic(self) -> dict[str, str]:
        """The headers with the keys themselves, for the JSON interfaces.

        Raises:
            NoCredentials: There are no keys.
        """
        keys = self._find()
        if keys is None:
            return {}
        pair = base64.b64encode(f"{keys.access_key}:{keys.secret_key}".encode()).decode()
        return {"Authorization": f"Basic {pair}", **({"x-amz-security-token": keys.token} if keys.token else {})}

    def sign(self, url: str, bucket: str) -> dict[str, str]:
        """The headers with a signature for GET of an object. They hold no secret.

        Args:
            url: The URL of the object in its store, percent-encoded.
            bucket: Its bucket, whose region is known from an earlier request or is that of the keys.

        Raises:
            NoCredentials: There are no keys.
        """
        keys = self._find()
        if keys is None:
            return {}
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415  # takes longer to import than the rest of the client
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest("GET", url)
        S3SigV4Auth(keys, "s3", self._find_region(bucket)).add_auth(request)
        return dict(request.headers.items())

    def learn_region(self, bucket: str, region: str | None) -> bool:
        """Note the region of a bucket. Whether it is another one than was signed for."""
        if self.is_anonymous or not region or region == self._find_region(bucket):
            return False
        self._regions[bucket] = region
        return True

    def _find_region(self, bucket: str) -> str:
        return self._regions.get(bucket) or self._open_session().get_config_variable("region") or _DEFAULT_REGION

    def _find(self) -> "ReadOnlyCredentials | None":
        """The keys as they are now; None for an anonymous client."""
        if self.is_anonymous:
            return None
        from botocore.credentials import ReadOnlyCredentials  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        key, secret, token = self._given
        if key is not None and secret is not None:
            return ReadOnlyCredentials(key, secret, token)
        try:
            session = self._open_session()
            with self._lock:
                self._found = self._found or session.get_credentials()
            keys: ReadOnlyCredentials | None = self._found and self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentials(f"boto3's rules find no keys: {error}") from None
        if keys is None or keys.access_key is None:
            raise NoCredentials("boto3's rules find no keys; give key and secret, a profile, or anon=True")
        return keys

    def _open_session(self) -> Any:
        import botocore.session  # noqa: PLC0415

        with self._lock:
            if self._session is None:
                self._session = botocore.session.Session(profile=self._profile)
            return self._session

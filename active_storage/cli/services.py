"""Who is asked: one of several services, or the engine in this process."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from active_storage.cli.parts import LOCAL, load_part
from active_storage.client.client import Client
from active_storage.errors import InvalidArgument

SERVICE_VARIABLE = "ACTIVE_STORAGE_SERVICE"

# The store, as for the programs of AWS.
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_DEFAULT_REGION = "us-east-1"

# What messages call the engine in this process.
_HERE = "http://localhost"


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How services are asked.

    Attributes:
        services: Their URLs; empty for those of the environment.
        is_local: Whether the engine in this process is asked.
        endpoint_url: For it, the store that ``s3://`` means; None for that of the environment.
        profile: The profile in the shared files of AWS.
        is_anonymous: Whether requests have no keys.
        is_insecure: Whether the secret may be sent over http to another machine.
    """

    services: Sequence[str]
    is_local: bool
    endpoint_url: str | None
    profile: str | None
    is_anonymous: bool
    is_insecure: bool

    def open_clients(self, urls: Sequence[str], held: ExitStack) -> list[Client]:
        """The clients of the services, in the order in which they are asked.

        Args:
            urls: What is asked for: where it lies.
            held: Closes them.

        Raises:
            InvalidArgument: No service is named, or options contradict each other.
            NotInstalled: There is no engine in this process.
        """
        if self.is_local:
            return [held.enter_context(self._open_local(urls))]
        if self.endpoint_url is not None:
            raise InvalidArgument("endpoint-url", "is for --local: a service has its own store")
        services = self.services or os.environ.get(SERVICE_VARIABLE, "").replace(",", " ").split()
        if not services:
            raise InvalidArgument("service", f"is required: --service URL, {SERVICE_VARIABLE}, or --local")
        *others, last = services
        # A client waits for the last one only.
        clients = [self._open(url, 0) for url in others]
        clients.append(self._open(last, 3))
        return [held.enter_context(client) for client in clients]

    def _open(self, url: str, retries: int) -> Client:
        return Client(url, profile=self.profile, anon=self.is_anonymous, insecure=self.is_insecure, retries=retries)

    def _open_local(self, urls: Sequence[str]) -> Client:
        if self.services:
            raise InvalidArgument("local", "asks no service, and --service names one")
        open_local = load_part(LOCAL)
        region = _find_region(self.profile)
        store = self.endpoint_url or next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), None)
        split = [urlsplit(url) for url in urls]
        origins = [f"{each.scheme}://{each.netloc}" for each in split if each.scheme.lower() in ("http", "https")]
        try:
            answer = open_local(store or f"https://s3.{region}.amazonaws.com", region, origins)
        except Exception as error:
            # Errors of settings are a class of the service.
            if type(error).__name__ != "SettingsError":
                raise
            raise InvalidArgument("setting", str(error)) from None
        return Client(_HERE, profile=self.profile, anon=self.is_anonymous, answer=answer)


def _find_region(profile: str | None) -> str:
    import botocore.session  # noqa: PLC0415  # takes longer to import than the rest
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return botocore.session.Session(profile=profile).get_config_variable("region") or _DEFAULT_REGION
    except BotoCoreError as error:
        raise InvalidArgument("profile", str(error)) from None

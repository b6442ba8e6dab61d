"""The parts of the command that the service's distribution brings, which are found by their entry points."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

GROUP = "active_storage.commands"

# The commands that the service's distribution runs. Its settings are their options.
SERVICE_COMMANDS = ("serve", "check-config")

# The part that answers requests in this process.
LOCAL = "local"


class NotInstalled(Exception):
    """A part is not installed. The message says what to install."""


def load_part(name: str) -> Callable[..., Any]:
    """The part with this name.

    Raises:
        NotInstalled: The service's distribution is not installed.
    """
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        what = "--local" if name == LOCAL else name
        raise NotInstalled(f"{what} needs the service: install s3-active-storage-service[server]")
    part: Callable[..., Any] = found[0].load()
    return part

"""Request targets and paths, divided without decoding."""

import re
from typing import NamedTuple

from active_storage.errors import InvalidArgument, NoSuchDoor

OBJECT_DOOR = "obj"

# The first segments of the paths of the JSON interfaces.
JSON_PREFIXES = ("v1", "v2", "arrays")

_FORMS = f"ask for /reducer/dtype/bucket/key or /{OBJECT_DOOR}/bucket/key"

# The path of the document that tells a client how to sign and send requests.
DISCOVERY_PATH = "/.well-known/s3-active-storage"

# The absolute form up to its path (RFC 9112, section 3.2.2).
_ABSOLUTE_FORM_RE = re.compile(r"https?://(?P<authority>[^/?#]*)", re.ASCII | re.IGNORECASE)


class ReductionPath(NamedTuple):
    """The three raw components of a path. ``object_path`` is "/bucket/key"."""

    reducer: str
    segment: str
    object_path: str


def split_target(target: str) -> tuple[str, str]:
    """The raw path and the raw query of a request target.

    Accepts the absolute form too (RFC 9112, section 3.2.2), which clients send to proxies. Other forms have no path.
    """
    if not target.startswith("/"):
        match = _ABSOLUTE_FORM_RE.match(target)
        target = target[match.end() :] if match else ""
    path, _, query = target.partition("?")
    # An authority can be followed by a fragment. A path begins with a slash.
    return path if path.startswith("/") else f"/{path}", query


def find_authority(target: str) -> str | None:
    """The raw authority of a request target in absolute form; None for any other form."""
    match = None if target.startswith("/") else _ABSOLUTE_FORM_RE.match(target)
    return match["authority"] if match else None


def join_target(path: str, query: str) -> str:
    """The target of a raw path and a raw query, which may be empty."""
    return f"{path}?{query}" if query else path


def split_path(path: str) -> ReductionPath:
    """The components of a path to a reduction, or to the object itself: ``/obj/bucket/key`` has an empty segment.

    Raises:
        NoSuchDoor: The path has too few segments.
        InvalidArgument: The bucket or the key is empty.
    """
    first, _, rest = path.removeprefix("/").partition("/")
    if not rest or (first != OBJECT_DOOR and rest.startswith("/")):
        raise NoSuchDoor(f"this path names no object, and listings are not supported; {_FORMS}")
    segment = ""
    if first != OBJECT_DOOR:
        segment, _, rest = rest.partition("/")
    bucket, _, key = rest.partition("/")
    for name, value in (("bucket", bucket), ("key", key)):
        if not value:
            raise InvalidArgument(name, f"is empty in the path; {_FORMS}")
    return ReductionPath(first, segment, f"/{rest}")

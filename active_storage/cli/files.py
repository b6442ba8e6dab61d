"""Files that are written as a whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from active_storage.errors import InvalidArgument


def ensure_folder(path: Path) -> None:
    """Pass if a file can be written: before the work begins.

    Raises:
        InvalidArgument: Its folder is not there, or it is a folder itself.
    """
    if not path.absolute().parent.is_dir():
        raise InvalidArgument("-o", f"names a file in {path.parent}, which is no folder")
    if path.is_dir():
        raise InvalidArgument("-o", f"names {path}, which is a folder")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside another one. It takes its place at the end, and is removed if there was an error."""
    # With the same end, by which libraries know what to write.
    beside = path.absolute().with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)  # noqa: PTH105  # the one that is documented as atomic
    except BaseException:
        with suppress(FileNotFoundError):
            beside.unlink()
        raise

"""The first thing that runs: the service's commands, or the others by typer, or what to install for them."""

import sys
from collections.abc import Sequence

from active_storage.cli.parts import SERVICE_COMMANDS, NotInstalled, load_part

# The library without which there are only the service's commands.
_NEEDED = "typer"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in the arguments, and return the exit code.

    Args:
        arguments: What follows the name of the program; None for what it was called with.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given and given[0] in SERVICE_COMMANDS:
            code: int = load_part(given[0])(given[1:])
            return code
    except NotInstalled as error:
        sys.stderr.write(f"active-storage: {error}\n")
        return 2
    try:
        from active_storage.cli.app import run  # noqa: PLC0415  # needs typer
    except ModuleNotFoundError as error:
        if error.name != _NEEDED:
            raise
        sys.stderr.write(
            f"active-storage: {_NEEDED} is not installed: install s3-active-storage[cli]; without it there are only "
            f"{' and '.join(SERVICE_COMMANDS)}\n"
        )
        return 2
    return run(given)

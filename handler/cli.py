"""The commands ``serve`` and ``check-config``: run the service, or print its settings. Every setting is a flag too.

The command ``active-storage`` of the client's distribution finds them by their entry points. In a container, where no
distribution is installed, ``python -m handler.cli`` is that command.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pydantic import SecretStr

from handler.engine.memory import MemoryGate
from handler.settings import ENV_PREFIX, Settings, SettingsError, find_unknown, load_settings

_USAGE = """\
usage: active-storage serve [--SETTING VALUE ...]         run the service in the foreground
       active-storage check-config [--SETTING VALUE ...]  print the effective settings
       active-storage COMMAND --help                      list the settings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in the arguments, and return the exit code: 2 for an unknown command or an invalid setting."""
    command, *flags = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    if command in ("--help", "-h"):
        sys.stdout.write(_USAGE)
        return 0
    if command not in _COMMANDS:
        sys.stderr.write(_USAGE)
        return 2
    return _COMMANDS[command](flags)


def serve(flags: Sequence[str]) -> int:
    """Run the service until it is told to stop, and return the exit code."""
    settings = _read_settings(flags)
    if settings is None:
        return 2
    try:
        # check-config does not need gunicorn.
        from handler.server import Server  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        # Without the extra `server` the package is the AWS function, which needs neither Flask nor gunicorn.
        library = str(missing.name).partition(".")[0]
        sys.stderr.write(
            f"{library} is not installed: the extra `server` of s3-active-storage-service installs it; "
            "in a checkout, pip install . './handler[server]'\n"
        )
        return 2
    Server(settings).run()
    return 0


def check_config(flags: Sequence[str]) -> int:
    """Print the settings in effect, and return the exit code."""
    settings = _read_settings(flags)
    if settings is None:
        return 2
    # Settings whose default depends on another setting.
    implied = {
        "max_object_memory": MemoryGate.of(settings).request_limit_bytes,
        "s3_public_endpoint": str(settings.public_store),
        "allowed_origins": ",".join(dict.fromkeys(map(str, settings.allow_list))),
    }
    for name, value in (settings.model_dump(mode="json") | implied).items():
        line = f"{ENV_PREFIX}{name.upper()}={'' if value is None else value}"
        # As a comment, so that the masked text cannot be mistaken for the value.
        is_hidden = isinstance(getattr(settings, name), SecretStr)
        sys.stdout.write(f"# {line}\n" if is_hidden else f"{line}\n")
    return 0


def _read_settings(flags: Sequence[str]) -> Settings | None:
    """The settings; None if one is invalid, which the standard error says."""
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return None
    for line in find_unknown():
        sys.stderr.write(f"{line}\n")
    return settings


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = MappingProxyType(
    {"serve": serve, "check-config": check_config}
)


if __name__ == "__main__":
    sys.exit(main())

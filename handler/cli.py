"""``active-storage``: run the service, or look at its settings. Every setting is a flag too."""

import sys
from collections.abc import Sequence

try:
    from pydantic import SecretStr

    from handler.memory import MemoryGate
    from handler.settings import ENV_PREFIX, SettingsError, find_unknown, load_settings
except ModuleNotFoundError as missing:
    # The command is there with the client too, which needs nothing of the service's.
    sys.exit(f"{missing.name} is not installed: in a checkout, pip install '.[server]' brings what the service needs")

_USAGE = """\
usage: active-storage serve [--SETTING VALUE ...]         run the service in the foreground
       active-storage check-config [--SETTING VALUE ...]  print the effective settings
       active-storage COMMAND --help                      list the settings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; the exit code, 2 where they name none or a setting is wrong."""
    command, *flags = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    if command in ("--help", "-h"):
        sys.stdout.write(_USAGE)
        return 0
    if command not in ("serve", "check-config"):
        sys.stderr.write(_USAGE)
        return 2
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for line in find_unknown():
        sys.stderr.write(f"{line}\n")
    if command == "check-config":
        # Those that depend on another setting.
        implied = {
            "max_object_memory": MemoryGate.of(settings).request_limit_bytes,
            "s3_public_endpoint": str(settings.public_store),
            "allowed_origins": ",".join(dict.fromkeys(map(str, settings.allow_list))),
        }
        for name, value in (settings.model_dump(mode="json") | implied).items():
            line = f"{ENV_PREFIX}{name.upper()}={'' if value is None else value}"
            # What is not shown must not be taken for a value.
            is_hidden = isinstance(getattr(settings, name), SecretStr)
            sys.stdout.write(f"# {line}\n" if is_hidden else f"{line}\n")
        return 0
    # gunicorn has no place in a process that only looks at its settings.
    from handler.server import Server  # noqa: PLC0415

    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The commands by typer: ``discover``, ``info`` and ``reduce``. The service's commands are there for the help."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import typer

from active_storage.cli.files import ensure_folder, replacing
from active_storage.cli.labels import Labelled, label_array, label_object
from active_storage.cli.outcomes import EXIT_CODES, end_in_order, write, write_bytes
from active_storage.cli.outputs import FORMATS, SUFFIXES, WRITERS, write_netcdf
from active_storage.cli.parameters import read_array_arguments, read_object_arguments, takes_parameters
from active_storage.cli.parts import SERVICE_COMMANDS, load_part
from active_storage.cli.plots import draw_png, plot
from active_storage.cli.services import SERVICE_VARIABLE, ServiceOptions
from active_storage.cli.tree import list_tree, write_tree
from active_storage.client.client import Client
from active_storage.client.progress import ProgressBar
from active_storage.client.results import Plan
from active_storage.client.turns import ask_in_turn
from active_storage.errors import EntityTooLarge, InvalidArgument
from active_storage.model.reducers import ARRAY_REDUCERS

PROGRAM = "active-storage"

# What the name of a Zarr store ends in.
_ZARR_END = ".zarr"

# The setting that limits the memory of one request.
MEMORY_VARIABLE = "ACTIVE_STORAGE_MAX_OBJECT_MEMORY"

_ZARR, _NETCDF = "s3://sample-data/arrays/tas.zarr", "s3://sample-data/arrays/tas.nc"
_SERVICE = "--service http://localhost:8000"

# Examples of each command, for the store and the data of `make serve`. Tests run them.
EXAMPLES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "discover": (f"{PROGRAM} discover http://localhost:8000",),
        "info": (f"{PROGRAM} info {_ZARR} {_SERVICE}", f"{PROGRAM} info {_NETCDF} --local --json"),
        "reduce": (
            f"{PROGRAM} reduce mean {_ZARR} --var tas --axis time --where lat=-30:30 {_SERVICE}",
            f"{PROGRAM} reduce mean {_ZARR} --var tas --group time.month --weights cos:lat --local --plot",
            f"{PROGRAM} reduce max {_NETCDF} --var tas --axis time --local -o max.nc --png max.png",
            f"{PROGRAM} reduce mean {_NETCDF} --var tas --axis time --local --plan",
            f"{PROGRAM} reduce sum s3://sample-data/data-float32.dat --dtype float32 --shape 4,5 --axis 1 --local",
        ),
    }
)

_CODES = "Exit codes: " + "; ".join(f"{code} {what}" for code, what in EXIT_CODES.items()) + "."

app = typer.Typer(
    name=PROGRAM, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, epilog=_CODES
)

_Service = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="URL",
        help=f"the service; can be repeated: the next one is asked if one is full or down ({SERVICE_VARIABLE})",
        rich_help_panel="Who is asked",
    ),
]
_Local = Annotated[
    bool, typer.Option("--local", help="reduce in this process, without a service", rich_help_panel="Who is asked")
]
_Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        help="for --local, the store that s3:// means (AWS_ENDPOINT_URL)",
        rich_help_panel="Who is asked",
    ),
]
_Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="the profile of AWS that has the keys; by default they are found as boto3 finds them",
        rich_help_panel="Who is asked",
    ),
]
_Anonymous = Annotated[bool, typer.Option("--anon", help="ask without keys", rich_help_panel="Who is asked")]
_Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="send the secret key over http to another machine", rich_help_panel="Who is asked"),
]
_Progress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="show a progress bar; by default on a terminal")
]
_Json = Annotated[bool, typer.Option("--json", help="print JSON")]
_Container = Annotated[
    Literal["zarr", "netcdf", "hdf5", "kerchunk"] | None,
    typer.Option(
        "--container", metavar="TYPE", help="zarr, netcdf, hdf5 or kerchunk; by default by the end of the URL"
    ),
]


def run(arguments: Sequence[str]) -> int:
    """Run a command, and return the exit code."""
    command = typer.main.get_command(app)
    return end_in_order(lambda: command.main(list(arguments), prog_name=PROGRAM, standalone_mode=False))


def _name_reducers(incomplete: str) -> list[str]:
    return [name for name in ARRAY_REDUCERS if name.startswith(incomplete)]


def _command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The command with this name, whose help has its examples and the exit codes."""
    epilog = "\n\n".join(["Examples:", *EXAMPLES[name], _CODES])
    return app.command(name, epilog=epilog, no_args_is_help=True)


@app.callback()
def _main() -> None:
    """Reduce arrays in an object store, next to the store: ask for the mean, receive the mean."""


@_command("discover")
def discover(url: Annotated[str, typer.Argument(metavar="URL", help="the service")], as_json: _Json = False) -> None:
    """Say what the service at a URL is: its store, and what it can do."""
    with Client(url, anon=True) as client:
        document = client.discover()
    if as_json:
        write(f"{json.dumps(document)}\n")
        return
    texts = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in document.items()
    }
    width = max(map(len, texts))
    write("".join(f"{name.replace('_', ' ').ljust(width)}  {text}\n" for name, text in texts.items()))


@_command("info")
def info(  # noqa: PLR0913, PLR0917  # the options of the command
    url: Annotated[str, typer.Argument(metavar="URL", help="s3://bucket/store.zarr, or http(s)://store/bucket/key")],
    group_path: Annotated[str, typer.Option("--group-path", metavar="PATH", help="the path of a group")] = "",
    container: _Container = None,
    as_json: _Json = False,
    service: _Service = None,
    is_local: _Local = False,
    endpoint_url: _Endpoint = None,
    profile: _Profile = None,
    is_anonymous: _Anonymous = False,
    is_insecure: _Insecure = False,
) -> None:
    """List the variables of a container with dimensions, data types, chunks, sizes and attributes, like ncdump -h."""
    options = ServiceOptions(service or (), is_local, endpoint_url, profile, is_anonymous, is_insecure)
    root, path = _split_path(url, group_path.strip("/"))
    with ExitStack() as held:
        clients = options.open_clients([url], held)
        group = ask_in_turn(clients, lambda client: client.describe(root, path, container=container))
    # A query can have a signature.
    shown = "/".join(filter(None, (root.partition("?")[0].rstrip("/"), path)))
    write(f"{json.dumps(list_tree(group))}\n" if as_json else write_tree(shown, group))


def _split_path(url: str, path: str) -> tuple[str, str]:
    """The URL of a container, and the path of a group or an array in it: that in the URL, and the other below it.

    The root of a Zarr store has the metadata that lists the arrays of all groups.
    """
    root, end, below = url.rstrip("/").partition(f"{_ZARR_END}/")
    if not end or "?" in url:
        return url, path
    return f"{root}{_ZARR_END}", "/".join(filter(None, (below, path)))


@_command("reduce")
@takes_parameters
def reduce(  # noqa: PLR0913, PLR0917  # the options of the command
    reducer: Annotated[
        str,
        typer.Argument(
            metavar="REDUCER", help="mean, sum, max, ...: discover lists them", autocompletion=_name_reducers
        ),
    ],
    urls: Annotated[
        list[str],
        typer.Argument(metavar="URL", help="s3://bucket/key, or http(s)://store/bucket/key; several with --concat"),
    ],
    texts: dict[str, str],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FORMAT", help=f"{', '.join(FORMATS)}; by default by the end of FILE, or text"
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="write the result to a file")] = None,
    is_plotted: Annotated[bool, typer.Option("--plot", help="plot the result in the terminal")] = False,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="plot the result to a PNG file")] = None,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="print what the reduction takes, and reduce nothing")
    ] = False,
    progress: _Progress = None,
    service: _Service = None,
    is_local: _Local = False,
    endpoint_url: _Endpoint = None,
    profile: _Profile = None,
    is_anonymous: _Anonymous = False,
    is_insecure: _Insecure = False,
) -> None:
    """Reduce a variable of a container, or with --dtype a plain object."""
    kind = _find_format(output, file)
    for path in filter(None, (file, png)):
        ensure_folder(path)
    options = ServiceOptions(service or (), is_local, endpoint_url, profile, is_anonymous, is_insecure)
    with ExitStack() as held:
        clients = options.open_clients(urls, held)
        held.enter_context(_show_progress(progress))
        with _explaining(is_local, texts):
            ask = partial(_ask_object if "dtype" in texts else _ask_array, reducer, urls, texts, only_plan)
            found = ask_in_turn(clients, ask)
    if isinstance(found, Plan):
        _write_plan(found, kind)
        return
    if png is not None:
        with replacing(png) as beside:
            draw_png(found, beside)
    if file is not None:
        with replacing(file) as beside:
            _write_file(found, kind, beside)
    if is_plotted:
        write(plot(found, sys.stdout.isatty()))
    # A plot takes the place of the table, unless a format is named.
    elif file is None and (png is None or output is not None):
        _print(found, kind)


def _register_service_commands() -> None:
    """List the service's commands. ``command.py`` runs them without typer."""
    for name, what in zip(SERVICE_COMMANDS, ("Run the service in the foreground.", "Print its settings."), strict=True):
        taking = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

        def serve(context: typer.Context, name: str = name) -> None:
            raise typer.Exit(load_part(name)(context.args))

        app.command(name, help=f"{what} Needs the distribution of the service.", context_settings=taking)(serve)


def _find_format(output: str | None, file: Path | None) -> str:
    if output is not None and output not in FORMATS:
        raise InvalidArgument("output", f"is {output!r}, not one of {', '.join(FORMATS)}")
    if file is None:
        if output == "netcdf":
            raise InvalidArgument("output", "netcdf is written to a file: -o FILE.nc")
        return output or "text"
    if output is None and file.suffix not in SUFFIXES:
        raise InvalidArgument("-o", f"ends in none of {', '.join(SUFFIXES)}; name a format by --output")
    return output or SUFFIXES[file.suffix]


def _show_progress(wanted: bool | None) -> Any:
    if wanted is None:
        return ProgressBar()
    return ProgressBar(file=sys.stderr) if wanted else nullcontext()


@contextmanager
def _explaining(is_local: bool, texts: Mapping[str, str]) -> Iterator[None]:
    """Add to an error what only the command line knows."""
    try:
        yield
    except EntityTooLarge as error:
        if is_local:
            error.explained(f"for --local, {MEMORY_VARIABLE} sets it; or ask a service, or for less")
        raise
    except InvalidArgument as error:
        if error.field == "container" and "dtype" not in texts:
            error.explained("a plain object needs --dtype")
        raise


def _ask_array(
    reducer: str, urls: Sequence[str], texts: Mapping[str, str], only_plan: bool, client: Client
) -> Plan | Labelled:
    array, arguments = read_array_arguments(texts)
    if len(urls) > 1 and "concat" not in texts:
        raise InvalidArgument("URL", "is given several times, which is for --concat")
    if "concat" in texts:
        store: str | list[str] = list(urls)
    else:
        store, array = _split_path(urls[0], array)
        urls = [store]
    if only_plan:
        return client.plan(store, array, reducer=reducer, **arguments)
    result = client.reduce(reducer, store, array, **arguments)
    return label_array(client, reducer, urls, array, arguments, result)


def _ask_object(
    reducer: str, urls: Sequence[str], texts: Mapping[str, str], only_plan: bool, client: Client
) -> Labelled:
    dtype, arguments = read_object_arguments(texts)
    if only_plan:
        raise InvalidArgument("plan", "is of a whole array, and --dtype is of a plain object")
    scheme, _, path = urls[0].partition("://")
    bucket, _, key = path.partition("/")
    if scheme.lower() != "s3" or not key or len(urls) > 1:
        raise InvalidArgument("URL", "of a plain object should be s3://bucket/key")
    return label_object(reducer, client.reduce(reducer, bucket, key, dtype=dtype, **arguments))


def _write_plan(plan: Plan, kind: str) -> None:
    if kind == "json":
        write(f"{json.dumps(dataclasses.asdict(plan))}\n")
    else:
        write(_describe_plan(plan))


def _describe_plan(plan: Plan) -> str:
    """A line for each fact of a plan."""
    return "".join(f"{line.strip()}\n" for line in repr(plan).splitlines()[1:-1])


def _print(labelled: Labelled, kind: str) -> None:
    content = WRITERS[kind](labelled)
    if isinstance(content, str):
        write(content)
    elif sys.stdout.isatty():
        raise InvalidArgument("output", "npy is not for a terminal: -o FILE.npy")
    else:
        write_bytes(content)


def _write_file(labelled: Labelled, kind: str, path: Path) -> None:
    if kind == "netcdf":
        write_netcdf(labelled, path)
        return
    content = WRITERS[kind](labelled)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


_register_service_commands()

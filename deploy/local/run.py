"""The object stores as command-line programs, which ``bin/store-run`` and ``bin/minio-run`` start.

This module has the options, the messages and the exit codes; ``store.py`` starts the stores. Both programs create the
bucket with the test data and run until Ctrl+C. Exit codes: 0 after Ctrl+C, 1 if the store ends by itself, 2 if it
cannot start.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from deploy.local.processes import ending_in_order, wait_while_listening
from deploy.local.samples import BUCKET, SAMPLES, write_samples
from deploy.local.store import DEMO_KEY, Store, find_docker, find_minio, minio, minio_in_docker, seaweedfs

DEFAULT_PORT = 9000

_NO_MINIO = """\
MinIO was not found: the variable MINIO is not set, there is no program minio on PATH, and Docker does not run.
Install one of them, or run bin/store-run, which has the same data in SeaweedFS; `make install` has installed it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the store in the arguments until Ctrl+C, and return the exit code."""
    options = _parse(arguments)
    try:
        with ending_in_order(), _STORES[options.store](options.dir, options.port) as store:
            write_samples(store)
            print(_greeting(store, options.dir), flush=True)
            wait_while_listening(store.endpoint)
    except KeyboardInterrupt:
        return 0
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("the store has ended by itself", file=sys.stderr)
    return 1


def _any_minio(directory: Path | None, port: int | None) -> AbstractContextManager[Store]:
    if program := find_minio():
        return minio(program, directory, port)
    if docker := find_docker():
        return minio_in_docker(docker, directory, port)
    raise RuntimeError(_NO_MINIO)


_STORES: dict[str, Callable[[Path | None, int | None], AbstractContextManager[Store]]] = {
    "seaweedfs": seaweedfs,
    "minio": _any_minio,
}
_PROGRAMS = {"seaweedfs": "bin/store-run", "minio": "bin/minio-run"}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    store, *rest = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog=_PROGRAMS[store],
        description="Run an object store with the test data, on loopback only, until Ctrl+C.",
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the port to listen on (default: %(default)s)")
    parser.add_argument("--dir", type=Path, help="the folder for its data (default: a temporary one)")
    options = parser.parse_args(rest)
    options.store = store
    return options


def _greeting(store: Store, directory: Path | None) -> str:
    return "\n".join(
        [
            f"endpoint  {store.readers_endpoint}, on this machine only",
            f"keys      {DEMO_KEY} / {DEMO_KEY}",
            f"bucket    {BUCKET}, {len(SAMPLES)} objects: {SAMPLES[0].key} ... {SAMPLES[-1].key}",
            f"data      {directory or 'temporary, removed at the end; --dir keeps it'}",
            "Ctrl+C stops it.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

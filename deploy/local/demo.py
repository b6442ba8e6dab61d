"""The demo: starts a store with test data and the service, and reduces every object with boto3.

``python -m deploy.local.demo`` requests count, min, max and sum of every object, compares the results with numpy's for
the same bytes, and prints the sizes of objects and results; it exits with 1 if a byte differs. With ``--serve`` it
sends no requests, prints examples, and runs until Ctrl+C. The expected results are computed here, without code of the
service.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import numpy as np
import numpy.typing as npt
from botocore.client import Config

from active_storage.client.boto3 import S3ActiveStorageV4Auth
from deploy.local.arrays import compare_arrays, format_arrays, format_to_try, write_arrays
from deploy.local.climate import write_climate
from deploy.local.processes import ending_in_order, is_free, wait_while_listening
from deploy.local.samples import BUCKET, SAMPLES, Sample, write_samples
from deploy.local.service import service
from deploy.local.store import DEMO_KEY, REGION, Store, seaweedfs

REDUCERS = ("count", "min", "max", "sum")

# The ports in the README. --serve uses them if they are free.
SERVICE_PORT = 8000
STORE_PORT = 9000

_TO_TRY = """\
service   {service}
store     {store}   (SeaweedFS, bucket {bucket})
keys      {key} / {key}
log       {log}

# The service's discovery document:
curl -sSf -w '\\n' {service}/.well-known/s3-active-storage

# A reduction in Python, from the project's folder:
.venv/bin/python - <<'END'
import boto3, numpy as np
from botocore.client import Config
from active_storage.client.boto3 import S3ActiveStorageV4Auth

S3ActiveStorageV4Auth.register()
s3 = boto3.resource(
    "s3", endpoint_url="{service}", region_name="{region}",
    aws_access_key_id="{key}", aws_secret_access_key="{key}",
    config=Config(signature_version=S3ActiveStorageV4Auth.SIGNATURE_VERSION),
)
data = s3.Object("max", "float32/{bucket}/temperatures-float32.dat").get()["Body"].read()
print(np.frombuffer(data, dtype="float32"))
END

# With curl: a link presigned for the store, sent to the service with the reduction in front of its path:
link=$(.venv/bin/python -c 'from deploy.local.store import Store; print(Store("{store}").client()
    .generate_presigned_url("get_object", Params=dict(Bucket="{bucket}", Key="data-float32.dat")))')
curl -sSf "{service}/sum/float32${{link#{store}}}" | od -A n -t f4

{arrays}
# On the command line: what is in a Zarr store, and a map of the mean:
export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={key} ACTIVE_STORAGE_SERVICE={service}
.venv/bin/active-storage info s3://{bucket}/climate/era5.zarr
.venv/bin/active-storage reduce mean s3://{bucket}/climate/era5.zarr --var t2m --axis time --plot

Ctrl+C stops both."""


@dataclass(frozen=True)
class Row:
    """One reduction, by the service and by numpy.

    Attributes:
        sample: The object.
        reducer: The reducer.
        received: The service's result, as bytes.
        expected: numpy's result for the same bytes.
    """

    sample: Sample
    reducer: str
    received: bytes
    expected: npt.NDArray[Any]

    @property
    def is_equal(self) -> bool:
        """Whether all bytes are equal."""
        return self.received == self.expected.tobytes()

    def format_received(self) -> str:
        """The service's result as a number; its size if it is not a single number."""
        if len(self.received) != self.expected.itemsize:
            return f"{len(self.received)} bytes"
        return str(np.frombuffer(self.received, dtype=self.expected.dtype)[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, and return the exit code: 1 if the service and numpy differ, or if a program does not start."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.demo",
        description="Reduce sample data on a store, and compare the results with numpy's.",
    )
    parser.add_argument("--serve", action="store_true", help="run until Ctrl+C, and print examples")
    options = parser.parse_args(arguments)
    try:
        with ending_in_order():
            return _serve() if options.serve else _compare()
    except KeyboardInterrupt:
        return 0 if options.serve else 130
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def numpy_result(reducer: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The result that the service must return, to the last bit, as an array of no dimensions."""
    if reducer == "count":
        return np.asarray(array.size, dtype="<i8")
    if reducer == "sum" and array.dtype.kind == "f":
        return np.asarray(array.sum(dtype=np.float64)).astype(array.dtype)
    # numpy would widen a sum of small integers. The service sums in the data type of the elements, which wraps.
    result = array.sum(dtype=array.dtype) if reducer == "sum" else getattr(array, reducer)()
    return np.asarray(result, dtype=array.dtype)


def compare(store: Store, endpoint: str) -> Iterator[Row]:
    """Each of ``REDUCERS`` of every object, by the service through boto3, and by numpy."""
    plain, active = store.client(), _active_storage(store, endpoint)
    for sample in SAMPLES:
        data = plain.get_object(Bucket=BUCKET, Key=sample.key)["Body"].read()
        array = np.frombuffer(data, dtype=np.dtype(sample.dtype).newbyteorder("<"))
        for reducer in REDUCERS:
            received = active.Object(reducer, f"{sample.dtype}/{BUCKET}/{sample.key}").get()["Body"].read()
            yield Row(sample, reducer, received, numpy_result(reducer, array))


def _active_storage(store: Store, endpoint: str) -> Any:
    """A boto3 resource of the service. It ignores the shell's network proxy, since the service is on loopback."""
    S3ActiveStorageV4Auth.register()
    return boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(signature_version=S3ActiveStorageV4Auth.SIGNATURE_VERSION, proxies={}),
    )


def _compare() -> int:
    with _everything() as (store, endpoint, _):
        rows, arrays = list(compare(store, endpoint)), compare_arrays(store, endpoint)
    print(_format_table(rows))
    differing = sum(not row.is_equal for row in rows)
    asked = sum(row.sample.size for row in rows)
    received = sum(len(row.received) for row in rows)
    print(
        f"\n{len(rows)} reductions, {differing or 'none'} different from numpy's:"
        f" {asked:,} bytes in the objects reduced, {received:,} bytes received."
    )
    print(f"\n{format_arrays(arrays)}")
    return 1 if differing or not all(row.is_equal for row in arrays) else 0


def _serve() -> int:
    ports = _preferred_port(STORE_PORT), _preferred_port(SERVICE_PORT)
    with _everything(*ports) as (store, endpoint, log):
        write_climate(store)
        public = store.readers_endpoint
        print(
            _TO_TRY.format(
                service=endpoint,
                store=public,
                bucket=BUCKET,
                region=REGION,
                key=DEMO_KEY,
                log=log,
                arrays=format_to_try(store, endpoint),
            ),
            flush=True,
        )
        gone = wait_while_listening(store.endpoint, endpoint)
    raise RuntimeError(f"{gone} no longer accepts connections")


@contextmanager
def _everything(store_port: int | None = None, service_port: int | None = None) -> Iterator[tuple[Store, str, Path]]:
    """The store with the test data, the endpoint of the service, and the path of its log."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="active-storage-"))
        log = Path(folder) / "service.log"
        store = stack.enter_context(seaweedfs(port=store_port))
        write_samples(store)
        write_arrays(store)
        # Clients sign for the name that the docs use. The JSON interface may use both names.
        public = store.readers_endpoint
        settings = {
            "ACTIVE_STORAGE_S3_PUBLIC_ENDPOINT": public,
            "ACTIVE_STORAGE_ALLOWED_ORIGINS": f"{store.endpoint},{public}",
        }
        yield store, stack.enter_context(service(store, settings, log=log, port=service_port)), log


def _preferred_port(port: int) -> int | None:
    if is_free(port):
        return port
    print(f"port {port} is in use; another port is used instead")
    return None


def _format_table(rows: Sequence[Row]) -> str:
    lines = [("object", "dtype", "reducer", "result", "numpy", "equal", "bytes in object", "bytes received")]
    lines += [
        (
            row.sample.key,
            row.sample.dtype,
            row.reducer,
            row.format_received(),
            str(row.expected),
            "yes" if row.is_equal else "NO",
            f"{row.sample.size:,}",
            f"{len(row.received):,}",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = len(("object", "dtype", "reducer"))
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())

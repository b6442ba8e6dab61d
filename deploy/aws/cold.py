"""Measures the import of the function from its zip, in new processes: ``python -m deploy.aws.cold``.

The zip is built for the Python and the processor of this machine. The disk's cache is warm, and Lambda has other
processors: the result is a measure of the code, and does not predict cold starts.
"""

import statistics
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.aws.package import THIS_ARCH, THIS_PYTHON, install, write_zip

_PROCESSES = 11
# Isolated from the packages of this environment. No bytecode is written, since Lambda's disk is read-only.
_ALONE = ("-I", "-S", "-B")
_IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
import handler.doors.aws
print(time.perf_counter() - start)
"""


def main() -> int:
    """Measure, and print the median."""
    with TemporaryDirectory(prefix="active-storage-") as temporary:
        built, unpacked = Path(temporary, "built"), Path(temporary, "unpacked")
        install(built, THIS_PYTHON, THIS_ARCH)
        write_zip(built, built.with_suffix(".zip"))
        with zipfile.ZipFile(built.with_suffix(".zip")) as archive:
            archive.extractall(unpacked)
        seconds = [import_seconds(unpacked) for _ in range(_PROCESSES)]
    median = f"median {statistics.median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f}"
    print(f"import of handler.doors.aws, Python {THIS_PYTHON}, {THIS_ARCH}, {_PROCESSES} processes: {median}")
    return 0


def import_seconds(folder: Path) -> float:
    """The time in which a new process imports the function from a folder."""
    command = [sys.executable, *_ALONE, "-c", _IMPORT, str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())

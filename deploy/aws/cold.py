"""What it costs to import the function from its zip, in a new process: ``python -m deploy.aws.cold``.

The zip is of this machine's Python and processor, since it is run here. The disk's cache is warm and Lambda's
processors are others: a measure of the code, not a promise of cold starts.
"""

import statistics
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.aws.package import THIS_ARCH, THIS_PYTHON, install, write_zip

_PROCESSES = 11
# Isolated from this environment's packages; like Lambda's disk, the folder is not written to.
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
    """How long a new process takes to import the function from a folder."""
    command = [sys.executable, *_ALONE, "-c", _IMPORT, str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())

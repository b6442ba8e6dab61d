"""The zip of the AWS function: ``python -m deploy.aws.package``.

The versions and hashes are those of requirements.txt. The wheels are for Lambda's Python and processor, whatever
machine builds the zip. It contains botocore, although Lambda has one, so that the tested version runs; of botocore's
service models it contains S3's only. Two builds by the same Python are equal to the byte.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
ZIP = ROOT / "build" / "lambda.zip"

# As in template.yaml.
PYTHON = "3.13"
# The glibc of Amazon Linux 2023, on which that Python runs, is newer: 2.34.
PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
THIS_ARCH = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"

# Lambda's limits: for an upload, and unpacked.
MAX_ZIPPED = 50 << 20
MAX_UNZIPPED = 250 << 20

_PACKAGES = ("active_storage", "handler")
# The client's distribution and the service's: each lists the dependencies of its package.
_PROJECTS = ("pyproject.toml", "handler/pyproject.toml")
# Files in a package's folder that do not belong to the package.
_NOT_OF_THE_PACKAGE = ("pyproject.toml", "README.md", "LICENSE", "__pycache__")
# Tests, files for compilers and type checkers, and the records of pip and uv about the installation.
_UNWANTED = ("**/tests", "**/*.a", "**/*.h", "**/*.pyi", "bin", "*.dist-info/RECORD", ".lock", "**/__pycache__")
_BOTOCORE_SERVICE = "s3"
# The earliest time that a zip can contain.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Build the zip, and return the exit code: 1 if it exceeds Lambda's limits."""
    parser = argparse.ArgumentParser(description="Build the zip of the AWS function.")
    parser.add_argument("--arch", choices=PLATFORMS, default="x86_64", help="the processor of the function")
    arch = parser.parse_args().arch
    with TemporaryDirectory(prefix="active-storage-") as temporary:
        folder = Path(temporary)
        has_bytecode = install(folder, PYTHON, arch)
        unzipped = sum(path.stat().st_size for path in _files(folder))
        ZIP.parent.mkdir(exist_ok=True)
        write_zip(folder, ZIP)
    zipped = ZIP.stat().st_size
    print(f"{ZIP.relative_to(ROOT)}: Python {PYTHON}, {arch}, {_mib(zipped)} zipped, {_mib(unzipped)} unzipped")
    if not has_bytecode:
        print(f"without bytecode, since no Python {PYTHON} was found: cold starts will be slower")
    if zipped > MAX_ZIPPED or unzipped > MAX_UNZIPPED:
        sys.stderr.write(f"Lambda accepts at most {_mib(MAX_ZIPPED)} zipped and {_mib(MAX_UNZIPPED)} unzipped\n")
        return 1
    return 0


def install(folder: Path, python: str, arch: str) -> bool:
    """Put the function and its dependencies into a folder.

    Args:
        folder: The folder.
        python: The version of Python that will run the function, such as ``3.13``.
        arch: The processor, one of ``PLATFORMS``.

    Returns:
        Whether bytecode was added. This requires a Python of that version on this machine.
    """
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    packages = [*requirements(), "-c", "requirements.txt"]
    wheels = ["--only-binary", ":all:", "--python-version", python, "--python-platform", PLATFORMS[arch]]
    # Copied, not linked: changes in the folder must not change uv's cache.
    _run([uv, "pip", "install", "--quiet", "--target", str(folder), "--link-mode", "copy", *packages, *wheels])
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns(*_NOT_OF_THE_PACKAGE))
    _strip(folder)
    interpreter = sys.executable if python == THIS_PYTHON else _find_python(uv, python)
    if interpreter is None:
        return False
    # Lambda's disk is read-only: modules without bytecode would be compiled at every cold start. Hashes instead of
    # times, and a fixed order of sets, give the same bytes in each build.
    bytecode = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), str(folder)]
    _run([interpreter, "-I", *bytecode], PYTHONHASHSEED="0")
    return True


def requirements() -> list[str]:
    """The dependencies of both distributions, without the extras, and without the client, which is copied."""
    projects = [tomllib.loads((ROOT / path).read_text())["project"] for path in _PROJECTS]
    names = tuple(project["name"] for project in projects)
    required = [requirement for project in projects for requirement in project["dependencies"]]
    return [requirement for requirement in required if not requirement.startswith(names)]


def write_zip(folder: Path, target: Path) -> None:
    """Zip the files of a folder, in sorted order, without times and owners."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def _strip(folder: Path) -> None:
    unwanted = [path for pattern in _UNWANTED for path in folder.glob(pattern)]
    services = (path for path in (folder / "botocore" / "data").iterdir() if path.is_dir())
    for path in (*unwanted, *(path for path in services if path.name != _BOTOCORE_SERVICE)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _find_python(uv: str, version: str) -> str | None:
    # All arguments come from this module.
    found = subprocess.run(  # noqa: S603
        [uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def _run(command: list[str], **environment: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **environment})  # noqa: S603


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())

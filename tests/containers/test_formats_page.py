"""The page of formats: its texts are those of the code, and its table of codecs is that of the codecs."""

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numcodecs.registry
import pytest

from active_storage.errors import ActiveStorageError
from active_storage.model.array_reduction import ContainerType
from active_storage.model.codecs import CODECS, find_id
from handler.containers.hdf5_filters import _STEPS
from handler.containers.open import open_array
from handler.containers.zarr_codecs import _KINDS
from tests.containers.memory import MemoryContainer
from tests.containers.zarr_stores import document, document_v2

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text()
SOURCES = sorted(path for name in ("containers", "arrays") for path in (ROOT / "handler" / name).glob("*.py"))

# The functions whose last argument is the text of an unsupported feature.
REFUSALS = frozenset({"UnsupportedArray", "refuse", "unsupported"})

# This file raises ValueError with such a text, and its caller refuses.
UNITS = "time_units.py"

# What those arguments are that are not texts, but variables; None if the texts are made elsewhere.
VARIABLES = {
    "feature": None,
    "str(fault)": None,
    "name": "the filter {number} ({name})",
    "self._pipeline.names[number]": "the filter {number} ({name})",
    "what + detail": "the codec {name} whose {member} {fault}",
}

# The codecs of Zarr version 3 that this service has no codec for: its readers know what they mean.
STRUCTURE = frozenset({"bytes", "sharding_indexed", "transpose"})

# zfpy is registered if its library is installed.
NUMCODECS = frozenset(numcodecs.registry.codec_registry) | {"zfpy"}


def list_refusals(source: Path) -> Iterator[str]:
    """The texts of unsupported features in a file, with a pair of braces for each value in them."""
    for node in ast.walk(ast.parse(source.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in REFUSALS or (name == "ValueError" and source.name == UNITS):
            yield from read_text(node.args[-1])


def read_text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif text := VARIABLES[ast.unparse(node)]:
        yield re.sub(r"\{.*?\}", "{}", text)


TEXTS = sorted({text for source in SOURCES for text in list_refusals(source)})
DOCUMENTED = [
    text
    for table in re.findall(r"^\| not supported \| FEATURE \|\n(.*?)\n\n", PAGE + "\n\n", re.MULTILINE | re.DOTALL)
    for row in table.splitlines()[1:]
    for text in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2])
]


def match(text: str, documented: str) -> bool:
    """Whether what the page says can be what the code says, with words in capital letters for its values."""
    value = r"[A-Z]+"
    return re.fullmatch(value.join(map(re.escape, text.split("{}"))), documented) is not None


@pytest.mark.parametrize("text", TEXTS)
def test_each_unsupported_feature_is_on_the_page(text: str) -> None:
    assert any(match(text, documented) for documented in DOCUMENTED), "add it to docs/formats.md"


@pytest.mark.parametrize("documented", DOCUMENTED)
def test_each_text_on_the_page_is_one_of_the_code(documented: str) -> None:
    assert any(match(text, documented) for text in TEXTS)


def test_the_table_of_codecs_is_that_of_the_codecs() -> None:
    version_3: dict[str, list[str]] = {}
    for name in sorted(_KINDS.keys() - STRUCTURE):
        version_3.setdefault(find_id(name), []).append(f"`{name}`")
    # These values are valid for each filter.
    filters = {make((4, 0, 4, 0, 0), 4).id: str(number) for number, make in _STEPS.items()}
    rows = [
        f"| `{name}` | {'yes' if name in NUMCODECS else ''} | {', '.join(version_3.get(name, []))} |"
        f" {filters.get(name, '')} |"
        for name in sorted(CODECS)
    ]
    table = "\n".join(row.replace("|  |", "| |").replace("|  |", "| |") for row in rows)
    assert f"|---|---|---|---|\n{table}\n" in PAGE, table


def make_hdf5() -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name in ("lat", "tas"):
            file[name] = 1.0
        for name in ("tas", "tos"):
            file[f"ocean/{name}"] = 1.0
    return data.getvalue()


def make_file_without_group() -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name in ("lat", "tas"):
            file[name] = 1.0
    return data.getvalue()


GROUP = json.dumps(
    {
        "zarr_format": 3,
        "node_type": "group",
        "consolidated_metadata": {"metadata": {name: json.loads(document()) for name in ("tas", "tos")}},
    }
).encode()
REFERENCES = json.dumps({"version": 1, "refs": {"tas/.zarray": document_v2().decode()}}).encode()

ABSENT: list[tuple[ContainerType, dict[str, bytes], str]] = [
    ("zarr", {"tas/zarr.json": document()}, "tos"),
    ("kerchunk", {"": REFERENCES}, "tos"),
    ("netcdf", {"": make_file_without_group()}, "tos"),
    ("zarr", {"ocean/zarr.json": GROUP}, "ocean"),
    ("netcdf", {"": make_hdf5()}, "ocean"),
]


@pytest.mark.parametrize("number", range(len(ABSENT)))
def test_an_array_that_does_not_exist_is_answered_as_the_page_says(number: int) -> None:
    container, objects, array = ABSENT[number]
    with pytest.raises(ActiveStorageError) as raised:
        open_array(container, MemoryContainer(objects).reader(), array)
    chapter = PAGE.partition("## Arrays that do not exist")[2]
    documented = re.findall(r"^\| (\d+) (\w+) \| `(.*)` \|$", chapter, re.MULTILINE)
    assert len(documented) == len(ABSENT)
    assert (str(raised.value.status), raised.value.code, raised.value.message) == documented[number]


def test_a_file_of_another_format_is_answered_as_the_page_says() -> None:
    with pytest.raises(ActiveStorageError) as raised:
        open_array("netcdf", MemoryContainer({"": b"GRIB" * 100}).reader(), "tas")
    assert raised.value.code == "UndecodableData"
    assert raised.value.message.rpartition(": ")[2] == "the file is neither HDF5 nor netCDF-3"
    assert "`the file is neither HDF5 nor netCDF-3`" in PAGE

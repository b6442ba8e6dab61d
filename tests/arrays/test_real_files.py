"""Files that the installed packages ship, written by many programs over many years: every numeric variable.

What cannot be read is refused by name, and never read as something else.
"""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from active_storage.errors import UnsupportedArray
from active_storage.model.array_reduction import ArrayReduction
from deploy.local import samples
from handler.arrays.engine import ArrayAnswer, ArrayEngine
from handler.scope import Scope
from tests.arrays.judge import Array, Question, check, decode
from tests.arrays.memory_array import values_of
from tests.containers.memory import MemoryContainer

_ENDINGS = frozenset({".nc", ".nc3", ".nc4", ".cdf", ".h5", ".hdf5", ".h5ad"})


def _find_files() -> list[Path]:
    folders = [Path(sysconfig.get_path("purelib")), Path(samples.__file__).parent / "arrays"]
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in _ENDINGS]


FILES = _find_files()


def _read_netcdf(path: Path) -> Iterator[tuple[str, Array]]:
    """The variables of a file as the netCDF library reads them, without decoding."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        groups: list[tuple[str, Any]] = [("", file)]
        for prefix, group in groups:
            groups += [(f"{prefix}{name}/", each) for name, each in group.groups.items()]
            yield from ((prefix + name, np.asarray(variable[...])) for name, variable in group.variables.items())


def _read_hdf5(path: Path) -> Iterator[tuple[str, Array]]:
    """The datasets of a file that are not dimensions without a variable, as the HDF5 library reads them."""
    found: list[tuple[str, Array]] = []

    def visit(name: str, item: Any) -> None:
        is_only_dimension = getattr(item, "attrs", {}).get("NAME", b"").startswith(b"This is a netCDF dimension but")
        if isinstance(item, h5py.Dataset) and not is_only_dimension:
            found.append((name, item[...]))

    with h5py.File(path) as file:
        file.visititems(visit)
    yield from found


def _ask(engine: ArrayEngine, path: Path, name: str, reducer: str, **fields: Any) -> ArrayAnswer:
    container = MemoryContainer({"": path.read_bytes()})
    return engine.reduce(ArrayReduction(reducer, "netcdf", name, **fields), container, Scope.after(60))


def test_there_are_files() -> None:
    """Were there none, the tests of this file would say nothing."""
    assert {"example_1.nc", "tas.nc", "compound-dtype-complex.h5"} <= {path.name for path in FILES}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_number_is_what_the_library_reads(engine: ArrayEngine, path: Path) -> None:
    read = _read_hdf5 if h5py.is_hdf5(path) else _read_netcdf
    for name, values in read(path):
        if values.dtype.kind not in "iufcb":
            with pytest.raises(UnsupportedArray, match=re.escape(ascii(name)[1:-1])):
                _ask(engine, path, name, "select", decode="none")
            continue
        got = values_of(_ask(engine, path, name, "select", decode="none"))
        assert got.shape == values.shape
        assert got.dtype == values.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, values)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["cf", "xarray"])
@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".nc"], ids=lambda path: path.name)
def test_every_variable_is_reduced_as_xarray_does(engine: ArrayEngine, path: Path, how: str) -> None:
    with (
        xr.open_dataset(path, decode_times=False) as decoded,
        xr.open_dataset(path, decode_times=False, mask_and_scale=False) as raw,
    ):
        for name, variable in decoded.variables.items():
            if variable.dtype.kind not in "iuf" or raw[name].dtype.kind not in "iuf":
                continue
            judged = decode(decoded[name].load(), raw[name].load(), how)
            for reducer in ("sum", "mean", "max", "argmin", "std", "count"):
                for axis in (None, *((each,) for each in range(variable.ndim))):
                    question = Question(reducer, how, (), axis)
                    fields = {} if axis is None else {"axis": axis}
                    answer = _ask(engine, path, str(name), reducer, decode=how, **fields)
                    check(question, answer, judged, tuple(map(str, variable.dims)))

"""What tests of arrays share.

The order of imports: netCDF4 leads HDF5 to its own plugins, which h5py cannot use. The first import counts.
"""

from collections.abc import Iterator
from pathlib import Path

import hdf5plugin  # noqa: F401
import pytest

from handler.arrays.engine import ArrayEngine
from tests.arrays.memory_array import make_engine


@pytest.fixture(scope="module")
def engine() -> ArrayEngine:
    return make_engine()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each container."""
    return (tmp_path_factory.mktemp("container") for _ in iter(int, 1))

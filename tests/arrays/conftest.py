"""The order of imports: netCDF4 leads HDF5 to its own plugins, which h5py cannot use. The first import counts."""

import hdf5plugin  # noqa: F401

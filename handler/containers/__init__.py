"""Containers: readers of the metadata of Zarr, NetCDF, HDF5, references and chunk tables.

A reader turns metadata into a ``StoredArray``: shape, chunk grid, data type, codecs, fill value, dimensions,
attributes, and an index that says where each chunk lies. It reads bytes through ``ContainerReader`` only, which counts
requests and bytes, stops at limits, and makes certain that all bytes of an object are of one version.

What does not belong here: selections, reductions, chunk data, HTTP, and the forms of requests and replies. No reader
imports h5py, netCDF4, zarr, xarray or fsspec. What a reader does not support it refuses by name (``UnsupportedArray``).
Metadata that contradicts itself is an error of the data (``UndecodableData``), and never becomes a number.
"""

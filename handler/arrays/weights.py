"""Weights: from what a request says of them to an array of numbers that fits the array that is reduced."""

import numpy as np

from active_storage.errors import InvalidArgument, shown
from active_storage.model.coordinates import ArrayWeights, CosineWeights, Weights
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.coordinates import AnyArray, Array, Coordinates
from handler.arrays.dimensions import find_dimension
from handler.arrays.spread import spread


def read_weights(weights: Weights, reducer: str, array: AnyArray, coordinates: Coordinates) -> Array:
    """The weights of the elements of an array.

    Args:
        weights: What the request says.
        reducer: The reducer.
        array: The array.
        coordinates: Its coordinates, and the arrays beside it.

    Returns:
        A spread array of float64.

    Raises:
        InvalidArgument: They do not fit the array, or one of them is infinite or missing, or negative for a reducer
            that does not take that.
        ActiveStorageError: They cannot be read.
    """
    axes: tuple[int, ...]
    if isinstance(weights, CosineWeights):
        coordinate = coordinates.find("weights", weights.coordinate)
        if coordinate.times is not None:
            raise InvalidArgument("weights", f"{shown(weights.coordinate)} is a time, and not an angle")
        degrees = coordinate.values.astype(np.float64)
        if not (np.abs(degrees) <= 90).all():
            raise InvalidArgument("weights", f"{shown(weights.coordinate)} has values that are no latitudes")
        values, axes = np.cos(np.deg2rad(degrees)), (coordinate.axis,)
    elif isinstance(weights, ArrayWeights):
        values, axes = coordinates.read_array("weights", weights.array)
    else:
        axes = tuple(find_dimension("weights", key, array) for key in weights.dimensions)
        if len(set(axes)) != len(axes) or any(
            size != array.shape[axis] for size, axis in zip(weights.shape, axes, strict=True)
        ):
            raise InvalidArgument("weights", f"have the shape {list(weights.shape)}, which is not that of their dims")
        values = np.asarray(weights.values, np.float64).reshape(weights.shape)
    if not np.isfinite(values).all():
        raise InvalidArgument("weights", "should be finite numbers, and none may be missing")
    if not ARRAY_REDUCERS[reducer].takes_negative_weights and (values < 0).any():
        raise InvalidArgument("weights", f"of {reducer} should not be negative")
    return spread(values.astype(np.float64), axes, array.shape)

"""The methods of quantiles, by numpy's names, and how many quantiles a request may ask for."""

# Methods whose result is one of the elements (Hyndman and Fan, 1996, definitions 1 and 3; numpy's reference).
PICKING_METHODS = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")

# Methods whose result lies between two elements (definitions 2 and 4 to 9; numpy's reference).
INTERPOLATING_METHODS = (
    "averaged_inverted_cdf",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "linear",
    "median_unbiased",
    "normal_unbiased",
    "midpoint",
)

QUANTILE_METHODS = (*PICKING_METHODS, *INTERPOLATING_METHODS)

DEFAULT_METHOD = "linear"

# Each takes memory for each cell of the result.
MAX_QUANTILES = 100

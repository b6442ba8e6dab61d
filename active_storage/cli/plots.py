"""Plots of results: in the terminal by plotext, and as PNG files by matplotlib."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from active_storage.cli.labels import Labelled
from active_storage.client.results import find_rule
from active_storage.errors import InvalidArgument

_ROWS = 22
_MOST_COLUMNS = 120

# From dark to bright: the colour map viridis at equal distances, and what a cell without a value has.
_COLOURS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)
_NO_COLOUR = (128, 128, 128)

# The same without colours.
_SHADES = " ·░▒▓█"
_NO_SHADE = "?"


def plot(labelled: Labelled, has_colours: bool) -> str:
    """A plot for the terminal: a line, bars of a histogram, or a map of two dimensions.

    Raises:
        InvalidArgument: The result has no dimension, or more than two.
    """
    dims, values = _squeeze(labelled)
    columns = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    if len(dims) == 2 and not has_colours:
        return _shade(labelled, dims, values, columns)
    import plotext  # noqa: PLC0415  # only plots need it

    figure = plotext.figure
    figure.clear()
    figure.theme("default" if has_colours else "colorless")
    figure.plot_size(columns, _ROWS)
    figure.title(_title(labelled))
    if len(dims) == 2:
        # Bottom up, as an axis goes.
        signal = figure.heatmap(_colour(_upright(labelled, dims, values)[::-1]), fill=True)
        for axis, dim, size in (("y", dims[0], values.shape[0]), ("x", dims[1], values.shape[1])):
            _label_axis(figure, axis, labelled, dim, size, first=0)
    elif find_rule(labelled.reducer).has_bins:
        signal = figure.bar(labelled.list_columns(dims[0]), values.tolist())
        figure.label(dims[0], "x")
    else:
        is_known = ~np.isnan(values)
        signal = figure.signal((np.flatnonzero(is_known) + 1).tolist(), values[is_known].tolist())
        signal.lines()
        _label_axis(figure, "x", labelled, dims[0], len(values), first=1)
    figure.draw(signal)
    return f"{figure.build().string(colorless=not has_colours)}\n"


def draw_png(labelled: Labelled, path: Path) -> None:
    """The same plot as a PNG file.

    Raises:
        InvalidArgument: The result has no dimension, or more than two.
    """
    dims, values = _squeeze(labelled)
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # takes long to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(_title(labelled))
    if len(dims) == 2:
        shown = axes.imshow(_upright(labelled, dims, values), aspect="auto", interpolation="nearest")
        figure.colorbar(shown, label=labelled.result.units or "")
        _set_ticks(axes.yaxis, labelled, dims[0], values.shape[0], is_reversed=_is_ascending(labelled, dims[0]))
    elif find_rule(labelled.reducer).has_bins:
        axes.bar(range(len(values)), values, width=0.95)
    else:
        axes.plot(range(len(values)), values, marker="." if len(values) < 100 else None)
        axes.set_ylabel(labelled.result.units or "")
    _set_ticks(axes.xaxis, labelled, dims[-1], values.shape[-1])
    figure.savefig(path, format="png")


def _squeeze(labelled: Labelled) -> tuple[list[str], np.ndarray[Any, Any]]:
    """The dimensions of more than one index, and the values as floats, in which masked ones are NaN."""
    values = labelled.values
    dims = [dim for dim, size in zip(labelled.dims, values.shape, strict=True) if size > 1]
    if not 1 <= len(dims) <= 2 or values.dtype.kind == "c" or (len(dims) == 2 and find_rule(labelled.reducer).has_bins):
        raise InvalidArgument("plot", f"is of a result with one or two dimensions, and this one has {len(dims)}")
    plain = np.ma.filled(values.astype(float), np.nan)
    return dims, plain.squeeze()


def _title(labelled: Labelled) -> str:
    units = f" ({labelled.result.units})" if labelled.result.units else ""
    return f"{labelled.reducer} of {labelled.name}{units}" if labelled.name != labelled.reducer else labelled.reducer


def _is_ascending(labelled: Labelled, dim: str) -> bool:
    """Whether numbers of a coordinate ascend, so that the last is at the top of a map."""
    found = labelled.coordinates.get(dim)
    if found is None:
        return False
    stored = np.asarray(found.stored)
    return stored.dtype.kind in "iuf" and stored.ndim == 1 and bool(stored[-1] > stored[0])


def _upright(labelled: Labelled, dims: list[str], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rows of a map from top to bottom."""
    return values[::-1] if _is_ascending(labelled, dims[0]) else values


def _scale(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Numbers from 0 to 1; NaN stays."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.full(values.shape, np.nan)
    low, high = float(finite.min()), float(finite.max())
    scaled: np.ndarray[Any, Any] = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return scaled


def _colour(values: np.ndarray[Any, Any]) -> list[list[tuple[int, int, int]]]:
    scaled = _scale(values)
    places = np.linspace(0, 1, len(_COLOURS))
    channels = [
        np.interp(np.nan_to_num(scaled), places, _COLOURS[:, channel]).round().astype(int) for channel in range(3)
    ]
    colours = np.stack(channels, axis=-1)
    colours[np.isnan(scaled)] = _NO_COLOUR
    return [[(int(red), int(green), int(blue)) for red, green, blue in row] for row in colours]


def _shade(labelled: Labelled, dims: list[str], values: np.ndarray[Any, Any], columns: int) -> str:
    """A map of two dimensions in characters, for output without colours."""
    upright = _upright(labelled, dims, values)
    rows, width = min(upright.shape[0], _ROWS), min(upright.shape[1] * 2, columns)
    picked = upright[np.arange(rows) * upright.shape[0] // rows][:, np.arange(width) * upright.shape[1] // width]
    scaled = _scale(picked)
    levels = np.nan_to_num(scaled * (len(_SHADES) - 1)).round().astype(int)
    lines = [
        "".join(_NO_SHADE if np.isnan(share) else _SHADES[level] for share, level in zip(*row, strict=True)).rstrip()
        for row in zip(scaled, levels, strict=True)
    ]
    finite = values[np.isfinite(values)]
    legend = f"from {finite.min():.7g} ({_SHADES[0]!r}) to {finite.max():.7g} ({_SHADES[-1]})" if finite.size else ""
    return "\n".join(
        [_title(labelled), *lines, f"{dims[0]} down, {dims[1]} across; {legend}; {_NO_SHADE} is missing", ""]
    )


def _label_axis(  # noqa: PLR0913, PLR0917  # an axis and what it shows
    figure: Any, axis: str, labelled: Labelled, dim: str, size: int, first: int
) -> None:
    places = np.linspace(0, size - 1, min(size, 5)).round().astype(int)
    labels = labelled.list_columns(dim)
    if axis == "y" and not _is_ascending(labelled, dim):
        labels = labels[::-1]
    figure.ruler(axis).ticks([int(place) + first for place in places], [labels[place] for place in places])
    figure.label(dim, axis)


def _set_ticks(axis: Any, labelled: Labelled, dim: str, size: int, is_reversed: bool = False) -> None:
    places = np.linspace(0, size - 1, min(size, 7)).round().astype(int)
    labels = labelled.list_columns(dim)
    shown = labels[::-1] if is_reversed else labels
    axis.set_ticks([int(place) for place in places], [shown[place] for place in places])
    units = found.units if (found := labelled.coordinates.get(dim)) else ""
    axis.set_label_text(f"{dim} ({units})" if units else dim)

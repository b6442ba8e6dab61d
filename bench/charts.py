"""The pictures of the page, as SVG: the same numbers give the same bytes, whenever they are drawn.

Every chart has a white ground, so that it can be read on a page of any colour. Contenders keep their colour and marker
in all of them.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from bench.cases import MIB, format_size
from bench.contenders import CONTENDERS, STORE, Contender
from bench.memory import TARGET_GROWTH, Growth
from bench.speed import TARGET_SIZE, TARGET_SPEED, Speed

# Okabe and Ito's green, which is no contender's.
_TARGET_COLOUR: Final = "#009e73"

# Where the axis of memory begins.
_LEAST_MIB: Final = 0.1

STYLE: Final[dict[Any, Any]] = {
    # Ids within the SVG are random unless they are salted.
    "svg.hashsalt": "active-storage",
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def draw_speed(speeds: Sequence[Speed]) -> bytes:
    """Speed by the size of the object, a panel for each number of clients."""
    clients = sorted({speed.case.clients for speed in speeds})
    with rc_context(STYLE):
        figure = Figure(figsize=(3.7 * len(clients), 4.2), layout="constrained")
        panels = figure.subplots(1, len(clients), sharey=True, squeeze=False)[0]
        for axes, count in zip(panels, clients, strict=True):
            _draw_panel(axes, [speed for speed in speeds if speed.case.clients == count])
            axes.set_title(f"{count} at a time")
        panels[0].set_ylabel("bytes per second, store alone = 1")
        figure.suptitle("Speed of a float32 sum: median of the rounds, bars from lower to upper quartile")
        entries = {
            label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries), frameon=False)
        return to_svg(figure)


def _draw_panel(axes: Axes, speeds: Sequence[Speed]) -> None:
    axes.axhline(1, color=STORE.colour, label=STORE.name)
    for contender in CONTENDERS:
        if contender is not STORE:
            _draw_line(axes, speeds, contender)
    places = [place for place, speed in enumerate(speeds) if speed.has_target]
    if places:
        axes.plot(
            [places[0] - 0.3, places[-1] + 0.3],
            [TARGET_SPEED, TARGET_SPEED],
            color=_TARGET_COLOUR,
            linestyle="--",
            label=f"target of the proxy, from {format_size(TARGET_SIZE)}, one at a time",
        )
    axes.set_xticks(range(len(speeds)), [format_size(speed.case.size) for speed in speeds], rotation=45)
    axes.set_xlabel("size of the object")
    axes.set_ylim(bottom=0)


def _draw_line(axes: Axes, speeds: Sequence[Speed], contender: Contender) -> None:
    measured = [(place, spread) for place, speed in enumerate(speeds) if (spread := speed.of(contender))]
    axes.errorbar(
        [place for place, _ in measured],
        [spread.median for _, spread in measured],
        yerr=[
            [spread.median - spread.lower_quartile for _, spread in measured],
            [spread.upper_quartile - spread.median for _, spread in measured],
        ],
        color=contender.colour,
        marker=contender.marker,
        capsize=3,
        label=contender.name,
    )


def draw_memory(growths: Sequence[Growth]) -> bytes:
    """How far processes grew, beside how far the service's may."""
    colours = {contender.name: contender.colour for contender in CONTENDERS}
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 1.1 + 0.55 * len(growths)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(
            [f"{growth.contender}: {format_size(growth.size)}, {growth.clients} at a time" for growth in growths],
            # A logarithmic axis has no place for zero.
            [max(growth.bytes / MIB, _LEAST_MIB) for growth in growths],
            color=[colours[growth.contender] for growth in growths],
            height=0.6,
        )
        labels = [f"{growth.bytes / MIB:,.1f} MiB" for growth in growths]
        axes.bar_label(bars, labels, padding=4, backgroundcolor="white")
        axes.axvline(
            TARGET_GROWTH / MIB, color=_TARGET_COLOUR, linestyle="--", label=f"target: {format_size(TARGET_GROWTH)}"
        )
        axes.set_xscale("log")
        axes.set_xlim(_LEAST_MIB, max(growth.bytes / MIB for growth in growths) * 6)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("growth of the process over its idle size, MiB (logarithmic)")
        axes.set_title("Memory for a float32 sum")
        axes.legend(loc="upper right")
        return to_svg(figure)


def scale_ratios(axes: Axes) -> None:
    """Make the vertical axis one of ratios: logarithmic, with marks at 1, 2, 5, 10, 20 and so on, written out."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def to_svg(figure: Figure) -> bytes:
    """A figure as bytes that are the same for the same figure."""
    picture = io.BytesIO()
    # Without the date, which would make each drawing another.
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()

"""The one figure of the course: latency by percentile, and how it is distributed.

A figure is a PNG on opaque white, so that it reads the same in a light and a dark notebook, in
the colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind people can
tell apart; line styles and markers say the same once more. Importing this module imports
matplotlib; nothing of pyplot or of its settings is touched.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from itertools import cycle
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from labsvc.measure.series import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labsvc.measure.series import Series

SCALE = 2
_PANEL = 2.35
INK = "#222222"
FAINT = "#6b6b6b"
_GRID = "#e3e3e3"
_LOOKS: tuple[tuple[str, Any, str], ...] = (
    ("#D55E00", "-", "o"),
    ("#0072B2", (0, (5, 1.5)), "s"),
    ("#009E73", (0, (5, 1.2, 1.2, 1.2)), "^"),
    ("#CC79A7", (0, (1.2, 1.2)), "D"),
    ("#E69F00", (0, (9, 2)), "v"),
    ("#56B4E9", (0, (3, 1.5)), "P"),
)
_MARKED = (0.5, 0.9, 0.99, 0.999)
_TICKS = (
    (5, (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)),
    (150, (1.0, 2.0, 5.0)),
    (3000, (1.0, 3.0)),
    (float("inf"), (1.0,)),
)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "text.usetex": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "white",
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.grid": False,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "path.effects": [],
    "path.sketch": None,
}


def draw(series: list[Series], title: str, caption: str, alt: str) -> bytes:
    """Draw the series and return the figure as PNG, with its words inside for those who look."""
    with mpl.rc_context(STYLE):
        figure, canvas = blank()
        legend_rows = _legend(figure, canvas, series)
        top = 0.92 + 0.24 * legend_rows
        height = top + _PANEL + 0.92
        figure.set_size_inches(WIDTH / 100, height)
        write_title(figure, height, title, caption)
        figure.legends[0].set_bbox_to_anchor((0.16, height - 0.46), figure.dpi_scale_trans)
        curve, spread = figure.subplots(
            1,
            2,
            sharey=True,
            width_ratios=(1.7, 1),
            gridspec_kw={
                "left": 0.085,
                "right": 0.975,
                "top": 1 - top / height,
                "bottom": 0.92 / height,
                "wspace": 0.06,
            },
        )
        if any(one.latency.count for one in series):
            _latency_axis(curve, [one for one in series if one.latency.count])
            _percentile_curve(curve, series)
            _distribution(spread, series)
        else:
            spread.set_axis_off()
            curve.set_axis_off()
            curve.text(0.02, 0.5, "No call was answered: there is no latency to draw.")
        canvas.draw()
        return png_of(canvas, title, alt)


def blank(height: float = 1) -> tuple[Figure, Any]:
    """Return an empty figure of a height in inches, in a thin frame, and its canvas."""
    figure = Figure(figsize=(WIDTH / 100, height), dpi=100 * SCALE, facecolor="white")
    figure.patch.set(edgecolor="#bdbdbd", linewidth=1.5)
    return figure, FigureCanvasAgg(figure)


def write_title(figure: Figure, height: float, title: str, caption: str) -> None:
    """Write a title at the top of a figure and a caption at its bottom."""
    inches: dict[str, Any] = {"transform": figure.dpi_scale_trans, "va": "center"}
    figure.text(0.2, height - 0.28, title, fontsize=14, fontweight="bold", **inches)
    figure.text(0.2, 0.2, caption, fontsize=9.5, color=FAINT, **inches)


def _legend(figure: Figure, canvas: Any, series: list[Series]) -> int:
    """Add the legend in as few rows as fit the width, and return how many these are."""
    handles = [
        Line2D([], [], color=color, linestyle=line, linewidth=2, marker=marker, markersize=6)
        for _, (color, line, marker) in zip(series, cycle(_LOOKS), strict=False)
    ]
    handles.append(
        Line2D([], [], color=INK, linestyle="", marker="x", markersize=7, markeredgewidth=2)
    )
    labels = [*(one.legend for one in series), "mean"]
    for columns in range(len(labels), 0, -1):
        figure.legends.clear()
        legend = figure.legend(
            handles,
            labels,
            loc="upper left",
            ncols=columns,
            frameon=False,
            handlelength=3,
            columnspacing=1.6,
            labelspacing=0.45,
            borderaxespad=0,
        )
        if legend.get_window_extent(canvas.get_renderer()).width < 0.97 * figure.bbox.width:
            break
    return ceil(len(labels) / columns)


def png_of(canvas: Any, title: str, alt: str) -> bytes:
    """Encode what is drawn with a palette: a third of the size, the same to the eye."""
    info = PngInfo()
    info.add_itxt("Title", title)
    info.add_itxt("Description", alt)
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    palette = image.convert("RGB").quantize(
        128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    png = io.BytesIO()
    palette.save(png, "PNG", optimize=True, pnginfo=info, dpi=(100 * SCALE, 100 * SCALE))
    return png.getvalue()


def _latency_axis(axes: Axes, series: list[Series]) -> None:
    shortest = min(min(one.latency.ns) for one in series)
    longest = max(max(one.latency.ns) for one in series)
    low, high = max(shortest, 1) / 1e9 / 1.25, longest / 1e9 * 1.25
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    span = high / low
    subs = next(subs for most, subs in _TICKS if span < most)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _duration(value)))
    axes.set_title("Latency by percentile (log scales)", pad=8)


def _percentile_curve(axes: Axes, series: list[Series]) -> None:
    most = max(10, *(one.latency.count for one in series))
    end = 1.5 * most
    for one, (color, line, marker) in zip(series, cycle(_LOOKS), strict=False):
        count = one.latency.count
        if not count:
            continue
        seconds = np.sort(np.asarray(one.latency.ns)) / 1e9
        ends = np.append(count / np.arange(count - 1, 0, -1), end)
        axes.step(
            np.insert(ends, 0, 1),
            np.insert(seconds, 0, seconds[0]),
            where="pre",
            color=color,
            linestyle=line,
            linewidth=2,
        )
        marked = [q for q in _MARKED if count * (1 - q) >= 1]
        axes.plot(
            [1 / (1 - q) for q in marked],
            one.latency.quantiles(*marked),
            color=color,
            linestyle="",
            marker=marker,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.8,
        )
        below = bisect_right(seconds, one.latency.mean)
        axes.plot(
            count / (count - min(below, count - 1)),
            one.latency.mean,
            color=color,
            marker="x",
            markersize=8,
            markeredgewidth=2.2,
            zorder=5,
        )
    axes.set_xscale("log")
    axes.set_xlim(1, end)
    ticks = {1: "0", 2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99"}
    shown = [x for x in ticks if x <= most]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([ticks[x] for x in shown])
    axes.set_xlabel("percentile of calls")
    _tidy(axes, "both")


def _distribution(axes: Axes, series: list[Series]) -> None:
    low, high = axes.get_ylim()
    edges = np.geomspace(low, high, 41)
    for one, (color, line, _) in zip(series, cycle(_LOOKS), strict=False):
        if not one.latency.count:
            continue
        counts, _edges = np.histogram(np.asarray(one.latency.ns) / 1e9, edges)
        share = np.where(counts, counts / one.latency.count, np.nan)
        axes.stairs(share, edges, orientation="horizontal", fill=True, color=color, alpha=0.18)
        axes.stairs(
            share, edges, orientation="horizontal", color=color, linestyle=line, linewidth=1.3
        )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of calls")
    axes.set_title("Distribution", pad=8)
    axes.tick_params(labelleft=False)
    _tidy(axes, "y")


def _tidy(axes: Axes, grid: Literal["both", "y"]) -> None:
    axes.grid(visible=True, axis=grid, color=_GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.9999:
            return f"{seconds / size:,.4g} {unit}"
    return f"{seconds / 1e-9:,.4g} ns"

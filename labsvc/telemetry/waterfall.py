"""The waterfall of a trace: a bar for each span, from its start to its end, children below."""

from __future__ import annotations

import warnings
from itertools import cycle
from math import ceil
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labsvc.measure.figure import INK, STYLE, blank, png_of, write_title
from labsvc.measure.plots import Plot
from labsvc.measure.series import WIDTH
from labsvc.timeline.shapes import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from labsvc.telemetry.spans import Span, Trace

MOST_ROWS = 60
_ROW = 0.3  # inches
_ABOVE, _BELOW = 0.76, 0.75
_LEGEND_ROW = 0.24
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_ERROR = "#B00020"
_NAMES = -0.66  # where the names begin, left of the bars, in widths of the axes
_DEEPEST = 12
_LONGEST = 46
_STYLE = {**STYLE, "text.parse_math": False}  # a name with two dollars is a name
_HATCHES = {"client": "///", "producer": "///"}  # the side that asks


def plot(trace: Trace, title: str) -> Plot:
    """Draw a trace; of one with more than `MOST_ROWS` spans, the first of them."""
    rows = list(trace.tree())
    shown = rows[:MOST_ROWS]
    colors = dict(zip(trace.services, cycle(_COLORS), strict=False))
    left_out = f", the first {MOST_ROWS} are drawn" if len(rows) > MOST_ROWS else ""
    caption = (
        f"{len(rows)} spans{left_out}; hatched: the side that asks."
        " All times are of this machine's clock."
    )
    title = clean(title)
    alt = f"Waterfall. {title}. {caption} {_told(shown)}".strip()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is a box
        figure, canvas = blank()
        above = _ABOVE + _LEGEND_ROW * _legend(figure, canvas, colors, has_error=trace.error)
        height = above + _BELOW + _ROW * max(len(shown), 1)
        figure.set_size_inches(WIDTH / 100, height)
        for legend in figure.legends:
            legend.set_bbox_to_anchor((0.16, height - 0.46), figure.dpi_scale_trans)
        write_title(figure, height, title, caption)
        axes = figure.add_axes((0.4, _BELOW / height, 0.575, 1 - (above + _BELOW) / height))
        _bars(axes, shown, colors)
        canvas.draw()
        png = png_of(canvas, title, alt)
    services = ", ".join(map(clean, colors)) or "no service"
    return Plot(png, alt, f"Waterfall: {services}")


def _legend(figure: Figure, canvas: Any, colors: Mapping[str, str], *, has_error: bool) -> int:
    """Add the legend in as few rows as fit the width, and return how many these are."""
    handles: list[Any] = [Patch(facecolor=color) for color in colors.values()]
    names = [clean(name) for name in colors]
    if has_error:
        handles.append(Line2D([], [], color=_ERROR, marker="x", linestyle=""))
        names.append("error")
    # A legend leaves out what begins with "_".
    names = [f" {name}" if name.startswith("_") else name for name in names]
    columns = 1
    for columns in range(len(handles), 0, -1):
        figure.legends.clear()
        legend = figure.legend(
            handles, names, loc="upper left", ncols=columns, frameon=False, borderaxespad=0
        )
        if legend.get_window_extent(canvas.get_renderer()).width <= figure.bbox.width * 0.97:
            break
    return ceil(len(handles) / columns)


def _bars(axes: Axes, rows: list[tuple[int, Span]], colors: Mapping[str, str]) -> None:
    first = min((span.start_ns for _, span in rows), default=0)
    last = max((span.end_ns for _, span in rows), default=1)
    unit, unit_name = (1e6, "ms") if last - first < 1e9 else (1e9, "s")  # noqa: PLR2004
    whole = max((last - first) / unit, 1e-6)
    for row, (depth, span) in enumerate(rows):
        start, width = (span.start_ns - first) / unit, (span.end_ns - span.start_ns) / unit
        axes.barh(
            row,
            max(width, whole / 400),
            left=start,
            height=0.62,
            color=colors[span.service],
            hatch=_HATCHES.get(span.kind),
            edgecolor="white",
            linewidth=0.4,
        )
        if span.error:
            axes.plot(start + width, row, "x", color=_ERROR, markersize=8, markeredgewidth=2.2)
        label = clean(f"{span.service}: {span.title}")
        axes.text(
            _NAMES + 0.018 * min(depth, _DEEPEST),
            row,
            label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9.5,
            color=_ERROR if span.error else INK,
        )
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_xlim(0, whole * 1.03)
    axes.set_xlabel(f"{unit_name} since the first span began")
    axes.yaxis.set_visible(False)
    axes.grid(visible=True, axis="x", color="#e3e3e3", linewidth=0.8)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def _told(rows: list[tuple[int, Span]]) -> str:
    parts = [
        f"{clean(f'{span.service}: {span.title}')}, depth {depth}{', error' * span.error}"
        for depth, span in rows
    ]
    return "; ".join(parts) + "." if parts else ""

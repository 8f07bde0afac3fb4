"""How the map of a lab is drawn: boxes in columns, arrows from left to right."""

from __future__ import annotations

import math
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from labsvc.measure.figure import FAINT, INK, STYLE, blank, png_of
from labsvc.measure.series import WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from labsvc.lab_map import Arrow, Box, Chart

_ROW = 0.9  # inches
_BOX_HEIGHT = 0.58
_TOP = 0.6
_MARGIN = 0.25
_WIDEST_BOX = 1.55
_SIZES = (10.5, 9.0, 8.0, 7.0)  # points, of names
_CHARACTER = 0.0098  # inches for each point of size, about, of bold letters
_BOWS = (0.0, 0.4, -0.4, 0.8, -0.8, 1.1, -1.1)  # inches, twice as far as the arrow goes
_BACK = 0.4  # so much for one that goes back
_STEPS = 40
_GAP = 0.03  # inches, between an arrow and a box that it passes
_FACES = {"": "#ffffff", "proxy": "#fdf3d8", "outside": "#f3f3f3"}
_EDGES = {"": FAINT, "proxy": "#E69F00", "outside": FAINT}


def png(chart: Chart, title: str, alt: str) -> bytes:
    """Draw a map and return it as PNG."""
    rows = max((len(column) for column in chart.columns), default=1)
    width, height = WIDTH / 100, _TOP + _ROW * rows + 0.1
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is a box
        figure, canvas = blank(height)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, width)
        axes.set_ylim(0, height)
        axes.set_axis_off()
        axes.text(0.2, height - 0.28, title, fontsize=14, fontweight="bold", va="center")
        if not chart.columns:
            axes.text(0.2, height - _TOP - 0.2, "Nothing runs.", color=FAINT)
        _draw(axes, chart, width, height)
        canvas.draw()
        return png_of(canvas, title, alt)


def _draw(axes: Axes, chart: Chart, width: float, height: float) -> None:
    step = (width - 2 * _MARGIN) / max(1, len(chart.columns))
    step = min(step, 2.4)
    size = min(_WIDEST_BOX, step * 0.78)
    points = min((_fitted(box.name, size - 0.08)[1] for box in chart.boxes), default=_SIZES[0])
    middles: dict[str, tuple[float, float]] = {}
    most = max((len(column) for column in chart.columns), default=1)
    for number, column in enumerate(chart.columns):
        x = _MARGIN + number * step + size / 2
        first = height - _TOP - _ROW * (most - len(column)) / 2 - _ROW / 2
        for row, box in enumerate(column):
            middles[box.name] = x, first - row * _ROW
            _box(axes, box, middles[box.name], size, points)
    for arrow in chart.arrows:
        _arrow(axes, arrow, middles, size)


def _box(axes: Axes, box: Box, middle: tuple[float, float], size: float, points: float) -> None:
    x, y = middle
    kind = box.kind if box.kind in _FACES else "service"
    name, points = _fitted(box.name, size - 0.08, points)
    axes.add_patch(
        FancyBboxPatch(
            (x - size / 2, y - _BOX_HEIGHT / 2),
            size,
            _BOX_HEIGHT,
            boxstyle=f"round,pad=0,rounding_size={0.24 if box.kind == 'proxy' else 0.05}",
            facecolor=_FACES.get(kind, "#dcebf6"),
            edgecolor=_EDGES.get(kind, "#0072B2"),
            linewidth=1.4,
            linestyle="-" if box.running else (0, (3, 2)),
            zorder=3,
        )
    )
    said = box.kind if box.running else f"{box.kind}, stopped"
    words: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4, "parse_math": False}
    lift = 0.08 if said else 0
    axes.text(x, y + lift, name, fontsize=points, fontweight="bold", linespacing=0.95, **words)
    axes.text(x, y - 0.17, said, fontsize=7.5, color=FAINT, **words)


def _fitted(name: str, width: float, most: float = _SIZES[0]) -> tuple[str, float]:
    """Return a name in one line or two, and its size in points; what does not fit is cut off."""
    for lines in (1, 2):
        for points in (each for each in _SIZES if each <= most):
            fits = max(2, int(width / (_CHARACTER * points)))
            wrapped = textwrap.wrap(name, fits, break_long_words=False) or [""]
            if len(wrapped) <= lines and max(map(len, wrapped)) <= fits:
                return "\n".join(wrapped), points
    short = textwrap.wrap(name, fits)
    return f"{short[0]}\n{short[1][: fits - 1]}…", points


def _arrow(
    axes: Axes, arrow: Arrow, middles: Mapping[str, tuple[float, float]], size: float
) -> None:
    source, to = middles[arrow.source], middles[arrow.to]
    down = _BOX_HEIGHT / 2
    if to[0] > source[0]:
        start, end = (source[0] + size / 2, source[1]), (to[0] - size / 2, to[1])
        others = [middle for middle in middles.values() if middle not in (source, to)]
        bow = _bow(start, end, size, others)
    else:  # back, or to itself: below the boxes
        apart = size / 5 if source == to else -size / 5
        start, end = (source[0] + apart, source[1] - down), (to[0] - apart, to[1] - down)
        bow = _BACK
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            connectionstyle=f"arc3,rad={-bow / math.dist(start, end)}",
            linestyle=(0, (4, 2)) if arrow.connections else "-",
            color=INK,
            linewidth=1.2,
            shrinkA=1,
            shrinkB=1,
            zorder=2,
        )
    )
    if arrow.connections:
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.1
        words = f"{arrow.connections} connection{'s' * (arrow.connections > 1)}"
        axes.text(*middle, words, fontsize=7.5, color=FAINT, ha="center", va="bottom", zorder=4)


def _bow(
    start: tuple[float, float],
    end: tuple[float, float],
    size: float,
    others: Sequence[tuple[float, float]],
) -> float:
    """Return how far to pull an arrow up at its middle, so that it passes behind fewest boxes."""

    def hidden(bow: float) -> int:
        """Count the points, of some on the way, that are behind a box."""
        length = math.dist(start, end)
        middle = (
            (start[0] + end[0]) / 2 - bow * (end[1] - start[1]) / length,
            (start[1] + end[1]) / 2 + bow * (end[0] - start[0]) / length,
        )
        count = 0
        for step in range(1, _STEPS):
            t = step / _STEPS
            x, y = (
                (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
                for a, b, c in zip(start, middle, end, strict=True)
            )
            count += any(
                abs(x - box[0]) < size / 2 + _GAP and abs(y - box[1]) < _BOX_HEIGHT / 2 + _GAP
                for box in others
            )
        return count

    return min(_BOWS, key=hidden)

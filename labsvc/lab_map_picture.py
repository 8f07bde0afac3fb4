"""How the map of a lab is drawn: boxes in columns, arrows from left to right."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from labsvc.measure.figure import FAINT, INK, SCALE, STYLE, png_of
from labsvc.measure.series import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labsvc.lab_map import Arrow, Box, Chart

_ROW = 0.9  # inches
_BOX_HEIGHT = 0.58
_TOP = 0.6
_MARGIN = 0.25
_WIDEST_BOX = 1.55
_SIZES = (10.5, 9.0, 8.0, 7.0)  # points, of names
_CHARACTER = 0.0098  # inches for each point of size, about, of bold letters
_FACES = {"": "#ffffff", "proxy": "#fdf3d8", "outside": "#f3f3f3"}
_EDGES = {"": FAINT, "proxy": "#E69F00", "outside": FAINT}


def png(chart: Chart, title: str, alt: str) -> bytes:
    """Draw a map and return it as PNG."""
    rows = max((len(column) for column in chart.columns), default=1)
    width, height = WIDTH / 100, _TOP + _ROW * rows + 0.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=100 * SCALE, facecolor="white")
        figure.patch.set(edgecolor="#bdbdbd", linewidth=1.5)
        canvas: Any = FigureCanvasAgg(figure)
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
        _arrow(axes, arrow, middles[arrow.source], middles[arrow.to], size)


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
    words: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}
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
    axes: Axes, arrow: Arrow, source: tuple[float, float], to: tuple[float, float], size: float
) -> None:
    half = size / 2
    ahead = to[0] > source[0]
    start = (source[0] + half, source[1]) if ahead else (source[0], source[1] - _BOX_HEIGHT / 2)
    end = (to[0] - half, to[1]) if ahead else (to[0], to[1] - _BOX_HEIGHT / 2)
    far = abs(to[0] - source[0]) > 2.5 * size and to[1] == source[1]
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            connectionstyle=f"arc3,rad={-0.25 if far or not ahead else 0}",
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

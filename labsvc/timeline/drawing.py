"""Shapes drawn with matplotlib: importing this module imports it.

Colours are those of Okabe and Ito; hatches, edges and the forms of signs say the same once more.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.patches import Polygon

from labsvc.measure.figure import FAINT, INK, STYLE, blank, png_of
from labsvc.measure.series import WIDTH
from labsvc.timeline.shapes import SIZES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labsvc.timeline.shapes import Box, Line, Shapes, Words

_GROUND = "#ffffff"
_RED = "#a33f00"  # vermillion, dark enough for small words
_BOXES: dict[str, tuple[str, str, str, float]] = {  # face, edge, hatch, order
    "fold": ("#e1e5e8", "none", "", 2),
    "handler": ("#0072B2", "#0072B2", "", 3),
    "cancelled": ("#e2eff8", "#0072B2", "////", 3),
    "wasted": ("#fbe5d6", "#D55E00", "xxxx", 3),
    "call": ("#56B4E9", "#3c95c8", "", 3),
    "queue": ("#f6e1ed", "#b0598b", "", 3),
    "consumer": ("#d5efe6", "#007a59", "", 3),
}
_LINES: dict[str, dict[str, Any]] = {
    "lane": {"color": "#b9c0c7", "linewidth": 0.9, "zorder": 1},
    "grid": {"color": "#e3e6e9", "linewidth": 0.8, "zorder": 1},
    "note": {"color": FAINT, "linewidth": 1.1, "zorder": 2.5},
    "deadline": {"color": "#000000", "linewidth": 1.5, "linestyle": (0, (3.2, 1.8)), "zorder": 4.5},
}
_ARROWS: dict[str, dict[str, Any]] = {
    "request": {"color": INK, "linewidth": 1.0},
    "answer": {"color": FAINT, "linewidth": 1.0, "linestyle": (0, (3, 2))},
    "lost": {"color": "#D55E00", "linewidth": 1.2, "linestyle": (0, (3, 2))},
}
_MARKS: dict[str, dict[str, Any]] = {
    "committed": {"marker": "D", "s": 30, "c": "#F0E442", "edgecolors": INK, "linewidths": 0.9},
    "loss": {"marker": "x", "s": 44, "c": "#D55E00", "linewidths": 2.3},
    "gone": {"marker": "X", "s": 40, "c": INK, "edgecolors": "white", "linewidths": 0.6},
    "delayed": {"marker": "s", "s": 26, "c": "#E69F00", "edgecolors": INK, "linewidths": 0.7},
    "connected": {"marker": "o", "s": 22, "c": "white", "edgecolors": FAINT, "linewidths": 1.2},
    "dot": {"marker": "o", "s": 16, "c": INK, "linewidths": 0},
    "acked": {"marker": "o", "s": 28, "c": "#009E73", "edgecolors": "white", "linewidths": 0.6},
    "requeued": {"marker": "<", "s": 34, "c": "#E69F00", "edgecolors": INK, "linewidths": 0.7},
    "tick": {"marker": "|", "s": 60, "c": "white", "linewidths": 1.3},
    "tick on call": {"marker": "|", "s": 40, "c": INK, "linewidths": 1.1},
}
_WORDS: dict[str, dict[str, Any]] = {
    "title": {"fontweight": "bold"},
    "panel": {"fontweight": "bold"},
    "lane": {"fontweight": "bold"},
    "role": {"color": FAINT},
    "caption": {"color": FAINT},
    "legend": {"color": INK},
    "axis": {"color": FAINT},
    "inside": {"color": "white", "bbox": "#0072B2"},
    "in hatch": {"bbox": "white"},
    "beside": {"bbox": _GROUND},
    "status": {"color": _RED, "bbox": _GROUND},
    "status in": {"color": _RED, "bbox": "white"},
    "fold": {"color": "#44484d"},
    "note": {"color": "#44484d", "bbox": _GROUND},
    "deadline": {"bbox": _GROUND},
    "in queue": {"bbox": "#f6e1ed"},
    "in consumer": {"bbox": "#d5efe6"},
}
_SIZE = 8.5  # of words that have no size of their own
_TOOTH = 0.04  # inches, of a torn end


def png(shapes: Shapes, height: float, title: str, alt: str) -> bytes:
    """Return a figure of this height in inches as PNG."""
    with mpl.rc_context({**STYLE, "hatch.linewidth": 0.9}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is a box
        figure, canvas = blank(height)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH / 100)
        axes.set_ylim(height, 0)
        for box in shapes.boxes:
            _box(axes, box)
        for line in shapes.lines:
            _line(axes, line)
        for look in sorted({mark.look for mark in shapes.marks}):
            marks = [mark for mark in shapes.marks if mark.look == look]
            axes.scatter([m.x for m in marks], [m.y for m in marks], zorder=6, **_MARKS[look])
        for words in shapes.words:
            _words(axes, words)
        canvas.draw()
        return png_of(canvas, title, alt)


def _box(axes: Axes, box: Box) -> None:
    face, edge, hatch, order = _BOXES[box.look]
    middle = (box.y0 + box.y1) / 2
    left = [(box.x0, box.y1), (box.x0, box.y0)]
    right = [(box.x1, box.y0), (box.x1, box.y1)]
    if "l" in box.torn:
        left.insert(1, (box.x0 + _TOOTH, middle))
    if "r" in box.torn:
        right.insert(1, (box.x1 - _TOOTH, middle))
    patch = Polygon(
        [*left, *right],
        closed=True,
        facecolor=face,
        edgecolor=edge,
        hatch=hatch or None,
        linewidth=0.9 if edge != "none" else 0,
        joinstyle="miter",
        zorder=order,
    )
    axes.add_patch(patch)


def _line(axes: Axes, line: Line) -> None:
    if line.look in _LINES:
        axes.plot([line.x0, line.x1], [line.y0, line.y1], **_LINES[line.look])
        return
    style = {"arrowstyle": "-|>,head_width=.16,head_length=.34", "shrinkA": 0, "shrinkB": 0}
    look = {**_ARROWS[line.look], **({"arrowstyle": "-"} if line.look == "lost" else {})}
    axes.annotate(
        "", (line.x1, line.y1), (line.x0, line.y0), arrowprops={**style, **look}, zorder=5
    )


def _words(axes: Axes, words: Words) -> None:
    look = dict(_WORDS.get(words.look, {}))
    if (ground := look.pop("bbox", None)) is not None:
        look["bbox"] = {"boxstyle": "square,pad=0.1", "facecolor": ground, "edgecolor": "none"}
    text = axes.text(
        words.x,
        words.y,
        words.text,
        ha=words.align,
        va="center_baseline",
        fontsize=SIZES.get(words.look, _SIZE),
        zorder=7,
        **look,
    )
    text.set_parse_math(False)

"""The picture of a sweep: points from left to right, faults below each other, what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

from labsvc.measure.figure import FAINT, INK, STYLE, blank, png_of
from labsvc.measure.plots import Plot
from labsvc.measure.series import WIDTH

if TYPE_CHECKING:
    from labsvc.sweep.outcome import Case, State, Sweep
    from labsvc.sweep.points import Point

_LOOKS: dict[State, tuple[str, str]] = {
    "kept": ("#009E73", "o"),
    "broken": ("#D55E00", "X"),
    "unknown": ("#9a9a9a", "$?$"),
}  # colours of Okabe and Ito; the markers say the same once more
_ROW = 0.3  # inches
_CHARACTER = 0.068  # inches, about, at the size of the labels
_TOP = 0.75
_COLUMN = 0.42


def plot(sweep: Sweep, title: str) -> Plot:
    """Draw each case in the column of its last point and the row of its faults."""
    cases = [case for case in sweep.cases if case.plan]
    columns = _columns(cases)
    rows = list(dict.fromkeys(map(_row, cases)))
    left = 0.35 + _CHARACTER * max(map(len, rows), default=0)
    bottom = 0.25 + _CHARACTER * max(map(len, columns), default=0)
    height = _TOP + _ROW * max(1, len(rows)) + bottom
    with mpl.rc_context(STYLE):
        figure, canvas = blank(height)
        width = min(WIDTH / 100 - left - 0.2, _COLUMN * max(1, len(columns)))
        box = (left, bottom, width, _ROW * max(1, len(rows)))
        axes = figure.add_axes(
            (box[0] / (WIDTH / 100), box[1] / height, box[2] / (WIDTH / 100), box[3] / height)
        )
        for state, (color, marker) in _LOOKS.items():
            mine = [case for case in cases if case.state == state]
            axes.scatter(
                [columns.index(_label(case.plan[-1].point)) for case in mine],
                [rows.index(_row(case)) for case in mine],
                c=color,
                marker=marker,
                s=70,
                label=f"{state} ({len(mine)})",
            )
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(rows)), rows)
        axes.grid(visible=True, color="#e3e3e3", linewidth=0.8)
        axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axes.tick_params(length=0, labelcolor=INK, labelsize=9)
        figure.text(0.02, 1 - 0.26 / height, title, fontsize=14, fontweight="bold", va="center")
        figure.legend(
            loc="upper left",
            bbox_to_anchor=(0.01, 1 - 0.4 / height),
            ncols=3,
            frameon=False,
            labelcolor=FAINT,
            fontsize=9.5,
        )
        canvas.draw()
        alt = _alt(sweep, title)
        return Plot(png_of(canvas, title, alt), alt, f"Sweep plot: {str(sweep).splitlines()[0]}")


def _columns(cases: list[Case]) -> list[str]:
    """Name the points that were struck, in the order in which runs reach them."""
    struck = {_label(case.plan[-1].point) for case in cases}
    order: list[str] = []
    for case in cases:
        place = 0
        for label in dict.fromkeys(map(_label, case.points)):
            if label in order:
                place = order.index(label) + 1
            elif label in struck:
                order.insert(place, label)
                place += 1
    return order


def _row(case: Case) -> str:
    """Name the faults of a case; the last one stands in the column of its point."""
    *first, last = case.plan
    before = [f"{_label(strike.point)} {strike.fault}, then " for strike in first]
    after = " after" if last.point.kind == "committed" else ""
    return "".join(before) + last.fault + after


def _label(point: Point) -> str:
    kind = "commit" if point.kind == "committed" else point.kind
    return f"{kind} {point.number}"


def _alt(sweep: Sweep, title: str) -> str:
    """Say in words what the figure shows."""
    parts = [
        f"{title}.",
        "A grid: points of the run from left to right, faults from top to bottom.",
    ]
    parts.append(f"{str(sweep).splitlines()[0]}.")
    if sweep.smallest is not None:
        parts.append(f"The smallest case that breaks: {sweep.smallest}.")
    return " ".join(parts)

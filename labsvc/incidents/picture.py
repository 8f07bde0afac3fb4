"""The picture of an incident: each order where its customer wanted it, and how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from labsvc.measure.figure import INK, STYLE, blank, png_of, write_title
from labsvc.measure.plots import Plot
from labsvc.measure.series import WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.incidents.customers import Placed

_HEIGHT = 4.0  # inches
_ANSWERED, _FAILED = "#0072B2", "#D55E00"


def plot(placed: Sequence[Placed], marks: Mapping[str, float], title: str) -> Plot:
    """Draw orders over time, with a line for each moment of `marks`, by its name."""
    start = min((each.start for each in placed), default=0.0)
    good = [each for each in placed if each.confirmed]
    bad = [each for each in placed if not each.confirmed]
    caption = f"{len(placed)} orders, {len(bad)} of them failed; time from when it was wanted"
    named = ", ".join(f"{name} at {at - start:.1f} s" for name, at in marks.items())
    alt = f"Orders over time. {title}. {caption}. Marked: {named or 'nothing'}."
    with mpl.rc_context(STYLE):
        figure, canvas = blank(_HEIGHT)
        write_title(figure, _HEIGHT, title, caption)
        axes = figure.add_axes((0.085, 0.92 / _HEIGHT, 0.89, 1 - 1.75 / _HEIGHT))
        for some, color, marker, label in (
            (good, _ANSWERED, "o", "answered"),
            (bad, _FAILED, "x", "failed"),
        ):
            axes.plot(
                [each.start - start for each in some],
                [each.seconds for each in some],
                color=color,
                marker=marker,
                markersize=4.5,
                linestyle="",
                label=label,
            )
        for name, at in marks.items():
            axes.axvline(at - start, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
            axes.annotate(
                name,
                (at - start, 1.0),
                (4, 4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=9.5,
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:g} ms"))
        axes.set_xlabel("seconds")
        axes.grid(visible=True, color="#e3e3e3", linewidth=0.8)
        figure.legend(
            loc="upper right",
            bbox_to_anchor=(WIDTH / 100 - 0.2, _HEIGHT - 0.14),
            bbox_transform=figure.dpi_scale_trans,
            ncols=2,
            frameon=False,
        )
        canvas.draw()
        png = png_of(canvas, title, alt)
    return Plot(png, alt, f"Orders over time, with {', '.join(marks) or 'no marks'}")

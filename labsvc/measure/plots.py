"""What a notebook shows of a comparison or a load: a picture, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labsvc.measure.series import WIDTH, Series

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from labsvc.measure.compare import Comparison
    from labsvc.measure.load import Load


@dataclass(frozen=True, repr=False)
class Plot:
    """A finished figure: PNG bytes, an alternative text, and a text that is always the same.

    In a notebook it shows itself, 900 pixels wide and drawn at twice that for dense screens. The
    alternative text travels in the output's metadata and inside the PNG.
    """

    png: bytes
    alt: str
    text: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the PNG to `path`."""
        Path(path).write_bytes(self.png)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        return (
            {"image/png": self.png, "text/plain": self.text},
            {"image/png": {"alt": self.alt, "width": WIDTH}},
        )

    def __repr__(self) -> str:
        """Name what is drawn, without a time."""
        return self.text


def plot_comparison(comparison: Comparison, title: str | None = None) -> Plot:
    """Draw every variant of a comparison."""
    series = [
        Series(name, histogram, sum(comparison.errors[name].values()))
        for name, histogram in comparison.latency.items()
    ]
    rounds = len(next(iter(comparison.rounds.values())))
    turns = " that took turns" if len(series) > 1 else ""
    return _plot(series, title, f"in {rounds} rounds{turns}")


def plot_loads(loads: Mapping[str, Load], title: str | None = None) -> Plot:
    """Draw the latency of several loads, such as a closed and an open loop on one service."""
    series = [Series(name, load.latency, load.failed.count) for name, load in loads.items()]
    return _plot(series, title)


def plot_load(load: Load, title: str | None = None) -> Plot:
    """Draw one load; of an open loop the service time too, which hides the wait before a call."""
    failed = load.failed.count
    if load.service is load.latency:
        series = [Series("latency", load.latency, failed)]
    else:
        series = [
            Series("from the intended start", load.latency, failed),
            Series("from the actual start", load.service, failed),
        ]
    return _plot(series, title)


def _plot(series: list[Series], title: str | None, how: str = "") -> Plot:
    from labsvc.measure.figure import draw

    if not series:
        msg = "there is nothing to draw: give at least one load, as {name: load}"
        raise ValueError(msg)
    title = title or "Latency per call"
    counts = [f"{one.latency.count:,}" for one in series]
    each = " each" if len(series) > 1 else ""
    sample = counts[0] + each if len(set(counts)) == 1 else ", ".join(counts)
    caption = f"Answered calls: {' '.join(filter(None, (sample, how)))}; warm-up left out."
    alt = _alt(series, title, caption)
    return Plot(draw(series, title, caption, alt), alt, _text(series))


def _text(series: list[Series]) -> str:
    return "Latency plot: " + "; ".join(
        f"{one.name}, {one.latency.count + one.failed} calls" for one in series
    )


def _alt(series: list[Series], title: str, caption: str) -> str:
    """Say in words what the figure shows; the order of the lines, but no time."""
    drawn = [one for one in series if one.latency.count]
    parts = [
        f"{title}.",
        "Two panels with latency on a logarithmic scale: by percentile, and as a distribution.",
        "Shown: " + ", ".join(one.legend for one in series) + ".",
    ]
    if len(drawn) > 1:
        for q, where in ((0.5, "At the median"), (0.99, "At the 99th percentile")):
            order = sorted(drawn, key=lambda one: one.latency.quantile(q))
            parts.append(f"{where}, from fastest to slowest: {', '.join(o.name for o in order)}.")
    return " ".join([*parts, caption])

"""Latency measured honestly: histograms, load, comparison and the plot of it.

Nothing that is printed holds a raw time; raw latencies are in plots only.
"""

from __future__ import annotations

from labsvc.measure.compare import (
    Comparison,
    Quantiles,
    Ratio,
    Verdict,
    compare,
    compare_async,
)
from labsvc.measure.histogram import Histogram
from labsvc.measure.load import Load, closed_loop, closed_loop_async, open_loop, open_loop_async
from labsvc.measure.plots import Plot, plot_loads

__all__ = [
    "Comparison",
    "Histogram",
    "Load",
    "Plot",
    "Quantiles",
    "Ratio",
    "Verdict",
    "closed_loop",
    "closed_loop_async",
    "compare",
    "compare_async",
    "open_loop",
    "open_loop_async",
    "plot_loads",
]

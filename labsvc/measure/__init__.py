"""Latency measured honestly: ways to load a service, a comparison, plots; and peaks of memory.

    `load`         closed and open loops, with threads and with asyncio: how a service bears a load
    `compare`      ways to do one thing, turn by turn under the same noise, and a judgement
    `histogram`    latencies of one kind of call and their quantiles, by HdrHistogram
    `record`       one timed call: what each load and comparison is made of
    `plots`        what a notebook shows of them: a picture, and the same in words
    `figure`       how that picture is drawn, and `series` its lines
    `memory`       by how much the peak of a process grows with a piece of work

Nothing that is printed holds a raw time; raw latencies are in plots only.
"""

from __future__ import annotations

from labsvc.measure.compare import (
    Comparison,
    Judgement,
    Quantiles,
    Ratio,
    aio_compare,
    compare,
)
from labsvc.measure.histogram import Histogram
from labsvc.measure.load import Load, aio_closed_loop, aio_open_loop, closed_loop, open_loop
from labsvc.measure.memory import PeakGrowth, peak_growth
from labsvc.measure.plots import Plot, plot_loads

__all__ = [
    "Comparison",
    "Histogram",
    "Judgement",
    "Load",
    "PeakGrowth",
    "Plot",
    "Quantiles",
    "Ratio",
    "aio_closed_loop",
    "aio_compare",
    "aio_open_loop",
    "closed_loop",
    "compare",
    "open_loop",
    "peak_growth",
    "plot_loads",
]

"""Real services in a Jupyter kernel: host them, hurt them, measure them.

What a notebook holds:
    `lab`         what runs in this kernel, by name; `serving` is what it can start, and `hosts`
                  has a module for each kind of service; `lab_map` has who talks to whom, and
                  `lab_map_picture` draws it; `panel` shows it live
    `proxy`       a middlebox before a service; `faults` is what it can do to connections
    `measure`     load, comparison and plots
    `timeline`    what happened in a run, in order and as a picture
    `sweep`       a fault at every point of a run where one can strike, and what still holds
    `incidents`   a watched shop, and what goes wrong in it
    `checks`      the exercises; `cells` is what cells of many notebooks use
    `shop`        the running example
    `h2_pings`    pings from an over-eager client
What is kept to take to work: `rpc`, `web`, `delivery`, `discovery`, `state`, `telemetry`. The
broker: `amqp`.
What carries it: `loop`, `child`, `guard`, `worker`, `kernel`, `ports`, `quiet`, `engines`,
`errors`, `folders`, `grammars`.
The command line: `doctor`, `jupyter`, `symptoms`, and the learner's copy in `course`.

The names below load on first use, so that `import labsvc` stays quick.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

# gRPC's C core reads both when it is first loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

if TYPE_CHECKING:
    from labsvc.cells import aio_outcome, aio_until, outcome, until
    from labsvc.checks import check, hint, progress, replay, solution
    from labsvc.errors import LabError
    from labsvc.lab import Lab
    from labsvc.measure import (
        aio_closed_loop,
        aio_compare,
        aio_open_loop,
        closed_loop,
        compare,
        open_loop,
    )

__version__ = "0.1.0"

__all__ = [
    "Lab",
    "LabError",
    "aio_closed_loop",
    "aio_compare",
    "aio_open_loop",
    "aio_outcome",
    "aio_until",
    "check",
    "closed_loop",
    "compare",
    "hint",
    "open_loop",
    "outcome",
    "progress",
    "replay",
    "solution",
    "until",
]

_HOME = {
    "Lab": "labsvc.lab",
    "LabError": "labsvc.errors",
    "aio_closed_loop": "labsvc.measure",
    "aio_compare": "labsvc.measure",
    "aio_open_loop": "labsvc.measure",
    "aio_outcome": "labsvc.cells",
    "aio_until": "labsvc.cells",
    "check": "labsvc.checks",
    "closed_loop": "labsvc.measure",
    "compare": "labsvc.measure",
    "hint": "labsvc.checks",
    "open_loop": "labsvc.measure",
    "outcome": "labsvc.cells",
    "progress": "labsvc.checks",
    "replay": "labsvc.checks",
    "solution": "labsvc.checks",
    "until": "labsvc.cells",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module when it is first asked for (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        msg = f"module 'labsvc' has no attribute {name!r}; it offers {', '.join(__all__)}"
        raise AttributeError(msg)
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})

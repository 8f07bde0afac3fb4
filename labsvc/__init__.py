"""Real services in a Jupyter kernel: host them, hurt them, measure them.

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
    from labsvc.checks import check, progress
    from labsvc.errors import LabError
    from labsvc.lab import Lab
    from labsvc.measure import closed_loop, compare, compare_async, open_loop

__version__ = "0.1.0"

__all__ = [
    "Lab",
    "LabError",
    "check",
    "closed_loop",
    "compare",
    "compare_async",
    "open_loop",
    "progress",
]

_HOME = {
    "Lab": "labsvc.lab",
    "LabError": "labsvc.errors",
    "check": "labsvc.checks",
    "closed_loop": "labsvc.measure",
    "compare": "labsvc.measure",
    "compare_async": "labsvc.measure",
    "open_loop": "labsvc.measure",
    "progress": "labsvc.checks",
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

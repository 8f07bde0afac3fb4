"""How long a test waits for what is promised within some seconds."""

from __future__ import annotations

import os


def patience(seconds: float) -> float:
    """Return `seconds` on a machine with time to spare, more where programs queue for a core."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))

"""Check what a learner wrote against real services and real faults.

`check("03-deadlines", get_order)` prints a verdict, `progress()` what is solved. The engine's
docstring shows how a notebook's module adds an exercise.
"""

from __future__ import annotations

from labsvc.checks.engine import check, run_check
from labsvc.checks.progress import show as progress
from labsvc.checks.verdict import Verdict

__all__ = ["Verdict", "check", "progress", "run_check"]

"""Which part of a long list is tried: another one with each commit."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path


@cache
def turn_of_the_commit() -> int:
    """Return a number that differs from commit to commit, 0 without git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        said = subprocess.check_output(
            command, cwd=Path(__file__).parent, text=True, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(said, 16)

"""Run a solved notebook against another engine, and compare its outputs with the stored ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent.parent


def must_hold(name: str, variables: Mapping[str, str]) -> None:
    """Hold that each cell prints what is stored, with these variables in the environment."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--nbval", str(ROOT / "notebooks" / "solutions" / f"{name}.ipynb")),
        *("--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg")),
        *("--nbval-current-env", "--nbval-cell-timeout", "60"),
    ]
    env = {**os.environ, **variables}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=280
    )
    assert done.returncode == 0, done.stdout[:8000] + done.stderr[-2000:]

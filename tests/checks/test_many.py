from __future__ import annotations

import tempfile
from pathlib import Path

from tests.checks_in_a_row import exercises, in_a_kernel


def test_all_checks_in_one_kernel() -> None:
    """The course's solutions are solved one after the other, and nothing of the checks is left."""
    with tempfile.TemporaryDirectory() as short:  # a path of pytest's is too long for a socket
        folder = Path(short, "temporary")
        folder.mkdir()
        said = in_a_kernel(len(exercises()), folder, timeout=240)
    assert not said["wrong"]
    assert not said["left"]
    assert len(said["memory"]) == len(exercises())

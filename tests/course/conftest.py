from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labsvc.course import Edition, WorkingCopy, ready
from labsvc.folders import data_folder
from tests.course import make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def old(tmp_path: Path) -> Edition:
    """Write an edition of two notebooks and a test-out."""
    first = make.notebook(make.markdown("# Start here"), make.markdown("Welcome."))
    lesson = make.lesson()
    return make.edition(
        tmp_path / "checkout", n00_start_here=first, n22_deadlines=lesson, nT2_calls=lesson
    )


@pytest.fixture
def copy(old: Edition, tmp_path: Path) -> WorkingCopy:
    """Make a learner's copy of it."""
    made = WorkingCopy(tmp_path / "mine")
    ready(made, old)
    return made


@pytest.fixture
def data() -> Path:
    """Return the learner's data folder."""
    return data_folder()

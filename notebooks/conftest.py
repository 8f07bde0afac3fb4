"""Give each notebook that pytest runs a data folder of its own, as build.py does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_FOLDERS: dict[Path, str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep what a run solves out of the learner's progress, and out of the other notebooks."""
    if item.path not in _FOLDERS:
        factory = item.config._tmp_path_factory  # noqa: SLF001  nbval's cells take no fixtures
        _FOLDERS[item.path] = str(factory.mktemp("data"))
    os.environ["LABSVC_DATA_DIR"] = _FOLDERS[item.path]

"""How pytest runs a notebook: with a data folder and a kernel that nobody shares."""

from __future__ import annotations

import os
from itertools import count
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import nbval.kernel
import pytest
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from pathlib import Path

_SOCKETS = TemporaryDirectory(prefix="nbval-")
_NUMBERS = count()


def _manager(**settings: Any) -> KernelManager:
    """Talk to a kernel over sockets that are files, as build.py does, and for its reason."""
    return KernelManager(transport="ipc", ip=f"{_SOCKETS.name}/{next(_NUMBERS)}", **settings)


if os.name != "nt":
    nbval.kernel.KernelManager = _manager

_FOLDERS: dict[Path, str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep what a run solves out of the learner's progress, and out of the other notebooks."""
    if item.path not in _FOLDERS:
        factory = item.config._tmp_path_factory  # noqa: SLF001  nbval's cells take no fixtures
        _FOLDERS[item.path] = str(factory.mktemp("data"))
    os.environ["LABSVC_DATA_DIR"] = _FOLDERS[item.path]

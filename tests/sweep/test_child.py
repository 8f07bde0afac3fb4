"""How child processes are started, where that depends on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer

from labsvc.sweep import child
from labsvc.sweep.packing import copied
from tests.patience import patience

if TYPE_CHECKING:
    from pathlib import Path

ENDS = """
from labsvc.sweep.child import Child

if __name__ == "__main__":
    print(Child(len, ("abc",), lambda kind: (1, None)).wait().how)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such sockets")
def test_child_where_the_temporary_folder_has_a_long_path(tmp_path: Path) -> None:
    """A path that is too long for a socket (AF_UNIX) does not keep a child from its work."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", ENDS],
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("returned\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is one way only")
@pytest.mark.parametrize(("length", "way"), [(20, "forkserver"), (85, "forkserver"), (86, "spawn")])
def test_way_to_start_children(monkeypatch: pytest.MonkeyPatch, length: int, way: str) -> None:
    """The server is used as long as its socket fits."""
    monkeypatch.setattr(child, "get_temp_dir", lambda: "/" + "t" * (length - 1))
    assert child._context().get_start_method() == way


def test_classes_of_a_c_module_under_another_name() -> None:
    """Those of confluent-kafka say `cimpl`, and nothing of that name can be imported."""
    assert copied(Consumer) is Consumer

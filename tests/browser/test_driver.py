"""What the tests of the browser stand on: the address of a JupyterLab that has just started."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.browser.driver import Server, listening

if TYPE_CHECKING:
    from pathlib import Path

# JupyterLab opens its file, and writes it some time later.
WRITES_LATE = """\
import json, os, pathlib, sys, time

runtime = pathlib.Path("jupyter", "data", "runtime")
runtime.mkdir(parents=True)
told = json.dumps({"url": "http://127.0.0.1:1/", "token": "t"})
with (runtime / f"jpserver-{os.getpid()}.json").open("w") as note:
    for part in ("", told[:20], told[20:]):
        time.sleep(0.3)
        note.write(part)
        note.flush()
sys.stdin.read()
"""


def test_an_address_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    """The file is there before the address is in it, and before all of it is."""
    command = [sys.executable, "-c", WRITES_LATE]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE) as server:
        assert listening(server, tmp_path) == Server("http://127.0.0.1:1/", "t", server)
        server.communicate()

"""The RabbitMQ of the tests itself: nothing of it may outlive them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.engines.rabbit import missing

OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.engines.rabbit import RabbitMQ
server = RabbitMQ()
server.spawn()
print(server.folder, flush=True)
time.sleep(60)
"""


def of(folder: str) -> list[psutil.Process]:
    """Return the processes whose home is a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == folder:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_nothing_outlives_a_killed_test_run() -> None:
    """SIGKILL of the process that started it ends the server, its epmd, and their folder."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        folder = owner.stdout.readline().strip()
        assert folder
        wanted = {"epmd", "beam.smp"}
        while not wanted <= {process.name() for process in of(folder)}:
            time.sleep(0.02)
        if os.getuid() == 0:
            users = {p.username() for p in of(folder) if p.name() in wanted}
            assert users == {"rabbitmq"}
        owner.kill()
    while of(folder) or Path(folder).exists():
        time.sleep(0.02)

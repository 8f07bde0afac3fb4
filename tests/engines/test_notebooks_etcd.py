"""The notebook on discovery prints against another etcd what it prints against the lab's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyetcd
import pytest

from labsvc.cells import until
from labsvc.engines import find_etcd
from labsvc.errors import EngineError
from labsvc.lab import Lab
from tests.patience import patience

ROOT = Path(__file__).parent.parent.parent
SOLVED = ROOT / "notebooks" / "solutions"


@pytest.mark.timeout(300)
def test_stored_outputs_hold_on_another_etcd() -> None:
    """With ETCD_ENDPOINTS every cell prints what is stored, and the notebook leaves no key."""
    try:
        find_etcd()
    except EngineError as error:
        pytest.skip(str(error))
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--nbval", str(SOLVED / "42_discovery.ipynb"), "--nbval-current-env"),
        *("--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg")),
        *("--nbval-cell-timeout", "60"),
    ]
    with Lab() as lab:
        other = lab.serve_etcd(nodes=3, embedded=True)
        env = os.environ | {"ETCD_ENDPOINTS": other.target}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=280
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        host, _, port = other.target.rpartition(":")
        with pyetcd.client(host, int(port), timeout=5) as etcd:
            # A revision was written for each registration: the notebook was here.
            assert etcd.get_prefix_response("/").header.revision > 10
            until(lambda: not list(etcd.get_prefix("/")), timeout=patience(20))

"""The notebook on discovery prints against another etcd what it prints against the lab's own."""

from __future__ import annotations

import pyetcd
import pytest

from labsvc.cells import until
from labsvc.engines import find_etcd
from labsvc.lab import Lab
from tests.engines.stored_outputs import must_hold
from tests.needs import need
from tests.patience import patience


@pytest.mark.timeout(300)
def test_stored_outputs_hold_on_another_etcd() -> None:
    """With ETCD_ENDPOINTS every cell prints what is stored, and the notebook leaves no key."""
    need(find_etcd)
    with Lab() as lab:
        # One node: of three, each in want of a core, the leader changes, and one failed write makes
        # pyetcd's client refuse its node for 300 s. The notebook says so.
        other = lab.serve_etcd(embedded=True)
        env = {"ETCD_ENDPOINTS": other.target}
        must_hold("42_discovery", env)
        host, _, port = other.target.rpartition(":")
        with pyetcd.client(host, int(port), timeout=5) as etcd:
            # A revision was written for each registration: the notebook was here.
            assert etcd.get_prefix_response("/").header.revision > 10
            until(lambda: not list(etcd.get_prefix("/")), timeout=patience(20))

"""The lab's etcd where a port that it chose is taken before a node listens there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from labsvc.hosts import etcd
from labsvc.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path


def test_other_ports_when_another_program_was_quicker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that finds a port taken starts on others: no node remembers the first ones."""
    found = []
    with socket.socket() as quicker:

        def taken_at_first(nodes: int, first: int = 0) -> list[tuple[int, int]]:
            found.append(free_ports(nodes, first))
            if len(found) == 1:
                quicker.bind((HOST, found[0][2][1]))
                quicker.listen()
            return found[-1]

        free_ports = etcd._free_ports
        monkeypatch.setattr(etcd, "_free_ports", taken_at_first)
        service = etcd.EtcdService("registry", tmp_path, nodes=3)
        try:
            service.start()
            assert service.targets == tuple(f"{HOST}:{client}" for client, _ in found[1])
        finally:
            service.release()


def test_nobody_gets_the_ports_of_a_node_that_is_down(tmp_path: Path) -> None:
    """Killed or stopped, a node keeps both: its clients and its peers meet no other program."""
    service = etcd.EtcdService("registry", tmp_path, nodes=3)
    try:
        service.start()
        service.kill(1)
        assert kept(service) == set(service._ports[1])
        service.revive(1)
        assert kept(service) == set()
        service.stop()
        assert kept(service) == {port for ports in service._ports for port in ports}
        service.start()
        assert kept(service) == set()
    finally:
        service.release()


def kept(service: etcd.EtcdService) -> set[int]:
    """Return the ports that it keeps from others.

    To try each would prove nothing: for a minute the system itself gives nobody a port of ended
    connections.
    """
    ports = {held.getsockname()[1] for held in service._held.values()}
    for port in ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
    return ports

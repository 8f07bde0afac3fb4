"""The lab's etcd where a port that it chose is taken before a node listens there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from labsvc.hosts import etcd
from labsvc.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
        for port in service._ports[1]:
            assert taken(port)
        service.revive(1)
        service.stop()
        for ports in service._ports:
            assert all(map(taken, ports))
        service.start()
    finally:
        service.release()


def taken(port: int) -> bool:
    """Say whether the system gives a port to another program."""
    with socket.socket() as other:
        try:
            other.bind((HOST, port))
        except OSError:
            return True
        return False

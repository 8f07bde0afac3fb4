"""etcd in child processes, one node or a cluster, or the cluster that ETCD_ENDPOINTS names."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labsvc.child import Child
from labsvc.engines import find_etcd
from labsvc.errors import EngineError, LabError
from labsvc.hosts.external import ExternalService
from labsvc.hosts.service import Service
from labsvc.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

VARIABLE = "ETCD_ENDPOINTS"
START_TRIES = 3
PROBE_TIMEOUT = 0.5

# Quick elections suit one machine, where messages take microseconds: ready in about 100 ms.
TIMING = ("--heartbeat-interval", "10", "--election-timeout", "100")


class EtcdService(Service):
    """An etcd cluster of `nodes` processes; `Lab.serve_etcd` makes one.

    What was written is kept over a stop and a start, until the lab stops.
    """

    def __init__(self, name: str, folder: Path, nodes: int = 1) -> None:
        if nodes < 1 or nodes % 2 == 0:
            msg = f"nodes must be odd, such as 1 or 3, not {nodes}: a majority has to be clear"
            raise ValueError(msg)
        super().__init__(name)
        self._folder = folder
        self._nodes = nodes
        self._ports: list[tuple[int, int]] = []  # for clients, for peers
        self._children: list[Child] = []

    @property
    def targets(self) -> tuple[str, ...]:
        """The address of each node as "host:port"."""
        return tuple(f"{HOST}:{client}" for client, _ in self._ports)

    def kill(self, node: int) -> None:
        """Kill one node (SIGKILL), by its place in `targets`. `revive` starts it again."""
        with self._lock:
            self._children[node].kill()
            self._hold(self._ports[node])

    def revive(self, node: int) -> None:
        """Start a killed node again, on its port and with its data."""
        with self._lock:
            self._children[node].stop()
            self._let_go(self._ports[node])
            self._children[node] = self._spawn(node)
            self._wait_until_healthy([node])

    def _own_ports(self) -> Iterable[int]:
        return chain.from_iterable(self._ports)

    def _open(self, port: int) -> int:
        for _ in range(START_TRIES):
            if not self._ports:
                self._choose_ports(port)
            self.log.clear()
            try:
                return self._boot()
            except EngineError as error:
                if not any("address already in use" in line for line in self.log):
                    raise
                if port:
                    raise self._port_in_use() from error
                self._ports = []  # another program was quicker: take other ports
        msg = "etcd found no free ports; run `labsvc doctor` to find out why"
        raise LabError(msg)

    def _choose_ports(self, first: int) -> None:
        """Take free ports, and forget a try with others: its nodes know each other by those."""
        self._ports = _free_ports(self._nodes, first)
        for node in range(self._nodes):
            shutil.rmtree(self._data(node), ignore_errors=True)

    def _data(self, node: int) -> Path:
        return self._folder / f"n{node}"

    def _boot(self) -> int:
        try:
            for node in range(self._nodes):
                self._children.append(self._spawn(node))
            self._wait_until_healthy(range(self._nodes))
        except BaseException:
            self._end_children()
            raise
        return self._ports[0][0]

    def _close(self, grace: float) -> None:
        self._end_children()

    def _end_children(self) -> None:
        for child in self._children:
            child.stop()
        self._children = []

    def _spawn(self, node: int) -> Child:
        client, peer = self._ports[node]
        cluster = ",".join(f"n{i}=http://{HOST}:{peer}" for i, (_, peer) in enumerate(self._ports))
        command = [
            *(str(find_etcd().path), "--name", f"n{node}"),
            *("--data-dir", str(self._data(node))),
            *("--listen-client-urls", f"http://{HOST}:{client}"),
            *("--advertise-client-urls", f"http://{HOST}:{client}"),
            *("--listen-peer-urls", f"http://{HOST}:{peer}"),
            *("--initial-advertise-peer-urls", f"http://{HOST}:{peer}"),
            *("--initial-cluster", cluster),
            *("--log-level", "error", *TIMING),
        ]
        return Child(command, self.log)

    def _wait_until_healthy(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._children[node].wait_until(partial(_healthy, self._ports[node][0]))


class ExternalEtcd(ExternalService):
    """A cluster that runs elsewhere, as in etcdctl: "host:port,host:port"."""

    def __init__(self, name: str, endpoints: str) -> None:
        parts = [urlsplit(e if "//" in e else f"//{e}") for e in endpoints.split(",")]
        if not all(part.hostname and part.port for part in parts):
            msg = f"{VARIABLE} must be host:port, or several with commas, not {endpoints!r}"
            raise LabError(msg)
        self.targets = tuple(part.netloc for part in parts)
        super().__init__(name, self.targets[0], VARIABLE)

    def kill(self, node: int) -> None:
        """Refuse, as `stop` does.

        Raises:
            LabError: always.

        """
        self.stop()

    revive = kill


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", "/health")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return False
    else:
        return bool(answer["health"] == "true")
    finally:
        connection.close()


def _free_ports(nodes: int, first: int = 0) -> list[tuple[int, int]]:
    sockets = [socket.socket() for _ in range(2 * nodes)]
    try:
        for place, sock in enumerate(sockets):
            sock.bind((HOST, first if place == 0 else 0))
        ports = [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
    return list(zip(ports[::2], ports[1::2], strict=True))

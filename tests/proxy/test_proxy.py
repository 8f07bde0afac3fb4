from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import aio
from hypothesis import given, settings
from hypothesis import strategies as st

from labsvc.errors import LoopDeadError, PortInUseError
from labsvc.faults import CATALOGUE, Faults
from labsvc.hosts.proxy import Proxy
from labsvc.loop import Loop
from labsvc.ports import reset_on_close
from labsvc.proxy.pipe import QUEUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.proxy.connection import Connection
    from labsvc.proxy.gate import Line

PATIENCE = 20.0  # far beyond what a busy machine needs
MOMENT = 0.2  # how long silence is listened to
CHUNK = 256 * 1024  # what asyncio reads at once


class Upstream:
    """A listening socket whose connections a test drives by hand."""

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(PATIENCE)
        self.target = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> socket.socket:
        """Return the next connection."""
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        return connection


def connect(proxy: Proxy) -> socket.socket:
    """Open a connection to the proxy."""
    host, port = proxy.target.split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def receive(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes, or all there are before the end."""
    parts = bytearray()
    while len(parts) < size and (part := sock.recv(size - len(parts))):
        parts += part
    return bytes(parts)


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)


def joined(proxy: Proxy, count: int = 1) -> bool:
    """Whether so many connections are open through to the upstream."""
    table = connections(proxy)
    return len(table) == count and all(one._upstream.transport for one in table)


def connections(proxy: Proxy) -> list[Connection]:
    """Return the connections in the proxy's table."""
    return list(proxy._middlebox._connections)


def is_silent(sock: socket.socket) -> bool:
    """Whether neither a byte nor an end arrives for a moment."""
    sock.settimeout(MOMENT)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(PATIENCE)
    return False


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """Run a loop for the module; nothing may have gone wrong on it unseen."""
    loop = Loop.start()
    yield loop
    loop.stop()
    assert not [line for line in loop.log if "Traceback" in line]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Listen for what the proxy passes on."""
    upstream = Upstream()
    yield upstream
    upstream.listener.close()


@pytest.fixture
def proxy(loop: Loop, upstream: Upstream) -> Iterator[Proxy]:
    """Start a proxy in front of the upstream; it leaves nothing behind."""
    proxy = Proxy(loop, "wire", upstream.target).start()
    yield proxy
    proxy.release()
    assert proxy.stats.open == 0
    assert not connections(proxy)


@pytest.fixture
def pair(proxy: Proxy, upstream: Upstream) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a connection through the proxy: the client's end and the upstream's."""
    with connect(proxy) as client, upstream.accept() as server:
        until(lambda: joined(proxy))
        yield client, server


Pair = tuple[socket.socket, socket.socket]


# Passing


def test_bytes_pass_both_ways(proxy: Proxy, pair: Pair) -> None:
    """Bytes arrive as they were sent, and are counted by direction."""
    client, server = pair
    client.sendall(b"ping!")
    assert receive(server, 5) == b"ping!"
    server.sendall(b"pong")
    assert receive(client, 4) == b"pong"
    stats = proxy.stats
    assert (stats.bytes_up, stats.bytes_down, stats.dropped) == (5, 4, 0)
    assert (stats.connections, stats.open, stats.silent) == (1, 1, 0)


class Echo:
    """A gate that answers in the upstream's place, and breaks the connection when told."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def up(self, data: bytes) -> None:
        """Send back what the client said, and the upstream another thing."""
        if b"!" in data:
            self._line.reset()
        self._line.pass_down(data.upper())
        self._line.pass_up(b"<" + data)

    def down(self, data: bytes) -> None:
        """Let it through, marked."""
        self._line.pass_down(b">" + data)


def test_a_gate_decides_what_passes(proxy: Proxy, upstream: Upstream) -> None:
    """It sees the bytes of both sides, sends what it likes to either, and can break both."""
    proxy.watch(Echo)
    with connect(proxy) as client, upstream.accept() as server:
        client.sendall(b"ping")
        assert receive(client, 4) == b"PING"
        assert receive(server, 5) == b"<ping"
        server.sendall(b"pong")
        assert receive(client, 5) == b">pong"
        client.sendall(b"!")
        for side in (client, server):
            with pytest.raises(ConnectionResetError):
                side.recv(1)


def test_half_close_passes(proxy: Proxy, pair: Pair) -> None:
    """A client that has said all still gets its answer; then both sides are closed."""
    client, server = pair
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert receive(server, 100) == b"question"
    assert proxy.stats.open == 1
    server.sendall(b"answer")
    server.close()
    assert receive(client, 100) == b"answer"
    until(lambda: proxy.stats.open == 0)
    assert proxy.stats.resets == 0


def test_half_close_of_the_upstream_passes(pair: Pair) -> None:
    """An upstream that has said all still hears its client."""
    client, server = pair
    server.shutdown(socket.SHUT_WR)
    assert receive(client, 1) == b""
    client.sendall(b"late words")
    assert receive(server, 10) == b"late words"


@pytest.mark.parametrize("leaver", [0, 1])
def test_resets_pass(proxy: Proxy, pair: Pair, leaver: int) -> None:
    """A side that leaves with RST in mid-message is seen to do so; it is not our reset."""
    pair[leaver].sendall(b"half a mess")
    assert receive(pair[1 - leaver], 11) == b"half a mess"
    reset_on_close(pair[leaver])
    pair[leaver].close()
    with pytest.raises(ConnectionResetError):
        pair[1 - leaver].recv(1)
    until(lambda: proxy.stats.open == 0)
    assert proxy.stats.resets == 0


def test_small_writes_are_not_held_back(proxy: Proxy, pair: Pair) -> None:
    """TCP_NODELAY is set on both sides, so that Nagle's algorithm adds no 40 ms."""
    (connection,) = connections(proxy)
    for leg in (connection.client, connection._upstream):
        assert leg.transport is not None
        sock = leg.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def flood(sock: socket.socket, block: bytes) -> int:
    """Send the same bytes again and again until nothing more goes; return how many did."""
    sock.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 2**30:
            sent += sock.send(block[sent % len(block) :])
    assert sent < 2**30, "nothing held the sender back"
    return sent


@pytest.mark.parametrize("sender", [0, 1])
def test_back_pressure(proxy: Proxy, pair: Pair, sender: int) -> None:
    """A side that does not read stops the other one, and the proxy holds one chunk at most."""
    source, sink = pair[sender], pair[1 - sender]
    block = bytes(range(256)) * 256
    sent = flood(source, block)
    (connection,) = connections(proxy)
    for leg in (connection.client, connection._upstream):
        assert leg.transport is not None
        assert leg.transport.get_write_buffer_size() <= CHUNK
    source.settimeout(PATIENCE)
    source.shutdown(socket.SHUT_WR)
    got = receive(sink, 2**30)
    assert got == (block * (sent // len(block) + 1))[:sent]
    assert proxy.stats.resets == 0


def test_queue_of_a_slow_link_is_bounded(proxy: Proxy, pair: Pair) -> None:
    """A long delay holds a fixed amount of bytes, then the sender has to wait."""
    client, _ = pair
    proxy.set(delay=60)
    (connection,) = connections(proxy)
    while not connection._up._held:
        flood(client, bytes(2**16))
    assert QUEUE_BYTES <= connection._up._queued <= QUEUE_BYTES + CHUNK


@pytest.mark.parametrize("leaver", [0, 1])
def test_reset_beside_full_buffers(proxy: Proxy, pair: Pair, leaver: int) -> None:
    """A side that resets is not kept waiting for the other one to read."""
    flood(pair[leaver], bytes(2**16))
    (connection,) = connections(proxy)
    pipe = connection._up if leaver == 0 else connection._down
    until(lambda: pipe._blocked)
    flood(pair[1 - leaver], bytes(2**16))
    reset_on_close(pair[leaver])
    pair[leaver].close()
    until(lambda: proxy.stats.open == 0)


@pytest.fixture
def deaf_proxy(loop: Loop) -> Iterator[Proxy]:
    """Start a proxy whose upstream neither takes nor refuses connections: its backlog is full."""
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(door.getsockname())
        proxy = Proxy(loop, "wire", f"127.0.0.1:{door.getsockname()[1]}").start()
        yield proxy
        proxy.release()
        assert not connections(proxy)


@pytest.mark.parametrize("act", [Proxy.cut, Proxy.stop, Proxy.release])
def test_reset_while_connecting(deaf_proxy: Proxy, act: Callable[[Proxy], None]) -> None:
    """A connection that still waits for its upstream can be cut, and ends with the proxy."""
    with connect(deaf_proxy) as client:
        client.sendall(b"hello?")
        until(lambda: deaf_proxy.stats.open == 1)
        act(deaf_proxy)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert (deaf_proxy.stats.open, deaf_proxy.stats.bytes_up) == (0, 0)


def test_freeze_while_connecting(deaf_proxy: Proxy) -> None:
    """A connection that still waits for its upstream falls silent like the others."""
    with connect(deaf_proxy) as client:
        until(lambda: deaf_proxy.stats.open == 1)
        deaf_proxy.freeze()
        client.sendall(b"hello?")
        until(lambda: deaf_proxy.stats.dropped == 6)
    until(lambda: deaf_proxy.stats.open == 0)


def test_upstream_that_refuses(proxy: Proxy, upstream: Upstream) -> None:
    """A client whose upstream is down sees the end of its connection at once."""
    upstream.listener.close()
    with pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)
    stats = proxy.stats
    assert (stats.connections, stats.refused, stats.resets, stats.open) == (1, 1, 0, 0)


def test_upstream_that_restarts(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """The proxy finds an upstream again that went and came back on its port."""
    client, server = pair
    upstream.listener.close()
    server.close()
    assert receive(client, 1) == b""
    client.close()
    again = Upstream(int(upstream.target.split(":")[1]))
    with again.listener, connect(proxy) as client, again.accept() as server:
        client.sendall(b"hello again")
        assert receive(server, 11) == b"hello again"


def test_many_connections(proxy: Proxy, upstream: Upstream) -> None:
    """Connections are counted one by one and do not mix."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(proxy)) for _ in range(60)]
        for number, client in enumerate(clients):
            client.sendall(bytes([number]))
        servers = [stack.enter_context(upstream.accept()) for _ in clients]
        for server in servers:
            server.sendall(receive(server, 1) * 2)
        for number, client in enumerate(clients):
            assert receive(client, 2) == bytes([number, number])
        assert (proxy.stats.connections, proxy.stats.open) == (60, 60)
    until(lambda: proxy.stats.open == 0)


def test_reset_stats(proxy: Proxy, pair: Pair) -> None:
    """Counting starts anew; a connection that is open stays open, and goes on counting."""
    client, server = pair
    client.sendall(b"12345")
    receive(server, 5)
    proxy.reset_stats()
    assert (proxy.stats.connections, proxy.stats.bytes_up, proxy.stats.open) == (0, 0, 1)
    client.sendall(b"123")
    receive(server, 3)
    assert proxy.stats.bytes_up == 3


STREAM = st.lists(st.binary(max_size=20_000), max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    up=STREAM,
    down=STREAM,
    faults=st.fixed_dictionaries(
        {
            "delay": st.sampled_from([0.0, 0.002]),
            "jitter": st.sampled_from([0.0, 0.003]),
            "bandwidth": st.sampled_from([None, 3e6]),
        }
    ),
    after=st.sampled_from([{}, {"delay": 0.0, "jitter": 0.001}, {"bandwidth": 2e6}]),
)
def test_transparency(
    traffic: tuple[Proxy, Upstream],
    up: list[bytes],
    down: list[bytes],
    faults: dict[str, float],
    after: dict[str, float],
) -> None:
    """Whatever is sent arrives identical in both directions, even if the faults change midway."""
    proxy, upstream = traffic
    proxy.clear()
    proxy.set(**faults)  # type: ignore[arg-type]

    def send(sock: socket.socket, chunks: list[bytes]) -> None:
        for number, chunk in enumerate(chunks):
            sock.sendall(chunk)
            if number == len(chunks) // 2:
                proxy.set(**after)  # type: ignore[arg-type]
        sock.shutdown(socket.SHUT_WR)

    with (
        connect(proxy) as client,
        upstream.accept() as server,
        ThreadPoolExecutor(4) as pool,
    ):
        senders = [pool.submit(send, client, up), pool.submit(send, server, down)]
        at_server = pool.submit(receive, server, 2**20)
        at_client = pool.submit(receive, client, 2**20)
        assert at_server.result() == b"".join(up)
        assert at_client.result() == b"".join(down)
        for sender in senders:
            sender.result()


@pytest.fixture(scope="module")
def traffic(loop: Loop) -> Iterator[tuple[Proxy, Upstream]]:
    """Start one proxy and upstream for all examples."""
    upstream = Upstream()
    proxy = Proxy(loop, "wire", upstream.target).start()
    yield proxy, upstream
    proxy.release()
    upstream.listener.close()


# Worse


def test_delay(proxy: Proxy, pair: Pair) -> None:
    """A delay is paid once in each direction."""
    client, server = pair
    proxy.set(delay=0.1)
    start = time.monotonic()
    client.sendall(b"x")
    receive(server, 1)
    server.sendall(b"y")
    receive(client, 1)
    assert time.monotonic() - start >= 0.2


def test_delay_takes_no_bandwidth(proxy: Proxy, pair: Pair) -> None:
    """Many chunks share the delay: they are on their way at the same time."""
    client, server = pair
    proxy.set(delay=1.0)
    start = time.monotonic()
    for count in range(1, 51):
        client.sendall(b"x")
        until(lambda count=count: waiting(proxy) == count)  # type: ignore[misc]
    assert receive(server, 50) == b"x" * 50
    assert 1.0 <= time.monotonic() - start < 25.0


def waiting(proxy: Proxy) -> int:
    """How many chunks were put on their way to the upstream and have not arrived."""
    (connection,) = connections(proxy)
    return len(connection._up._queue)


def test_jitter_keeps_order(proxy: Proxy, pair: Pair) -> None:
    """Chunks with different delays arrive in the order they were sent."""
    client, server = pair
    proxy.set(jitter=0.02)
    for number in range(100):
        client.sendall(struct.pack("!I", number))
    assert struct.unpack("!100I", receive(server, 400)) == tuple(range(100))


def test_jitter_is_seeded(loop: Loop) -> None:
    """Two proxies draw the same times."""
    one, other = (Proxy(loop, "wire", "127.0.0.1:9")._middlebox.random for _ in range(2))
    assert [one.random() for _ in range(9)] == [other.random() for _ in range(9)]


@pytest.mark.parametrize("sender", [0, 1])
def test_bandwidth(proxy: Proxy, pair: Pair, sender: int) -> None:
    """So many bytes take at least their share of time, in either direction."""
    source, sink = pair[sender], pair[1 - sender]
    proxy.set(bandwidth=200_000)
    start = time.monotonic()
    source.sendall(bytes(60_000))
    assert receive(sink, 60_000) == bytes(60_000)
    assert time.monotonic() - start >= 60_000 / 200_000


def test_thin_pipe_stops_the_sender(proxy: Proxy, pair: Pair) -> None:
    """What waits before a thin pipe is little: the sender feels it soon."""
    client, _ = pair
    proxy.set(bandwidth=1_000)
    flood(client, bytes(2**16))
    (connection,) = connections(proxy)
    assert connection._up._queued <= 2**16 + CHUNK


def test_lifting_a_fault_releases_what_waits(proxy: Proxy, pair: Pair) -> None:
    """Bytes held back by a long delay arrive when the delay is taken away."""
    client, server = pair
    proxy.set(delay=1_000)
    client.sendall(b"waited")
    until(lambda: waiting(proxy) == 1)
    proxy.set(delay=0)
    assert receive(server, 6) == b"waited"


# Cut


def test_cut_after_bytes(proxy: Proxy, pair: Pair) -> None:
    """The connection is reset after exactly so many bytes, counted from when it was set."""
    client, server = pair
    client.sendall(b"before")
    receive(server, 6)
    proxy.set(cut_after_bytes=1_000)
    client.sendall(bytes(400))
    receive(server, 400)
    server.sendall(bytes(5_000))
    assert receive(client, 600) == bytes(600)
    for side in pair:
        with pytest.raises(ConnectionResetError):
            side.recv(1)
    assert (proxy.stats.resets, proxy.stats.open) == (1, 0)
    assert (proxy.stats.bytes_up, proxy.stats.bytes_down) == (406, 600)


def test_cut_after_bytes_on_each_connection(proxy: Proxy, upstream: Upstream) -> None:
    """Every new connection has its own count."""
    proxy.set(cut_after_bytes=10)
    for _ in range(3):
        with connect(proxy) as client, upstream.accept() as server:
            client.sendall(bytes(11))
            assert receive(server, 10) == bytes(10)
            with pytest.raises(ConnectionResetError):
                server.recv(1)
    assert proxy.stats.resets == 3


def test_cut_after_idle(proxy: Proxy, pair: Pair) -> None:
    """A connection is closed by FIN on both sides so many seconds after its last byte."""
    client, server = pair
    assert is_silent(client)
    start = time.monotonic()
    server.sendall(b"x")
    assert receive(client, 1) == b"x"
    proxy.set(cut_after_idle=MOMENT)
    assert receive(client, 1) == b""
    assert time.monotonic() - start >= MOMENT
    assert receive(server, 1) == b""
    assert (proxy.stats.open, proxy.stats.resets) == (0, 0)


def test_cut_of_a_new_idle_connection(proxy: Proxy, upstream: Upstream) -> None:
    """A connection that never carried a byte is closed too."""
    proxy.set(cut_after_idle=0.05)
    with connect(proxy) as client, upstream.accept() as server:
        assert receive(client, 1) == b""
        assert receive(server, 1) == b""


def test_bytes_on_their_way_are_not_idle(proxy: Proxy, pair: Pair) -> None:
    """A delay longer than the idle limit does not lose the bytes that it holds."""
    client, server = pair
    proxy.set(delay=0.5)
    client.sendall(b"slow")
    until(lambda: waiting(proxy) == 1 or proxy.stats.bytes_up)
    proxy.set(cut_after_idle=0.05)
    assert receive(server, 5) == b"slow"


def test_refuse(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """New connections are refused by the system, open ones go on; later the same port works."""
    client, server = pair
    target = proxy.target
    proxy.set(refuse=True)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
    client.sendall(b"still here")
    assert receive(server, 10) == b"still here"
    proxy.set(refuse=False)
    assert proxy.target == target
    with connect(proxy) as late, upstream.accept() as server:
        late.sendall(b"new")
        assert receive(server, 3) == b"new"
    assert proxy.stats.connections == 2


def test_refuse_keeps_the_port(proxy: Proxy) -> None:
    """While connections are refused nobody else is given the port."""
    proxy.set(refuse=True)
    port = int(proxy.target.split(":")[1])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_cut(proxy: Proxy, upstream: Upstream) -> None:
    """Every open connection is reset once, on both sides; new ones pass."""
    with contextlib.ExitStack() as stack:
        ends = []
        for _ in range(3):
            ends.append(stack.enter_context(connect(proxy)))
            ends.append(stack.enter_context(upstream.accept()))
        until(lambda: joined(proxy, 3))
        proxy.cut()
        assert (proxy.stats.resets, proxy.stats.open) == (3, 0)
        for end in ends:
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    with connect(proxy) as client, upstream.accept() as server:
        client.sendall(b"x")
        assert receive(server, 1) == b"x"


# Silence


def test_blackhole(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """Bytes vanish and are counted, nobody is told; new connections are accepted and silent."""
    client, server = pair
    proxy.set(blackhole=True)
    client.sendall(bytes(70))
    server.sendall(bytes(30))
    with connect(proxy) as late:
        late.sendall(bytes(11))
        until(lambda: proxy.stats.dropped == 111)
        assert is_silent(client)
        assert is_silent(server)
        assert is_silent(late)
        upstream.listener.settimeout(MOMENT)
        with pytest.raises(TimeoutError):
            upstream.listener.accept()
        stats = proxy.stats
        assert (stats.open, stats.silent, stats.connections) == (2, 2, 2)
        assert (stats.bytes_up, stats.bytes_down, stats.resets) == (0, 0, 0)


def test_blackhole_takes_what_is_on_its_way(proxy: Proxy, pair: Pair) -> None:
    """Bytes still under way when the blackhole opens vanish with the others."""
    client, server = pair
    proxy.set(delay=1_000)
    client.sendall(bytes(25))
    until(lambda: waiting(proxy) == 1)
    proxy.set(blackhole=True, delay=0)
    assert (proxy.stats.dropped, proxy.stats.silent) == (25, 1)
    assert is_silent(server)


def test_blackhole_lifted(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """Afterwards what lost bytes is reset, what lost none goes on, and new ones pass."""
    client, server = pair
    with connect(proxy) as lucky, upstream.accept() as lucky_server:
        proxy.set(blackhole=True)
        client.sendall(b"lost")
        until(lambda: proxy.stats.dropped == 4)
        proxy.set(blackhole=False)
        assert (proxy.stats.resets, proxy.stats.open, proxy.stats.silent) == (1, 1, 0)
        for end in (client, server):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        lucky.sendall(b"kept")
        assert receive(lucky_server, 4) == b"kept"
    with connect(proxy) as late, upstream.accept() as late_server:
        late.sendall(b"new")
        assert receive(late_server, 3) == b"new"


def test_leaving_a_blackhole(proxy: Proxy, pair: Pair) -> None:
    """A client that leaves a silent connection is not missed by the upstream."""
    client, server = pair
    proxy.set(blackhole=True)
    client.close()
    until(lambda: proxy.stats.open == 0)
    assert is_silent(server)
    proxy.set(blackhole=False)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    assert proxy.stats.resets == 0


def test_blackhole_after_idle(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """A forgotten connection swallows all that comes later, while new connections pass."""
    client, server = pair
    proxy.set(blackhole_after_idle=0.05)
    until(lambda: proxy.stats.silent == 1)
    client.sendall(b"anyone?")
    until(lambda: proxy.stats.dropped == 7)
    assert is_silent(server)
    assert is_silent(client)
    assert proxy.stats.open == 1
    proxy.set(blackhole_after_idle=1_000)
    with connect(proxy) as late, upstream.accept() as late_server:
        late.sendall(b"me")
        assert receive(late_server, 2) == b"me"
    assert is_silent(client)


def test_freeze(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """Open connections fall silent for good, new ones pass, and clear() resets the silent."""
    client, server = pair
    proxy.freeze()
    with connect(proxy) as late, upstream.accept() as late_server:
        late.sendall(b"new")
        assert receive(late_server, 3) == b"new"
        server.sendall(b"old")
        until(lambda: proxy.stats.dropped == 3)
        assert is_silent(client)
        proxy.set(delay=0.0)
        assert proxy.stats.silent == 1
        proxy.clear()
        assert (proxy.stats.silent, proxy.stats.open, proxy.stats.resets) == (0, 1, 1)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


# Settings


def test_set_changes_what_is_given(proxy: Proxy) -> None:
    """Settings that are not given stay; clear() takes all back."""
    proxy.set(delay=0.5, bandwidth=1_000)
    proxy.set(delay=0.25)
    assert proxy.faults == Faults(delay=0.25, bandwidth=1_000)
    proxy.clear()
    assert proxy.faults == Faults()


def test_unknown_setting(proxy: Proxy) -> None:
    """A misspelt setting is refused with the names there are, and nothing changes."""
    with pytest.raises(TypeError, match="no such setting: dealy; a proxy has delay, jitter"):
        proxy.set(dealy=1, delay=1)  # type: ignore[call-arg]
    assert proxy.faults == Faults()


def test_contradiction_with_what_is_set(proxy: Proxy) -> None:
    """A setting that contradicts an earlier one is refused, and nothing changes."""
    proxy.set(refuse=True)
    with pytest.raises(ValueError, match="blackhole and refuse exclude each other"):
        proxy.set(blackhole=True)
    assert proxy.faults == Faults(refuse=True)


def test_fault_restores(proxy: Proxy) -> None:
    """A named fault lasts for its block, nested in another, and also when the block fails."""
    proxy.set(jitter=0.001)
    with proxy.fault("slow-link", dose=1.5) as outer:
        assert outer == proxy.faults == Faults(jitter=0.001, delay=1.5)
        with pytest.raises(ZeroDivisionError), proxy.fault("thin-pipe") as inner:
            _ = 1 / 0
        assert inner == Faults(jitter=0.001, delay=1.5, bandwidth=100_000)
        assert proxy.faults == Faults(jitter=0.001, delay=1.5)
    assert proxy.faults == Faults(jitter=0.001)


def test_fault_with_a_wrong_dose(proxy: Proxy) -> None:
    """A wrong name or dose changes nothing."""
    with pytest.raises(ValueError, match="choose one of"), proxy.fault("slowness"):
        pass
    with pytest.raises(ValueError, match=r"dose of idle-cut must be"), proxy.fault("idle-cut", 0):
        pass
    assert proxy.faults == Faults()


def test_repr(proxy: Proxy, upstream: Upstream) -> None:
    """It says where it listens, where it passes to, and what it does."""
    assert repr(proxy) == f"<Proxy 'wire' {proxy.target} -> {upstream.target}: passing>"
    proxy.set(delay=0.5, blackhole=True)
    assert repr(proxy).endswith(": delay=0.5, blackhole=True>")
    proxy.stop()
    assert repr(proxy).endswith(": stopped>")


# Life


@pytest.mark.parametrize(
    "upstream", ["", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:0", "a:70000", "http://a:80"]
)
def test_wrong_upstream(upstream: str, loop: Loop) -> None:
    """An upstream that is no address is refused when the proxy is made."""
    with pytest.raises(ValueError, match="upstream must be 'host:port'"):
        Proxy(loop, "wire", upstream)


def test_url(proxy: Proxy) -> None:
    """The address comes as a URL too."""
    assert proxy.url == f"http://{proxy.target}"


def test_stop_and_start(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """Stopping ends the connections and refuses new ones; starting takes the same port."""
    client, server = pair
    target = proxy.target
    proxy.stop()
    proxy.stop()
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.start()
    proxy.start()
    assert proxy.target == target
    with connect(proxy) as client, upstream.accept() as server:
        client.sendall(b"x")
        assert receive(server, 1) == b"x"


def test_stopped_proxy_keeps_its_port(proxy: Proxy) -> None:
    """While it is stopped nobody else is given its port; when it is released, anybody is."""
    proxy.stop()
    port = int(proxy.target.split(":")[1])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    proxy.release()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_port_taken_meanwhile(proxy: Proxy) -> None:
    """A port that another program took in spite of that is a clear error."""
    proxy.stop()
    host, port = proxy.target.split(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(PortInUseError, match=f"port {port} is in use, so 'wire' cannot start"),
    ):
        proxy.start()
    proxy.start()


def test_port_taken_while_refusing(proxy: Proxy) -> None:
    """A port that is lost while clients are refused is a clear error; a start takes it again."""
    proxy.set(refuse=True)
    host, port = proxy.target.split(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(PortInUseError, match=f"port {port} of the proxy is taken"),
    ):
        proxy.set(refuse=False)
    proxy.clear()
    proxy.stop()
    proxy.start()
    connect(proxy).close()


def test_settings_and_counts_outlive_a_stop(proxy: Proxy, pair: Pair) -> None:
    """A proxy that was stopped does afterwards what it did before, and counts on."""
    client, server = pair
    client.sendall(b"12345")
    receive(server, 5)
    proxy.set(delay=0.001)
    proxy.stop()
    proxy.set(jitter=0.001)
    proxy.start()
    assert proxy.faults == Faults(delay=0.001, jitter=0.001)
    assert (proxy.stats.bytes_up, proxy.stats.connections) == (5, 1)


def test_start_while_refusing(proxy: Proxy) -> None:
    """A proxy that starts with `refuse` set holds its port and refuses."""
    proxy.stop()
    proxy.set(refuse=True)
    proxy.start()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_log(proxy: Proxy, pair: Pair, upstream: Upstream) -> None:
    """The log says what the proxy was told and what it did to connections."""
    proxy.set(delay=0.5)
    proxy.freeze()
    proxy.clear()
    upstream.listener.close()
    with contextlib.suppress(ConnectionResetError), connect(proxy) as client:
        client.recv(1)
    said = list(proxy.log)
    assert said[:2] == ["set to: delay=0.5", "a connection fell silent"]
    assert said[2:4] == ["set to: passing", "a connection was reset"]
    assert said[4].startswith(f"{upstream.target} took no connection: ")
    assert len(said) == 5


def test_dead_loop(upstream: Upstream) -> None:
    """Without the lab's loop every change is an error that says so, not a hang."""
    loop = Loop.start()
    proxy = Proxy(loop, "wire", upstream.target).start()
    loop.run(proxy.aclose())
    loop.stop()
    with pytest.raises(LoopDeadError):
        proxy.set(delay=1)


def test_settings_from_many_threads(proxy: Proxy) -> None:
    """Threads that change different settings do not undo one another."""
    start = threading.Barrier(2)

    def change(name: str) -> None:
        start.wait()
        for value in range(1, 50):
            proxy.set(**{name: value})  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(change, ["delay", "bandwidth"]))
    assert proxy.faults == Faults(delay=49, bandwidth=49)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit to lower")
def test_too_many_open_files(proxy: Proxy, upstream: Upstream) -> None:
    """While the process may open no more files a client waits; then it is served."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        free = os.dup(client.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            host, port = proxy.target.split(":")
            client.connect((host, int(port)))
            client.sendall(b"patient")
            watched = proxy._middlebox.loop._selector  # type: ignore[attr-defined]
            listener = proxy._middlebox._listener
            assert listener is not None
            until(lambda: listener._socket not in watched.get_map())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with upstream.accept() as server:
            assert receive(server, 7) == b"patient"


@pytest.mark.parametrize("seed", range(3))
def test_anything_at_any_time(proxy: Proxy, upstream: Upstream, seed: int) -> None:
    """Whatever is done while clients come and go, no connection stays behind, and bytes pass."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), connect(proxy) as client:
                client.settimeout(0.01)
                client.sendall(bytes(3_000))
                client.recv(100)

    def answer() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), upstream.accept() as server:
                server.settimeout(0.01)
                server.recv(1_000)
                server.sendall(bytes(100))

    actions: list[Callable[[], object]] = [
        proxy.cut,
        proxy.freeze,
        proxy.clear,
        proxy.stop,
        proxy.start,
        proxy.start,
        *(lambda name=name: proxy.set(**CATALOGUE[name].settings()) for name in CATALOGUE),
    ]
    upstream.listener.settimeout(MOMENT)
    choose = random.Random(seed)  # noqa: S311  # a repeatable choice
    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(come_and_go) for _ in range(3)] + [pool.submit(answer)]
        for _ in range(200):
            with contextlib.suppress(ValueError):  # two that exclude each other
                choose.choice(actions)()
        over.set()
        for job in work:
            job.result()
    proxy.clear()
    proxy.cut()
    proxy.start()
    stats = proxy.stats
    assert (stats.open, stats.silent, len(connections(proxy))) == (0, 0, 0)
    with connect(proxy) as client:
        client.sendall(b"x")
        until(lambda: proxy.stats.bytes_up > stats.bytes_up)


# gRPC through the proxy

OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


async def echo(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer what was asked."""
    return request


async def serve() -> tuple[aio.Server, int]:
    """Start an echo service and return it with its port."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    say = {"Say": grpc.unary_unary_rpc_method_handler(echo)}  # type: ignore[var-annotated]
    handler = grpc.method_handlers_generic_handler("lab.Echo", say)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


@pytest.fixture(scope="module")
def grpc_port(loop: Loop) -> Iterator[int]:
    """Run an echo service on the loop that carries the proxy, as the lab does."""
    server, port = loop.run(serve())
    yield port
    loop.run(server.stop(0))


@pytest.fixture
def grpc_proxy(loop: Loop, grpc_port: int) -> Iterator[Proxy]:
    """Start a proxy in front of the echo service."""
    proxy = Proxy(loop, "wire", f"127.0.0.1:{grpc_port}").start()
    yield proxy
    proxy.release()


@contextlib.contextmanager
def echo_stub(proxy: Proxy) -> Iterator[tuple[Callable[..., str], grpc.Channel]]:
    """Make a call that returns its status code, over a channel of its own."""
    with grpc.insecure_channel(proxy.target, options=OPTIONS) as channel:
        say: Callable[..., bytes] = channel.unary_unary("/lab.Echo/Say")

        def call(size: int = 100, timeout: float = PATIENCE) -> str:
            try:
                answer = say(bytes(size), timeout=timeout)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK" if answer == bytes(size) else "WRONG"

        yield call, channel


def test_one_connection_for_many_calls(grpc_proxy: Proxy) -> None:
    """Calls in flight at the same time share one connection of their channel."""
    with echo_stub(grpc_proxy) as (call, _), ThreadPoolExecutor(10) as pool:
        assert set(pool.map(call, [1_000] * 50)) == {"OK"}
    assert grpc_proxy.stats.connections == 1


@pytest.mark.parametrize(
    ("fault", "dose", "code"),
    [
        ("slow-link", 0.05, "OK"),
        ("jittery-link", 0.05, "OK"),
        ("thin-pipe", 1_000_000, "OK"),
        ("mid-message-cut", 20_000, "UNAVAILABLE"),
        ("refuse", None, "OK"),
        ("blackhole", None, "DEADLINE_EXCEEDED"),
    ],
)
def test_faults_of_a_live_channel(
    grpc_proxy: Proxy, fault: str, dose: float | None, code: str
) -> None:
    """A fault shows on an open channel with the status code it is known for."""
    with echo_stub(grpc_proxy) as (call, _):
        assert call() == "OK"
        with grpc_proxy.fault(fault, dose):
            assert call(100_000, timeout=1 if code == "DEADLINE_EXCEEDED" else PATIENCE) == code


@pytest.mark.parametrize("fault", [name for name in CATALOGUE if name != "mid-message-cut"])
def test_recovery(grpc_proxy: Proxy, fault: str) -> None:
    """After a fault has been lifted a new channel works."""
    with grpc_proxy.fault(fault), echo_stub(grpc_proxy) as (call, _):
        call(timeout=0.3)
    with echo_stub(grpc_proxy) as (call, _):
        assert call() == "OK"


def test_refused_channel(grpc_proxy: Proxy) -> None:
    """A new channel to a port that refuses fails at once with UNAVAILABLE."""
    with grpc_proxy.fault("refuse"), echo_stub(grpc_proxy) as (call, _):
        assert call() == "UNAVAILABLE"
    assert grpc_proxy.stats.connections == 0


def test_idle_cut_of_a_channel(grpc_proxy: Proxy) -> None:
    """A channel whose idle connection was closed connects again: OK, on a second connection."""
    with echo_stub(grpc_proxy) as (call, channel):
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append)
        assert call() == "OK"
        until(lambda: grpc.ChannelConnectivity.READY in states)
        with grpc_proxy.fault("idle-cut", 0.05):
            until(lambda: states[-1:] == [grpc.ChannelConnectivity.IDLE])
        assert call() == "OK"
        assert grpc_proxy.stats.connections == 2


def test_idle_blackhole_of_a_channel(grpc_proxy: Proxy) -> None:
    """A channel whose idle connection was forgotten waits for each deadline, and never knows."""
    with echo_stub(grpc_proxy) as (call, _):
        assert call() == "OK"
        with grpc_proxy.fault("idle-blackhole", 0.05):
            until(lambda: grpc_proxy.stats.silent == 1)
            assert [call(timeout=0.3) for _ in range(2)] == ["DEADLINE_EXCEEDED"] * 2
            assert grpc_proxy.stats.connections == 1
            assert grpc_proxy.stats.dropped > 0


@settings(max_examples=20, deadline=None)
@given(garbage=st.binary(min_size=1, max_size=2_000))
def test_garbage(hurt_port: tuple[Proxy, Callable[..., str]], garbage: bytes) -> None:
    """A client that sends garbage and leaves in the middle harms neither proxy nor service."""
    proxy, call = hurt_port
    with connect(proxy) as client:
        client.sendall(garbage)
    assert call() == "OK"


@pytest.fixture(scope="module")
def hurt_port(loop: Loop, grpc_port: int) -> Iterator[tuple[Proxy, Callable[..., str]]]:
    """Start a proxy for all examples, and a call that must go on working beside them."""
    proxy = Proxy(loop, "wire", f"127.0.0.1:{grpc_port}").start()
    with echo_stub(proxy) as (call, _):
        yield proxy, call
        until(lambda: proxy.stats.open == 1)
    proxy.release()

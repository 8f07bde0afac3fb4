"""The middlebox on a loop of the test's own: what holds at once, without a wait."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from labsvc.proxy.middlebox import Middlebox
from labsvc.proxy.pipe import BUFFER_BYTES, End

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from labsvc.proxy.connection import Connection


class Wire:
    """One open connection through a middlebox, and both of its ends."""

    def __init__(
        self,
        box: Middlebox,
        connection: Connection,
        client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
    ) -> None:
        self.box = box
        self.connection = connection
        self.client = client
        self.server = server


@asynccontextmanager
async def opened() -> AsyncIterator[Wire]:
    """Open a connection, and reset it in the end."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    upstream = await asyncio.start_server(
        lambda reader, writer: accepted.put_nowait((reader, writer)), "127.0.0.1", 0
    )
    box = Middlebox("127.0.0.1", upstream.sockets[0].getsockname()[1], deque(), "box")
    _, client = await asyncio.open_connection("127.0.0.1", await box.start(0))
    server, answers = await accepted.get()
    (connection,) = box._connections
    client.write(b"?")  # it arrives when both sockets are joined
    await server.readexactly(1)
    await box.reset_stats()
    try:
        yield Wire(box, connection, client, server)
    finally:
        await box.stop()
        upstream.close()
        for writer in (client, answers):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def on_wire(test: Callable[[Wire], Coroutine[None, None, None]]) -> None:
    """Run a coroutine function on an open connection."""

    async def main() -> None:
        async with opened() as wire:
            await test(wire)

    asyncio.run(main())


async def lift_blackhole(box: Middlebox) -> None:
    """Lose the connections in a black hole, and end that."""
    await box.change(blackhole=True)
    await box.freeze()
    await box.change(blackhole=False)


async def clear_frozen(box: Middlebox) -> None:
    """Lose the connections without any setting, and clear."""
    await box.freeze()
    await box.clear()


@pytest.mark.parametrize("act", [Middlebox.stop, Middlebox.cut, lift_blackhole, clear_frozen])
def test_what_was_reset_has_left_the_table_on_return(
    act: Callable[[Middlebox], Coroutine[None, None, None]],
) -> None:
    """Whoever looks after the call sees no connection any more."""

    async def test(wire: Wire) -> None:
        assert wire.box.counters.open == 1
        await act(wire.box)
        assert not wire.box._connections
        assert (wire.box.counters.open, wire.box.counters.silent) == (0, 0)

    on_wire(test)


def test_a_connection_is_reset_once() -> None:
    """Whoever resets what is reset already counts nothing, and nothing more passes."""

    async def test(wire: Wire) -> None:
        await wire.box.change(delay=0.001)
        wire.client.write(b"late")
        for _ in range(1000):
            await asyncio.sleep(0)
            if not wire.connection._up.empty:
                break
        wire.connection.reset()
        assert wire.connection._up.empty
        wire.connection.reset()
        assert wire.box.counters.resets == 1
        await wire.box.cut()
        assert (wire.box.counters.resets, wire.box.counters.up.passed) == (1, 0)

    on_wire(test)


def test_bytes_count_once_whether_they_waited_or_not() -> None:
    """A chunk that was passed on at once and one that was delayed add up."""

    async def test(wire: Wire) -> None:
        wire.client.write(b"now")
        assert await wire.server.readexactly(3) == b"now"
        assert wire.box.counters.up.passed == 3
        await wire.box.change(delay=0.001)
        wire.client.write(b"later")
        assert await wire.server.readexactly(5) == b"later"
        assert wire.box.counters.up.passed == 8
        assert wire.box.counters.down.passed == 0

    on_wire(test)


def test_nothing_is_queued_without_faults() -> None:
    """Plain traffic draws no jitter, so that the draws after it are the same on every run."""

    async def test(wire: Wire) -> None:
        before = wire.box.random.getstate()
        wire.client.write(b"plain")
        assert await wire.server.readexactly(5) == b"plain"
        assert wire.box.random.getstate() == before

    on_wire(test)


def test_a_source_is_held_at_the_bound_and_never_after_its_end() -> None:
    """The buffer of a thin pipe is full at its last byte; a source that has ended is let go."""

    async def test(wire: Wire) -> None:
        await wire.box.change(delay=60, bandwidth=1)
        pipe = wire.connection._up
        assert pipe.source is not None
        source = pipe.source
        pipe.feed(bytes(BUFFER_BYTES - 1))
        assert source.is_reading()
        pipe.feed(b"x")
        assert not source.is_reading()
        pipe.end(End.FIN)
        assert source.is_reading()

    on_wire(test)


@pytest.mark.parametrize("act", [Middlebox.clear, Middlebox.cut, Middlebox.freeze])
def test_no_alarm_outlives_what_it_was_set_for(
    act: Callable[[Middlebox], Coroutine[None, None, None]],
) -> None:
    """Delayed bytes that are released or dropped early leave no wake-up behind."""

    async def test(wire: Wire) -> None:
        await wire.box.change(delay=60)
        wire.connection._up.feed(b"x")
        alarm = wire.connection._up._timer
        assert alarm is not None
        assert not alarm.cancelled()
        await act(wire.box)
        assert alarm.cancelled()

    on_wire(test)

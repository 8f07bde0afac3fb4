"""Streams whose pace the reader sets, and handlers that end with their call.

HTTP/2 flow control (RFC 9113, section 5.2) stops a sender when some kilobytes are under way. It
knows nothing of messages that have arrived and that nobody has handled yet. Credits do: the
reader sends the number of messages it can take now, over the other half of a bidirectional
stream, and the sender never sends more than it was given (claims C54 and C55).

    server   async for order in aio_paced(requests, orders_of, lambda request: request.credit): ...
    client   async for order in aio_read_paced(stub.StreamOrders, ask, window=8, timeout=5): ...

A handler in a thread is not told that its caller has left; `caller_gone` tells it (claim C53).
`companion` ends what an asynchronous handler has started (claim C56). Used by notebook 27.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Coroutine,
        Generator,
        Iterable,
    )

M = TypeVar("M")
Q = TypeVar("Q")
T = TypeVar("T")


async def aio_paced(
    requests: AsyncIterable[Q],
    start: Callable[[Q], AsyncGenerator[M, None]],
    credit: Callable[[Q], int],
) -> AsyncGenerator[M, None]:
    """Yield messages, never more than the requests so far gave credit for. For grpc.aio.

    `start` gets the first request and returns the messages; `credit` returns how many more of
    them a request allows. Ends with the messages, or when the caller closes its half.
    """
    messages: AsyncGenerator[M, None] | None = None
    try:
        async for request in requests:
            if messages is None:
                messages = start(request)
            for _ in range(credit(request)):
                try:
                    message = await anext(messages)
                except StopAsyncIteration:
                    return
                yield message
    finally:
        if messages is not None:
            await messages.aclose()


def paced(
    requests: Iterable[Q],
    start: Callable[[Q], Generator[M, None, None]],
    credit: Callable[[Q], int],
) -> Generator[M, None, None]:
    """Do what `aio_paced` does in a handler of grpc.server. It holds a thread of the pool."""
    messages: Generator[M, None, None] | None = None
    try:
        for request in requests:
            if messages is None:
                messages = start(request)
            for _ in range(credit(request)):
                try:
                    message = next(messages)
                except StopIteration:
                    return
                yield message
    finally:
        if messages is not None:
            messages.close()


async def aio_read_paced(
    method: Callable[..., Any], ask: Callable[[int], Q], *, window: int, **settings: Any
) -> AsyncGenerator[Any, None]:
    """Call a stream-stream method of a grpc.aio stub and give it credit as messages are handled.

    A message counts as handled when the next one is asked for. The sender is never more than
    `window` messages ahead of that. `ask` turns a number of messages into a request; `settings`
    are those of the call, `timeout=` in seconds above all. Whoever leaves the loop early closes
    the generator, `async with aclosing(aio_read_paced(...)) as messages`, and so cancels the call.

    Raises:
        ValueError: `window` is less than 1.
        grpc.aio.AioRpcError: the call failed.

    """
    step = _step(window)
    call = method(**settings)
    credit: asyncio.Queue[int] = asyncio.Queue()
    credit.put_nowait(window)

    async def pay() -> None:
        with suppress(grpc.aio.AioRpcError):  # the loop below raises it too
            while True:
                await call.write(ask(await credit.get()))

    payer = asyncio.create_task(pay())
    # A write that fails when the status is already there would replace it (grpc/grpc#36066).
    call.add_done_callback(lambda _: payer.cancel())
    unpaid = 0
    try:
        async for message in call:
            yield message
            unpaid += 1
            if unpaid == step:
                credit.put_nowait(unpaid)
                unpaid = 0
    finally:
        call.cancel()
        payer.cancel()
        await asyncio.wait({payer})


def read_paced(
    method: Callable[..., Any], ask: Callable[[int], Q], *, window: int, **settings: Any
) -> Generator[Any, None, None]:
    """Do what `aio_read_paced` does, with the stub of a grpc.Channel. Raises grpc.RpcError."""
    step = _step(window)
    asks: queue.SimpleQueue[int] = queue.SimpleQueue()
    asks.put(window)
    call = method(map(ask, iter(asks.get, 0)), **settings)
    unpaid = 0
    try:
        for message in call:
            yield message
            unpaid += 1
            if unpaid == step:
                asks.put(unpaid)
                unpaid = 0
    finally:
        asks.put(0)
        call.cancel()


def _step(window: int) -> int:
    """Return how many handled messages to pay for at once: the sender is not idle meanwhile."""
    if window < 1:
        msg = f"window must be 1 message or more, not {window!r}"
        raise ValueError(msg)
    return (window + 1) // 2


def caller_gone(context: grpc.ServicerContext) -> threading.Event:
    """Return an event that is set when the call is over, however it ends. For grpc.server.

    A handler that waits with `gone.wait(seconds)` in the place of `time.sleep(seconds)` stops at
    once, also between two messages; a thread that it started can wait for the same event.
    """
    gone = threading.Event()
    if not context.add_callback(gone.set):  # the call was over before the handler began
        gone.set()
    return gone


@asynccontextmanager
async def aio_companion(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run `work` beside the block, and cancel it when the block ends, however it ends.

    For a handler of grpc.aio: what it starts ends with its call. Returns when the work has ended.
    If the work failed by itself, its exception is raised at the end of the block.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

"""Hedging by hand: ask again before the first answer is late, and take the first that comes.

    reply = hedge(lambda: stub.GetUser.future(request, timeout=1), delay=0.05)
    reply = await aio_hedge(lambda: aio_stub.GetUser(request, timeout=1), delay=0.05)

The C core takes a `hedgingPolicy` and ignores it, so this follows gRFC A6 in Python. Only for what
may run twice. Notebook 26.

It cuts the tail where slowness is a matter of luck: the second call must have a chance of its own.
It does nothing for a request that is slow by itself, and it doubles the load where everything is
slow. So choose a delay near the p95: then one call in 20 is made twice. And give it
`budget=RetryBudget()`, which allows one in ten, that is twice as many as it needs while all is
well. When more than that are late, they wait for their first answer.
"""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from labsvc.rpc.errors import DEFINITE, StatusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from labsvc.rpc.retry_budget import RetryBudget

T = TypeVar("T")


def hedge(
    start: Callable[[], Any], *, delay: float, attempts: int = 2, budget: RetryBudget | None = None
) -> Any:
    """Return the first answer of up to `attempts` calls, one started every `delay` seconds.

    `start` starts one call and returns its future: `stub.Method.future(request, timeout=...)`.
    A call that fails with an indefinite code is followed by the next at once; a definite error
    ends all. The calls that lose are cancelled. With a budget an extra call is made only if it has
    a token.

    Raises the grpc.RpcError of the call that failed last, or of the definite one.
    """
    tries = _Tries(attempts, budget)
    calls: list[Any] = []
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    failed: list[Any] = []
    try:
        while True:
            if tries.another():
                calls.append(start())
                calls[-1].add_done_callback(ended.put)
            elif len(failed) == len(calls):
                return failed[-1].result()
            try:
                call = ended.get(timeout=delay if tries.left else None)
            except queue.Empty:
                continue
            if _final(call.exception()):
                return call.result()
            failed.append(call)
    finally:
        for call in calls:
            call.cancel()


async def aio_hedge(
    start: Callable[[], Awaitable[T]],
    *,
    delay: float,
    attempts: int = 2,
    budget: RetryBudget | None = None,
) -> T:
    """Do what `hedge` does on an event loop; `start` returns the call: `aio_stub.Method(...)`."""
    tries = _Tries(attempts, budget)
    tasks: list[asyncio.Future[T]] = []
    waiting: set[asyncio.Future[T]] = set()
    failed: list[asyncio.Future[T]] = []
    try:
        while True:
            if tries.another():
                tasks.append(asyncio.ensure_future(_answer(start())))
                waiting.add(tasks[-1])
            elif not waiting:
                return failed[-1].result()
            done, waiting = await asyncio.wait(
                waiting,
                timeout=delay if tries.left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if _final(task.exception()):
                    return task.result()
                failed.append(task)
    finally:
        for task in tasks:
            if not task.cancel() and not task.cancelled():
                task.exception()  # or asyncio reports that nobody asked for it


async def _answer(call: Awaitable[T]) -> T:
    return await call


class _Tries:
    """How many calls may still be started."""

    def __init__(self, attempts: int, budget: RetryBudget | None) -> None:
        if attempts < 1:
            msg = f"attempts must be 1 or more, not {attempts}"
            raise ValueError(msg)
        self.left = attempts
        self._extra = False
        self._budget = budget
        if budget is not None:
            budget.earn()

    def another(self) -> bool:
        """Say whether one more call may be started, and account for it."""
        if self._extra and self.left and self._budget is not None and not self._budget.spend():
            self.left = 0
        if not self.left:
            return False
        self._extra = True
        self.left -= 1
        return True


def _final(error: BaseException | None) -> bool:
    """Say whether a call's end is the answer: success, or an error that another would have too."""
    return not isinstance(error, grpc.RpcError) or StatusError.of(error).code in DEFINITE

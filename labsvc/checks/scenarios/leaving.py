"""One call of an answer to 30 or T3, seen on its own loop: what it took, what it left behind."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from labsvc.checks.examiner import Terms
from labsvc.checks.kinds import must_be_awaitable
from labsvc.checks.scenarios.by_hand import PLACES
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from labsvc.checks.submission import Attempt, Submission

PATIENCE = 4.0  # seconds for one call of the answer
SOON = 0.5  # seconds for the last connection to close
TURNS = 50  # of the loop, in which all ends that was cancelled: a count, which no load changes


class Party(Protocol):
    """Who is asked: a server by hand, and the arguments of one call of the answer."""

    open: int
    under_way: int
    answered_at: float

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the answer is called with."""


@dataclass
class Left:
    """What a call of the answer took and left behind, seen on its own loop.

    `over` are the seconds since it was due, by a timer that a busy machine delays as it does its.
    """

    took: float = 0.0
    over: float = 0.0
    waited: float = 0.0  # since the last answer
    cancelled: bool = False
    requests: int = 0
    connections: int = 0
    tasks: set[asyncio.Task[object]] = field(default_factory=set)

    def broken(self, said: str) -> Verdict | None:
        """Say what goes on, if anything does."""
        counts = {"requests": self.requests, "connections": self.connections}
        return first_broken(
            (
                self.requests > 0,
                f"{said}, and {counted(self.requests, 'request')} went on without it",
                "Who cancels a request, and waits until it has ended? Look at the last section.",
            ),
            (
                self.connections > 0,
                f"{said}, and {counted(self.connections, 'connection')} stayed open",
                "A client has an `aclose()`, and works in an `async with` block.",
            ),
            (
                len(self.tasks) > 0,
                f"{said}, and {counted(len(self.tasks), 'task')} went on without it",
                "A task group does not end before its tasks have.",
            ),
            **counts,
        )


def start(
    answer: Submission,
    party: Party,
    left: Left,
    *,
    leave: bool = False,
    returns: Any = dict[str, int],
    within: float = PATIENCE,
    due: float = PATIENCE,
) -> Attempt:
    """Start the answer; `left` is filled in before its loop ends, which would end all.

    With `leave` it is cancelled while its requests are under way, and nothing comes back.
    """

    async def watched(*args: Any) -> Any:
        before = asyncio.all_tasks()
        rang: list[float] = []
        bell = asyncio.get_running_loop().call_later(due, lambda: rang.append(time.monotonic()))
        made = answer.function(*args)
        must_be_awaitable(made, answer.function)
        began = time.monotonic()
        try:
            return await (_cancelled(made, party, left) if leave else made)
        finally:
            ended = time.monotonic()
            left.took = left.took or ended - began
            left.waited = ended - party.answered_at
            left.over = ended - rang[0] if rang else 0.0
            bell.cancel()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            left.tasks = asyncio.all_tasks() - before
            await _until(lambda: not party.open)
            left.requests, left.connections = party.under_way, party.open

    terms = Terms(None, within, "coroutine", returns)
    return answer.begin(watched, party.arguments, terms)


async def _cancelled(made: Awaitable[Any], party: Party, left: Left) -> dict[str, Any]:
    task = asyncio.ensure_future(made)
    await _until(lambda: party.under_way == PLACES or task.done())
    began = time.monotonic()
    task.cancel()
    await asyncio.wait({task}, timeout=2 * SOON)
    left.took = time.monotonic() - began
    left.cancelled = task.cancelled()
    if task.done() and not task.cancelled():
        task.exception()  # seen, so that asyncio prints nothing
    return {}


async def _until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, for a moment at most."""
    give_up_at = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > give_up_at:
            return
        await asyncio.sleep(0.01)


def counted(number: int, kind: str) -> str:
    """Return "1 request" or "2 requests"."""
    return f"{number} {kind}" if number == 1 else f"{number} {kind}s"

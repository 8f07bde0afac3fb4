"""Exercise of notebook 27: a handler that stops with its caller."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from labsvc.checks.asking import stub, wait
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

PATIENCE = 2.0  # seconds for what has to happen
NOTICED = 1.0  # seconds in which a handler sees a change; the exercise says a fifth of it
LEAVING = 1.0  # seconds that a handler gets to end; the exercise says half of it
QUIET = 0.4  # seconds in which nothing should happen
MOST_LOOKS = 400  # in QUIET seconds: a look each millisecond is still allowed

GONE = "gone"  # a caller who has left before the handler starts


class _Caller:
    """What one caller was sent, and whether its handler has ended."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.looks = 0
        self.arrived = threading.Event()
        self.ended = threading.Event()


class _WatchedStock(inventory_pb2_grpc.InventoryServiceServicer):
    """Runs the learner's loop as the handler of WatchStock, and keeps a record for each caller."""

    def __init__(self, watch: Callable[..., Iterator[Any]]) -> None:
        self._watch = watch
        self.stock = 0
        self.callers: dict[str, _Caller] = {}
        self.over = False

    def WatchStock(self, request: inventory_pb2.WatchStockRequest, context: Any) -> Iterator[Any]:
        """Send what the learner's loop yields."""
        caller = self.callers[request.sku]
        caller.arrived.set()
        if request.sku == GONE:  # as if all threads had been busy until its caller left
            over = threading.Event()
            if context.add_callback(over.set):
                over.wait(PATIENCE)

        def read_stock() -> int:
            if self.over:
                raise SystemExit  # ends a loop without an end; a thread ends on it without a word
            caller.looks += 1
            return self.stock

        try:
            for available in self._watch(read_stock, context):
                caller.sent.append(available)
                if not isinstance(available, int):
                    return
                yield inventory_pb2.WatchStockResponse(available=available)
        except SystemExit:
            pass
        finally:
            caller.ended.set()


@exercise("27-stop", title="Stop a watching handler with its caller", kind="generator", deadline=20)
def stop(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`watch(read_stock, context)` yields each change, and ends when the call does."""
    watched = _WatchedStock(answer.handler(allow=SystemExit))  # type: ignore[abstract]  # one method is enough
    service = sandbox.serve_grpc(watched, name="watched", workers=6)
    levels = _levels()
    try:
        with stub(inventory_pb2_grpc.InventoryServiceStub, service.target) as inventory:
            calls = {}
            for name in ("leaves", "stays"):
                watched.stock = levels[0]
                watched.callers[name] = _Caller()
                request = inventory_pb2.WatchStockRequest(sku=name)
                calls[name] = inventory.WatchStock(request, timeout=20)
            return (
                _while_it_changes(answer, watched, levels)
                or _after_leaving(answer, watched, calls, levels)
                or _gone_before(answer, watched, inventory)
                or solved(
                    "each change was sent once, and the handler ended with its caller",
                    changes=len(levels) - 1,
                    handlers_at_work=0,
                )
            )
    finally:
        watched.over = True


def _levels() -> list[int]:
    """Return levels, each other than the one before; sold out at first, and one comes back."""
    first, second, last = random.sample(range(1, 1000), 3)
    return [0, first, second, first, last]


def _while_it_changes(
    answer: Submission, watched: _WatchedStock, levels: Sequence[int]
) -> Verdict | None:
    """Change the stock under two callers; return what broke."""
    for position, stock in enumerate(levels[:4]):
        watched.stock = stock
        wanted = list(levels[: position + 1])
        for caller in watched.callers.values():
            before = caller.looks
            arrived = wait(lambda: caller.ended.is_set() or caller.sent == wanted, NOTICED)  # noqa: B023
            if not arrived or caller.sent != wanted:
                answer.raise_noted()
                return _looks_away(caller, before, NOTICED) or _not_as_wanted(caller, stock, wanted)
    looked = {name: caller.looks for name, caller in watched.callers.items()}
    time.sleep(QUIET)
    answer.raise_noted()
    for name, caller in watched.callers.items():
        looks = caller.looks - looked[name]
        if said := (
            _not_as_wanted(caller, levels[3], list(levels[:4]))
            or _looks_away(caller, looked[name], QUIET)
            or first_broken(
                (
                    looks > MOST_LOOKS,
                    "your handler looked at the stock without a pause",
                    "A loop that never waits takes the processor from all other handlers.",
                ),
                looks=looks,
            )
        ):
            return said
    return None


def _looks_away(caller: _Caller, before: int, seconds: float) -> Verdict | None:
    return first_broken(
        (
            caller.looks == before and not caller.ended.is_set(),
            f"your handler did not look at the stock for {seconds:g} seconds",
            "Whoever watches must look, five times a second here.",
        ),
        looks=0,
    )


def _not_as_wanted(caller: _Caller, stock: int, wanted: list[int]) -> Verdict | None:
    """Return how what was sent differs from what was wanted, None if it does not."""
    return first_broken(
        (
            any(not isinstance(value, int) for value in caller.sent),
            "your handler yielded something else than a number",
            "Yield what `read_stock()` returned; the message is made of it elsewhere.",
        ),
        (
            caller.ended.is_set(),
            "the caller was still there, and your handler had ended",
            "A watch ends when its caller ends it, and for no other reason.",
        ),
        (
            len(caller.sent) > len(wanted),
            "your handler sent a stock that had not changed",
            "Keep the value that you sent last, and compare.",
        ),
        (
            caller.sent != wanted and stock == 0,
            "all was sold out, and your handler did not say so",
            "0 is a stock like any other, and `if stock:` is false for it.",
        ),
        (
            caller.sent != wanted,
            f"the stock was {stock}, and your handler did not yield it",
            "Yield the first value at once, and each one that differs from the last you sent.",
        ),
        values_sent=len(caller.sent),
        values_wanted=len(wanted),
    )


def _after_leaving(
    answer: Submission, watched: _WatchedStock, calls: dict[str, Any], levels: Sequence[int]
) -> Verdict | None:
    """Let one caller leave while nothing changes, then the other; return what broke."""
    leaves, stays = watched.callers["leaves"], watched.callers["stays"]
    calls["leaves"].cancel()
    if not leaves.ended.wait(LEAVING):
        return broken(
            "the caller left, the stock did not change, and your handler was still at work",
            "A cancel does not interrupt a thread. `context` can call you back when the call is"
            " over; what could that callback set?",
            handlers_at_work=1,
        )
    watched.stock = levels[4]
    wait(lambda: stays.ended.is_set() or stays.sent[-1] == levels[4], PATIENCE)
    answer.raise_noted()
    if stays.sent != list(levels):
        return broken(
            "one caller left, and the other one was no longer served",
            "Each call has a `context` of its own. What belongs to one call must not be shared.",
            values_sent=len(stays.sent),
            values_wanted=len(levels),
        )
    calls["stays"].cancel()
    if not stays.ended.wait(LEAVING):
        return broken(
            "the second caller left, and your handler was still at work",
            "Each call needs an event of its own.",
            handlers_at_work=1,
        )
    if threads := answer.threads_left():
        return broken(
            f"both callers left, and {len(threads)} threads of yours were still running",
            "The handler's own thread is enough: it can wait and look.",
            threads_left=len(threads),
        )
    return None


def _gone_before(answer: Submission, watched: _WatchedStock, inventory: Any) -> Verdict | None:
    """Start the handler for a call that is over; return what broke."""
    caller = watched.callers[GONE] = _Caller()
    call = inventory.WatchStock(inventory_pb2.WatchStockRequest(sku=GONE), timeout=20)
    if not caller.arrived.wait(PATIENCE):
        msg = "the last call did not arrive"
        raise RuntimeError(msg)
    call.cancel()
    ended = caller.ended.wait(PATIENCE + LEAVING)
    answer.raise_noted()
    return first_broken(
        (
            not ended,
            "a caller had left before your handler started, and it is still at work",
            TOO_LATE,
        ),
        (
            bool(caller.sent),
            "a caller had left before your handler started, and it yielded all the same",
            TOO_LATE,
        ),
        handlers_at_work=int(not ended),
    )


TOO_LATE = "What does `context` say before the first look? A late callback is never called."

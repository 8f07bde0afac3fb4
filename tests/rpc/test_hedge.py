from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from labsvc.lab import Lab
from labsvc.rpc.errors import StatusError
from labsvc.rpc.hedge import aio_hedge, hedge
from labsvc.rpc.retry_budget import RetryBudget
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASKED = user_pb2.GetUserRequest(user_id="u-1")
CODE = grpc.StatusCode


class Scripted(user_pb2_grpc.UserServiceServicer):
    """Does to call number n what the script says: hang, a status code, or answer."""

    def __init__(self, *script: grpc.StatusCode | str) -> None:
        self.script = script
        self.calls = 0
        self.cancelled: list[int] = []
        self.all_cancelled = threading.Event()

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Follow the script, and answer with the number of the call."""
        self.calls += 1
        number = self.calls
        what = self.script[min(number, len(self.script)) - 1]
        if isinstance(what, grpc.StatusCode):
            await context.abort(what, f"call {number}")
        if what == "hang":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.append(number)
                if len(self.cancelled) == self.script.count("hang"):
                    self.all_cancelled.set()
                raise
        return user_pb2.GetUserResponse(user=user_pb2.User(user_id=str(number)))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def ask(target: str, losers: threading.Event | None = None, **settings: Any) -> str:
    """Hedge on a sync channel; return the answer, or code and text.

    `losers` must be set while the channel is still open.
    """
    with grpc.insecure_channel(target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        try:
            reply = hedge(lambda: stub.GetUser.future(ASKED, timeout=10), **settings)
            said = str(reply.user.user_id)
        except grpc.RpcError as error:
            said = str(StatusError.of(error))
        assert losers is None or losers.wait(5)
        return said


def ask_aio(target: str, losers: threading.Event | None = None, **settings: Any) -> str:
    """Hedge on a grpc.aio channel."""

    async def main() -> str:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            try:
                reply = await aio_hedge(lambda: stub.GetUser(ASKED, timeout=10), **settings)
                said = reply.user.user_id
            except grpc.RpcError as error:
                said = str(StatusError.of(error))
            assert losers is None or await asyncio.to_thread(losers.wait, 5)
            return said

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("ask", [ask, ask_aio], ids=["sync", "aio"])


@BOTH
@pytest.mark.parametrize(
    ("script", "attempts", "expected"),
    [
        (["answer"], 3, ("1", 1)),
        (["hang", "answer"], 2, ("2", 2)),
        (["hang", "hang", "answer"], 3, ("3", 3)),
        ([CODE.UNAVAILABLE, "answer"], 2, ("2", 2)),
        (["hang", CODE.UNAVAILABLE, "answer"], 3, ("3", 3)),
        ([CODE.UNAVAILABLE], 3, ("UNAVAILABLE: call 3", 3)),
        ([CODE.UNAVAILABLE, CODE.INTERNAL], 2, ("INTERNAL: call 2", 2)),
        ([CODE.NOT_FOUND], 3, ("NOT_FOUND: call 1", 1)),
        (["hang", CODE.NOT_FOUND], 3, ("NOT_FOUND: call 2", 2)),
        ([CODE.UNAVAILABLE], 1, ("UNAVAILABLE: call 1", 1)),
    ],
)
def test_first_answer_wins(
    lab: Lab,
    ask: Callable[..., str],
    script: list[Any],
    attempts: int,
    expected: tuple[str, int],
) -> None:
    """The first answer is returned, failures are followed at once, losers are cancelled."""
    servicer = Scripted(*script)
    server = lab.serve_grpc(servicer, name="hedged")
    # A delay of a minute would show a failed call that is not followed at once.
    delay = 0.05 if "hang" in script else 60
    losers = servicer.all_cancelled if "hang" in script else None
    answer = ask(server.target, losers, delay=delay, attempts=attempts)
    assert (answer, servicer.calls) == expected


@BOTH
def test_no_extra_call_without_a_token(lab: Lab, ask: Callable[..., str]) -> None:
    """When the budget is spent, hedging stops and plain calls go on."""
    budget = RetryBudget(ratio=0, reserve=2)
    servicer = Scripted(CODE.UNAVAILABLE)
    server = lab.serve_grpc(servicer, name="hedged")
    for _ in range(5):
        ask(server.target, delay=60, attempts=3, budget=budget)
    assert servicer.calls == 5 + 2


@BOTH
def test_a_slow_call_is_waited_for_without_a_token(lab: Lab, ask: Callable[..., str]) -> None:
    """A denied hedge leaves the first call running."""
    budget = RetryBudget(ratio=0, reserve=1)
    budget.spend()
    servicer = SlowFirst()
    server = lab.serve_grpc(servicer, name="slow")
    assert ask(server.target, delay=0.01, attempts=3, budget=budget) == "1"


class SlowFirst(user_pb2_grpc.UserServiceServicer):
    """Answers a little late."""

    calls = 0

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer with the number of the call."""
        self.calls += 1
        number = self.calls
        await asyncio.sleep(0.2)
        return user_pb2.GetUserResponse(user=user_pb2.User(user_id=str(number)))


@BOTH
def test_attempts_out_of_bounds(lab: Lab, ask: Callable[..., str]) -> None:
    """No attempt at all is a mistake."""
    with pytest.raises(ValueError, match="attempts must be 1 or more"):
        ask("127.0.0.1:1", delay=1, attempts=0)


def test_an_error_of_start_is_raised() -> None:
    """What `start` itself raises is no answer of a call."""

    def start() -> Any:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        hedge(start, delay=1)

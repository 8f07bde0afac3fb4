"""The stage of exercise 23: a caller, a page, and the two services that the page asks."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.ending import as_grpc_ends_it, may_end
from labsvc.checks.scenarios.watch import Watch
from labsvc.shop.v1 import order_pb2, order_pb2_grpc, user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.submission import Submission

MEET = 0.5  # seconds in which two calls that start at once have both arrived
SOON = 1.0  # seconds in which a stop has arrived everywhere
HANGS = 3.0  # seconds: longer than any right answer takes


class Side:
    """One of the two services: it answers, fails with `code`, or hangs for ever.

    `asked` says whether a call arrived, and `alone` whether it waited in vain for one at the other.
    """

    def __init__(self) -> None:
        self.other: Side = self
        self.code: grpc.StatusCode | None = None
        self.hangs = False
        self.asked = False
        self.alone = False

    def reset(self, code: grpc.StatusCode | None, *, hangs: bool) -> None:
        """Forget the calls so far, and behave like this from now on."""
        self.code, self.hangs = code, hangs
        self.asked = self.alone = False

    async def serve(self, context: Any) -> None:
        """Come back if there is to be an answer."""
        self.asked = True
        self.alone = not await asyncio.to_thread(wait, lambda: self.other.asked, MEET)
        if self.hangs:
            await asyncio.Event().wait()
        if self.code is not None:
            await context.abort(self.code, "as the check wants it")


class Users(user_pb2_grpc.UserServiceServicer):
    """The users service, as its side says."""

    def __init__(self, side: Side) -> None:
        self._side = side

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer with the user, if at all."""
        await self._side.serve(context)
        return user_of(request.user_id)


class Orders(order_pb2_grpc.OrderServiceServicer):
    """The orders service, as its side says."""

    def __init__(self, side: Side) -> None:
        self._side = side

    async def ListOrders(self, request: Any, context: Any) -> order_pb2.ListOrdersResponse:
        """Answer with one order, if at all."""
        await self._side.serve(context)
        return orders_of(request.user_id)


def user_of(user_id: str) -> user_pb2.GetUserResponse:
    """Return what the users service answers."""
    return user_pb2.GetUserResponse(user=user_pb2.User(user_id=user_id, name=f"user {user_id}"))


def orders_of(user_id: str) -> order_pb2.ListOrdersResponse:
    """Return what the orders service answers."""
    order = order_pb2.Order(order_id=f"order of {user_id}", user_id=user_id)
    return order_pb2.ListOrdersResponse(orders=[order])


class Gate(Watch):
    """Lets the caller leave before a call of the function, and knows which of its calls go on.

    Or before it adds a callback to its context; `ties` is how many it has added.
    """

    def __init__(
        self,
        context: grpc.ServicerContext,
        leave: Callable[[], None],
        *,
        at_call: int | None,
        at_tie: int | None,
    ) -> None:
        super().__init__(context)
        self._leave = leave
        self._leave_at = at_call
        self._leave_at_tie = at_tie
        self.ties = 0

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Let the caller leave, if it is the time for it, and make the call."""
        if len(self.starts) + 1 == self._leave_at:
            self._leave()
        return super().intercept_unary_unary(continuation, details, request)

    def tie(self) -> None:
        """Let the caller leave, if it is the time for it."""
        self.ties += 1
        if self.ties == self._leave_at_tie:
            self._leave()

    @property
    def open(self) -> int:
        """How many calls go on."""
        return len(self.starts) - len(self.ends)


class Tied:
    """The context of a handler, which tells the gate before a callback is added."""

    def __init__(self, context: grpc.ServicerContext, gate: Gate) -> None:
        self._context = context
        self._gate = gate

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Tell the gate, and add it."""
        self._gate.tie()
        added: bool = self._context.add_callback(callback)
        return added

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class Page(user_pb2_grpc.UserServiceServicer):
    """A server with threads whose handler is the learner's function.

    `prepare` makes the gate of each call. Of the last call, `gate` has seen what the function did,
    `code` is how it ended, `got` what the function returned, and `busy` whether it still runs.
    """

    def __init__(self, answer: Submission, line: grpc.Channel) -> None:
        self._handler = answer.handler(allow=may_end, within=HANGS)
        self._line = line
        self.prepare: Callable[[Any], Gate]
        self.gate: Gate | None = None
        self.code = ""
        self.got: Any = None
        self.busy = False

    def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Run the learner's function, and let it end the call as gRPC would."""
        self.got, self.code, self.busy = None, "", True
        self.gate = self.prepare(context)
        watched = grpc.intercept_channel(self._line, self.gate)
        users = user_pb2_grpc.UserServiceStub(watched)
        orders = order_pb2_grpc.OrderServiceStub(watched)
        try:
            with as_grpc_ends_it(context):
                mine = Tied(context, self.gate)
                self.got = self._handler(mine, users, orders, request.user_id)
        finally:
            self.code = (context.code() or grpc.StatusCode.OK).name
            self.busy = False
        return user_pb2.GetUserResponse()


class Scene:
    """A caller, the learner's handler, and the two services that it asks."""

    def __init__(
        self, answer: Submission, sides: tuple[Side, Side], page: Page, caller: Any
    ) -> None:
        self._answer = answer
        self._caller = caller
        self.page = page
        self.users, self.orders = sides
        self.user_id = ""
        self.ties = 0

    def start(
        self,
        timeout: float | None,
        *,
        users: grpc.StatusCode | None = None,
        orders: grpc.StatusCode | None = None,
        hang: str = "",
        leave_at: int | None = None,
        leave_at_tie: int | None = None,
    ) -> Any:
        """Make a call of the caller and return it; `hang` names the services that do."""
        self.users.reset(users, hangs="users" in hang)
        self.orders.reset(orders, hangs="orders" in hang)
        self.user_id = f"u-{random.randrange(10**6)}"
        self.page.gate = None
        made: list[Any] = []

        def prepare(context: Any) -> Gate:
            def leave() -> None:
                wait(lambda: made, SOON)
                made[0].cancel()
                wait(lambda: not context.is_active(), SOON)

            return Gate(context, leave, at_call=leave_at, at_tie=leave_at_tie)

        self.page.prepare = prepare
        request = user_pb2.GetUserRequest(user_id=self.user_id)
        made.append(self._caller.GetUser.future(request, timeout=timeout))
        return made[0]

    def ask(self, timeout: float | None, **behaviour: Any) -> None:
        """Make a call and wait for the end of the function; `ties` are the callbacks it added.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        self.start(timeout, **behaviour).exception(timeout=8)
        self.ended(HANGS + SOON)
        self._answer.raise_noted()
        self.ties = self.gate.ties

    def ended(self, seconds: float) -> bool:
        """Wait until the function has come back; return whether it has."""
        return wait(lambda: self.page.gate is not None and not self.page.busy, seconds)

    def one_ended(self) -> bool:
        """Wait until a call of the function has ended; return whether one has."""
        return wait(lambda: self.page.gate is not None and len(self.page.gate.ends) > 0, SOON)

    @property
    def gate(self) -> Gate:
        """What the function did in the last call."""
        if self.page.gate is None:
            msg = "the call did not reach the server"
            raise TimeoutError(msg)
        return self.page.gate

    def stopped(self) -> bool:
        """Wait until function and calls have ended after a stop; return whether they have.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        ended = wait(lambda: self.ended(0) and not self.gate.open, SOON)
        self._answer.raise_noted()
        return ended

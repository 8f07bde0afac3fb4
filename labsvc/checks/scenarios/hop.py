"""Stage of 22-pass-on: a caller, the learner's handler, and the users service that it asks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import channel, wait
from labsvc.checks.scenarios.ending import as_grpc_ends_it, may_end
from labsvc.checks.scenarios.scripted_users import OK, REQUEST, Users
from labsvc.checks.scenarios.watch import Watch
from labsvc.shop.v1 import user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

HANGS = 2.0  # seconds: longer than the longest caller's patience


class _Orders(user_pb2_grpc.UserServiceServicer):
    """A service with threads whose handler is the learner's function.

    `begin_with` delays its start until so many seconds are left. Of its call, `watch` has seen what
    it sent, `code` is how it ended, `left` what its caller had left then, and `busy` whether it
    still runs.
    """

    def __init__(self, answer: Submission, line: grpc.Channel, begin_with: float | None) -> None:
        self._handler = answer.handler(allow=may_end, within=HANGS)
        self._line = line
        self._begin_with = begin_with
        self.watch = Watch()
        self.code = ""
        self.left = 0.0
        self.busy = False

    def GetUser(self, request: Any, context: Any) -> Any:
        self.busy = True
        self.watch = Watch(context)
        watched = grpc.intercept_channel(self._line, self.watch)
        if self._begin_with is not None:
            time.sleep(max(0.0, context.time_remaining() - self._begin_with))
        try:
            with as_grpc_ends_it(context):
                return self._handler(context, user_pb2_grpc.UserServiceStub(watched), request)
        finally:
            self.left = context.time_remaining()
            self.code = (context.code() or OK).name
            self.busy = False


class Hop:
    """One call through the learner's handler, whose caller allows `timeout` seconds.

    `code` is how the handler ended, `left` how many seconds its caller had left then, and `got`
    what the caller got. `timeouts` are those with which something was sent to the next service; one
    in the past sends nothing. `spare` is by how much the first one is shorter than what was left.

    Raises:
        SubmissionError: what is wrong with any answer.

    """

    def __init__(
        self,
        answer: Submission,
        room: Sandbox,
        run: Run,
        users: Users,
        timeout: float | None,
        *,
        begin_with: float | None = None,
    ) -> None:
        service = run.door(room.serve_grpc(users, name="users"))
        orders = _Orders(answer, room.enter(channel(service.target)), begin_with)
        front = room.serve_grpc(orders, name="orders", workers=2)
        with channel(front.target) as line:
            stub = user_pb2_grpc.UserServiceStub(line)
            call = stub.GetUser.future(REQUEST, timeout=timeout)
            failed = call.exception(timeout=HANGS + 1)
            wait(lambda: not orders.busy, HANGS + 1)
            self.got = None if failed else call.result()
        answer.raise_noted()
        self.code = orders.code or call.code().name
        self.left = orders.left
        self.timeouts = [each for each in orders.watch.timeouts if each is None or each > 0]
        self.spare = orders.watch.spare[0] if orders.watch.spare else None

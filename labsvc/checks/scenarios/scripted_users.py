"""Stage of notebook 22: a users service that fails as a script says."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUEST = user_pb2.GetUserRequest(user_id=f"u-{random.randrange(10**6)}")  # not to hard-code
OK = grpc.StatusCode.OK
EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
UNKNOWN = grpc.StatusCode.UNKNOWN
# CANCELLED is left out: a future says it in another way than the other codes.
PASSING = (OK, grpc.StatusCode.CANCELLED, UNAVAILABLE, EXCEEDED)
FINAL = tuple(code for code in grpc.StatusCode if code not in PASSING)  # no reason for another try


class Users(user_pb2_grpc.UserServiceServicer):
    """Answers with the codes of its script, and after it with the user; never with None.

    `calls` is how many it has seen, and `answer` what it answers to `REQUEST`.
    """

    def __init__(self, script: Iterable[grpc.StatusCode | None] = ()) -> None:
        self._script = list(script)
        self.calls = 0
        self._name = f"Customer {random.randrange(10**6)}"  # nothing to hard-code
        self.answer = self._answer_to(REQUEST)

    def _answer_to(self, request: user_pb2.GetUserRequest) -> user_pb2.GetUserResponse:
        user = user_pb2.User(user_id=request.user_id, name=self._name)
        return user_pb2.GetUserResponse(user=user)

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Do what the script says next."""
        self.calls += 1
        if self._script:
            code = self._script.pop(0)
            if code is None:
                await asyncio.sleep(60)
            else:
                await context.abort(code, f"try {self.calls}")
        return self._answer_to(request)

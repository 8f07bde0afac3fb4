"""What the exercises of notebook 28 protect: a library that counts who is inside."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

PLACES = 3
SOON = 1.0  # seconds for what takes milliseconds
PATIENCE = 5.0  # seconds that a gate stays closed at most

_names = itertools.count(random.randrange(1000, 9000))  # nothing to hard-code


class Library:
    """Holds who calls it until the gate is open, and counts how many it holds at once, by user."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.most_together = 0
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def query(self, request: user_pb2.GetUserRequest) -> user_pb2.GetUserResponse:
        """Stay until the gate is open; a user "bad-…" raises."""
        return self.handle(request, None)

    def handle(self, request: user_pb2.GetUserRequest, context: Any) -> user_pb2.GetUserResponse:
        """Do what `query` does as a handler; a user "gone-…" aborts, and "quit-…" exits."""
        user, gate = request.user_id, self.gate
        with self._lock:
            self.asked.append(user)
            self.inside[user] += 1
            self.most[user] = max(self.most[user], self.inside[user])
            self.most_together = max(self.most_together, self.inside.total())
        try:
            if user.startswith("bad"):
                msg = "the database is away"
                raise RuntimeError(msg)
            if user.startswith("gone"):
                context.abort(grpc.StatusCode.NOT_FOUND, "no such user")
            if user.startswith("quit"):
                raise SystemExit
            gate.wait(PATIENCE)
            return user_pb2.GetUserResponse(user=user_pb2.User(user_id=user, name=f"for {user}"))
        finally:
            with self._lock:
                self.inside[user] -= 1

    def close_behind(self) -> threading.Event:
        """Hold from now on at a new gate; return the old one, where those inside wait."""
        old, self.gate = self.gate, threading.Event()
        return old


def new_user(kind: str = "u") -> str:
    """Return the id of a user that nobody has met."""
    return f"{kind}-{next(_names)}"


def start(line: grpc.Channel, user: str, timeout: float = 2 * PATIENCE) -> Any:
    """Start a call of a user, and return its future."""
    request = user_pb2.GetUserRequest(user_id=user)
    return user_pb2_grpc.UserServiceStub(line).GetUser.future(request, timeout=timeout)


def count(calls: Iterable[Any]) -> Counter[str]:
    """Wait for calls, and count their status codes."""
    return Counter(call.code().name for call in calls)

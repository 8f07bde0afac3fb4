"""Whether a user's places come back: part of the exercise 28-limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.library import PLACES, SOON, Library, count, new_user, start
from labsvc.checks.verdict import Verdict, first_broken
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

RUSHES = 3
KINDS = {"u": "OK", "bad": "UNKNOWN", "gone": "NOT_FOUND", "quit": "UNKNOWN"}


class Users(user_pb2_grpc.UserServiceServicer):
    """Passes each call to the learner's handler, and keeps what it did with it."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        self.handler = handler
        self.failed_after: list[float] = []
        self.odd: list[object] = []
        self.returned = 0
        self.ended = 0  # a call ends before its handler returns if its caller gives up

    def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> Any:
        """Time the handler."""
        began = time.monotonic()
        context.add_callback(self._end)
        try:
            reply = self.handler(request, context)
        except SystemExit:  # gRPC would leave the caller waiting
            context.abort(grpc.StatusCode.UNKNOWN, "the handler exits")
        except BaseException:
            self.failed_after.append(time.monotonic() - began)
            raise
        finally:
            self.returned += 1
        if not isinstance(reply, user_pb2.GetUserResponse):
            self.odd.append(reply)
        return reply

    def _end(self) -> None:
        self.ended += 1


def places_come_back(
    line: grpc.Channel, library: Library, counts: dict[str, int]
) -> Verdict | None:
    """Let handlers succeed, raise, abort and exit, each more often than there are places."""
    tries = 2 * PLACES
    kept_out, other = set(), set()
    for kind, code in KINDS.items():
        user = new_user(kind)
        ended = count(start(line, user) for _ in range(tries))  # one after the other
        if library.asked.count(user) < tries:
            kept_out.add(kind)
        other |= {name for name in ended if name != code and kind not in kept_out}
    return first_broken(
        (
            "u" in kept_out,
            "calls that came one after the other were not served",
            "A place is taken when a call enters. When is it given back, and by which calls?",
        ),
        (
            bool(kept_out),
            "after handlers had failed, calls were refused though nobody was inside",
            "A line after the handler is not reached when it raises; `finally` always is.",
        ),
        (
            bool(other),
            f"the handler failed, and its caller got {', '.join(sorted(other))} instead",
            "An error of the handler is not yours to answer: let it pass.",
        ),
        **counts,
    )


def one_leaves(
    line: grpc.Channel, library: Library, users: Users, counts: dict[str, int]
) -> Verdict | None:
    """Fill a user's places, let one caller give up, then let its handler end."""
    user = new_user()
    library.close_behind()
    first = start(line, user)
    wait(lambda: library.inside[user] == 1, SOON)
    first_gate = library.close_behind()
    calls = [start(line, user) for _ in range(PLACES - 1)]
    wait(lambda: library.inside[user] == PLACES, SOON)
    ended = users.ended
    first.cancel()
    wait(lambda: users.ended > ended, SOON)
    too_early = start(line, user)
    wait(lambda: too_early.done() or library.most[user] > PLACES, SOON)
    given_up = library.most[user] > PLACES
    returned = users.returned
    first_gate.set()
    wait(lambda: users.returned > returned, SOON)
    calls += [start(line, user) for _ in range(PLACES)]
    wait(lambda: _placed(calls, library, user), SOON)
    library.gate.set()
    served = count(calls)["OK"]
    return first_broken(
        (
            given_up,
            f"{PLACES + 1} handlers of one user ran at once after a caller had given up",
            "The handler of who has left goes on. What told you that its place was free?",
        ),
        (
            library.most[user] > PLACES or served > PLACES,
            f"one of {PLACES} calls ended, and more than one took its place",
            "Who leaves gives back one place, and the others keep theirs.",
        ),
        (
            served < PLACES,
            "one call ended, and nobody could take its place",
            "The place comes back as soon as this handler ends, not when all have ended.",
        ),
        **counts,
    )


def rush(
    line: grpc.Channel, library: Library, calls: int, counts: dict[str, int]
) -> Verdict | None:
    """Let so many calls of a user come at the same moment, and again when they have ended.

    Where the cores are taken, a call may come when the others have gone. Then it is not told from a
    place that is counted wrongly, unless that is so each time.
    """
    faults = []
    for user in [new_user() for _ in range(RUSHES)]:
        served, all_came = [], True
        for _ in range(2):
            rushing = [start(line, user) for _ in range(calls)]
            all_came &= wait(lambda: _placed(rushing, library, user), SOON)  # noqa: B023
            library.close_behind().set()
            served.append(count(rushing)["OK"])
        if fault := _rushed(library.most[user], served, counts):
            if all_came:
                return fault
            faults.append(fault)
    return faults[0] if len(faults) == RUSHES else None


def _placed(calls: list[Any], library: Library, user: str) -> bool:
    """Return whether each call is refused or inside: who comes later waits at another gate."""
    refused = sum(bool(call.done()) for call in calls)
    return refused + library.inside[user] >= len(calls)


def _rushed(most: int, served: list[int], counts: dict[str, int]) -> Verdict | None:
    return first_broken(
        (
            most > PLACES,
            f"{most} calls of one user ran at once when they came at the same moment",
            "One thread may look before another has counted: look and count under one lock.",
        ),
        (
            served != [PLACES, PLACES],
            "calls came and left at the same moment, and then the count was wrong",
            "Who gives a place back counts as well. Is that under the lock, too?",
        ),
        **counts,
    )

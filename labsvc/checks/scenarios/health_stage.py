"""The stage of notebook 33's exercise: services whose health is as the check wants it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.checks.asking import channel, status_of
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission

READY = 200
NOT_READY = 503
SERVING = "SERVING"
ANY_CODE = "a gRPC code"
SLOW = 0.1  # seconds until a service answers that is slow, and in time
PATIENCE = 5.0  # seconds for one call of the answer

_CODES = frozenset(code.name for code in grpc.StatusCode) - {"OK"}
_STATUSES = frozenset(health_pb2.HealthCheckResponse.ServingStatus.keys())

Services = dict[str, Any]


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Says of each service what it is told to: a status, a code, or something that happens."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.asked: list[str] = []
        self.limits: list[float | None] = []
        self.draining = threading.Event()

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer, or do what else was wanted."""
        self.asked.append(request.service)
        self.limits.append(context.time_remaining())
        # "" is the server itself, which is well as long as it answers.
        said = self.says.get(request.service, "NOT_FOUND" if request.service else SERVING)
        if said == "hangs":
            await asyncio.sleep(60)
        if said == "slow":
            await asyncio.sleep(SLOW)
        if said == "drains":
            self.draining.set()
        if said in _CODES:
            await context.abort(grpc.StatusCode[said], "asked to")
        return health_pb2.HealthCheckResponse(status=said if said in _STATUSES else SERVING)


class Stage:
    """One server of health for some services, and a call of the answer that asks it."""

    def __init__(self, room: Sandbox, required: Sequence[str], optional: Sequence[str]) -> None:
        self.health = Health()
        self.health.says = dict.fromkeys((*required, *optional), SERVING)
        self.service = room.serve_grpc(self.health, name="health")
        line = room.enter(channel(self.service.target))
        self.required: Services = {n: health_pb2_grpc.HealthStub(line) for n in required}
        self.optional: Services = {n: health_pb2_grpc.HealthStub(line) for n in optional}

    def ask(self, answer: Submission) -> Outcome:
        """Call the answer."""
        return ask(answer, self.required, self.optional, self.health.draining)

    def judge(self, outcome: Outcome, expected: Mapping[str, str]) -> Verdict | None:
        """Return what broke; `expected` is what those say that do not serve."""
        asked = self.health.asked
        wrongly = [name for name in asked if name not in self.health.says]
        return (
            came_back(outcome)
            or first_broken(
                (
                    not asked,
                    "no service was asked",
                    "Each stub has a `Check(...)`, which takes a `HealthCheckRequest`.",
                ),
                (
                    bool(wrongly),
                    f"a server was asked about {wrongly[:1]}, which is none of the services",
                    "One server can have many services, some of them well. Name the one you mean.",
                ),
            )
            or tells(outcome, self.required, self.optional, expected)
        )


def ask(
    answer: Submission, required: Services, optional: Services, draining: threading.Event
) -> Outcome:
    """Call the answer."""
    return answer.attempt(
        dict(required), dict(optional), draining, within=PATIENCE, allow=status_of
    )


def came_back(outcome: Outcome) -> Verdict | None:
    """Return what broke if there is nothing to judge."""
    return first_broken(
        (
            outcome.hung,
            "your function did not come back",
            "Who asks gives up, and takes no answer for a no. Does each call have a deadline?",
        ),
        (
            outcome.error is not None,
            f"a call ended with {outcome.status}, and your function raised it",
            "A service that fails is what this page is for: say so in the dictionary.",
        ),
    )


def tells(
    outcome: Outcome, required: Services, optional: Services, expected: Mapping[str, str]
) -> Verdict | None:
    """Return what is not true; a service that `expected` leaves out says SERVING."""
    status, said = outcome.value
    names = {**required, **optional}
    missing = set(said) != set(names)
    untrue = "" if missing else next((n for n in names if not _is_true(n, said, expected)), "")
    told, truth = said.get(untrue), expected.get(untrue, SERVING)
    ready = all(said.get(name) == SERVING for name in required)
    limping = ready and any(said.get(name) != SERVING for name in optional)
    return first_broken(
        (
            missing,
            f"{len(names)} services were to be asked, and the dictionary has {len(said)}"
            if len(said) != len(names)
            else "the dictionary has other names than those that were given",
            "It has each required and each optional service, by the name it was given under.",
        ),
        (
            truth != SERVING and told == SERVING,
            f"{untrue} did not serve ({truth}), and the dictionary says {SERVING}",
            "Ask anew each time, and look at the `status` of the answer: a reply alone is no yes.",
        ),
        (
            truth != SERVING,
            f"{untrue} said {truth}, and the dictionary says {told!r}",
            "`ServingStatus.Name(...)` names a status; `error.code().name` names a gRPC code.",
        ),
        (
            bool(untrue),
            f"{untrue} said {SERVING} in time, and the dictionary says {told!r}",
            "A service may come back, or take a moment. Names are those of the statuses.",
        ),
        (
            not ready and status != NOT_READY,
            f"a required service did not serve, and the status was {status}",
            "One that is required and does not serve is enough for 503.",
        ),
        (
            limping and status != READY,
            f"only optional services did not serve, and the status was {status}",
            "Nobody can order any more because the coupons are down. Who decides the status?",
        ),
        (
            ready and status != READY,
            f"every required service said {SERVING}, and the status was {status}",
            "200 is for a process that can do its work.",
        ),
    )


def _is_true(name: str, said: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    truth = expected.get(name, SERVING)
    return said[name] in _CODES if truth == ANY_CODE else said[name] == truth

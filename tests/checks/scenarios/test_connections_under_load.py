from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from labsvc.checks import run_check
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "labsvc.shop.v1.UserService"


def shut_down(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Solve the exercise."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait()


async def awaits(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Solve it as a coroutine."""
    await asyncio.to_thread(stopping.wait)
    health.enter_graceful_shutdown()
    await asyncio.sleep(notice)
    await asyncio.to_thread(server.stop(grace).wait)


def polls(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Solve it by looking again and again, and by waiting for the server itself."""
    while not stopping.is_set():
        time.sleep(0.05)
    health.enter_graceful_shutdown()
    threading.Event().wait(notice)
    server.stop(grace)
    server.wait_for_termination()


def ignores_the_event(s: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Start at once."""
    health.enter_graceful_shutdown()
    time.sleep(notice)
    s.stop(grace).wait()


def asks_the_event_once(s: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Look at the event and leave."""
    if not stopping.is_set():
        return
    shut_down(s, health, stopping, notice, grace)


def says_nothing(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Leave health out."""
    stopping.wait()
    time.sleep(notice)
    server.stop(grace).wait()


def says_it_of_the_server_only(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Set the empty name."""
    stopping.wait()
    health.set("", NOT_SERVING)
    time.sleep(notice)
    server.stop(grace).wait()


def says_it_of_the_services_it_knows(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Set the names that the notebook shows."""
    stopping.wait()
    health.set("", NOT_SERVING)
    health.set(SERVICE, NOT_SERVING)
    time.sleep(notice)
    server.stop(grace).wait()


def says_it_late(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Wait first."""
    stopping.wait()
    time.sleep(notice)
    health.enter_graceful_shutdown()
    server.stop(grace).wait()


def gives_no_notice(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Stop right after health."""
    stopping.wait()
    health.enter_graceful_shutdown()
    server.stop(grace).wait()


def stops_first(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Stop, and say so afterwards."""
    stopping.wait()
    ended = server.stop(grace)
    health.enter_graceful_shutdown()
    time.sleep(notice)
    ended.wait()


def gives_no_grace(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Stop with None."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(None).wait()


def does_not_wait(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Forget what stop returns."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace)


def sleeps_through_the_grace(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Sleep instead of waiting."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace)
    time.sleep(grace)


def serves_through_the_grace(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Sleep for both, then stop."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice + grace)
    server.stop(0).wait()


def waits_for_the_last_call(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Let a call take as long as it likes."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(3600).wait()


def second_call_cuts(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Stop hard when somebody has called it before."""
    stopping.wait()
    if hasattr(server, "going"):
        server.stop(0).wait()
        return
    server.going = True
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait()


def second_call_raises(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Refuse to be called twice."""
    stopping.wait()
    if hasattr(server, "going"):
        raise RuntimeError("it is going down already")  # noqa: EM101
    server.going = True
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait()


def second_call_hangs(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Take the event away."""
    while True:
        stopping.wait()
        if not hasattr(server, "going"):
            break
        time.sleep(0.1)
    server.going = True
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait()


def never_stops(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Wait for an end that nobody brings about."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.wait_for_termination(grace)


def slip(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Write a method that does not exist."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.shutdown(grace).wait()


def waits_with_a_timeout(s: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Go on when the wait has ended, for whatever reason."""
    stopping.wait(60)
    health.enter_graceful_shutdown()
    time.sleep(notice)
    s.stop(grace).wait()


def says_something_else(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Say UNKNOWN."""
    stopping.wait()
    for name in list(health._server_status):
        health.set(name, health_pb2.HealthCheckResponse.UNKNOWN)
    time.sleep(notice)
    server.stop(grace).wait()


def takes_it_back(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Say SERVING again when the notice is over."""
    stopping.wait()
    names = list(health._server_status)
    for name in names:
        health.set(name, NOT_SERVING)
    time.sleep(notice)
    for name in names:
        health.set(name, health_pb2.HealthCheckResponse.SERVING)
    server.stop(grace).wait()


def second_call_leaves(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Do nothing when somebody has called it before."""
    stopping.wait()
    if hasattr(server, "going"):
        return
    server.going = True
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait()


def leaves_within_the_grace(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Wait for a part of the grace."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait(grace / 2)


def takes_the_notice_from_the_grace(
    server: Any, health: Any, stopping: Any, notice: float, grace: float
) -> None:
    """Give less than the grace."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(max(0.0, grace - notice)).wait()


def gives_more(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Add a reserve to the grace."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace + 0.3).wait()


def gives_less(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Take a reserve from the grace."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace - 0.3).wait()


def ends_it_by_hand(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Solve it with a second stop that cuts when the grace is over."""
    stopping.wait()
    health.enter_graceful_shutdown()
    time.sleep(notice)
    ended = server.stop(3600)
    if not ended.wait(grace):
        server.stop(None).wait()
    ended.wait()


def waits_in_turns(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
    """Solve it with timeouts whose outcome is looked at, and each service by its name."""
    while not stopping.wait(1):
        pass
    for name in list(health._server_status):
        health.set(name, NOT_SERVING)
    time.sleep(notice)
    ended = server.stop(grace)
    while not ended.wait(0.1):
        pass


@pytest.mark.parametrize("answer", [shut_down, awaits, polls, waits_in_turns, ends_it_by_hand])
def test_drain_solved(answer: Callable[..., Any]) -> None:
    """Four lines, a coroutine, and loops that poll or wait in turns solve the exercise."""
    assert str(run_check("29-drain", answer)) == (
        "solved\n"
        "  no call failed that had its time, and the end came when the last call had ended\n"
        "  counts: calls within the grace 4, calls beyond it 1"
    )


def test_drain_stub() -> None:
    """The stub is not attempted."""

    def stub(server: Any, health: Any, stopping: Any, notice: float, grace: float) -> None:
        raise NotImplementedError

    assert run_check("29-drain", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (ignores_the_event, "was going down before anybody set", "The first line waits"),
        (asks_the_event_once, "returned before anybody set the event", "waits until it is set"),
        (says_nothing, f'NOT_SERVING for "", {SERVICE}, shop.v1.Service', "for each service"),
        (
            says_it_of_the_server_only,
            f"health did not say NOT_SERVING for {SERVICE}",
            "for each service",
        ),
        (
            says_it_of_the_services_it_knows,
            "did not say NOT_SERVING for shop.v1",
            "for each service",
        ),
        (says_it_late, "during the notice, health did not say", "from the start of the notice"),
        (gives_no_notice, "that came during the notice ended with ", "taking calls"),
        (stops_first, "that came during the notice ended with ", "taking calls"),
        (gives_no_grace, "4 calls at work were ended", "given 0, None"),
        (does_not_wait, "returned while 4 calls were at work", "What does it return?"),
        (sleeps_through_the_grace, "had ended, and your function did not return", "not the least"),
        (serves_through_the_grace, "still took new calls", "right after the notice"),
        (waits_for_the_last_call, "longer than the grace was not ended", "in seconds"),
        (second_call_cuts, "was ended before its grace", "take it from the first"),
        (second_call_raises, "RuntimeError: it is going down already", "print"),
        (second_call_hangs, "called twice, and one of the calls did not return", "only once"),
        (never_stops, "still took new calls", "right after the notice"),
        (waits_with_a_timeout, "was going down before anybody set", "A timeout ends a wait, too"),
        (says_something_else, 'did not say NOT_SERVING for ""', "for each service"),
        (takes_it_back, "no longer said NOT_SERVING", "stays so to the end"),
        (second_call_leaves, "one returned before the last call", "when the server is down"),
        (leaves_within_the_grace, "one returned before the last call", "as long as it takes"),
        (takes_the_notice_from_the_grace, "before its grace was over", "after the notice"),
        (gives_more, "was given 1.1 s, and the grace is 0.8 s", "adds nothing"),
        (gives_less, "was ended before its grace was over", "begins after the notice"),
        (slip, "has no attribute 'shutdown'", "print"),
    ],
)
def test_drain_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("29-drain", answer, guarantee, hint)

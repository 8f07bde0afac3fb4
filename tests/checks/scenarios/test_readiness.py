from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import (  # type: ignore[import-untyped]
    HealthCheckRequest,
    HealthCheckResponse,
)

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

CHECK = "33-readiness"
Answer = tuple[int, dict[str, str]]


def told(answer: Any) -> str:
    """Return the name of a status."""
    name: str = HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def start(stub: Any, name: str, timeout: float | None = 0.5) -> Any:
    """Start one call."""
    return stub.Check.future(HealthCheckRequest(service=name), timeout=timeout)


def end(call: Any) -> str:
    """Return what came of it."""
    code: str = call.code().name
    return told(call.result()) if code == "OK" else code


def ask(stub: Any, name: str, timeout: float | None = 0.5) -> str:
    """Ask one service and wait."""
    return end(start(stub, name, timeout))


def all_said(services: dict[str, Any], timeout: float | None = 0.5) -> dict[str, str]:
    """Ask all of them side by side."""
    calls = {name: start(stub, name, timeout) for name, stub in services.items()}
    return {name: end(call) for name, call in calls.items()}


def status(required: dict[str, Any], said: dict[str, str], draining: threading.Event) -> int:
    """Return 200 or 503."""
    ready = all(said[name] == "SERVING" for name in required)
    return 200 if ready and not draining.is_set() else 503


def stub_only(required: Any, optional: Any, draining: Any) -> Answer:
    """Do nothing yet."""
    raise NotImplementedError("write this, then run the check below")  # noqa: EM101


def futures(required: Any, optional: Any, draining: Any) -> Answer:
    """Solve the exercise."""
    said = all_said(required | optional)
    return status(required, said, draining), said


def threads(required: Any, optional: Any, draining: Any) -> Answer:
    """Solve it with a thread for each call, which raises."""

    def one(name: str, stub: Any) -> str:
        try:
            return told(stub.Check(HealthCheckRequest(service=name), timeout=0.6))
        except grpc.RpcError as error:
            code: Any = error
            return str(code.code().name)

    services = {**required, **optional}
    with ThreadPoolExecutor(len(services)) as pool:
        said = dict(zip(services, pool.map(one, services, services.values()), strict=True))
    return status(required, said, draining), said


async def on_asyncio(required: Any, optional: Any, draining: Any) -> Answer:
    """Solve it as a coroutine."""
    services = {**required, **optional}
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(services)) as pool:  # that of asyncio may be smaller
        each = (loop.run_in_executor(pool, ask, s, n, 0.8) for n, s in services.items())
        said = await asyncio.gather(*each)
    found = dict(zip(services, said, strict=True))
    return status(required, found, draining), found


def one_deadline(required: Any, optional: Any, draining: Any) -> Answer:
    """Solve it with one deadline for all, an event that is looked at twice, and no dictionary."""
    if draining.is_set():
        return 503, {}
    give_up_at = time.monotonic() + 0.7
    services = {**required, **optional}
    calls = {n: start(s, n, give_up_at - time.monotonic()) for n, s in services.items()}
    said = {name: end(call) for name, call in calls.items()}
    return status(required, said, draining), said


def one_more_try(required: Any, optional: Any, draining: Any) -> Answer:
    """Solve it with a second call for who was not there, within the second."""
    said = all_said(required | optional, 0.4)
    gone = {n: s for n, s in (required | optional).items() if said[n] == "UNAVAILABLE"}
    said |= all_said(gone, 0.4)
    return status(required, said, draining), said


def asks_the_server(required: Any, optional: Any, draining: Any) -> Answer:
    """Leave the name out."""
    said = {name: ask(stub, "") for name, stub in (required | optional).items()}
    return status(required, said, draining), said


def one_after_the_other(required: Any, optional: Any, draining: Any) -> Answer:
    """Wait for each."""
    said = {name: ask(stub, name, 0.3) for name, stub in (required | optional).items()}
    return status(required, said, draining), said


def no_deadline(required: Any, optional: Any, draining: Any) -> Answer:
    """Wait for ever."""
    said = all_said(required | optional, None)
    return status(required, said, draining), said


def long_deadline(required: Any, optional: Any, draining: Any) -> Answer:
    """Wait too long."""
    said = all_said(required | optional, 2.5)
    return status(required, said, draining), said


def short_deadline(required: Any, optional: Any, draining: Any) -> Answer:
    """Wait too short."""
    said = all_said(required | optional, 0.15)
    return status(required, said, draining), said


def one_budget_in_turns(required: Any, optional: Any, draining: Any) -> Answer:
    """Share a second among the services, one after the other."""
    services = required | optional
    said = {name: ask(stub, name, 0.9 / len(services)) for name, stub in services.items()}
    return status(required, said, draining), said


def raises(required: Any, optional: Any, draining: Any) -> Answer:
    """Let errors through."""
    calls = {name: start(stub, name) for name, stub in (required | optional).items()}
    said = {name: told(call.result()) for name, call in calls.items()}
    return status(required, said, draining), said


def a_reply_is_a_yes(required: Any, optional: Any, draining: Any) -> Answer:
    """Do not look at the answer."""
    calls = {name: start(stub, name) for name, stub in (required | optional).items()}
    said = {n: "SERVING" if c.code().name == "OK" else c.code().name for n, c in calls.items()}
    return status(required, said, draining), said


def says_ok(required: Any, optional: Any, draining: Any) -> Answer:
    """Tell the code instead of the status."""
    said = all_said(required | optional)
    ready = status(required, said, draining)
    return ready, {n: "OK" if said[n] == "SERVING" else said[n] for n in said}


def any_failure_is_down(required: Any, optional: Any, draining: Any) -> Answer:
    """Make one word of all that is no yes."""
    said = all_said(required | optional)
    ready = status(required, said, draining)
    return ready, {n: said[n] if said[n] == "SERVING" else "NOT_SERVING" for n in said}


def optional_counts(required: Any, optional: Any, draining: Any) -> Answer:
    """Need everything."""
    said = all_said(required | optional)
    return status(required | optional, said, draining), said


def one_is_enough(required: Any, optional: Any, draining: Any) -> Answer:
    """Be ready with one of the required."""
    said = all_said(required | optional)
    ready = not required or any(said[name] == "SERVING" for name in required)
    return 200 if ready and not draining.is_set() else 503, said


def another_status(required: Any, optional: Any, draining: Any) -> Answer:
    """Answer 500."""
    said = all_said(required | optional)
    return 200 if status(required, said, draining) == 200 else 500, said


def few_threads(required: Any, optional: Any, draining: Any) -> Answer:
    """Ask four at a time."""
    services = required | optional
    with ThreadPoolExecutor(4) as pool:
        said = dict(zip(services, pool.map(ask, services.values(), services), strict=True))
    return status(required, said, draining), said


def decided_by(ready: Callable[[list[str]], bool]) -> Callable[[Any, Any, Any], Answer]:
    """Return an answer with another rule for what the required services said."""

    def answer(required: Any, optional: Any, draining: Any) -> Answer:
        said = all_said(required | optional)
        fine = ready([said[name] for name in required]) and not draining.is_set()
        return 200 if fine else 503, said

    return answer


only_a_no_counts = decided_by(lambda said: "NOT_SERVING" not in said)
nothing_required = decided_by(lambda said: bool(said) and {*said} == {"SERVING"})
most_of_them = decided_by(lambda said: 2 * said.count("SERVING") > len(said))
unknown_is_fine = decided_by(lambda said: {*said} <= {"SERVING", "SERVICE_UNKNOWN", "NOT_FOUND"})


def drains_first(required: Any, optional: Any, draining: Any) -> Answer:
    """Look at the event at the start alone."""
    if draining.is_set():
        return 503, {}
    said = all_said(required | optional)
    return status(required, said, threading.Event()), said


def required_only(required: Any, optional: Any, draining: Any) -> Answer:
    """Ask those that matter."""
    said = all_said(required)
    return status(required, said, draining), said


def never_drains(required: Any, optional: Any, draining: Any) -> Answer:
    """Forget the event."""
    said = all_said(required | optional)
    return status(required, said, threading.Event()), said


def looks_first(required: Any, optional: Any, draining: Any) -> Answer:
    """Look at the event once, at the start."""
    if draining.is_set():
        return 503, {}
    return never_drains(required, optional, draining)


def clears_it(required: Any, optional: Any, draining: Any) -> Answer:
    """Take the event away from others."""
    said = all_said(required | optional)
    ready = status(required, said, draining)
    draining.clear()
    return ready, said


def keeps_answers() -> Callable[[Any, Any, Any], Answer]:
    """Return an answer that asks each service once in its life."""
    known: dict[str, str] = {}

    def remembers(required: Any, optional: Any, draining: Any) -> Answer:
        services = required | optional
        known.update(all_said({n: s for n, s in services.items() if n not in known}))
        return status(required, known, draining), {name: known[name] for name in services}

    return remembers


def made_up(required: Any, optional: Any, draining: Any) -> Answer:
    """Ask nobody."""
    return 200, dict.fromkeys(required | optional, "SERVING")


def no_pair(required: Any, optional: Any, draining: Any) -> Any:
    """Return the status alone."""
    return status(required, all_said(required | optional), draining)


def test_the_stub_is_no_attempt() -> None:
    """The stub is told apart."""
    assert_not_attempted(CHECK, stub_only)


@pytest.mark.parametrize("answer", [futures, threads, on_asyncio, one_deadline, one_more_try])
def test_right_answers_are_solved(answer: Callable[..., Any]) -> None:
    """Every form that keeps the promise is right."""
    assert_solved(CHECK, answer)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (asks_the_server, "which is none of the services", "Name the one you mean"),
        (one_after_the_other, "16 services hung", "does the next one wait"),
        (no_deadline, "a call had no deadline", "takes a timeout"),
        (long_deadline, "took longer than a second", "How long does one call wait"),
        (short_deadline, "less than 0.3 seconds", "same moment"),
        (one_budget_in_turns, "less than 0.3 seconds", "same moment"),
        (raises, "and your function raised it", "say so in the dictionary"),
        (a_reply_is_a_yes, "and the dictionary says SERVING", "a reply alone is no yes"),
        (says_ok, "in time, and the dictionary says 'OK'", "those of the statuses"),
        (any_failure_is_down, "the dictionary says 'NOT_SERVING'", "error.code().name"),
        (optional_counts, "only optional services did not serve", "Who decides the status?"),
        (one_is_enough, "a required service did not serve, and the status was 200", "enough"),
        (another_status, "a required service did not serve, and the status was 500", "503"),
        (required_only, "4 services were to be asked, and the dictionary has 2", "optional"),
        (few_threads, "16 services hung", "does the next one wait"),
        (only_a_no_counts, "a required service did not serve, and the status was 200", "enough"),
        (nothing_required, "only optional services did not serve", "Who decides the status?"),
        (most_of_them, "only optional services did not serve", "Who decides the status?"),
        (unknown_is_fine, "a required service did not serve, and the status was 200", "enough"),
        (drains_first, "`draining` was set while it waited", "Waiting takes time"),
        (never_drains, "`draining` was set before the call", "When do you look"),
        (looks_first, "`draining` was set while it waited", "Waiting takes time"),
        (clears_it, "your function cleared it", "Only read it"),
        (made_up, "no service was asked", "Check(...)"),
        (no_pair, "your function returned an int", "tuple[int, dict[str, str]]"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_answers_are_told_what_broke(
    answer: Callable[..., Any], guarantee: str, hint: str
) -> None:
    """Each mistake has its sentence and its hint."""
    assert_wrong(CHECK, answer, guarantee, hint)


def test_an_answer_that_is_kept_is_told() -> None:
    """Services come and go."""
    assert_wrong(CHECK, keeps_answers(), "and the dictionary says SERVING", "Ask anew")

"""Checks that are made of cases, and the replay of one that broke."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc import Lab, LabError
from labsvc.checks import registry, replay, run_check
from labsvc.checks.asking import channel, status_of
from labsvc.checks.cases import Cases
from labsvc.checks.registry import exercise
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

pytestmark = pytest.mark.usefixtures("once")


class Effects(user_pb2_grpc.UserServiceServicer):
    """Notes the id of each request: the effect."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Do the work."""
        self.seen.append(request.user_id)
        return user_pb2.GetUserResponse()


def one_effect(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask for one effect."""
    effects = Effects()
    service = room.serve_grpc(effects, name="effects")
    with channel(run.door(service).target) as line:
        outcome = answer.attempt(user_pb2_grpc.UserServiceStub(line), within=3, allow=status_of)
    count = len(set(effects.seen))
    return first_broken(
        (count > 1, f"{count} effects", "Make the id once."),
        (outcome.error is None and not count, "no effect", "Call GetUser."),
    )


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register an exercise under the id of one of the course, in whose place it stands."""
    registry.listed()
    monkeypatch.setattr(registry, "_exercises", {})

    @exercise("26-order-once", title="Have one effect")
    def scenario(answer: Submission, sandbox: Sandbox) -> Verdict:
        cases = Cases(answer, sandbox)
        return cases.broken(one_effect, only=("lost",)) or solved("one effect", cases=cases.count)


@pytest.fixture(autouse=True)
def lab() -> Iterator[Lab]:
    """Run a lab, on which a replay leaves its services."""
    with Lab() as running:
        yield running


def get(stub: Any, key: str) -> None:
    """Call once, with a deadline."""
    stub.GetUser(user_pb2.GetUserRequest(user_id=key), timeout=1, wait_for_ready=True)


def retry(stub: Any, keys: Iterator[str]) -> None:
    """Try three times."""
    for left in (2, 1, 0):
        try:
            return get(stub, next(keys))
        except grpc.RpcError:
            if not left:
                raise
            time.sleep(0.1)
    return None


def with_one_key(stub: Any) -> None:
    """Use one id for all tries."""
    retry(stub, iter([str(uuid.uuid4())] * 3))


def with_a_key_a_try(stub: Any) -> None:
    """Use a new id each time."""
    retry(stub, (str(uuid.uuid4()) for _ in range(3)))


def asks_nobody(stub: Any) -> None:
    """Do nothing."""


def test_every_case_is_kept() -> None:
    """One without a fault, one for each of two points, and one for each of two more in both."""
    verdict = run_check("26-order-once", with_one_key)
    assert str(verdict) == "solved\n  one effect\n  counts: cases 7"


def test_the_smallest_case_is_told() -> None:
    """The words name the fault; without one they stand alone."""
    verdict = run_check("26-order-once", with_a_key_a_try)
    assert verdict.guarantee == "the answer to request 1 of GetUser was lost: 2 effects"
    assert verdict.hint == "Make the id once."
    assert run_check("26-order-once", asks_nobody).guarantee == "no effect"


def test_the_first_run_that_broke_is_told() -> None:
    """The second one, which makes sure, meets an answer that has kept something from the first."""
    runs = iter(range(1000))

    def twice_then_never(stub: Any) -> None:
        if next(runs) == 0:
            get(stub, "one")
            get(stub, "two")

    assert run_check("26-order-once", twice_then_never).guarantee == "2 effects"


def test_what_breaks_by_chance_does_not_hide_what_always_breaks() -> None:
    """A race that is lost now and then, and not again by itself, comes before the sure case."""
    runs = iter(range(1000))

    def now_and_then(stub: Any) -> None:
        if next(runs) in {0, 2, 4}:  # the first run of each look, were each left at what breaks
            get(stub, "one")
        with_a_key_a_try(stub)

    verdict = run_check("26-order-once", now_and_then)
    assert verdict.guarantee == "the answer to request 1 of GetUser was lost: 2 effects"


def test_what_is_wrong_with_any_answer_comes_first() -> None:
    """An error of the answer is its own, with its line, however deep in a sweep."""

    def misspelt(stub: Any) -> None:
        get(stub, str(uuid.uuid4()))
        get(stub, kye)  # type: ignore[name-defined]  # noqa: F821

    verdict = run_check("26-order-once", misspelt)
    assert verdict.state == "not solved"
    assert "NameError" in verdict.guarantee


def test_a_case_that_differs_each_time_is_unknown() -> None:
    """What was struck is not reached again: nothing can be said."""
    calls = iter(range(1000))

    def more_at_first(stub: Any) -> None:
        """Ask twice without a fault, and once in all cases that follow.

        These are four, two of them once more, and one in a last look.
        """
        for _ in range(2 if next(calls) % 8 == 0 else 1):
            get(stub, "the same")

    verdict = run_check("26-order-once", more_at_first)
    assert verdict.state == "unknown"
    assert "was not reached again" in verdict.guarantee


def test_replay_says_what_happens_and_leaves_the_services(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The events come in their order, and the service can be asked until the next replay."""
    run_check("26-order-once", with_a_key_a_try)
    assert not lab.targets()
    replay("26-order-once")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "26-order-once: the answer to request 1 of GetUser was lost"
    assert [line.partition(" s  ")[2] for line in said[1:5]] == [
        "request 1 of GetUser",
        "the answer to request 1 of GetUser was lost",
        "request 2 of GetUser",
        "the answer to request 2 of GetUser",
    ]
    assert said[5:7] == ["  your function returned None", "  broke: 2 effects"]
    name, _, target = said[7].removeprefix("  still up: ").partition(" at ")
    assert lab.targets()[name] == target
    with channel(target) as line:
        get(user_pb2_grpc.UserServiceStub(line), "another")
    replay("26-order-once")
    assert target not in lab.targets().values()
    lab.stop()
    replay("26-order-once")
    assert "still up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("exercise_id", "says"),
    [("26-nothing", "there is no exercise '26-nothing'"), ("26-order-once", "run check(")],
)
def test_replay_without_a_case(exercise_id: str, says: str) -> None:
    """The error says what to do; a check that is solved leaves no case."""
    run_check("26-order-once", with_a_key_a_try)
    run_check("26-order-once", with_one_key)
    with pytest.raises(LabError, match=says.replace("(", r"\(")):
        replay(exercise_id)

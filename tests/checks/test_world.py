from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest

from labsvc.checks import Verdict, run_check
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import solved
from labsvc.lab import Lab
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from tests.cell import written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission


@pytest.fixture
def served(double: str) -> str:
    """Register an exercise that needs a service, and goes on to use it after the answer."""

    @exercise("98-served", title="Served")
    def scenario(answer: Submission, sandbox: Sandbox) -> Verdict:
        service = sandbox.serve_grpc(AioUserService(Store.seeded()), name="users")
        answer(service.target)
        service.stop()
        service.start()
        return solved("the service was still there")

    return "98-served"


@pytest.fixture(params=[True, False], ids=["the learner's lab", "no lab"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab | None]:
    """Run the learner's own lab, or none."""
    if not request.param:
        yield None
        return
    with Lab() as running:
        yield running


@pytest.mark.parametrize("ending", ["Lab.current().stop()", "Lab()", "Lab.current().loop.stop()"])
def test_answer_that_stops_the_lab(served: str, lab: Lab | None, ending: str) -> None:
    """An answer that ends the lab under the check, by name or by making another, is told so."""
    answer = written(f"from labsvc.lab import Lab\ndef answer(target): {ending}")
    verdict = run_check(served, answer)
    assert verdict.state == "not solved", verdict
    assert verdict.guarantee == "your function stopped the lab, and every service in it"
    assert "Run the cell that makes the lab again" in verdict.hint
    if (left := Lab.current()) is not None:
        left.stop()


def test_answer_that_leaves_the_lab_alone(served: str, lab: Lab | None) -> None:
    """With and without a lab of the learner's own, a check leaves it as it was."""
    assert run_check(served, written("def answer(target): pass")).state == "solved"
    assert Lab.current() is lab


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("grpc.insecure_channel = None", "grpc.insecure_channel"),
        ("del grpc.aio.insecure_channel", "grpc.aio.insecure_channel"),
        ("time.sleep = print; time.monotonic = int", "time.sleep, time.monotonic"),
    ],
)
def test_answer_that_replaces_a_function(double: str, change: str, named: str) -> None:
    """A function of a module that all cells share is put back, and the answer is told."""
    before = (grpc.insecure_channel, grpc.aio.insecure_channel, time.sleep, time.monotonic)
    source = f"import grpc, grpc.aio, time\ndef answer(n):\n    {change}\n    return n * 2"
    verdict = run_check(double, written(source))
    assert verdict.state == "not solved", verdict
    for name in named.split(", "):
        assert name in verdict.guarantee
    assert "It was put back" in verdict.hint
    assert before == (grpc.insecure_channel, grpc.aio.insecure_channel, time.sleep, time.monotonic)
    assert run_check(double, written("def answer(n): return n * 2")).state == "solved"


def test_stub_is_not_attempted_whatever_else(double: str) -> None:
    """A stub that changes something before it raises is still no attempt."""
    source = "import time\ndef answer(n):\n    time.sleep = print\n    raise NotImplementedError"
    assert run_check(double, written(source)).state == "not attempted"

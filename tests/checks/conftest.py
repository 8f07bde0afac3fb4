from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labsvc.checks import registry
from labsvc.checks.registry import exercise
from labsvc.checks.verdict import Verdict, broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

# An answer is stopped wherever it is, also between opening a socket and keeping it. The garbage
# collector finds what it drops, perhaps in a later test.
DROPPED = (
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
    # aio-pika's connection would close itself then, and has no loop for it
    "ignore:coroutine 'Connection.close' was never awaited:RuntimeWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the collector close the connections of answers that were stopped."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(*DROPPED))


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the learner's own progress out of the tests."""
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a small exercise with a short deadline, and forget it afterwards."""
    registry.listed()  # what is loaded now stays registered
    monkeypatch.setattr(registry, "_exercises", dict(registry._exercises))

    @exercise("98-double", title="Double a number", deadline=1)
    def scenario(answer: Submission, _bench: Sandbox) -> Verdict:
        got = answer(4)
        if got != 8:
            return broken(f"4 was doubled to {got}", "Twice is more than once.", tries=1)
        return solved("4 was doubled to 8", tries=1, left_open=0)

    return "98-double"

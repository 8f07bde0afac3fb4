from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labsvc import Lab
from tests.commit import turn_of_the_commit
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ONE_IN = int(os.environ.get("WRONG_ANSWERS_ONE_IN", "1"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out all wrong answers but one in so many, others with each commit.

    `make unit` asks for it: all of them take longer than the other tests of the package together.
    """
    answers = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.path.parent == HERE and "_wrong" in item.name.partition("[")[0]:
            answers[item.nodeid.partition("[")[0]].append(item)
    turn = turn_of_the_commit() % ONE_IN
    kept = {item for each in answers.values() for item in each[turn % len(each) :: ONE_IN]}
    left_out = [item for each in answers.values() for item in each if item not in kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        away = set(left_out)
        items[:] = [item for item in items if item not in away]


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab, which the checks must leave alone."""
    with Lab() as running:
        yield running


@pytest.fixture
def answers_have_ended() -> Iterator[None]:
    """Wait for the end of the threads of this test's answers; an earlier test may have left one."""
    earlier = set(threading.enumerate())
    yield
    give_up_at = time.monotonic() + patience(10)
    while any(one.name == "labsvc-check" for one in set(threading.enumerate()) - earlier):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)

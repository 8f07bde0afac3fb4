from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from labsvc import Lab
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab, which the checks must leave alone."""
    with Lab() as running:
        yield running


@pytest.fixture
def answers_have_ended() -> Iterator[None]:
    """Wait until no thread of an answer runs on."""
    yield
    give_up_at = time.monotonic() + patience(10)
    while any(thread.name == "labsvc-check" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)

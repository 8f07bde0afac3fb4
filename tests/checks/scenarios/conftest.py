from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def answers_have_ended() -> Iterator[None]:
    """Wait until no thread of an answer runs on."""
    yield
    give_up_at = time.monotonic() + patience(10)
    while any(thread.name == "labsvc-check" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.amqp.tools import quiet_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Run a loop that must not log anything."""
    with quiet_loop() as loop:
        yield loop

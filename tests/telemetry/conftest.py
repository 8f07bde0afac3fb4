from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labsvc import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab for each test: many of them stop what runs in it."""
    with Lab() as running:
        yield running

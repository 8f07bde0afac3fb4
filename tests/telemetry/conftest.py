from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labsvc import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab for each test: many of them stop what runs in it."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """Run a lab for all tests of a module that only start services in it."""
    with Lab() as running:
        yield running


@pytest.fixture(params=["Threads", "Aio"])
def kind(request: pytest.FixtureRequest) -> Any:
    """Return one of the two kinds of servicer that a module of tests has."""
    return getattr(request.module, request.param)

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from labsvc import Lab
from labsvc.engines import find_postgres
from labsvc.hosts.rows import RowsService
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for the tests of a module."""
    need(find_postgres)
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def rows(lab: Lab) -> RowsService:
    """Run one PostgreSQL for the tests of a module."""
    service = lab.serve_rows(embedded=True)
    assert isinstance(service, RowsService)
    return service


@pytest.fixture
def connect(rows: RowsService) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """Return a function that opens a connection, closed at the end of the test."""
    with ExitStack() as open_ones:

        def connected(dsn: str = rows.dsn, **settings: Any) -> psycopg.Connection[Any]:
            return open_ones.enter_context(psycopg.connect(dsn, **settings))

        yield connected

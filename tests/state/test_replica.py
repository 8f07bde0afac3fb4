from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.state import has_replayed, position, reader
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from labsvc import Lab
    from labsvc.hosts.rows import RowsService

    Connect = Callable[..., psycopg.Connection[Any]]


@pytest.fixture(scope="module")
def replica_of(lab: Lab, rows: RowsService) -> RowsService:
    """Run one replica for all tests."""
    return lab.serve_replica(rows)


@pytest.fixture
def held_back(connect: Connect, replica_of: RowsService) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection to a replica that replays nothing until it is told to."""
    db = connect(replica_of.dsn, autocommit=True)
    db.execute("SELECT pg_wal_replay_pause()")
    yield db
    db.execute("SELECT pg_wal_replay_resume()")


def test_one_reads_what_one_wrote(connect: Connect, held_back: psycopg.Connection[Any]) -> None:
    """From the primary while the replica is behind, and from the replica afterwards."""
    primary = connect(autocommit=True)
    primary.execute("DROP TABLE IF EXISTS orders")
    primary.execute("CREATE TABLE orders (id text)")
    place = position(primary)
    assert not has_replayed(held_back, place)
    assert reader(primary, held_back, place) is primary
    assert reader(primary, held_back, place, wait=0.05) is primary
    threading.Timer(0.1, lambda: held_back.execute("SELECT pg_wal_replay_resume()")).start()
    assert reader(primary, held_back, place, wait=patience(10)) is held_back
    assert held_back.execute("SELECT count(*) FROM orders").fetchone() == (0,)


def test_a_primary_is_no_replica(connect: Connect) -> None:
    """What has never replayed a log is not taken for one that is up to date."""
    primary = connect(autocommit=True)
    assert not has_replayed(primary, "0/0")

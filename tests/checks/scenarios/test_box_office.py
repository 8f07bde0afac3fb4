from __future__ import annotations

import psycopg
import pytest

from labsvc.checks.sandbox import Sandbox
from labsvc.checks.scenarios.box_office import BoxOffice
from labsvc.engines import find_postgres
from tests.needs import need

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def test_hall_is_used_again_though_its_last_guest_has_stayed() -> None:
    """Who holds a seat in an open transaction is sent away, and the next case finds no trace."""
    need(find_postgres)
    office = BoxOffice()
    with Sandbox() as room:
        with office.hall(room) as hall:
            guest = psycopg.connect(hall.dsn)
            guest.execute("UPDATE seats SET buyer = 'nobody'")
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            guest.execute("SELECT 1")
        with psycopg.connect(hall.dsn) as empty:
            assert empty.execute(TABLES).fetchone() == (0,)
        with office.hall(room) as again:
            assert again.dsn == hall.dsn

"""Sweeps over statements to PostgreSQL, where a rival may come first."""

from __future__ import annotations

import time
from struct import pack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from labsvc import Lab
from labsvc.engines import find_postgres
from labsvc.state import serializable
from labsvc.sweep import Point, Run, Strike, sweep
from labsvc.sweep.postgres_gate import PostgresGate
from tests.needs import need
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Buy = Callable[[str], bool]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def rows(lab: Lab) -> Any:
    """Run one PostgreSQL for all tests."""
    need(find_postgres)
    return lab.serve_rows(embedded=True)


def buy_if_left(dsn: str) -> bool:
    """Check, then act."""
    with psycopg.connect(dsn) as db:
        (left,) = db.execute("SELECT units FROM stock").fetchone() or (0,)
        if left:
            db.execute("UPDATE stock SET units = units - 1")
        return bool(left)


def buy(dsn: str) -> bool:
    """Check and act in one statement."""
    with psycopg.connect(dsn) as db:
        change = "UPDATE stock SET units = units - 1 WHERE units > %s"
        return bool(db.execute(change, (0,)).rowcount)


def buy_in_a_pipeline(dsn: str) -> bool:
    """Do the same with statements that are sent together."""
    with psycopg.connect(dsn) as db:
        with db.pipeline():
            db.execute("SELECT 1")
            done = db.execute("UPDATE stock SET units = units - 1 WHERE units > 0")
        return bool(done.rowcount)


def buy_again(dsn: str) -> bool:
    """Check, then act, and do both again where PostgreSQL refuses it."""

    def work(db: psycopg.Connection[Any]) -> bool:
        (left,) = db.execute("SELECT units FROM stock").fetchone() or (0,)
        if left:
            db.execute("UPDATE stock SET units = units - 1")
        return bool(left)

    with psycopg.connect(dsn) as db:
        return serializable(db, work)


def one_for_two(rows: Any, buy: Buy) -> Callable[[Run], None]:
    """Let two buy the last one; the second while the first is at work, or afterwards."""

    def scenario(run: Run) -> None:
        with psycopg.connect(rows.dsn, autocommit=True) as db:
            db.execute("DROP TABLE IF EXISTS stock; CREATE TABLE stock (units int)")
            db.execute("INSERT INTO stock VALUES (1)")
            second = []

            def rival() -> None:
                other = run.beside(buy, rows.dsn)
                second.append(other)
                waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                while not other.has_ended() and not db.execute(waits).fetchone():
                    time.sleep(0.01)

            run.rival(rival)
            first = run.child(buy, run.door(rows).url)
            if first.how == "raised":
                first = run.child(buy, rows.dsn)
            other = second[0] if second else run.beside(buy, rows.dsn)
            sold = [ended.value for ended in (first, other.wait())].count(True)
            left = (db.execute("SELECT units FROM stock").fetchone() or (None,))[0]
        # Whoever was killed, or lost the result of its COMMIT, was told nothing.
        told_nothing = bool(run.plan) and run.plan[0].fault != "overtaken"
        right = (sold, left) == (1, 0) or (told_nothing and (sold, left) == (0, 0))
        run.expect(right, f"{sold} sold, {left} left")

    return scenario


def test_a_rival_may_come_before_each_statement(lab: Lab, rows: Any) -> None:
    """After the check it breaks; a rival that waits for a lock holds nobody up."""
    scenario = one_for_two(rows, buy_if_left)
    found = sweep(lab, scenario, only=("overtaken",), within=patience(30))
    assert [str(case) for case in found.cases if case.state == "broken"] == [
        "statement 3 waited while a rival was at work: 2 sold, -1 left",
        "statement 4 waited while a rival was at work: 2 sold, -1 left",
    ]
    assert len(found.cases) == 5


def test_there_is_one_rival(lab: Lab, rows: Any) -> None:
    """A second try brings new statements, and nobody is left to come before them."""
    found = sweep(lab, one_for_two(rows, buy_again), only=("overtaken",), within=patience(10))
    assert found.kept, found.table()
    assert len({len(case.points) for case in found.cases}) > 1
    assert max(len(case.plan) for case in found.cases) == 1


@pytest.mark.parametrize(("way", "statements"), [(buy, 3), (buy_in_a_pipeline, 4)])
def test_one_statement_is_enough(lab: Lab, rows: Any, way: Buy, statements: int) -> None:
    """Whoever comes first, one of them gets it; a pipeline has as many points."""
    found = sweep(lab, one_for_two(rows, way), only=("overtaken",), within=patience(30))
    assert found.kept, found.table()
    assert [case.plan for case in found.cases[1:]] == [
        (Strike(Point("statement", number), "overtaken"),) for number in range(1, statements + 1)
    ]


def test_a_child_is_killed_before_and_after_each_statement(lab: Lab, rows: Any) -> None:
    """What was not committed is undone, and nothing is sold twice."""
    found = sweep(lab, one_for_two(rows, buy), only=("killed", "lost"), within=patience(30))
    assert found.kept, found.table()
    assert len(found.cases) == 1 + 3 * 2 * 2


class Wire:
    """Takes what a gate passes on."""

    def __init__(self) -> None:
        self.sent = b""
        self.came = b""

    def pass_up(self, data: bytes) -> None:
        """Take what the server gets."""
        self.sent += data

    def pass_down(self, data: bytes) -> None:
        """Take what the client gets."""
        self.came += data

    def reset(self) -> None:
        """Take nothing."""


SSL_REQUEST = pack(">II", 8, 80877103)
STARTUP = pack(">II", 8, 196608)
READY = b"Z" + pack(">I", 5) + b"I"
QUERY = b"Q" + pack(">I", 5) + b"\0"


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_messages_are_found_wherever_they_are_cut(lab: Lab, chunk: int) -> None:
    """Also after a request for encryption that is turned down; signing in is no point."""
    run, wire = Run(lab, ()), Wire()
    gate = PostgresGate(wire, run)
    password = b"p" + pack(">I", 4)
    refused = b"E" + pack(">I", 4)

    def said(way: Callable[[bytes], None], data: bytes) -> None:
        for at in range(0, len(data), chunk):
            way(data[at : at + chunk])

    said(gate.up, SSL_REQUEST)
    said(gate.down, b"N")
    said(gate.up, STARTUP + password)
    said(gate.down, refused + READY)
    assert run.events == []
    said(gate.up, QUERY)
    said(gate.down, b"C" + pack(">I", 4) + READY)
    assert [str(point) for point in run.points] == ["statement 1", "the result of statement 1"]
    assert wire.sent == SSL_REQUEST + STARTUP + password + QUERY
    assert wire.came == b"N" + refused + READY + b"C" + pack(">I", 4) + READY


def test_what_is_encrypted_goes_through(lab: Lab) -> None:
    """Nobody can look into it."""
    run, wire = Run(lab, ()), Wire()
    gate = PostgresGate(wire, run)
    gate.up(SSL_REQUEST)
    gate.down(b"S")
    gate.up(b"\x16\x03\x01")
    gate.down(b"\x16\x03\x03")
    assert (wire.sent, wire.came) == (SSL_REQUEST + b"\x16\x03\x01", b"S\x16\x03\x03")
    assert run.points == {}

"""Sweeps over messages, and over a child that is killed between its steps."""

from __future__ import annotations

import sqlite3
import struct
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import aio_pika
import psutil
import pytest
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc import Lab
from labsvc.sweep import Database, Point, Run, Strike, Sweep, SweepError, sweep
from labsvc.sweep.amqp_gate import PREFACE, AmqpGate
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EVENTS = 2
QUEUE = "events"
SCHEMA = "CREATE TABLE outbox (id INTEGER PRIMARY KEY, sent INTEGER DEFAULT 0)"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


async def publish(url: str, db: sqlite3.Connection, *, mark_first: bool) -> None:
    """Send what is not marked as sent, and mark it."""
    connection = await aio_pika.connect(url)
    async with connection:
        exchange = (await connection.channel()).default_exchange
        for (number,) in db.execute("SELECT id FROM outbox WHERE sent = 0").fetchall():
            message = aio_pika.Message(b"", message_id=str(number))
            if not mark_first:
                await exchange.publish(message, routing_key=QUEUE)
            with db:
                db.execute("UPDATE outbox SET sent = 1 WHERE id = ?", (number,))
            if mark_first:
                await exchange.publish(message, routing_key=QUEUE)


async def confirm_then_mark(db: sqlite3.Connection, url: str) -> None:
    """Send, wait for the confirm, mark."""
    await publish(url, db, mark_first=False)


async def mark_then_publish(db: sqlite3.Connection, url: str) -> None:
    """Mark before it is sent."""
    await publish(url, db, mark_first=True)


def fill(path: Path) -> None:
    """Make an outbox with events."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute(SCHEMA)
        db.executemany("INSERT INTO outbox (id) VALUES (?)", [(n,) for n in range(EVENTS)])
        db.commit()


def relay(lab: Lab, path: Path, work: Callable[..., Any], *, child: bool) -> Callable[[Run], Any]:
    """Let `work` relay the events of an outbox, then once more without a fault."""

    async def all_arrive(run: Run) -> None:
        fill(path)
        broker = lab.serve_queue(name="broker")
        async with await aio_pika.connect(broker.url) as connection:
            queue = await (await connection.channel()).declare_queue(QUEUE, durable=True)
            await queue.purge()
            url = run.door(broker).url
            if child:
                run.child(work, Database(path), url)
            with closing(sqlite3.connect(path)) as db:
                if not child:
                    try:
                        await work(db, url)
                    except CONNECTION_EXCEPTIONS:
                        db.rollback()
                await work(db, broker.url)
            came = []
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                came.append(message.message_id)
        run.expect(len({*came}) == EVENTS, f"{EVENTS - len({*came})} of {EVENTS} events lost")
        run.expect(len(came) <= EVENTS + 1, f"{len(came)} messages for {EVENTS} events")

    return all_arrive


def broken(found: Sweep) -> list[str]:
    """Return the cases that broke, in words."""
    return [str(case) for case in found.cases if case.state == "broken"]


def test_each_publish_and_each_confirm_is_a_point(lab: Lab, tmp_path: Path) -> None:
    """Without a child the connection breaks at each of four points."""
    found = sweep(
        lab, relay(lab, tmp_path / "db", confirm_then_mark, child=False), within=patience(5)
    )
    assert found.kept
    assert [case.plan for case in found.cases[1:]] == [
        (Strike(Point(kind, number), "lost"),)
        for number in (1, 2)
        for kind in ("publish", "confirm")
    ]
    found = sweep(
        lab, relay(lab, tmp_path / "db", mark_then_publish, child=False), within=patience(5)
    )
    assert broken(found) == [
        "publish 1 was lost: 1 of 2 events lost",
        "publish 2 was lost: 1 of 2 events lost",
    ]


def test_a_child_is_killed_between_its_steps(lab: Lab, tmp_path: Path) -> None:
    """Each commit is a point of a child, before and after; the process ends there for real."""
    found = sweep(
        lab, relay(lab, tmp_path / "db", confirm_then_mark, child=True), within=patience(5)
    )
    assert str(found) == "13 cases: 13 kept, 0 broken, 0 unknown"
    found = sweep(
        lab, relay(lab, tmp_path / "db", mark_then_publish, child=True), within=patience(5)
    )
    assert broken(found) == [
        f"{what}: 1 of 2 events lost"
        for number in (1, 2)
        for what in (
            f"the process was killed after commit {number}",
            f"publish {number} was lost",
            f"the process was killed before publish {number}",
        )
    ]


def confirms(*tags: int, multiple: bool = False) -> bytes:
    """Return frames of a broker that confirm messages on channel 1."""
    frame = struct.Struct(">BHIHHQBB")
    return b"".join(frame.pack(1, 1, 13, 60, 80, tag, multiple, 0xCE) for tag in tags)


class Wire:
    """Takes what a gate passes on."""

    def __init__(self) -> None:
        self.came = b""
        self.is_reset = False

    def pass_up(self, data: bytes) -> None:
        """Take nothing."""

    def pass_down(self, data: bytes) -> None:
        """Take what the client gets."""
        self.came += data

    def reset(self) -> None:
        """Note it."""
        self.is_reset = True


def asks(family: int, method: int) -> bytes:
    """Return the frame of a client that asks for something on channel 1, without arguments."""
    return struct.Struct(">BHIHHB").pack(1, 1, 4, family, method, 0xCE)


OPEN, PUBLISH, SELECT = asks(20, 10), asks(60, 40), asks(85, 10)


def test_confirms_are_counted_as_the_broker_does(lab: Lab) -> None:
    """From confirm.select on, and anew on a channel whose number is opened again."""
    run = Run(lab, ())
    gate = AmqpGate(Wire(), run)
    gate.up(PREFACE + OPEN + 2 * PUBLISH + SELECT + PUBLISH + SELECT + PUBLISH)
    gate.down(confirms(1, 2))
    gate.up(OPEN + PUBLISH + SELECT + PUBLISH)
    gate.down(confirms(1))
    confirmed = [event.point.number for event in run.events if event.point.kind == "confirm"]
    assert confirmed == [3, 4, 6]


def test_messages_that_are_confirmed_together_are_points(lab: Lab) -> None:
    """Each of them is one, and those before the lost one get through."""
    wire = Wire()
    run = Run(lab, (Strike(Point("confirm", 3), "lost"),))
    gate = AmqpGate(wire, run)
    gate.up(PREFACE + OPEN + SELECT + 4 * PUBLISH)
    gate.down(confirms(2) + confirms(4, multiple=True))
    assert wire.came == confirms(2, 1)
    assert wire.is_reset
    assert [event.point.number for event in run.events[4:]] == [2, 1, 3]


def test_delivery_and_ack_are_points(lab: Lab) -> None:
    """A message whose delivery or ack is lost comes again, and no other one does."""
    seen: dict[Any, list[str]] = {}

    async def consume(run: Run) -> None:
        broker = lab.serve_queue(name="broker")
        async with await aio_pika.connect(broker.url) as own:
            channel = await own.channel()
            queue = await channel.declare_queue(QUEUE, durable=True)
            await queue.purge()
            for body in (b"a", b"b"):
                await channel.default_exchange.publish(aio_pika.Message(body), routing_key=QUEUE)
            url = run.door(broker).url
            bodies = seen[run.plan] = []
            while len({*bodies}) < 2 or bodies[-1] == "a":
                with suppress(*CONNECTION_EXCEPTIONS):
                    await take(url, bodies)
            left = await channel.declare_queue(QUEUE, passive=True)
            run.expect(not left.declaration_result.message_count, "messages are left")

    async def take(url: str, bodies: list[str]) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)
            async with (await channel.get_queue(QUEUE)).iterator() as messages:
                async for message in messages:
                    bodies.append(message.body.decode())
                    await message.ack()
                    await channel.get_queue(QUEUE)  # the broker has read the ack
                    if bodies[-1] == "b":
                        return

    found = sweep(lab, consume, within=patience(5))
    assert found.count("unknown") == 0
    at = {str(plan[0]): bodies for plan, bodies in seen.items() if len(plan) == 1}
    assert at["delivery 1 was lost"] == ["a", "b"]
    assert at["ack 1 was lost"] == ["a", "a", "b"]
    assert at["delivery 2 was lost"] == ["a", "b"]


def raises(_: sqlite3.Connection) -> None:
    """Fail."""
    msg = "no good"
    raise ValueError(msg)


def commits(db: sqlite3.Connection) -> None:
    """Commit in each way that there is, and once without a change."""
    db.execute("CREATE TABLE t (a)")
    db.execute("INSERT INTO t VALUES (1)")
    db.commit()
    db.commit()
    with db:
        db.execute("INSERT INTO t VALUES (2)")
    db.execute("BEGIN")
    db.execute("INSERT INTO t VALUES (3)")
    db.cursor().execute("commit;")
    db.isolation_level = None
    db.execute("INSERT INTO t VALUES (4)")


def rolls_back(db: sqlite3.Connection) -> None:
    """Undo a change."""
    with suppress(ZeroDivisionError), db:
        db.execute("CREATE TABLE t (a)")
        db.execute("INSERT INTO t VALUES (1 / ?)", (1 // 0,))


def test_every_way_to_commit_is_a_point(lab: Lab, tmp_path: Path) -> None:
    """Killed before it, a change is undone; after it, it is there."""
    rows: dict[Any, list[int]] = {}

    def change(run: Run) -> None:
        path = tmp_path / "db"
        path.unlink(missing_ok=True)
        run.child(commits, Database(path))
        with closing(sqlite3.connect(path)) as db:
            rows[run.plan] = [row for (row,) in db.execute("SELECT a FROM t")]

    assert sweep(lab, change, within=patience(5)).kept
    killed = [[], [1], [1], [1, 2], [1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]
    assert list(rows.values()) == [[1, 2, 3, 4], *killed]


def test_how_a_child_ends(lab: Lab, tmp_path: Path) -> None:
    """An error is told in words; a rollback is no commit."""
    ends: list[Any] = []

    def run_both(run: Run) -> None:
        ends.append(run.child(raises, Database(tmp_path / "a")))
        ends.append(run.child(rolls_back, Database(tmp_path / "b")))
        run.expect(kept=False, broke="enough")

    sweep(lab, run_both, within=patience(5))
    assert [end.how for end in ends] == ["raised", "returned"]
    assert ends[0].error == "ValueError: no good"


def test_what_cannot_go_into_another_process(lab: Lab) -> None:
    """The error says what to give instead."""

    def child_of_a_lab(run: Run) -> None:
        run.child(lab.stop)

    with pytest.raises(SweepError, match="give it what it needs as arguments"):
        sweep(lab, child_of_a_lab)


def test_a_lock_is_a_new_one_in_another_process(lab: Lab) -> None:
    """It is no reason to refuse a function, and free even if it is taken here."""
    locks = threading.Lock(), threading.RLock(), threading.Condition(), threading.Semaphore()

    def with_locks() -> None:
        for lock in locks:
            with lock:
                pass

    def run_it(run: Run) -> None:
        run.expect(run.child(with_locks).how == "returned", "it has not come back")
        run.expect(kept=False, broke="enough")

    with locks[0]:
        found = sweep(lab, run_it, within=patience(5))
    assert found.cases[0].broke == ("enough",)


def comes_back() -> None:
    """Do nothing."""


def sleeps() -> None:
    """Do not come back."""
    time.sleep(100)


def test_a_child_that_hangs_is_ended(lab: Lab) -> None:
    """The run has not come back in time, and its process is gone."""

    def end(run: Run) -> None:
        run.expect(run.child(comes_back).how == "returned", "it has not come back")
        run.expect(kept=False, broke="enough")

    def hang(run: Run) -> None:
        run.child(sleeps)

    sweep(lab, end, within=patience(5))  # from here on the server that forks is there
    before = set(psutil.Process().children(recursive=True))
    found = sweep(lab, hang, within=0.5)
    assert "did not come back within 0.5 s" in str(found.smallest)
    left = set(psutil.Process().children(recursive=True)) - before
    assert psutil.wait_procs(left, timeout=10)[1] == []

"""Exercises of notebook 12: orders through an outage, and a worker with a bound (C27, C28)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from aio_pika import DeliveryMode
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks.desk import Desk
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, solved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.answer import Answer, Outcome
    from labsvc.checks.bench import Bench

ORDERS = [f"o-{number}" for number in range(1, 11)]
BEFORE = 5  # orders that are taken before the network fails
OUTAGE = 0.7  # seconds
SEND_SECONDS = 10.0  # for all orders, the outage included

JOBS = [f"job-{number}" for number in range(20)]
BOUND = 5
SETTLE_SECONDS = 0.4  # in which a worker without a bound takes all it can get
WAIT_SECONDS = 5.0
UNLUCKY = "job-3"


@exercise("12-confirms", title="Send orders through an outage", deadline=25)
def confirms(answer: Answer, bench: Bench) -> Verdict:
    """`send_orders(url, queue_name, order_ids)`: all of them arrive, though the network fails."""
    with Desk(bench) as desk, desk.quiet():
        failing = threading.Event()

        def order_ids() -> Iterator[str]:
            for number, order_id in enumerate(ORDERS):
                if number == BEFORE:
                    desk.wait(lambda: desk.ready() >= BEFORE, 1)
                    desk.proxy.set(blackhole=True)
                    failing.set()
                yield order_id

        attempt = answer.start(desk.url, desk.queue, order_ids(), within=SEND_SECONDS)
        while attempt.running and not failing.wait(0.02):
            pass
        time.sleep(OUTAGE)
        desk.proxy.clear()
        outcome = attempt.outcome()
        attempt.stop()
        return _sent(answer, outcome, desk.take_all())


def _sent(answer: Answer, outcome: Outcome, messages: list[Any]) -> Verdict:
    """Return the verdict on what arrived."""
    bodies = [message.body.decode(errors="replace") for message in messages]
    missing = [order_id for order_id in ORDERS if order_id not in bodies]
    counts = {"orders": len(ORDERS), "arrived": len({*bodies} & {*ORDERS}), "copies": len(bodies)}
    if outcome.hung:
        return broken(
            "the network came back, and your function did not return",
            "What in it waits or repeats without an end? A publish takes a timeout.",
            **counts,
        )
    if isinstance(outcome.error, CONNECTION_EXCEPTIONS) and len(missing) < len(ORDERS):
        return broken(
            f"the network failed for less than a second, and {len(missing)} orders were never sent",
            "Catch the error of a publish and send the same order again, a few times at most.",
            **counts,
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    if missing:
        return broken(
            f"your function returned as if all was well, and {len(missing)} orders are lost",
            "Which answer of the broker did it wait for? And what if that answer does not come?",
            **counts,
        )
    if any(message.message_id != message.body.decode() for message in messages):
        return broken(
            "the message ids are not the order ids, so a second copy looks like a second order",
            "Give each Message the order's id as message_id, the same one on every try.",
            **counts,
        )
    transient = sum(message.delivery_mode != DeliveryMode.PERSISTENT for message in messages)
    if transient:
        return broken(
            f"{transient} messages would not survive a restart of the broker",
            "A durable queue is half of it. What is a Message's delivery_mode by default?",
            **counts,
        )
    return solved(
        "every order arrived through the outage, marked with its id", orders=len(ORDERS), lost=0
    )


@exercise("12-prefetch", title="Take no more work than you can do", deadline=30)
def prefetch(answer: Answer, bench: Bench) -> Verdict:
    """`run_worker(url, queue_name, work)`: at most five unfinished, and no job lost."""
    with Desk(bench) as desk, desk.quiet():
        desk.publish(*JOBS)
        return _stopped_worker(answer, desk) or _second_worker(answer, desk)


def _stopped_worker(answer: Answer, desk: Desk) -> Verdict | None:
    """Stop a worker in the middle of its first jobs; return what broke."""
    work = _Work()
    worker = answer.start(desk.url, desk.queue, work)
    if not desk.wait(lambda: bool(work.begun) or not worker.running, WAIT_SECONDS):
        return broken(
            "20 jobs waited, and your worker began none",
            "It has to consume the queue and await work(message.body) for each message.",
            jobs=len(JOBS),
            begun=0,
        )
    time.sleep(SETTLE_SECONDS)
    if verdict := _ended_early(answer, worker):
        return verdict
    taken = len(JOBS) - desk.ready()
    worker.stop()
    desk.proxy.cut()
    desk.wait(lambda: desk.ready() == len(JOBS), WAIT_SECONDS)
    lost = len(JOBS) - desk.ready()
    counts = {"jobs": len(JOBS), "taken_at_once": taken, "lost": lost}
    if lost:
        return broken(
            f"the worker was stopped in the middle of its work, and {lost} of 20 jobs are gone",
            "The broker forgets a message that is acknowledged, sent with no_ack=True, or rejected"
            " without requeue, as message.process() does when its block ends early. When may it?",
            **counts,
        )
    if taken > BOUND:
        return broken(
            f"{taken} jobs were taken before the first one was finished",
            "The bound belongs to the channel, and counts for consumers that start after it is"
            " set.",
            **counts,
        )
    return None


def _second_worker(answer: Answer, desk: Desk) -> Verdict:
    """Let a worker finish all jobs, one of which fails at its first try."""
    work = _Work(unlucky=UNLUCKY)
    work.gate.set()
    worker = answer.start(desk.url, desk.queue, work)
    finished = desk.wait(lambda: len(work.done) == len(JOBS) or not worker.running, WAIT_SECONDS)
    if verdict := _ended_early(answer, worker):
        return verdict
    time.sleep(SETTLE_SECONDS)  # for acks on their way
    worker.stop()
    desk.proxy.cut()
    counts = {"jobs": len(JOBS), "done": len(work.done)}
    if UNLUCKY not in work.done and work.begun[UNLUCKY]:
        return broken(
            "work raised an error for one job, and this job was never done",
            "A job that failed has to go back to the queue. Read what message.process() does when"
            " its block raises, or answer with nack yourself.",
            **counts,
        )
    if not finished:
        return broken(
            f"only {len(work.done)} of {len(JOBS)} jobs were done",
            "Does the worker go on after its first jobs, and acknowledge each one?",
            **counts,
        )
    time.sleep(0.1)
    if left := desk.ready():
        return broken(
            f"every job was done, and {left} of them are still in the queue",
            "A job that is done must be acknowledged, or the next worker does it again.",
            **counts,
        )
    return solved("at most five jobs were unfinished, and none was lost", **counts, lost=0)


def _ended_early(answer: Answer, worker: Any) -> Verdict | None:
    """Return the verdict on a worker that ended by itself, None while it runs."""
    if worker.running:
        return None
    outcome = worker.outcome()
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    return broken(
        "your worker returned, and its connection went with it",
        "A callback works only while the event loop runs: wait for something that never comes,"
        " or read the queue in a loop.",
    )


class _Work:
    """The work to await: it lasts until `gate` is set, and fails once for the unlucky job."""

    def __init__(self, unlucky: str = "") -> None:
        self.gate = threading.Event()
        self.begun: Counter[str] = Counter()
        self.done: set[str] = set()
        self._unlucky = unlucky

    async def __call__(self, body: bytes) -> None:
        job = bytes(body).decode()
        self.begun[job] += 1
        while not self.gate.is_set():  # noqa: ASYNC110  # another thread opens it
            await asyncio.sleep(0.01)
        if job == self._unlucky and self.begun[job] == 1:
            msg = f"{job} failed, as jobs do"
            raise RuntimeError(msg)
        self.done.add(job)

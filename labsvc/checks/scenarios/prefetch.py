"""Exercise of notebook 50: a worker with a bound (C28)."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from labsvc.checks.asking import wait_while_moving
from labsvc.checks.engine import exercise
from labsvc.checks.queue_sandbox import QueueSandbox, names
from labsvc.checks.scenarios.until_cancelled import cancelled
from labsvc.checks.values import described
from labsvc.checks.verdict import Verdict, broken, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Submission

JOBS = 20
BOUND = 5
SETTLE_SECONDS = 0.4  # in which a worker without a bound takes all it can get
BEGIN_SECONDS = 2.5
STILL_SECONDS = 2.0  # without any job that ends, which takes milliseconds
BACK_SECONDS = 1.5  # for a broker to give back what a closed connection held


@exercise("50-prefetch", title="Take no more work than you can do", deadline=30, kind="coroutine")
def prefetch(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`run_worker(url, queue_name, work)`: at most five unfinished, and no job lost."""
    jobs = names("job", JOBS)
    with QueueSandbox(sandbox) as desk:
        desk.publish(*jobs)
        if verdict := _stopped_worker(answer, desk):
            return verdict
        desk.take_all()
        desk.publish(*jobs)
        return _second_worker(answer, desk, random.choice(jobs))


def _stopped_worker(answer: Submission, desk: QueueSandbox) -> Verdict | None:
    """Stop a worker when one of its first jobs is done; return what broke."""
    work = _Work()
    worker = answer.start(desk.url, desk.queue, work)
    if not desk.wait(lambda: bool(work.begun) or not worker.running, BEGIN_SECONDS):
        return broken(
            f"{JOBS} jobs waited, and your worker began none",
            "It has to consume the queue and await work(message.body) for each message.",
            jobs=JOBS,
            begun=0,
        )
    time.sleep(SETTLE_SECONDS)
    if verdict := _ended_early(answer, worker):
        return verdict
    taken = JOBS - desk.ready()
    work.release([*work.begun][-1])  # the last one: an ack of several takes the others with it
    desk.wait(lambda: bool(work.done) or not worker.running, STILL_SECONDS)
    time.sleep(SETTLE_SECONDS)  # for its ack
    if verdict := cancelled(worker):
        return verdict
    desk.proxy.cut()
    unfinished = JOBS - len(work.done)
    desk.wait(lambda: desk.ready() >= unfinished, BACK_SECONDS)
    lost = max(0, unfinished - desk.ready())
    return first_broken(
        (
            bool(work.odd),
            f"work was called with {work.odd}, not with the body of a message",
            "It has to consume the queue and await work(message.body) for each message.",
        ),
        (
            bool(lost),
            (
                f"the worker was stopped in the middle of its work, and {lost} of {JOBS} jobs"
                " are gone that were not done"
            ),
            (
                "The broker forgets a message that is acknowledged, by itself or with"
                " multiple=True, sent with no_ack=True, or rejected without requeue, as"
                " message.process() does when its block ends early. When may it?"
            ),
        ),
        (
            taken > BOUND,
            f"{taken} jobs were taken before the first one was finished",
            (
                "The bound belongs to the channel, and counts for consumers that start after it is"
                " set."
            ),
        ),
        jobs=JOBS,
        taken_at_once=taken,
        lost=lost,
    )


def _second_worker(answer: Submission, desk: QueueSandbox, unlucky: str) -> Verdict:
    """Let a worker finish all jobs, one of which fails at its first try."""
    work = _Work(unlucky)
    work.gate.set()
    worker = answer.start(desk.url, desk.queue, work)
    finished = wait_while_moving(
        lambda: len(work.done) == JOBS or not worker.running,
        lambda: len(work.done),
        STILL_SECONDS,
    )
    if verdict := _ended_early(answer, worker):
        return verdict
    time.sleep(SETTLE_SECONDS)  # for acks on their way
    if verdict := cancelled(worker, idle=True):
        return verdict
    desk.proxy.cut()
    time.sleep(0.1)
    left = desk.ready()
    return first_broken(
        (
            unlucky not in work.done and bool(work.begun[unlucky]),
            "work raised an error for one job, and this job was never done",
            (
                "A job that failed has to go back to the queue. Read what message.process() does"
                " when its block raises, or answer with nack yourself."
            ),
        ),
        (
            not finished,
            f"only {len(work.done)} of {JOBS} jobs were done",
            "Does the worker go on after its first jobs, and acknowledge each one?",
        ),
        (
            bool(left),
            f"every job was done, and {left} of them are still in the queue",
            "A job that is done must be acknowledged, or the next worker does it again.",
        ),
        jobs=JOBS,
        done=len(work.done),
    ) or solved("at most five jobs were unfinished, and none was lost", jobs=JOBS, lost=0)


def _ended_early(answer: Submission, worker: Attempt) -> Verdict | None:
    """Return the verdict on a worker that ended by itself, None while it runs."""
    if worker.running:
        return None
    error = worker.outcome().error
    if isinstance(error, JobError) or (
        isinstance(error, BaseExceptionGroup) and error.subgroup(JobError)
    ):
        return broken(
            "work raised an error for one job, and your worker ended with it",
            "What work raises concerns this job alone: catch it, and put the job back.",
        )
    if error is not None:
        raise answer.fault(error)
    return broken(
        "your worker returned, and its connection went with it",
        "A callback works only while the event loop runs: wait for something that never comes,"
        " or read the queue in a loop.",
    )


class JobError(RuntimeError):
    """What the unlucky job raises."""


class _Work:
    """The work to await: a job lasts until it is released, and fails once if it is unlucky."""

    def __init__(self, unlucky: str = "") -> None:
        self.gate = threading.Event()
        self.begun: Counter[str] = Counter()
        self.done: set[str] = set()
        self.odd = ""
        self._released: set[str] = set()
        self._unlucky = unlucky

    def release(self, job: str) -> None:
        """Let one job end."""
        self._released.add(job)

    async def __call__(self, body: object) -> None:
        if isinstance(body, bytes | bytearray | memoryview):
            job = bytes(body).decode()
        else:
            self.odd, job = described(body), str(body)
        self.begun[job] += 1
        while not (self.gate.is_set() or job in self._released):  # noqa: ASYNC110  # another thread opens it
            await asyncio.sleep(0.01)
        if job == self._unlucky and self.begun[job] == 1:
            msg = f"{job} failed, as jobs do"
            raise JobError(msg)
        self.done.add(job)

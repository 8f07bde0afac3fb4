"""Stage of T6-watched: a queue, a worker's loop, a collector, and a log that can hang."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import aio_pika
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from prometheus_client import CollectorRegistry

from labsvc.checks.examiner import Terms
from labsvc.checks.scenarios.restart_stage import Desk
from labsvc.checks.scenarios.traceparent import Ids
from labsvc.checks.scenarios.watched_log import Log
from labsvc.checks.scenarios.watched_post import SLOW_SECONDS, Post
from labsvc.telemetry import Tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.watched_visits import Visit
    from labsvc.checks.submission import Submission
    from labsvc.telemetry import Span

PATIENCE = 10.0  # seconds in which a message has been handled that waits for nothing
ALL_SECONDS = 3.0  # in which all messages are in `handle`, if none waits for another
TURNS = 10  # of the loop, in which a message is done that waits for nothing behind `handle`
HANG_SECONDS = 1.5  # for which the log hangs when all messages have been handled
SETTLE_SECONDS = 0.3  # in which a log has taken a line if one waits
PAUSE = 0.1  # seconds that `handle` is at work


class Watched:
    """A run of the worker whose messages go through what the learner's function returned.

    Attributes:
        secret: stands in the headers of each message; a visit may have it in its error.
        log: where lines go; if it is `hung`, it hangs until all messages have been handled.
        at_once: how many messages were in `handle` at the same time, at most.
        post: what publishes the events.
        spans: those that arrived, by their id.
        loop: the trace of the worker's own loop.

    """

    def __init__(
        self,
        answer: Submission,
        room: Sandbox,
        visits: Sequence[Visit],
        secret: str,
        *,
        hung: bool = False,
    ) -> None:
        self.visits = {visit.body: visit for visit in visits}
        self.secret = secret
        self.registry = CollectorRegistry()
        self.log = Log(hung=hung)
        self.hung = hung
        self.at_once = self._inside = self._arrived = 0
        self._tasks: dict[bytes, asyncio.Future[Any]] = {}
        self._answer = answer
        self._desk = room.enter(Desk(room))
        collector = room.serve_collector()
        with (
            closing(Tracing("customers", collector.endpoint)) as customers,
            closing(Tracing("worker", collector.endpoint)) as worker,
        ):
            for visit in visits:
                if visit.traced == "yes":
                    with customers.tracer.start_as_current_span("order", Context()):
                        propagate.inject(visit.carrier)
            with worker.tracer.start_as_current_span("loop", Context()) as span:
                self.loop = f"{span.get_span_context().trace_id:032x}"
            self._tracer, self._loop_span = worker.tracer, span
            answer.begin(self._drive, (), Terms((), None, "coroutine", object)).outcome()
        found = [span for each in collector.traces() for span in each.spans]
        self.spans: dict[str, Span] = {span.span_id: span for span in found}

    def is_within(self, span_id: str, outer: str) -> bool:
        """Whether a span is the outer one, or below it."""
        while span_id != outer and span_id in self.spans:
            span_id = self.spans[span_id].parent_id
        return span_id == outer

    async def _drive(self) -> None:
        """Consume the queue, as a worker does whose loop has a span of its own."""
        async with await aio_pika.connect(self._desk.broker.url, timeout=5) as connection:
            channel = await connection.channel()
            self.post = Post(channel.default_exchange, self._desk.events, self.visits)
            queue = await channel.get_queue(self._desk.queue)
            with trace.use_span(self._loop_span, end_on_exit=False):
                self._on_message = self._answer.function(
                    self._handle, self.post.publish, self._tracer, self.registry, self.log.write
                )
                for visit in self.visits.values():
                    headers = {**visit.carrier, "authorization": self.secret, "x-user": self.secret}
                    if visit.traced != "no":
                        headers["baggage"] = f"user={self.secret}"
                    message = aio_pika.Message(visit.body, headers=headers, type=visit.kind)
                    await channel.default_exchange.publish(message, self._desk.queue, timeout=5)
                came = [await queue.get(no_ack=True, timeout=5) for _ in self.visits]
                if self.hung:  # so that one line is under way when the others come
                    await self._serve_all([came.pop(0)])
                    await self._until(lambda: bool(self.log.under_way))
                await self._serve_all(came)
            if self.hung:
                await asyncio.sleep(HANG_SECONDS)
            await self._let_write()

    async def _serve_all(self, messages: Sequence[Any]) -> None:
        """Handle messages, all at the same time."""
        self._all_here = asyncio.Event()
        self._expected, self._arrived = len(messages), 0
        await asyncio.gather(*(self._serve(each, self.visits[each.body]) for each in messages))

    async def _serve(self, message: Any, visit: Visit) -> None:
        start = time.monotonic()
        task = self._tasks[visit.body] = asyncio.ensure_future(self._on_message(message))
        if visit.leaves:
            await self._until(lambda: self._all_here.is_set() or task.done())
            task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        visit.took = 1000 * (time.monotonic() - start)
        if not visit.runs:  # nobody has to wait for it
            self._expected -= 1
            self._look_who_is_here()
        if not task.done():
            visit.waited = True
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            return
        try:
            task.result()
        except BaseException as error:
            visit.raised = error
            is_told = visit.waited or visit.leaves or visit.traced == "number"
            if visit.raises is None and not is_told and error not in self.log.raised:
                raise

    async def _until(self, holds: Any) -> None:
        give_up_at = time.monotonic() + PATIENCE
        while not holds() and time.monotonic() < give_up_at:  # noqa: ASYNC110  # no event tells it
            await asyncio.sleep(0.01)

    async def _let_write(self) -> None:
        """Let the log take what waits, until nothing more comes."""
        self.log.release()
        seen = -1
        while seen != len(self.log.lines):
            seen = len(self.log.lines)
            await asyncio.sleep(SETTLE_SECONDS)

    def _must_end(self, visit: Visit, turns: int) -> None:
        """Stop a message that is not done in so many turns of the loop: it waits for something."""
        if turns:
            asyncio.get_running_loop().call_soon(self._must_end, visit, turns - 1)
        elif not self._tasks[visit.body].done():
            visit.waited = True
            self._tasks[visit.body].cancel()

    def _look_who_is_here(self) -> None:
        if self._arrived >= self._expected:
            self._all_here.set()

    async def _handle(self, body: bytes, send: Any) -> None:
        visit, start = self.visits[bytes(body)], time.monotonic()
        span = trace.get_current_span().get_span_context()
        visit.span = Ids(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.trace_flags.sampled)
        visit.runs += 1
        self._arrived += 1
        self._inside += 1
        self.at_once = max(self.at_once, self._inside)
        try:
            self._look_who_is_here()
            try:
                async with asyncio.timeout(ALL_SECONDS):  # wait_for can miss that it is cancelled
                    await self._all_here.wait()
            except TimeoutError:
                self._all_here.set()  # some wait for others, and need not wait for all
            for number in range(1, visit.sends + 1):
                try:
                    await send(body)
                except Exception as error:  # noqa: BLE001  # whatever it is
                    visit.told.append(error)
                visit.early |= visit.away is None and visit.confirmed < number
            await asyncio.sleep(SLOW_SECONDS if visit.slow else PATIENCE if visit.leaves else PAUSE)
            if visit.raises is not None:
                raise visit.raises
        finally:
            self._inside -= 1
            visit.lasted = 1000 * (time.monotonic() - start)
            if self.hung:
                self._must_end(visit, TURNS)

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
from labsvc.telemetry import Tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.watched_visits import Visit
    from labsvc.checks.submission import Submission
    from labsvc.telemetry import Span

PATIENCE = 5.0  # seconds in which a message has been handled that waits for nothing
SETTLE_SECONDS = 0.3  # in which a log has taken a line if one waits
PAUSE = 0.1  # seconds that `handle` is at work


class Watched:
    """A run of the worker whose messages go through what the learner's function returned.

    Attributes:
        secret: stands in the headers of each message; a visit may have it in its error.
        lines: that the log took, in order.
        writing: how many writes were under way at once, at most.
        events: what went out, by the body of its message.
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
        self.lines: list[Any] = []
        self.writing = self._under_way = self._calls = 0
        self.hung = hung
        self._answer = answer
        self._desk = room.enter(Desk(room))
        collector = room.serve_collector()
        with (
            closing(Tracing("customers", collector.endpoint)) as customers,
            closing(Tracing("worker", collector.endpoint)) as worker,
        ):
            for visit in visits:
                self._trace(visit, customers)
            with worker.tracer.start_as_current_span("loop", Context()) as span:
                self.loop = f"{span.get_span_context().trace_id:032x}"
            self._tracer, self._loop_span = worker.tracer, span
            answer.begin(self._drive, (), Terms((), None, "coroutine", object)).outcome()
        found = [span for each in collector.traces() for span in each.spans]
        self.spans: dict[str, Span] = {span.span_id: span for span in found}
        self.events: dict[bytes, list[Any]] = {}
        for event in self._desk.take_all(self._desk.events):
            self.events.setdefault(event.body, []).append(dict(event.headers))

    def _trace(self, visit: Visit, customers: Tracing) -> None:
        if visit.traced == "broken":
            visit.carrier["traceparent"] = "00-no-trace-01"
        elif visit.traced == "yes":
            with customers.tracer.start_as_current_span("order", Context()):
                propagate.inject(visit.carrier)

    async def _drive(self) -> None:
        """Consume the queue, as a worker does whose loop has a span of its own."""
        async with await aio_pika.connect(self._desk.broker.url, timeout=5) as connection:
            channel = await connection.channel()
            self._exchange = channel.default_exchange
            queue = await channel.get_queue(self._desk.queue)
            self._released = asyncio.Event()
            with trace.use_span(self._loop_span, end_on_exit=False):
                on_message = self._answer.function(
                    self._handle, self._publish, self._tracer, self.registry, self._write
                )
                for visit in self.visits.values():
                    headers: dict[str, Any] = {**visit.carrier, "authorization": self.secret}
                    message = aio_pika.Message(visit.body, headers=headers, type=visit.kind)
                    await self._exchange.publish(message, self._desk.queue, timeout=5)
                tasks = []
                for _ in self.visits:
                    came = await queue.get(no_ack=True, timeout=5)
                    visit = self.visits[came.body]
                    tasks.append(asyncio.create_task(self._serve(on_message, came, visit)))
                    if self.hung:
                        await tasks[-1]
                    if visit.waited:
                        break
                await asyncio.gather(*tasks)
            await self._let_write()

    async def _serve(self, on_message: Any, message: Any, visit: Visit) -> None:
        start = time.monotonic()
        task = asyncio.ensure_future(on_message(message))
        if visit.leaves:
            while not visit.runs and not task.done():  # noqa: ASYNC110  # a learner's function sets it
                await asyncio.sleep(0.01)
            task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        visit.took = 1000 * (time.monotonic() - start)
        if not task.done():
            visit.waited = True
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            return
        try:
            task.result()
        except (Exception, asyncio.CancelledError) as error:
            visit.raised = error
            if visit.raises is None and not visit.leaves:
                raise

    async def _let_write(self) -> None:
        """Let the log take what waits, until nothing more comes."""
        self._released.set()
        self.hung, seen = False, -1
        while seen != len(self.lines):
            seen = len(self.lines)
            await asyncio.sleep(SETTLE_SECONDS)

    async def _handle(self, body: bytes, send: Any) -> None:
        visit, start = self.visits[bytes(body)], time.monotonic()
        span = trace.get_current_span().get_span_context()
        visit.span = Ids(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.trace_flags.sampled)
        visit.runs += 1
        try:
            for _ in range(visit.sends):
                await send(body)
            if not self.hung:
                await asyncio.sleep(PATIENCE if visit.leaves else PAUSE)
            if visit.raises is not None:
                raise visit.raises
        finally:
            visit.lasted = 1000 * (time.monotonic() - start)

    async def _publish(self, body: bytes, headers: Any) -> None:
        message = aio_pika.Message(body, headers=headers)
        await self._exchange.publish(message, self._desk.events, timeout=5)

    async def _write(self, line: Any) -> None:
        self._calls += 1
        self._under_way += 1
        self.writing = max(self.writing, self._under_way)
        try:
            if self.hung:
                await self._released.wait()
            await asyncio.sleep(0)
            self.lines.append(dict(line) if isinstance(line, dict) else line)
            if self._calls == 1:  # it had come through, and the log says it had not
                msg = "the log is away"
                raise OSError(msg)
        finally:
            self._under_way -= 1

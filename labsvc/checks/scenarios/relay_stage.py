"""The stage of notebook 60: rows of an outbox, a relay that sends them, and what was seen of it."""

from __future__ import annotations

import secrets
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from labsvc.checks.examiner import Terms
from labsvc.checks.scenarios.traceparent import Ids, ids
from labsvc.telemetry import Tracing

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.telemetry import Span

KINDS = ("order", "none", "tracestate", "unsampled", "baggage", "none", "order")
BESIDE = {  # what travels beside the ids, by the kind of a row
    "baggage": "tenant=acme",  # W3C Baggage: values for all who work on the request
    "tracestate": "shop=42",  # W3C Trace Context: what a vendor keeps beside the ids
}
STOPPED = 2  # the row at which a round is stopped


class PublishError(Exception):
    """The broker did not take an event."""


@dataclass
class Row:
    """A row of an outbox, and what was published of it."""

    body: bytes
    carrier: dict[str, str]
    raises: BaseException | None = None
    headers: list[dict[str, str]] = field(default_factory=list)
    current: str = ""  # the id of the span in which it was published

    @property
    def ids(self) -> Ids:
        """What its order left."""
        return ids(self.carrier)

    @property
    def sent(self) -> Ids:
        """The same, of what was published last."""
        return ids(self.headers[-1])


class Relayed:
    """A run of the answer, within a span of the relay's own loop.

    Attributes:
        rows: in their order; what an answer gets is a copy.
        outcome: how it ended.
        loop: the trace id of that loop.
        strange: how many bodies were published that no row has.
        changed: whether the answer changed what it was given.
        attached: whether it left a context attached.
        open: whether a span of one row was open when the next was published.
        late: how many rows were published after the run was stopped.
        spans: those named `send` that arrived, by their id.

    """

    def __init__(
        self,
        answer: Submission,
        sandbox: Sandbox,
        refused: tuple[int, ...] = (),
        stop: type[BaseException] | None = None,
    ) -> None:
        collector = sandbox.serve_collector()
        with ExitStack() as ends:
            orders, relay, quiet = (
                ends.enter_context(closing(one))
                for one in (
                    Tracing("orders", collector.endpoint),
                    Tracing("relay", collector.endpoint),
                    Tracing("orders", collector.endpoint, sampler=ALWAYS_OFF),
                )
            )
            self.rows = [_row(kind, quiet if kind == "unsampled" else orders) for kind in KINDS]
            for number in refused:
                self.rows[number].raises = PublishError(_refusal(self.rows[number]))
            if stop is not None:
                self.rows[STOPPED].raises = stop()
            self._by_body = {row.body: row for row in self.rows}
            self._last: dict[int, trace.Span] = {}  # in which a thread published, by its id
            self.strange, self.late = 0, 0
            self.attached, self.open, self._stopped = False, False, False
            given = [(row.body, dict(row.carrier)) for row in self.rows]
            with relay.tracer.start_as_current_span("loop", Context()) as loop:
                self.loop = f"{loop.get_span_context().trace_id:032x}"
                allow = (PublishError, ExceptionGroup, *([stop] if stop else ()))
                self.outcome = answer.begin(
                    self._watched(answer),
                    (given, relay.tracer, self._publish),
                    Terms(allow, None, "function", object),
                ).outcome()
        self.changed = given != [(row.body, row.carrier) for row in self.rows]
        spans = [span for one in collector.traces() for span in one.spans]
        self.spans: dict[str, Span] = {one.span_id: one for one in spans if one.name == "send"}

    @property
    def refused(self) -> list[Row]:
        """The rows that the broker did not take."""
        return [row for row in self.rows if isinstance(row.raises, PublishError)]

    @property
    def published(self) -> int:
        """How often a row was published."""
        return sum(len(row.headers) for row in self.rows)

    def is_error(self, row: Row) -> bool:
        """Return whether the span of a row arrived as an error."""
        span = self.spans.get(row.sent.span)
        return span is not None and span.error

    def _watched(self, answer: Submission) -> Any:
        """Return the answer with a look at its thread's context before and after."""

        def watched(*args: Any) -> Any:
            before = context.get_current()
            try:
                return answer.function(*args)
            finally:
                self.attached = context.get_current() != before

        return watched

    def _publish(self, body: bytes, headers: dict[str, str]) -> None:
        row = self._by_body.get(body)
        if row is None:
            self.strange += 1
            return
        span = trace.get_current_span()
        last = self._last.get(threading.get_ident())
        self.open |= last is not None and last is not span and last.is_recording()
        self._last[threading.get_ident()] = span
        self.late += self._stopped
        row.headers.append(headers)
        row.current = f"{span.get_span_context().span_id:016x}"
        if row.raises is not None:
            self._stopped = not isinstance(row.raises, PublishError)
            raise row.raises


def _refusal(row: Row) -> str:
    return f"{row.body.decode()} was not taken"


def _row(kind: str, orders: Tracing) -> Row:
    """Place an order, and return the row that it left."""
    carrier: dict[str, str] = {}
    if kind != "none":
        with orders.tracer.start_as_current_span("order", Context()):
            propagate.inject(carrier)
    if kind in BESIDE:
        carrier[kind] = BESIDE[kind]
    return Row(f"order {secrets.token_hex(4)}".encode(), carrier)

"""Exercise of notebook 60: the trace of an order goes on behind an outbox (C21)."""

from __future__ import annotations

import re
import secrets
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.telemetry import Tracing

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.telemetry import Span

Ids = tuple[str, str, bool]
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
SAMPLED = 0x01  # of the flags; the others say how the id was made, and more to come
STATE = "shop=42"  # what a vendor keeps beside the ids (W3C Trace Context, tracestate)
KINDS = ("order", "none", "order", "unsampled", "state", "none", "order")


class PublishError(Exception):
    """The broker did not take an event."""


@dataclass
class _Row:
    """A row of an outbox, and what was published of it."""

    body: bytes
    carrier: dict[str, str]
    refused: bool = False
    headers: list[dict[str, str]] = field(default_factory=list)
    current: str = ""  # the id of the span in which it was published

    @property
    def ids(self) -> Ids:
        """The order's trace id and span id, "" without one, and whether it is sampled."""
        return _ids(self.carrier)

    @property
    def sent(self) -> Ids:
        """The same, of what was published last."""
        return _ids(self.headers[-1])


@exercise("60-relay", title="Keep each order's trace in a relay", kind="function")
def relayed_trace(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`relay(rows, tracer, publish)`: a span `send` for each row, in the trace of its order."""
    for refused in ((), (1, 4)):
        if said := _Outbox(answer, sandbox, refused).is_wrong():
            return said
    return solved("each event was sent within the trace of its order", events=2 * len(KINDS))


class _Outbox:
    """Rows of several orders, relayed within a span of the relay's own loop."""

    def __init__(self, answer: Submission, sandbox: Sandbox, refused: tuple[int, ...]) -> None:
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
                self.rows[number].refused = True
            self._by_body = {row.body: row for row in self.rows}
            self._strange = 0
            self._given = [(row.body, dict(row.carrier)) for row in self.rows]
            with relay.tracer.start_as_current_span("loop", Context()) as loop:
                self._loop = f"{loop.get_span_context().trace_id:032x}"
                self._outcome = answer.attempt(
                    self._given, relay.tracer, self._publish, allow=(PublishError,)
                )
        spans = [span for one in collector.traces() for span in one.spans]
        self._spans = {span.span_id: span for span in spans if span.name == "send"}

    def is_wrong(self) -> Verdict | None:
        """Return what broke."""
        rows = self.rows
        published = sum(len(row.headers) for row in rows)
        unsent = sum(not row.headers for row in rows)
        refused = [row for row in rows if row.refused]
        early = bool(unsent) and bool(refused)
        return (
            first_broken(
                (
                    bool(self._strange),
                    "a body was published that no row has",
                    "The body goes out as it is: a trace travels in the headers.",
                ),
                (
                    early,
                    "an event was refused, and others were not sent for it",
                    "Catch around one row, go on with the next, and raise in the end.",
                ),
                (
                    bool(unsent),
                    "an event was not sent",
                    "Call publish(body, headers) for each row, with or without a trace.",
                ),
                (
                    published > len(rows),
                    "an event was sent twice",
                    "Nobody asked for another try: the next run of the relay makes it.",
                ),
                (
                    self._given != [(row.body, row.carrier) for row in rows],
                    "the rows were changed",
                    "Inject into a new dict: the row may have to be sent once more.",
                ),
                (
                    len({id(row.headers[-1]) for row in rows if row.headers}) < len(rows),
                    "several events share one dict of headers, and the last one wrote it",
                    "Make a new dict for each row.",
                ),
                events=len(rows),
                published=published,
            )
            or next(filter(None, map(self._wrong_row, rows)), None)
            or self._wrong_errors(refused)
        )

    def _wrong_row(self, row: _Row) -> Verdict | None:
        trace_id, span_id, sampled = row.sent
        order_trace, order_span, order_sampled = row.ids
        others = {other.ids[0] for other in self.rows} | {self._loop}
        others |= {other.sent[0] for other in self.rows if other is not row}
        span = self._spans.get(span_id)
        return first_broken(
            (
                not trace_id,
                "an event has no valid traceparent in its headers",
                "`propagate.inject(headers)` writes that of the span which is current.",
            ),
            (
                bool(order_trace) and trace_id == self._loop,
                "an event belongs to the trace of the relay's own loop",
                "Start the span in the context that `propagate.extract` made of the row.",
            ),
            (
                bool(order_trace) and trace_id != order_trace,
                "an event does not belong to the trace of its order",
                "Start the span in the context of this row, and of no other.",
            ),
            (
                not order_trace and trace_id in others,
                "an event of an order without a trace belongs to somebody else's",
                (
                    "Without `context=`, or with None, a span begins in the current context. Give"
                    " it what `extract` makes, or `Context()`; detach what you attach."
                ),
            ),
            (
                span_id == order_span,
                "what was sent on names the order's span as its parent, not `send`",
                "Inject inside of the new span; the row's own dict is out of date by then.",
            ),
            (
                bool(order_trace) and sampled and not order_sampled,
                "an order that was not sampled is recorded from here on",
                "The flags are part of the context: take them over with the rest.",
            ),
        ) or self._wrong_span(row, span)

    def _wrong_span(self, row: _Row, span: Span | None) -> Verdict | None:
        order_trace, order_span, order_sampled = row.ids
        state = row.carrier.get("tracestate")
        if order_trace and not order_sampled:
            return first_broken(
                (
                    row.current != row.sent[1],
                    "an event was not published inside of its span",
                    "`publish` belongs into the `with` of the span.",
                )
            )
        return first_broken(
            (
                span is None,
                "no span named `send` arrived for an event",
                "Is it named so, made by `tracer`, and ended? The end of its `with` ends it.",
            ),
            (
                span is not None and span.parent_id != order_span,
                "a span `send` is not the child of its order's span",
                "Its parent is what the row carries; without that it has none.",
            ),
            (
                span is not None and span.kind != "producer",
                "a span `send` is not of the kind PRODUCER",
                "Give it `kind=SpanKind.PRODUCER`.",
            ),
            (
                row.current != row.sent[1],
                "an event was not published inside of its span",
                "`publish` belongs into the `with` of the span.",
            ),
            (
                state is not None and row.headers[-1].get("tracestate") != state,
                "`tracestate`, which came with the order, was left behind",
                "Let `propagate.inject` write the headers: it knows all that belongs to a span.",
            ),
        )

    def _wrong_errors(self, refused: list[_Row]) -> Verdict | None:
        marked = {row.body for row in self.rows if self._is_error(row)}
        wanted = {row.body for row in refused}
        error = self._outcome.error
        return first_broken(
            (
                bool(wanted - marked),
                "an event was refused, and its span looks as if all was well",
                "The error has to pass the end of the span's `with`: catch it outside.",
            ),
            (
                bool(marked - wanted),
                "the span of an event that was sent is an error",
                "Only the span of a publish that raised is one.",
            ),
            (
                bool(refused) and error is None,
                "events were refused, and your function returned as if all was well",
                "Nobody sends them again if nobody hears of it: raise in the end.",
            ),
            (
                bool(refused) and str(error) != _refusal(refused[0].body),
                "another error than the first was raised",
                "Keep the errors in a list, and raise the first one itself.",
            ),
            refused=len(refused),
        )

    def _is_error(self, row: _Row) -> bool:
        span = self._spans.get(row.sent[1])
        return span is not None and span.error

    def _publish(self, body: bytes, headers: dict[str, str]) -> None:
        row = self._by_body.get(body)
        if row is None:
            self._strange += 1
            return
        row.headers.append(headers)
        row.current = f"{trace.get_current_span().get_span_context().span_id:016x}"
        if row.refused:
            raise PublishError(_refusal(body))


def _refusal(body: bytes) -> str:
    return f"{body.decode()} was not taken"


def _row(kind: str, orders: Tracing) -> _Row:
    """Place an order, and return the row that it left."""
    carrier: dict[str, str] = {}
    if kind != "none":
        with orders.tracer.start_as_current_span("order", Context()):
            propagate.inject(carrier)
    if kind == "state":
        carrier["tracestate"] = STATE
    return _Row(f"order {secrets.token_hex(4)}".encode(), carrier)


def _ids(headers: object) -> Ids:
    text = headers.get("traceparent", "") if isinstance(headers, dict) else ""
    match = TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return "", "", False
    return match[1], match[2], bool(int(match[3], 16) & SAMPLED)

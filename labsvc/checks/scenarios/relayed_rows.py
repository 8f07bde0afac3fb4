"""What is wrong with one row that a relay sent, in notebook 60: its headers, and its span."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.relay_stage import BESIDE
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from labsvc.checks.scenarios.relay_stage import Relayed, Row


def wrong_row(run: Relayed, row: Row) -> Verdict | None:
    """Return what is wrong with it, None if nothing is."""
    return _wrong_ids(run, row) or _wrong_span(run, row) or _wrong_beside(row)


def _wrong_ids(run: Relayed, row: Row) -> Verdict | None:
    order, sent = row.ids, row.sent
    others = {other.ids.trace for other in run.rows} | {run.loop}
    others |= {other.sent.trace for other in run.rows if other is not row}
    return first_broken(
        (
            not sent.trace,
            "an event has no valid traceparent in its headers",
            "`propagate.inject(headers)` writes that of the span which is current.",
        ),
        (
            bool(order.trace) and sent.trace == run.loop,
            "an event belongs to the trace of the relay's own loop",
            "Start the span in the context that `propagate.extract` made of the row.",
        ),
        (
            bool(order.trace) and sent.trace != order.trace,
            "an event does not belong to the trace of its order",
            "Start the span in the context of this row, and of no other.",
        ),
        (
            not order.trace and sent.trace in others,
            "an event of an order without a trace belongs to somebody else's",
            (
                "Without `context=`, or with None, a span begins in the current context. Give"
                " it what `extract` makes, or `Context()`; detach what you attach."
            ),
        ),
        (
            sent.span == order.span,
            "what was sent on names the order's span as its parent, not `send`",
            "Inject inside of the new span; the row's own dict is out of date by then.",
        ),
        (
            bool(order.trace) and sent.sampled and not order.sampled,
            "an order that was not sampled is recorded from here on",
            "The flags are part of the context: take them over with the rest.",
        ),
    )


def _wrong_span(run: Relayed, row: Row) -> Verdict | None:
    recorded = row.ids.sampled or not row.ids.trace
    span = run.spans.get(row.sent.span)
    return first_broken(
        (
            recorded and span is None,
            "no span named `send` arrived for an event",
            "Is it named so, made by `tracer`, and ended? The end of its `with` ends it.",
        ),
        (
            span is not None and span.parent_id != row.ids.span,
            "a span `send` is not the child of its order's span",
            "Its parent is what the row carries; without that it has none.",
        ),
        (
            span is not None and span.kind != "producer",
            "a span `send` is not of the kind PRODUCER",
            "Give it `kind=SpanKind.PRODUCER`.",
        ),
        (
            row.current != row.sent.span,
            "an event was not published inside of its span",
            "`publish` belongs into the `with` of the span.",
        ),
    )


def _wrong_beside(row: Row) -> Verdict | None:
    """Return what is wrong with what travels beside the ids."""
    sent = row.headers[-1]
    lost = {name for name in BESIDE if name in row.carrier and name not in sent}
    return first_broken(
        (
            "tracestate" in lost,
            "`tracestate`, which came with the order, was left behind",
            "Let `propagate.inject` write the headers: it knows all that belongs to a span.",
        ),
        (
            "baggage" in lost,
            "`baggage`, which came with the order, was left behind",
            (
                "The span has the ids alone; the baggage is in the context that `extract` made."
                " Inject from both: `trace.set_span_in_context(span, context)`."
            ),
        ),
        (
            any(sent[name] != row.carrier.get(name) for name in sent if name != "traceparent"),
            "a header was sent that the row of this event does not have",
            "Send what `propagate.inject` writes into a new dict, and nothing of your own.",
        ),
    )

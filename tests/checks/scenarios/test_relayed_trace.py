from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = list[tuple[bytes, dict[str, str]]]
    Publish = Callable[[bytes, dict[str, str]], None]

ID = "60-relay"


def relay(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Solve the exercise."""
    errors = []
    for body, carrier in rows:
        parent = propagate.extract(carrier)
        try:
            with tracer.start_as_current_span("send", parent, SpanKind.PRODUCER) as span:
                headers: dict[str, str] = {}
                propagate.inject(headers, trace.set_span_in_context(span, parent))
                publish(body, headers)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            errors.append(error)
    if errors:
        raise errors[0]


def attached_meanwhile(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Make the row's context the current one for as long as the row takes."""
    errors = []
    for body, carrier in rows:
        token = otel_context.attach(propagate.extract(carrier, Context()))
        try:
            with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER):
                headers: dict[str, str] = {}
                propagate.inject(headers)
                publish(body, headers)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            errors.append(error)
        finally:
            otel_context.detach(token)
    if errors:
        raise errors[0]


def by_hand(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Attach and detach, end the span, and mark its error oneself."""
    first = None
    for body, carrier in rows:
        parent = propagate.extract(dict(carrier))
        span = tracer.start_span("send", context=parent, kind=SpanKind.PRODUCER)
        token = otel_context.attach(trace.set_span_in_context(span, parent))
        try:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            publish(body, headers)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            span.set_status(StatusCode.ERROR, str(error))
            first = first or error
        finally:
            otel_context.detach(token)
            span.end()
    if first is not None:
        raise first


def in_reverse(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Send the last row first; the text asks for no order, but for the first error."""
    errors = []
    for body, carrier in reversed(rows):
        try:
            parent = propagate.extract(carrier) if carrier else Context()
            with tracer.start_as_current_span(
                "send", context=parent, kind=SpanKind.PRODUCER
            ) as span:
                headers: dict[str, str] = {}
                propagate.inject(headers, context=trace.set_span_in_context(span, parent))
                publish(body, headers)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            errors.append(error)
    if errors:
        raise errors[-1]


@pytest.mark.parametrize("answer", [relay, attached_meanwhile, by_hand, in_reverse])
def test_right_answers_are_solved(answer: Callable[..., object]) -> None:
    """Any way that keeps each trace is accepted."""
    assert_solved(ID, answer)


def test_stub_is_not_attempted() -> None:
    """The stub of the notebook says so."""

    def stub(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
        raise NotImplementedError

    assert_not_attempted(ID, stub)


def inject(_: dict[str, str], headers: dict[str, str], context: Context) -> None:
    """Write what belongs to the span and its context."""
    propagate.inject(headers, context)


def changed(**parts: Any) -> Callable[..., None]:
    """Return the solution with a part of it done otherwise."""
    parent_of = parts.get("parent", propagate.extract)
    kind = parts.get("kind", SpanKind.PRODUCER)
    write = parts.get("write", inject)
    name = parts.get("name", "send")
    caught = parts.get("caught", Exception)

    def answer(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
        errors = []
        shared: dict[str, str] = {}
        for body, carrier in rows:
            try:
                parent = parent_of(carrier)
                with tracer.start_as_current_span(name, parent, kind) as span:
                    headers = shared if parts.get("share") else {}
                    context = trace.set_span_in_context(span, parent)
                    headers = write(carrier, headers, context) or headers
                    for _ in range(parts.get("times", 1)):
                        publish(body, headers)
            except caught as error:
                errors.append(error)
                if parts.get("stop"):
                    raise
        if errors and parts.get("group"):
            words = "events were refused"
            raise ExceptionGroup(words, errors)
        if errors and not parts.get("quiet"):
            raise errors[parts.get("which", 0)]

    return answer


def catches_inside(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Keep the error from the span."""
    errors = []
    for body, carrier in rows:
        parent = propagate.extract(carrier)
        with tracer.start_as_current_span("send", parent, SpanKind.PRODUCER) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers, trace.set_span_in_context(span, parent))
            try:
                publish(body, headers)
            except Exception as error:  # noqa: BLE001  # it is raised in the end
                errors.append(error)
    if errors:
        raise errors[0]


def outside(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """End the span before the event is published."""
    for body, carrier in rows:
        parent = propagate.extract(carrier)
        headers: dict[str, str] = {}
        with tracer.start_as_current_span("send", parent, SpanKind.PRODUCER) as span:
            propagate.inject(headers, trace.set_span_in_context(span, parent))
        publish(body, headers)


def attached_for_ever(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Attach the context of each row that has one, and never detach it."""
    for body, carrier in rows:
        if carrier:
            otel_context.attach(propagate.extract(carrier))
        with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            publish(body, headers)


def never_detached(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Attach the context of every row, and leave the last one attached."""
    errors = []
    for body, carrier in rows:
        otel_context.attach(propagate.extract(carrier, Context()))
        try:
            with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER):
                headers: dict[str, str] = {}
                propagate.inject(headers)
                publish(body, headers)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            errors.append(error)
    if errors:
        raise errors[0]


def detached_without_finally(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Detach in the good case alone."""
    errors = []
    for body, carrier in rows:
        try:
            token = otel_context.attach(propagate.extract(carrier, Context()))
            with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER):
                headers: dict[str, str] = {}
                propagate.inject(headers)
                publish(body, headers)
            otel_context.detach(token)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            errors.append(error)
    if errors:
        raise errors[0]


def spans_of_all(rows: Rows, tracer: trace.Tracer, publish: Publish, *, ended: bool) -> None:
    """End the spans of all rows in the end, or never."""
    spans, errors = [], []
    for body, carrier in rows:
        parent = propagate.extract(carrier)
        spans.append(tracer.start_span("send", parent, SpanKind.PRODUCER))
        try:
            with trace.use_span(spans[-1]):
                headers: dict[str, str] = {}
                propagate.inject(headers, trace.set_span_in_context(spans[-1], parent))
                publish(body, headers)
        except Exception as error:  # noqa: BLE001  # it is raised in the end
            errors.append(error)
    for span in spans if ended else ():
        span.end()
    if errors:
        raise errors[0]


def never_ended(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Leave the spans open."""
    spans_of_all(rows, tracer, publish, ended=False)


def ended_at_the_end(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Let each span take as long as the run."""
    spans_of_all(rows, tracer, publish, ended=True)


def without_rows_without_a_trace(rows: Rows, tracer: trace.Tracer, publish: Publish) -> None:
    """Send only what has a trace."""
    relay([row for row in rows if row[1]], tracer, publish)


def into_the_row(carrier: dict[str, str], _: Any, context: Context) -> dict[str, str]:
    """Inject into the row's own dict."""
    propagate.inject(carrier, context)
    return carrier


def traceparent_alone(_: Any, headers: dict[str, str], _context: Context) -> None:
    """Write one header by hand."""
    context = trace.get_current_span().get_span_context()
    headers["traceparent"] = (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )


def always_sampled(_: Any, headers: dict[str, str], context: Context) -> None:
    """Write the flags by heart."""
    propagate.inject(headers, context)
    headers["traceparent"] = headers["traceparent"][:-2] + "01"


def random_ids(_: Any, headers: dict[str, str], _context: Context) -> None:
    """Make a trace up."""
    headers["traceparent"] = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def the_span_alone(_: Any, headers: dict[str, str], _context: Context) -> None:
    """Inject from the current context, which has the span and not what came beside it."""
    propagate.inject(headers)


def one_more(_: Any, headers: dict[str, str], context: Context) -> None:
    """Send something of one's own along."""
    propagate.inject(headers, context)
    headers["x-relay"] = "1"


def baggage_for_all(_: Any, headers: dict[str, str], context: Context) -> None:
    """Give every event the baggage of one."""
    propagate.inject(headers, context)
    headers["baggage"] = "tenant=acme"


def another_baggage(_: Any, headers: dict[str, str], context: Context) -> None:
    """Change what came with the order."""
    propagate.inject(headers, context)
    if "baggage" in headers:
        headers["baggage"] = "tenant=other"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (changed(parent=lambda _: None), "the relay's own loop", "extract"),
        (changed(parent=lambda _: Context()), "does not belong to the trace", "this row"),
        (
            changed(parent=lambda carrier: propagate.extract(carrier) if carrier else None),
            "without a trace belongs",
            "Context()",
        ),
        (attached_for_ever, "without a trace belongs", "detach"),
        (never_detached, "still attached", "detach"),
        (detached_without_finally, "still attached", "finally"),
        (changed(write=lambda carrier, *_: dict(carrier)), "names the order's span", "Inject"),
        (changed(write=lambda *_: None), "no valid traceparent", "inject"),
        (changed(write=random_ids), "does not belong to the trace", "this row"),
        (changed(write=always_sampled), "not sampled is recorded", "flags"),
        (changed(write=traceparent_alone), "tracestate", "inject"),
        (changed(write=the_span_alone), "`baggage`, which came", "set_span_in_context"),
        (changed(write=one_more), "the row of this event does not have", "of your own"),
        (changed(write=baggage_for_all), "the row of this event does not have", "of your own"),
        (changed(write=another_baggage), "the row of this event does not have", "of your own"),
        (changed(write=into_the_row), "rows were changed", "new dict"),
        (changed(share=True), "share one dict", "new dict"),
        (changed(kind=SpanKind.CLIENT), "kind PRODUCER", "SpanKind.PRODUCER"),
        (changed(kind=SpanKind.INTERNAL), "kind PRODUCER", "SpanKind.PRODUCER"),
        (changed(name="publish"), "no span named `send`", "named so"),
        (changed(stop=True), "others were not sent", "Catch around one row"),
        (changed(quiet=True), "as if all was well", "raise in the end"),
        (changed(which=-1), "another error than the first", "first one"),
        (changed(group=True), "a group of errors", "does not catch a group"),
        (changed(caught=BaseException), "the stop button", "Let it pass"),
        (
            changed(caught=(Exception, asyncio.CancelledError)),
            "the relay was cancelled",
            "except Exception",
        ),
        (changed(times=2), "sent twice", "next run"),
        (catches_inside, "looks as if all was well", "outside"),
        (outside, "not published inside", "belongs into the `with`"),
        (never_ended, "no span named `send`", "ended"),
        (ended_at_the_end, "still open", "End each in its row"),
        (without_rows_without_a_trace, "was not sent", "with or without a trace"),
        (lambda _rows, _tracer, _publish: None, "was not sent", "each row"),
        (
            lambda rows, tracer, publish: relay([(b"x", c) for _, c in rows], tracer, publish),
            "no row has",
            "headers",
        ),
    ],
)
def test_wrong_answers(answer: Callable[..., object], guarantee: str, hint: str) -> None:
    """Each is told which guarantee broke, with a hint that fits."""
    assert_wrong(ID, answer, guarantee, hint)

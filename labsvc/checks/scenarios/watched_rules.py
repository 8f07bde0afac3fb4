"""Part of the check of T6: what holds for each message.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from labsvc.checks.scenarios.traceparent import ids
from labsvc.checks.scenarios.watched_sent import wrong_events
from labsvc.checks.verdict import Verdict, first_broken, taught_in
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.scenarios.watched_stage import Watched
    from labsvc.checks.scenarios.watched_visits import Visit

KINDS = ("order", "cancel")  # as the exercise says
KEYS = {"trace_id", "kind", "outcome", "ms"}
SLACK_MS = 20.0  # by which the clocks that a learner may use can differ
WORDS = {
    "ok": "was handled",
    "refused": "was refused with a ValueError",
    "failed": "failed",
    "cancelled": "was cancelled",
}


def wrong_visit(run: Watched, visit: Visit) -> Verdict | None:
    """Return what is wrong with one message, None if nothing is."""
    said = f"a message {WORDS[visit.outcome]}"
    if visit.kind not in KINDS:
        said = f"a message of the kind {visit.kind!r} {WORDS[visit.outcome]}"
    return (
        _wrong_end(run, visit, said)
        or taught_in("60", _wrong_trace(run, visit, said))
        or taught_in("60", wrong_events(run, visit, said))
        or taught_in("61", _wrong_line(run, visit, said))
    )


def _wrong_end(run: Watched, visit: Visit, said: str) -> Verdict | None:
    return taught_in(
        "60" if visit.traced == "number" else "61",
        first_broken(
            (
                visit.runs == 0 and visit.traced == "number" and visit.raised is not None,
                f"a traceparent was a number: {summary(visit.raised or Exception())}",
                "A header of AMQP can be of any type: take those that are texts.",
            ),
            (
                visit.raised in run.log.raised,
                f"{said}, and your function raised what `write` had raised",
                "Hand a line over with `put_nowait`, and let a task of its own write.",
            ),
            (visit.runs == 0, f"{said}, and `handle` was not called", "Await it for each message."),
            (
                visit.waited,
                f"{said}, and your function did not return",
                "It waits for nothing but `handle`, in which it then was no more.",
            ),
            (
                visit.runs > 1,
                f"{said}, and `handle` was called {visit.runs} times",
                "Await it once.",
            ),
            (
                visit.outcome != "ok" and visit.raised is None,
                f"{said}, and your function returned as if all was well",
                "A bare `raise` in an `except` hands on what came; a `finally` does so by itself.",
            ),
            (
                visit.raises is not None and visit.raised is not visit.raises,
                f"{said}, and your function raised {summary(visit.raised or Exception())}",
                "What leaves `handle` leaves your function, the very same.",
            ),
        ),
    )


def _wrong_trace(run: Watched, visit: Visit, said: str) -> Verdict | None:
    came, span = ids(visit.carrier), run.spans.get(visit.span.span)
    is_kept = came.sampled or not came.trace  # what its customer does not sample is not kept
    is_error = isinstance(visit.raises, Exception)
    return first_broken(
        (
            visit.span.trace == run.loop and visit.traced == "yes",
            f"{said}, in the trace of the worker's own loop and not in that of its headers",
            "`propagate.extract(message.headers)` makes a context of them: begin the span in it.",
        ),
        (
            visit.span.trace == run.loop,
            f"{said} that came without a trace, in that of the worker's own loop",
            "Begin the span in what `propagate.extract` returns, also where nothing came.",
        ),
        (
            bool(came.trace) and visit.span.trace != came.trace,
            f"{said}, and `handle` ran in another trace than its headers say",
            "`propagate.extract(message.headers)` makes a context of them: begin the span in it.",
        ),
        (
            span is None and is_kept,
            f"{said}, and the span in which `handle` ran was not yours, or never ended",
            "`tracer.start_as_current_span` makes one current, and ends it, whatever comes.",
        ),
        (
            span is not None and span.name != "handle",
            f"{said}, and its span is called {span.name if span else ''}",
            "The span is called `handle`.",
        ),
        (
            span is not None and span.kind != "consumer",
            f"{said}, and its span is of kind {span.kind if span else ''}",
            "`kind=SpanKind.CONSUMER` says that it waited in a queue.",
        ),
        (
            span is not None and span.parent_id != came.span,
            f"{said}, and its span is not the child of what its headers say",
            "One span, begun in the context that `extract` made.",
        ),
        (
            span is not None and is_error and not span.error,
            f"{said}, and its span looks as if all was well",
            "The error has to pass the end of the span's `with`: catch it outside, or set it.",
        ),
        (
            span is not None and span.error and visit.outcome == "ok",
            f"{said}, and its span is an error",
            "Only the span of a message that failed is one.",
        ),
    )


def _wrong_line(run: Watched, visit: Visit, said: str) -> Verdict | None:
    def of_it(line: Any) -> bool:
        return isinstance(line, dict) and line.get("trace_id") == visit.span.trace

    lines = [line for line in run.log.lines if of_it(line)]
    line = lines[0] if lines else {}
    odd = [one for one in run.log.lines if not isinstance(one, dict) or not _is_id(one)]
    ms = line.get("ms")
    lost = run.registry.get_sample_value("lines_lost_total") or 0
    is_number = isinstance(ms, int | float) and not isinstance(ms, bool) and math.isfinite(ms)
    return first_broken(
        (
            not lines and bool(odd),
            f"{said}, and a line has no trace id of 32 digits in hex",
            "`trace.format_trace_id(...)` writes it as headers have it; a line is a dict.",
        ),
        (
            len({id(each) for each in run.log.given}) < len(run.log.given),
            "one dict was written twice: a line came again, or was changed by another message",
            "A new dict for each line, written once: a write that raised may have come through.",
        ),
        (
            not lines and lost > 0,
            f"{len(run.visits)} messages ended at once, and {lost:g} lines found no place",
            "100 lines can wait, besides the one under way.",
        ),
        (
            len(lines) != 1,
            f"{said}, and {len(lines)} lines have its trace id",
            "Write one in a `finally`. What `write` raises, CancelledError too, costs its line.",
        ),
        (
            run.secret in repr(line),
            f"{said}, and a secret is in its line",
            "The texts of errors and the headers stay out.",
        ),
        (
            set(line) != KEYS,
            f"{said}, and its line has the keys {', '.join(sorted(map(str, line)))}",
            "The keys are `trace_id`, `kind`, `outcome` and `ms`, and no others.",
        ),
        (
            line.get("outcome") != visit.outcome,
            f"{said}, and its line says {line.get('outcome')}, not {visit.outcome}",
            "Begin with `failed`; name ValueError, and CancelledError, which is no `Exception`.",
        ),
        (
            line.get("kind") != visit.kind,
            f"{said}, and its line has the kind {line.get('kind')}",
            "A line has the kind as it came: only labels have to be few.",
        ),
        (
            not is_number or not visit.lasted - SLACK_MS <= float(ms or 0) <= visit.took + SLACK_MS,
            f"{said}, and `ms` is not how long it took",
            "A difference of two clock readings around `handle`, times 1000.",
        ),
        lines=len(lines),
    )


def _is_id(line: dict[str, Any]) -> bool:
    return re.fullmatch("[0-9a-f]{32}", str(line.get("trace_id"))) is not None

"""Part of the check of T6: what holds for the events of each message, and for `send`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.traceparent import ids
from labsvc.checks.verdict import Verdict, first_broken
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.scenarios.watched_stage import Watched
    from labsvc.checks.scenarios.watched_visits import Visit

TRACE_KEYS = {"traceparent", "tracestate"}


def wrong_events(run: Watched, visit: Visit, said: str) -> Verdict | None:
    """Return what is wrong with the events of a message, None if nothing is."""
    return _wrong_send(visit, said) or _wrong_headers(run, visit, said)


def _wrong_send(visit: Visit, said: str) -> Verdict | None:
    sends, calls = visit.sends, len(visit.published)
    raised = [visit.away] * sends if visit.away else []
    return first_broken(
        (
            calls != sends,
            f"{said}, called `send` {sends} times, and `publish` was called {calls} times",
            "`send` awaits `publish` once: what raised may have come through, and comes twice.",
        ),
        (
            len(visit.told) < len(raised),
            "`publish` raised, and `send` returned as if all was well",
            "Who sends has to know: let out what `publish` raises.",
        ),
        (
            visit.told != raised,
            f"`publish` did not raise what `send` raised: {', '.join(map(summary, visit.told))}",
            "`send` raises what `publish` raises, and nothing else; it has no limit of its own.",
        ),
        (
            visit.early,
            f"{said}, and its `send` returned before the event was out",
            "A task that nobody awaits dies with the process: await `publish` in `send`.",
        ),
    )


def _wrong_headers(run: Watched, visit: Visit, said: str) -> Verdict | None:
    sent = visit.published
    others = {str(key) for headers in sent for key in headers} - TRACE_KEYS
    traces = [ids(headers) for headers in sent]
    is_kept = visit.span.span in run.spans
    state = visit.carrier.get("tracestate")
    return first_broken(
        (
            "x-published" in others,
            f"{said}, and the headers of its event are the dict of another one",
            "A new dict for each event: `publish` may keep it, and write into it.",
        ),
        (
            bool(others),
            f"{said}, and its event has more than the trace in its headers: {min(others or '-')}",
            "`traceparent` and `tracestate` in a new dict. What a customer wrote is not passed on.",
        ),
        (
            any(each.trace != visit.span.trace for each in traces)
            or (is_kept and not all(run.is_within(each.span, visit.span.span) for each in traces)),
            f"{said}, and its event does not carry on its span",
            "`propagate.inject(headers)` writes the span that is current: call it within `send`.",
        ),
        (
            any(each.sampled != visit.span.sampled for each in traces),
            f"{said}, and its event says otherwise whether the trace is sampled",
            "Who begins a trace decides that for all: `propagate.inject` hands it on.",
        ),
        (
            any(headers.get("tracestate") != state for headers in sent),
            f"{said}, and its event has another tracestate than came",
            "`tracestate` belongs to the trace: `propagate.inject` hands it on.",
        ),
    )

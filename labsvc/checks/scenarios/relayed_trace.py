"""Exercise of notebook 60: the trace of an order goes on behind an outbox (C21)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.relay_stage import KINDS, Relayed
from labsvc.checks.scenarios.relayed_rows import wrong_row
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

STOPS = {
    KeyboardInterrupt: "the stop button was pressed",
    asyncio.CancelledError: "the relay was cancelled",
}


@exercise("60-relay", title="Keep each order's trace in a relay", kind="function")
def relayed_trace(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`relay(rows, tracer, publish)`: a span `send` for each row, in the trace of its order."""
    for refused in ((), (1, 4)):
        run = Relayed(answer, sandbox, refused)
        if said := _wrong_sending(run) or _wrong_errors(run) or _wrong_ending(run):
            return said
    for stop, words in STOPS.items():
        run = Relayed(answer, sandbox, stop=stop)
        if said := _goes_on(run, stop, words) or _wrong_ending(run):
            return said
    return solved("each event was sent within the trace of its order", events=2 * len(KINDS))


def _wrong_sending(run: Relayed) -> Verdict | None:
    rows = run.rows
    unsent = sum(not row.headers for row in rows)
    dicts = {id(row.headers[-1]) for row in rows if row.headers}
    return first_broken(
        (
            bool(run.strange),
            "a body was published that no row has",
            "The body goes out as it is: a trace travels in the headers.",
        ),
        (
            bool(unsent) and bool(run.refused),
            "an event was refused, and others were not sent for it",
            "Catch around one row, go on with the next, and raise in the end.",
        ),
        (
            bool(unsent),
            "an event was not sent",
            "Call publish(body, headers) for each row, with or without a trace.",
        ),
        (
            run.published > len(rows),
            "an event was sent twice",
            "Nobody asked for another try: the next run of the relay makes it.",
        ),
        (
            run.changed,
            "the rows were changed",
            "Inject into a new dict: the row may have to be sent once more.",
        ),
        (
            len(dicts) < len(rows),
            "several events share one dict of headers, and the last one wrote it",
            "Make a new dict for each row.",
        ),
        events=len(rows),
        published=run.published,
    ) or next(filter(None, (wrong_row(run, row) for row in rows)), None)


def _wrong_errors(run: Relayed) -> Verdict | None:
    refused = run.refused
    marked = {row.body for row in run.rows if run.is_error(row)}
    wanted = {row.body for row in refused}
    error = run.outcome.error
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
            isinstance(error, ExceptionGroup),
            "a group of errors was raised, and the caller waits for the first error itself",
            "`except PublishError` does not catch a group. Keep the first error, and raise that.",
        ),
        (
            bool(refused) and error is not refused[0].raises,
            "another error than the first was raised",
            "Keep the errors in a list, and raise the first one itself.",
        ),
        refused=len(refused),
    )


def _wrong_ending(run: Relayed) -> Verdict | None:
    """Return what is left over behind a row."""
    return first_broken(
        (
            run.open,
            "the span of an event was still open when the next one was published",
            "A span that ends with the run says its event took that long. End each in its row.",
        ),
        (
            run.attached,
            "a context was still attached when your function had ended",
            (
                "What this thread does next would belong to that order. Give the token of `attach`"
                " to `detach`, in a `finally`, or attach nothing."
            ),
        ),
    )


def _goes_on(run: Relayed, stop: type[BaseException], words: str) -> Verdict | None:
    """Return what is wrong with a run that was stopped while it published."""
    return first_broken(
        (
            bool(run.late) or not isinstance(run.outcome.error, stop),
            f"{words}, and your function went on",
            f"{stop.__name__} is no `Exception`. Let it pass: `except Exception` does.",
        ),
    )

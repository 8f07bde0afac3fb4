"""Part of exercise 61-access-log: what is wrong with a call that was logged, and with its line."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from labsvc.checks.verdict import Verdict, broken, first_broken
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.scenarios.logged_users import Visit

__all__ = ["wrong_call", "wrong_line"]

KEYS = {"request_id", "status", "ms"}
SLACK_MS = 20.0  # by which the clocks that a learner may use can differ

TASK = "It hears nothing behind `asyncio.shield`, or in a task that nobody awaits. Await it itself."
ONCE = "Write in one place: `finally` runs after a `return` and after an `except` alike."


def wrong_call(visit: Visit, call: str) -> Verdict | None:
    """Return how the learner's function did not do as the handler; `call` begins the sentence."""
    ending = visit.ending
    return first_broken(
        (
            visit.runs == 0,
            f"{call}, and the handler was not run",
            "`await handler(request, context)`.",
        ),
        (
            visit.lasted is None,
            f"{call}, and the handler is still at work",
            TASK,
        ),
        (
            not visit.in_time,
            f"{call}, the handler has ended, and your function goes on",
            "After the handler there is a line to write. What else does it wait for?",
        ),
        (
            visit.runs > 1,
            f"{call}, and the handler was run {visit.runs} times",
            "Await it once. Whether to try again is for the caller to say.",
        ),
        (
            visit.failed is not None and visit.raised is None,
            f"{call}, and your function returned as if all was well",
            "A bare `raise` in an `except` hands on what came; a `finally` does so by itself.",
        ),
        (
            visit.failed is None and visit.raised is not None,
            f"{call}, and your function raised {summary(visit.raised or Exception())}",
            "What leaves the handler leaves your function, and nothing else does.",
        ),
        (
            visit.raised is not visit.failed and not ending.leaves,
            f"{call}, and your function raised another error than the handler did",
            "A bare `raise` hands on the very error that came, and `finally` does too.",
        ),
        (
            visit.code != ending.caller,
            f"{call}, and its caller reads {visit.code}, not {ending.caller}",
            "Return what the handler returned, and raise what it raised.",
        ),
        (
            ending.caller == "OK" and visit.answer != visit.token,
            f"{call}, and its caller got another answer",
            "Return what the handler returned.",
        ),
    )


def wrong_line(visit: Visit, call: str, secret: str) -> Verdict | None:
    """Return what is wrong with the one line of a call; `call` begins the sentence."""
    ending, lines = visit.ending, visit.lines
    if len(lines) != 1:
        hint = ending.hint if ending.leaves and not lines else ONCE
        return broken(f"{call}, and has {len(lines)} lines", hint, lines=len(lines))
    line = lines[0]
    if not isinstance(line, dict):
        return broken(
            f"{call}, and `write` got no dict", "`write({...})` takes one dict, of three keys."
        )
    said = line.get("status")
    return first_broken(
        (
            secret in repr(line),
            f"{call}, and a secret is in its line",
            "Take the id out of the metadata, and nothing else. Texts of errors stay out too.",
        ),
        (
            set(line) != KEYS,
            f"{call}, and its line has the keys {', '.join(sorted(map(str, line)))}",
            "The keys are `request_id`, `status` and `ms`, and no others.",
        ),
        (
            line.get("request_id") != (visit.request_id or "-"),
            f"{call}, and its line has the id {line.get('request_id')!r}",
            "It is this call's, in the metadata under `x-request-id`; a dash where none came.",
        ),
        (
            not isinstance(said, str),
            f"{call}, and its status is no text",
            "`.name` of a code is its name, such as `ABORTED`.",
        ),
        (
            said != ending.status and _spells(str(said), ending.status),
            f"{call}, and its line says {said}, not {ending.status}",
            "That is the right code in another spelling: `.name` of a code is its name alone.",
        ),
        (
            said != ending.status,
            f"{call}, and its line says {said}, not {ending.status}",
            ending.hint,
        ),
        _wrong_time(line.get("ms"), visit, call),
    )


def _spells(said: str, status: str) -> bool:
    """Return whether a text holds a status: "StatusCode.NOT_FOUND", "(5, 'not found')"."""
    return re.search(rf"\b{status.replace('_', '[ _]')}\b", said.upper()) is not None


def _wrong_time(ms: Any, visit: Visit, call: str) -> tuple[bool, str, str]:
    """Return what is wrong with a number of milliseconds."""
    if not isinstance(ms, int | float) or isinstance(ms, bool) or not math.isfinite(ms):
        hint = "A time is a difference of two clock readings."
        return True, f"{call}, and `ms` is no number", hint
    if ms < 0 or ms < (visit.lasted or 0) - SLACK_MS:
        hint = "Read a clock when the call comes, and again however it ends. It counts seconds."
        return True, f"{call}, and `ms` is less than its handler took", hint
    hint = "From the call's arrival to its end, for each call anew, times 1000."
    return ms > (visit.took or 0) + SLACK_MS, f"{call}, and `ms` is more than the call took", hint

"""Exercise of notebook 40: say from a client's side what is wrong with TLS."""

from __future__ import annotations

import random
import ssl
import time
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.tls_stage import Stage
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.tls_stage import SetUp
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

WORDS = ("fine", "plaintext", "tls", "name", "time", "authority", "client", "down", "silent")
LONGEST = 4.0  # seconds; the exercise says 3, and a busy machine adds to it
PATIENCE = 5.0  # seconds for one call of the answer

HINTS = {
    "fine": "Whatever the server says, a status or a text, TLS has carried it: does your call use"
    " the `context` that it is given?",
    "plaintext": "An `SSL` error that is no VERIFY_FAILED: what came back was no TLS.",
    "tls": "A server that wants TLS hangs up on plaintext: what does the URL say?",
    "name": "The text of Python's `ssl` says for what the certificate is not valid.",
    "time": "There is a time before a certificate is valid, and one after it.",
    "authority": "There are more such texts than one: what is left of VERIFY_FAILED is the"
    " authority.",
    "client": "A server that turns your certificate down just hangs up, and the URL said https.",
    "down": "Look at the text behind the `ConnectError`: not each one is about TLS.",
    "silent": "A second is the limit, and a timeout may strike while it connects, in the"
    " handshake, and while it reads.",
}


@exercise("40-diagnosis", title="Find what is wrong with TLS", returns=str, deadline=40)
def diagnosis(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`what_is_wrong(url, context)` says in one word what is wrong, within three seconds."""
    cases = Cases(answer, sandbox)
    quick, slow = (_each_mistake, _a_mute_server), _a_late_server
    return cases.broken(slow, beside=quick, within=30) or solved(
        "each set-up got the word that is true for it", words=len(WORDS)
    )


def _each_mistake(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Call the answer with each set-up, in any order; what is told is the first in the stage's."""
    set_ups = Stage(room).quick()
    faults: dict[int, Verdict] = {}
    for place in random.sample(range(len(set_ups)), len(set_ups)):
        began = time.monotonic()
        if fault := _judge(answer, set_ups[place]):
            faults[place] = fault
            if time.monotonic() - began > LONGEST:
                return fault
    return faults[min(faults)] if faults else None


def _a_mute_server(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Call the answer with a server that does not even shake hands."""
    return _judge(answer, Stage(room).is_mute())


def _a_late_server(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Call the answer with a server that shakes hands, and answers too late."""
    return _judge(answer, Stage(room).is_late())


def _judge(answer: Submission, set_up: SetUp) -> Verdict | None:
    before = _settings(set_up.context)
    began = time.monotonic()
    outcome = answer.attempt(set_up.url, set_up.context, within=PATIENCE, allow=_of_a_request)
    took = time.monotonic() - began
    hint = set_up.hint or HINTS[set_up.word]
    return first_broken(
        (
            outcome.hung or took > LONGEST,
            f"{set_up.what}, and your function took longer than three seconds",
            "How long does your call wait for an answer, and how often is it made?",
        ),
        (
            outcome.error is not None,
            f"{set_up.what}, and your function raised {type(outcome.error).__name__}",
            f"Nothing may be raised: the word is the answer. {hint}",
        ),
        (
            _settings(set_up.context) != before,
            "your function has changed the context",
            "Others use it too, and would trust whom they must not. Only use it.",
        ),
        (
            set_up.page.asked > 1,
            f"the server was asked {set_up.page.asked} times",
            "Ask once: what went wrong the first time says what it was.",
        ),
        (
            outcome.value not in WORDS,
            f"your function returned {outcome.value!r}, which is none of the words",
            "The words stand in the table, in small letters.",
        ),
        (
            outcome.value != set_up.word,
            f"{set_up.what}, and your function says {outcome.value!r}",
            hint,
        ),
    )


def _settings(context: ssl.SSLContext) -> tuple[object, ...]:
    """Return what decides whom a context trusts, and how it talks."""
    return (
        context.check_hostname,
        context.verify_mode,
        context.verify_flags,
        context.minimum_version,
        context.maximum_version,
        context.cert_store_stats(),
    )


def _of_a_request(error: BaseException) -> bool:
    """Say whether a request failed: an error of httpx2, of `ssl` or of the system."""
    return isinstance(error, OSError | ssl.SSLError) or type(error).__module__.startswith(
        ("httpx", "httpcore", "urllib", "http.client", "requests")
    )

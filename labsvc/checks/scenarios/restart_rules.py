"""Part of the check of T5: what holds after each call, wherever it was stopped.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks.scenarios.restart_bodies import shown
from labsvc.checks.scenarios.restart_events import read, wrong_events
from labsvc.checks.verdict import Verdict, broken, first_broken, taught_in
from labsvc.delivery.deadletter import deaths

if TYPE_CHECKING:
    from labsvc.checks.scenarios.restart_stage import Stage

CALL_SECONDS = 6.0  # for one call; with a lock of its own each waits for those beside it
BACK_SECONDS = 0.2  # for a broker to give back what a closed connection held


def call(stage: Stage) -> Verdict | None:
    """Call the answer; it may raise when its link breaks, and must if it has not done all.

    Raises:
        SubmissionError: what is wrong with any answer.

    """
    struck = len(stage.run.struck)
    attempt = stage.answer.start(
        stage.db, *stage.args, within=CALL_SECONDS, allow=CONNECTION_EXCEPTIONS
    )
    end = attempt.outcome()
    attempt.stop()
    is_struck = len(stage.run.struck) > struck
    if isinstance(end.error, RecursionError):
        return broken(
            "a body that opens 100,000 lists ended your function with a RecursionError",
            "`json.loads` calls itself for each: reject what raises it. Notebook 51 shows it.",
        )
    if end.error is not None and not is_struck:
        raise stage.answer.fault(end.error)
    if end.hung and not is_struck:
        raise attempt.hang()
    if end.error is not None:
        stage.db.rollback()  # as a crash does
        return None
    unsent = stage.rows("SELECT seq FROM outbox WHERE NOT sent")
    return first_broken(
        (
            end.hung,
            "the link broke, and your function did not return",
            "Let the error out, or bound what repeats. Notebook 50 shows it.",
        ),
        (
            stage.db.in_transaction,
            "your function returned in the middle of a transaction, and a crash would undo it",
            "`with db:` commits at its end. Notebook 51 shows it.",
        ),
        (
            bool(unsent),
            f"{_told(stage)}your function returned, and {len(unsent)} events wait in the outbox",
            "Send what waits at the start, and after each message. Notebook 51 shows it.",
        ),
        unsent=len(unsent),
    )


def what_is_wrong(stage: Stage, notebook: str = "51") -> Verdict | None:
    """Return what is wrong when all was done; `notebook` is about the units and the outcomes."""
    time.sleep(BACK_SECONDS)
    return (
        taught_in("51", _put_aside(stage) or _rows(stage))
        or taught_in(notebook, _outcomes(stage))
        or wrong_events(stage)
    )


def _told(stage: Stage) -> str:
    return f"{stage.tale}: " if stage.tale else ""


def _put_aside(stage: Stage) -> Verdict | None:
    dead = stage.desk.take_all(stage.desk.dead)
    bodies = [message.body for message in dead]
    lost = [each for each in stage.odd if each not in bodies]
    late = [m for m in dead if any(death.reason != "rejected" for death in deaths(m))]
    left = stage.desk.ready()
    return first_broken(
        (
            any(body not in stage.odd for body in bodies),
            f"{_told(stage)}a message that can be read is in the dead-letter queue",
            "Reject what cannot be read, and nothing else: an error of the database passes.",
        ),
        (
            not all(map(deaths, dead)),
            "a message in the dead-letter queue says nowhere why it came there",
            "What you publish there yourself can come twice. `reject` moves it, with its reason.",
        ),
        (
            bool(late),
            "a message went to the dead letters by the limit, and not at its first delivery",
            "What does not get better is rejected at once: which parameter of reject decides?",
        ),
        (
            bool(lost),
            f"a body that is not as it should is not in the dead-letter queue: {shown(lost[0])}"
            if lost
            else "",
            "Reject it without requeue. Read the exercise for the values that are right.",
        ),
        (
            bool(left),
            f"your function returned, and {left} messages are in the queue",
            "Acknowledge each message when its transaction is committed.",
        ),
        left=left,
    )


def _rows(stage: Stage) -> Verdict | None:
    """Return what is wrong with the outbox."""
    found = [row[0] for row in stage.rows("SELECT message_id FROM outbox ORDER BY seq")]
    _, bodies = stage.should()
    missing = [each for each in bodies if each not in found]
    twice = [each for each, count in Counter(found).items() if count > 1]
    return first_broken(
        (
            bool(missing),
            f"{_told(stage)}{len(missing)} messages were taken, and have no row in the outbox",
            "The note, the effect and the row: one transaction, then the ack. No row goes.",
        ),
        (
            bool(twice),
            f"{_told(stage)}a message came again, and has {Counter(found)[twice[:1][0]]} rows in"
            " the outbox"
            if twice
            else "",
            "Note its message_id in `handled`, for good, in the transaction of the effect.",
        ),
        (
            len(found) > len(bodies),
            f"{_told(stage)}the outbox has a row whose message_id no message has",
            "The row of the outbox has the message_id of the message.",
        ),
        (
            found != list(bodies),
            "the messages were handled in another order than they came",
            "One after the other, each to its end.",
        ),
        rows=len(found),
    )


def _outcomes(stage: Stage) -> Verdict | None:
    """Return what is wrong with the units and with what the outbox says."""
    should, bodies = stage.should()
    found = dict(stage.rows("SELECT message_id, body FROM outbox"))
    for each, body in bodies.items():
        got, want = read(found[each]), json.loads(body)
        if got != want:
            return _wrong_event(stage, found[each], want)
    for sku, has in stage.units().items():
        if has != should[sku]:
            return broken(
                f'{_told(stage)}{has} units of "{sku}" are in stock, not {should[sku]}',
                stage.hint or "A cancel gives back what its order took: keep that in `orders`.",
                units=has,
            )
    return None


def _wrong_event(stage: Stage, row: object, want: dict[str, str]) -> Verdict:
    got = read(row)
    if isinstance(got, dict) and got | {"outcome": want["outcome"]} == want:
        return broken(
            f"{_told(stage)}an event says {got.get('outcome')}, not {want['outcome']}",
            stage.hint or "Which messages of this order came before? Keep its state in `orders`.",
        )
    return broken(
        f"{_told(stage)}the body of a row is {shown(row)}, not {json.dumps(want)}",
        stage.hint or "A row of the outbox has this order's id and its outcome, and nothing else.",
    )

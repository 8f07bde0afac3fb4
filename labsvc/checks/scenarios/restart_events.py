"""Part of the check of T5: what is wrong with the events that went out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode

from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.scenarios.restart_stage import Stage


def wrong_events(stage: Stage) -> Verdict | None:
    """Return what is wrong with the events that went out."""
    came = stage.desk.take_all(stage.desk.events)
    ids = [str(message.message_id) for message in came]
    _, bodies = stage.should()
    rows = dict(stage.rows("SELECT message_id, body FROM outbox"))
    lost = [each for each in bodies if each not in ids]
    copies = len(ids) - len({*ids})
    return taught_in(
        "51",
        first_broken(
            (
                bool({*ids} - {*bodies}),
                "an event has another message_id than its row",
                "Give each Message the message_id of its row: without one, aio-pika makes one up.",
            ),
            (
                bool(lost),
                f"{len(lost)} events are marked as sent, and never arrived",
                "Mark a row when its publish has returned, on a channel with confirms.",
            ),
            (
                any(m.body != _bytes(rows.get(str(m.message_id), "")) for m in came),
                "an event has another body than its row",
                "The body of an event is that of its row, encoded, and not made anew.",
            ),
            (
                copies > len(stage.run.plan) + stage.failed,
                f"{copies} events went out a second time",
                "Mark each row, and commit, as soon as its own event is confirmed.",
            ),
            (
                list(dict.fromkeys(ids)) != list(bodies),
                "the events went out in another order than their rows have",
                "Read the rows ORDER BY seq, and wait for each confirm before the next publish.",
            ),
            copies=copies,
        ),
    ) or taught_in(
        "50",
        first_broken(
            (
                any(m.delivery_mode != DeliveryMode.PERSISTENT for m in came),
                "an event would not survive a restart of the broker",
                "A Message is transient unless its delivery_mode says something else.",
            ),
            (
                any(m.expiration is not None for m in came),
                "an event goes away before it is read, if its reader is late",
                "A Message without `expiration` stays.",
            ),
        ),
    )


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def read(body: object) -> object:
    """Return what a body says, itself if it is no JSON."""
    try:
        return json.loads(body)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return body

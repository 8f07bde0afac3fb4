"""Single events in words, as lines of a timeline's text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.timeline.parts import Call, Message
    from labsvc.timeline.record import Event

_AT_ONCE = ("published", "returned", "confirmed")  # what a publisher hears of its message
_AT_PROXY = {
    "refused": "finds nobody",
    "swallowed": "swallows bytes",
    "cut": "cuts the connection",
}


class Line(NamedTuple):
    """One line: who, what, how deep in calls, and the event that says when."""

    party: str
    text: str
    depth: int
    event: Event | None = None


def point(event: Event, depth: int) -> Line:
    """Return the line of a commit or a note."""
    words = "commits" if event.kind == "committed" else event.detail
    return Line(event.party, words, depth, event)


def called(event: Event, depth: int) -> Line:
    """Return the line of a call that leaves."""
    notes = [f"try {event.attempt}"] if event.attempt > 1 else []
    if event.deadline < math.inf:
        notes.append("with a deadline")
    return Line(event.party, ", ".join([f"calls {event.what}", *notes]), depth, event)


def seen(event: Event, depth: int) -> Line:
    """Return the line of a status that the caller sees."""
    return Line(event.party, f"gets {event.detail}", depth, event)


def entered(event: Event, depth: int) -> Line:
    """Return the line of a handler that begins."""
    again = f", try {event.attempt}" if event.attempt > 1 else ""
    return Line(event.party, f"begins {event.what}{again}", depth, event)


def left(event: Event, depth: int) -> Line:
    """Return the line of a handler that ends."""
    words = f"answers {event.detail}"
    if event.kind == "cancelled":
        words = "is told to stop"
    elif event.detail == "CANCELLED":  # a thread is not told: it works to its end
        words = "ends, and nobody waits"
    return Line(event.party, words, depth, event)


def at_proxy(events: Sequence[Event], depth: int) -> tuple[list[Line], list[Line]]:
    """Return what a proxy did to a call: delays at first, losses before the caller knows."""
    parties = {event.kind: event.party for event in events}
    delays = [
        Line(party, "delays it", depth) for kind, party in parties.items() if kind == "delayed"
    ]
    losses = [
        Line(parties[kind], words, depth) for kind, words in _AT_PROXY.items() if kind in parties
    ]
    return delays, losses


def streamed(call: Call, depth: int) -> list[Line]:
    """Return how many messages the caller sent and took, if all of the stream came through."""
    if call.called is None or call.seen is None or call.seen.detail != "OK":
        return []
    party = call.called.party
    kinds = [event.kind for event in call.streamed if event.party == party]
    counts = {"sent": kinds.count("sent"), "took": kinds.count("received")}
    return [
        Line(party, f"{word} {count} message{'s' * (count > 1)}", depth)
        for word, count in counts.items()
        if count
    ]


def life(message: Message, depth: int) -> list[Line]:
    """Return the lines of a message; a confirm has no order with what consumers do: it is first."""
    events = sorted(message.events, key=lambda event: (event.kind not in _AT_ONCE, event.number))
    return [_at_broker(event, depth + (event.kind not in _AT_ONCE)) for event in events]


def _at_broker(event: Event, depth: int) -> Line:
    broker, client, queue = event.party, event.target or event.party, event.what
    again = " again" if event.detail == "redelivered" else ""
    of_consumer = event.kind == "rejected" and bool(queue)
    who, words = {
        "published": (client, f"publishes to {queue}"),
        "confirmed": (broker, "confirms it"),
        "returned": (broker, "returns it: no queue wants it"),
        "rejected": (client, "rejects it") if of_consumer else (broker, "refuses it"),
        "delivered": (broker, f"delivers it to {client}{again}"),
        "acked": (client, "acks it"),
        "requeued": (client, "gives it back"),
        "dead-lettered": (broker, f"sends it on as a dead letter: {event.detail}"),
        "expired": (broker, f"drops it: {event.detail}"),
    }[event.kind]
    if event.kind == "requeued" and event.detail:
        who, words = broker, f"takes it back: {event.detail}"
    return Line(who, words, depth, event)

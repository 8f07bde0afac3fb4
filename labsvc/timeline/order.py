"""A run in words: its events in causal order, the same lines each time.

Two events have an order if one thread or task did both, or if one is the cause of the other: a
handler runs after its call left, its answer is seen after it was given. Others have none, however
their times fell: they stand in a group, with a bar before them.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from labsvc.timeline.spans import Call, Message, build

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labsvc.timeline.record import Event
    from labsvc.timeline.spans import Item, Run

BAR = "| "
EARLY = 0.02  # seconds by which the two ends of a call may differ on when its deadline is
AT_ONCE = ("published", "returned", "confirmed")  # what a publisher hears of its message
FALLOUT = ("DEADLINE_EXCEEDED", "CANCELLED")  # what a caller decides alone


class Line(NamedTuple):
    """One line: who, what, how deep in calls, and the event that says when."""

    party: str
    text: str
    depth: int
    event: Event | None = None


def text(events: Sequence[Event], names: Mapping[str, str], main: int, dropped: int = 0) -> str:
    """Return the events in words; `main` is the strand that recorded, `names` has addresses."""
    lines = _arranged(build(events, names), main, 0)
    width = max((len(line.party) for line in lines), default=0)
    rows = [f"{line.party:{width}}  {'  ' * line.depth}{line.text}" for line in lines]
    if not rows:
        rows = ["nothing was recorded: make the calls inside of the `with` block"]
    if any(line.text.startswith(BAR) for line in lines):
        rows.append(f"({BAR.strip()} side by side: these have no order)")
    if dropped:
        rows.append(f"({dropped} older events were dropped)")
    return "\n".join(rows)


def _arranged(items: Sequence[Item], main: int, depth: int) -> list[Line]:
    """Return the lines of items in order; those without an order stand in a group."""
    lines: list[Line] = []
    for group in _groups(items, main):
        if len(group) == 1:
            lines += _lines(group[0], depth)
            continue
        blocks = [_lines(item, depth) for item in _by_strand(group)]
        for block, times in _counted(blocks):
            more = f" ({times} times)" if times > 1 else ""
            first, *rest = [_beside(line, depth) for line in block]
            lines += [first._replace(text=first.text + more), *rest]
    return lines


def _beside(line: Line, depth: int) -> Line:
    return line._replace(text=f"{BAR}{'  ' * (line.depth - depth)}{line.text}", depth=depth)


def _groups(items: Sequence[Item], main: int) -> list[list[Item]]:
    """Cut items into groups one after the other; the strands in a group ran beside each other."""
    groups: list[list[Item]] = []
    end = -1
    for item in items:
        aside = item.first.strand != main
        if groups and (
            item.first.number < end or (aside and _aside(groups[-1], main, item.first.strand))
        ):
            groups[-1].append(item)
        else:
            groups.append([item])
        end = max(end, item.last)
    return groups


def _aside(group: Sequence[Item], main: int, strand: int) -> bool:
    """Say whether another strand but the main one and this one made all of a group."""
    strands = {item.first.strand for item in group}
    return main not in strands and strands != {strand}


def _by_strand(group: Sequence[Item]) -> list[Item]:
    """Sort strands by what they did first, in words; what one strand did keeps its order."""
    strands: dict[int, list[Item]] = {}
    for item in group:
        strands.setdefault(item.first.strand, []).append(item)
    words = sorted(
        strands.values(), key=lambda mine: [_words(line) for item in mine for line in _lines(item)]
    )
    return [item for mine in words for item in mine]


def _counted(blocks: Iterable[list[Line]]) -> list[tuple[list[Line], int]]:
    """Put equal neighbours together, with their number."""
    together = groupby(blocks, key=lambda block: [_words(line) for line in block])
    return [(same[0], len(same)) for same in (list(blocks) for _, blocks in together)]


def _words(line: Line) -> tuple[str, str]:
    return line.party, line.text


def _lines(item: Item, depth: int = 0) -> list[Line]:
    if isinstance(item, Call):
        return _call(item, depth)
    if isinstance(item, Message):
        return [_at_broker(event, depth) for event in _life(item)]
    event = item.first
    return [
        Line(event.party, "commits" if event.kind == "committed" else event.detail, depth, event)
    ]


def _call(call: Call, depth: int) -> list[Line]:
    called, seen = call.called, call.seen
    before, after = _at_proxy(call, depth)
    inner = [line for run in call.runs for line in _run(run, depth + (called is not None))]
    if called is None:
        return inner
    lines = [_called(called, depth), *before, *inner, *after]
    if seen is None:
        return lines
    taken = _streamed(call, called.party, depth)
    place = len(lines)
    if not call.answered:
        later = (n for n, line in enumerate(lines) if _follows(line.event, seen, called))
        place = next(later, place)
    return [
        *lines[:place],
        *taken,
        Line(seen.party, f"gets {seen.detail}", depth, seen),
        *lines[place:],
    ]


def _follows(event: Event | None, seen: Event, called: Event) -> bool:
    """Say whether an event below a call came after its caller had given up, or because of that."""
    if event is None:
        return False
    if event.number > seen.number:
        return True
    gone = called.deadline - EARLY if called.deadline < math.inf else seen.at - EARLY
    fallout = event.kind == "cancelled" or (event.kind == "seen" and event.detail in FALLOUT)
    return fallout and event.at >= gone


def _called(event: Event, depth: int) -> Line:
    notes = [f"try {event.attempt}"] if event.attempt > 1 else []
    if event.deadline < math.inf:
        notes.append("with a deadline")
    return Line(event.party, ", ".join([f"calls {event.what}", *notes]), depth, event)


def _run(run: Run, depth: int) -> list[Line]:
    entered, left = run.entered, run.left
    again = f", try {entered.attempt}" if entered.attempt > 1 else ""
    lines = [Line(entered.party, f"begins {entered.what}{again}", depth, entered)]
    lines += _arranged(run.inner, entered.strand, depth + 1)
    if left is not None:
        lines.append(Line(left.party, _end(left), depth, left))
    return lines


def _end(left: Event) -> str:
    if left.kind == "cancelled":
        return "is told to stop"
    # A thread is not told: it works to its end.
    return "ends, and nobody waits" if left.detail == "CANCELLED" else f"answers {left.detail}"


def _at_proxy(call: Call, depth: int) -> tuple[list[Line], list[Line]]:
    """Return what the proxy did on the way: delays at first, losses before the caller knows."""
    words = {
        "delayed": "delays it",
        "refused": "finds nobody",
        "swallowed": "swallows bytes",
        "cut": "cuts the connection",
    }
    kinds = {event.kind: event for event in reversed(call.proxied)}
    lines = {
        kind: Line(kinds[kind].party, text, depth + 1)
        for kind, text in words.items()
        if kind in kinds
    }
    return [lines.pop("delayed")] if "delayed" in lines else [], list(lines.values())


def _streamed(call: Call, party: str, depth: int) -> list[Line]:
    """Return how many messages the caller sent and took, if all of the stream came through."""
    if call.seen is None or call.seen.detail != "OK":
        return []
    counts = {
        kind: sum(event.kind == kind and event.party == party for event in call.streamed)
        for kind in ("sent", "received")
    }
    words = {"sent": "sent", "received": "took"}
    return [
        Line(party, f"{words[kind]} {count} message{'s' * (count > 1)}", depth)
        for kind, count in counts.items()
        if count
    ]


def _life(message: Message) -> list[Event]:
    """Return a message's events; a confirm has no order with what consumers do, and comes first."""
    return sorted(
        message.events,
        key=lambda event: (event.kind not in AT_ONCE, event.number),
    )


def _at_broker(event: Event, depth: int) -> Line:
    broker, client, queue = event.party, event.target or event.party, event.what
    again = " again" if event.detail == "redelivered" else ""
    by_consumer = event.kind == "rejected" and bool(queue)
    who, words = {
        "published": (client, f"publishes to {queue}"),
        "confirmed": (broker, "confirms it"),
        "returned": (broker, "returns it: no queue wants it"),
        "rejected": (client, "rejects it") if by_consumer else (broker, "refuses it"),
        "delivered": (broker, f"delivers it to {client}{again}"),
        "acked": (client, "acks it"),
        "requeued": (client, "gives it back"),
        "dead-lettered": (broker, f"sends it on as a dead letter: {event.detail}"),
        "expired": (broker, f"drops it: {event.detail}"),
    }[event.kind]
    if event.kind == "requeued" and event.detail:
        who, words = broker, f"takes it back: {event.detail}"
    return Line(who, words, depth + (event.kind not in AT_ONCE), event)

"""The bars of a picture, and the signs beside them; times are seconds from the run's start."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labsvc.timeline.kinds import LOSSES, short, succeeded
from labsvc.timeline.parts import Call, Message, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.timeline.parts import Story
    from labsvc.timeline.record import Event

_CANCELLED = "cancelled"
_WORDS = {"committed": "commit"}
_AT_QUEUE = ("requeued", "acked", "rejected", "dead-lettered", "expired", "returned")


@dataclass(eq=False)
class Sign:
    """A sign at a moment; `event` is None if it stands for a message that left or came."""

    at: float
    look: str
    word: str = ""
    event: Event | None = None


@dataclass(eq=False)
class Bar:
    """A bar in a lane.

    Attributes:
        look: "call", "handler", "queue" (a message in it) or "consumer" (a message at it).
        of: what it shows.
        names: what is called, or the queue; the longest first.
        status: how it ended, if that is worth a word.
        torn: "l" or "r" or both: an end that was not recorded.
        vain: when nobody waits any more for what it does.
        owner: the bar without which it has no meaning.
        row: the row in its lane, from 0.
        folded: whether it is not drawn, for want of room.

    """

    lane: str
    look: str
    of: Call | Run | Message
    start: float
    end: float
    names: tuple[str, ...] = ()
    status: str = ""
    torn: str = ""
    vain: float = math.inf
    owner: Bar | None = None
    row: int = 0
    folded: bool = False
    signs: list[Sign] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)

    @property
    def cancelled(self) -> bool:
        """Whether it is a handler that was told to stop."""
        return self.look == "handler" and self.status == _CANCELLED


@dataclass(eq=False)
class Content:
    """What is in the lanes: bars in the order of their starts, and signs without a bar."""

    bars: list[Bar]
    loose: dict[str, list[Sign]] = field(default_factory=dict)

    def add(self, lane: str, sign: Sign) -> None:
        """Put a sign into a lane."""
        self.loose.setdefault(lane, []).append(sign)


def content(story: Story) -> Content:
    """Return what is to be drawn of a run, with nothing folded yet."""
    bars = [bar for call in story.calls for bar in _of_call(call, story)]
    of_run = {bar.of: bar for bar in bars if isinstance(bar.of, Run)}
    for bar in bars:
        if isinstance(bar.of, Call) and bar.of.outer is not None:
            homes = [of_run[run] for run in bar.of.outer.runs if of_run[run].lane == bar.lane]
            begun = [home for home in homes if home.start <= bar.start]
            bar.owner = next(iter([*reversed(begun), *homes]), None)
    bars += [bar for message in story.messages for bar in _of_message(message, story)]
    found = Content(sorted(bars, key=lambda bar: bar.start))
    for message in story.messages:
        for event in message.events:
            if event.kind == "published" and event.target:
                found.add(event.target, Sign(event.at - story.start, "dot"))
    for event in (*story.commits, *story.proxied):
        look = "loss" if event.kind in LOSSES else event.kind
        word = _WORDS.get(event.kind, event.kind)
        sign = Sign(event.at - story.start, look, word, event)
        home = _home(event, story, of_run) if event.kind == "committed" else None
        if home is None:
            found.add(event.party, sign)
        else:
            home.signs.append(sign)
    return found


def _home(event: Event, story: Story, of_run: dict[Run, Bar]) -> Bar | None:
    """Return the bar of the handler that made a commit."""
    call = story.of_flow.get(event.flow) if event.flow else None
    at = event.at - story.start
    homes = [of_run[run] for run in call.runs if run.any.party == event.party] if call else []
    return next((home for home in homes if home.start <= at <= home.end), None)


def _of_call(call: Call, story: Story) -> Iterator[Bar]:
    called, seen = call.called, call.seen
    mine: Bar | None = None
    if (end := called or seen) is not None:
        mine = _bar(end.party, "call", call, (called, seen), story)
        # With a handler, the name stands there.
        mine.names = () if call.runs else _names(end)[-1:]
        mine.status = "" if seen is None or succeeded(seen.detail) else seen.detail
        mine.ticks = _ticks(call, end.party, story)
        yield mine
    for run in call.runs:
        left = run.left
        bar = _bar(run.any.party, "handler", run, (run.entered, left), story)
        bar.names, bar.owner = _names(run.any, call), mine
        if left is not None:
            ended = _CANCELLED if left.kind == "cancelled" else left.detail
            bar.status = "" if succeeded(ended) else ended
        bar.ticks = _ticks(call, bar.lane, story)
        if story.wasted(run):
            bar.vain = max(bar.start, call.vain - story.start)
        yield bar


def _of_message(message: Message, story: Story) -> Iterator[Bar]:
    first, last = message.events[0], message.last
    ends = (first if first.kind == "published" else None, last)
    queue = _bar(first.party, "queue", message, ends, story)
    queue.names = tuple(event.what for event in message.events if event.what)[:1]
    queue.status = "" if last is None else last.kind
    for event in message.events:
        if event.kind in _AT_QUEUE:
            look = event.kind if event.kind in ("acked", "requeued") else "gone"
            word = "" if event is last else event.kind
            queue.signs.append(Sign(event.at - story.start, look, word, event))
    yield queue
    for place, event in enumerate(message.events):
        if event.kind == "delivered" and event.target:
            later = message.events[place + 1 :]
            end = next((each for each in later if each.kind != "confirmed"), None)
            bar = _bar(event.target, "consumer", message, (event, end), story)
            bar.names, bar.owner = queue.names, queue
            yield bar


def _bar(
    lane: str,
    look: str,
    of: Call | Run | Message,
    ends: tuple[Event | None, Event | None],
    story: Story,
) -> Bar:
    first, last = ends
    start = 0.0 if first is None else first.at - story.start
    end = (story.end if last is None else last.at) - story.start
    torn = ("l" if first is None else "") + ("r" if last is None else "")
    return Bar(lane, look, of, start, max(start, end), torn=torn)


def _names(event: Event, call: Call | None = None) -> tuple[str, ...]:
    """Return the method, and which try it is; of a client's own tries the caller knows."""
    called = None if call is None else call.called
    attempt = max(event.attempt, 1 if called is None else called.attempt)
    again = f"try {attempt}"
    return (f"{short(event.what)}, {again}", again) if attempt > 1 else (short(event.what),)


def _ticks(call: Call, party: str, story: Story) -> list[float]:
    return [event.at - story.start for event in call.streamed if event.party == party]

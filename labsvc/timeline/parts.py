"""What a picture of a run is made of: calls, handlers at work, messages of queues.

The events are put together without trust in them: a counterpart may be missing, of any event.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from labsvc.timeline.kinds import BROKER, LAST, PROXY, succeeded, unanswered
from labsvc.timeline.shapes import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from labsvc.timeline.record import Event

GRACE = 0.02  # seconds for a handler to hear that nobody waits
_SHARE = 0.05  # of the run, if that is less

Fate = Literal["none", "answered", "lost", "late"]


@dataclass(eq=False)
class Run:
    """A handler at work."""

    call: Call
    entered: Event | None = None
    left: Event | None = None

    @property
    def any(self) -> Event:
        """An event of it, for what is the same in each."""
        event = self.entered or self.left
        assert event is not None
        return event

    @property
    def fate(self) -> Fate:
        """What became of the answer; of a handler that gave none: "none"."""
        called, seen, left = self.call.called, self.call.seen, self.left
        if left is None or left.kind == "cancelled" or (called is None and seen is None):
            return "none"
        if self is not self.call.runs[-1]:
            return "answered"  # gRPC took it, and tried again
        if seen is None:
            return "lost"
        if left.at > seen.at:
            return "none" if left.detail == "CANCELLED" else "late"
        return "answered" if left.detail == seen.detail else "lost"


@dataclass(eq=False)
class Call:
    """One try of a call, at both of its ends."""

    called: Event | None = None
    seen: Event | None = None
    runs: list[Run] = field(default_factory=list)
    streamed: list[Event] = field(default_factory=list)
    outer: Call | None = None  # in whose handler it was made

    @property
    def end(self) -> Event | None:
        """An event at its caller."""
        return self.called or self.seen

    @property
    def gave_up(self) -> float:
        """When its caller stopped to wait; infinite if it got what it wanted, or waits still."""
        if self.seen is not None and succeeded(self.seen.detail):
            return math.inf
        deadline = math.inf if self.called is None else self.called.deadline
        return min(deadline, math.inf if self.seen is None else self.seen.at)

    @property
    def chain(self) -> Iterator[Call]:
        """Yield this call, the one in whose handler it was made, and so on."""
        seen: list[Call] = []
        call: Call | None = self
        while call is not None and call not in seen:
            yield call
            seen.append(call)
            call = call.outer

    @property
    def vain(self) -> float:
        """From when on all work for it is in vain."""
        return min(call.gave_up for call in self.chain)

    @property
    def unreached(self) -> bool:
        """Say whether its request was lost on the way."""
        if self.called is None or self.runs:
            return False
        return self.seen is None or unanswered(self.seen.detail)


@dataclass(eq=False)
class Message:
    """One message of a queue."""

    events: list[Event] = field(default_factory=list)

    @property
    def last(self) -> Event | None:
        """What ended its life, if anything did; its publisher may be told of it later."""
        last = [event for event in self.events if event.kind != "confirmed"][-1:]
        return last[0] if last and last[0].kind in LAST else None


@dataclass(eq=False)
class Story:
    """A run; `start` and `end` are on the clock of the events."""

    names: Mapping[str, str]
    start: float = 0
    end: float = 0
    calls: list[Call] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    commits: list[Event] = field(default_factory=list)
    proxied: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)
    of_flow: dict[int, Call] = field(default_factory=dict)

    @property
    def grace(self) -> float:
        """Seconds of work after a caller gave up that are not worth a word."""
        return min(GRACE, _SHARE * (self.end - self.start))

    def wasted(self, run: Run) -> float:
        """Return how many seconds a handler worked in vain."""
        end = self.end if run.left is None else run.left.at
        begun = self.start if run.entered is None else run.entered.at
        seconds = end - max(begun, run.call.vain)
        return seconds if seconds > self.grace or begun > run.call.vain else 0

    def via(self, call: Call) -> str:
        """Return the name of what has the address that was called, "" if nobody knows."""
        return "" if call.called is None else self.names.get(call.called.target, "")


def tell(events: Sequence[Event], names: Mapping[str, str]) -> Story:
    """Put events together."""
    story = Story(names)
    calls: dict[int, Call] = defaultdict(Call)
    messages: dict[int, Message] = defaultdict(Message)
    for event in sorted(map(_cleaned, events), key=lambda event: (event.at, event.number)):
        flow = event.flow or -1 - event.number  # 0 is no flow: each for itself
        if event.kind in BROKER:
            messages[flow].events.append(event)
        elif event.kind in PROXY:
            story.proxied.append(event)
        elif event.kind == "committed":
            story.commits.append(event)
        elif event.kind == "noted":
            story.notes.append(event)
        else:
            _place(calls[flow], event)
    if events:
        story.start = min(event.at for event in events)
        story.end = max(event.at for event in events)
    for call in calls.values():
        if call.called is not None:
            call.outer = calls.get(call.called.parent) if call.called.parent else None
    story.calls, story.messages, story.of_flow = [*calls.values()], [*messages.values()], calls
    return story


def _cleaned(event: Event) -> Event:
    """Return an event whose words a font can draw."""
    words = (event.party, event.what, event.detail, event.target)
    if all(map(str.isprintable, words)):
        return event
    party, what, detail, target = map(clean, words)
    return replace(event, party=party, what=what, detail=detail, target=target)


def _place(call: Call, event: Event) -> None:
    if event.kind == "called":
        call.called = event
    elif event.kind == "seen":
        call.seen = event
    elif event.kind == "entered":
        call.runs.append(Run(call, event))
    elif event.kind in ("left", "cancelled"):
        # Its own party's, for two hops may pass one number on.
        open_runs = [
            run for run in call.runs if run.left is None and run.any.party == event.party
        ] or [Run(call)]
        open_runs[0].left = event
        if open_runs[0] not in call.runs:
            call.runs.append(open_runs[0])
    else:
        call.streamed.append(event)

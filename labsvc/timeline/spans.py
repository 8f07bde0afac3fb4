"""Events put together again: what belongs to one call, or to one message of a queue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labsvc.timeline.record import Event

AT_PROXY = ("delayed", "refused", "swallowed", "cut")
AT_BROKER = (
    *("published", "confirmed", "rejected", "returned", "delivered"),
    *("acked", "requeued", "dead-lettered", "expired"),
)


@dataclass
class Run:
    """One run of a handler: from "entered" to "left" or "cancelled", and what it did meanwhile."""

    entered: Event
    left: Event | None = None
    inner: list[Item] = field(default_factory=list)


@dataclass
class Call:
    """One try of a call: its caller's side, its handler's runs (more than one if gRPC retries)."""

    flow: int
    called: Event | None = None
    seen: Event | None = None
    runs: list[Run] = field(default_factory=list)
    streamed: list[Event] = field(default_factory=list)
    proxied: list[Event] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        """Its own events, without those of calls that its handler made."""
        ends = [each for run in self.runs for each in (run.entered, run.left)]
        return [each for each in (self.called, *ends, self.seen) if each is not None]

    @property
    def answered(self) -> bool:
        """Whether the status that the caller saw is one that a handler gave before."""
        seen = self.seen
        return seen is not None and any(
            run.left is not None
            and run.left.number < seen.number
            and run.left.detail == seen.detail
            for run in self.runs
        )

    @property
    def first(self) -> Event:
        """The event with which it began."""
        return min(self.events, key=lambda event: event.number)

    @property
    def last(self) -> int:
        """The number of the last event, of inner ones too."""
        inner = [item.last for run in self.runs for item in run.inner]
        return max([event.number for event in self.events] + inner)


@dataclass
class Message:
    """One message of a queue: its life at the broker."""

    flow: int
    events: list[Event] = field(default_factory=list)

    @property
    def first(self) -> Event:
        """The event with which it began."""
        return self.events[0]

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self.events[-1].number


@dataclass
class Point:
    """A single event: a commit, a note."""

    first: Event

    @property
    def last(self) -> int:
        """The number of the event."""
        return self.first.number


Item = Call | Message | Point


def build(events: Sequence[Event], names: Mapping[str, str]) -> list[Item]:
    """Return what happened outside of any handler; what a handler did is inside of its call.

    What a proxy did belongs to a call if that was the only one on its way through it; `names` has
    the proxy of an address.
    """
    flows: dict[int, Call | Message] = {}
    points: list[Point] = []
    proxied: list[Event] = []
    for event in events:
        if event.kind in AT_PROXY:
            proxied.append(event)
        elif event.kind in AT_BROKER:
            message = flows.setdefault(event.flow, Message(event.flow))
            message.events.append(event)
        elif event.kind in ("committed", "noted"):
            points.append(Point(event))
        elif event.flow:
            call = flows.setdefault(event.flow, Call(event.flow))
            assert isinstance(call, Call)
            _place(call, event)
    whole = [item for item in flows.values() if not isinstance(item, Call) or item.events]
    calls = {item.flow: item for item in whole if isinstance(item, Call)}
    _pass_through(proxied, calls.values(), names)
    roots: list[Item] = []
    for item in sorted([*whole, *points], key=lambda item: item.first.number):
        run = _home(item, calls)
        (roots if run is None else run.inner).append(item)
    return roots


def _place(call: Call, event: Event) -> None:
    if event.kind == "called":
        call.called = event
    elif event.kind == "seen":
        call.seen = event
    elif event.kind == "entered":
        call.runs.append(Run(event))
    elif event.kind in ("left", "cancelled"):
        open_runs = [run for run in call.runs if run.left is None]
        if open_runs:
            open_runs[0].left = event
    elif event.kind in ("sent", "received"):
        call.streamed.append(event)


def _home(item: Item, calls: Mapping[int, Call]) -> Run | None:
    """Return the run of a handler in which an item began."""
    first = item.first
    flow = first.parent if isinstance(item, Call) else first.flow
    call = calls.get(flow) if not isinstance(item, Message) else None
    if call is None or call is item:
        return None
    before = [run for run in call.runs if run.entered.number < first.number]
    return before[-1] if before else None


def _pass_through(
    proxied: Sequence[Event], calls: Iterable[Call], names: Mapping[str, str]
) -> None:
    """Give each proxy's events to the call that was on its way through it."""
    through: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.called is not None:
            through[names.get(call.called.target, "")].append(call)
    for event in proxied:
        under_way = [
            call
            for call in through[event.party]
            if call.first.number < event.number
            and (call.seen is None or event.number < call.seen.number)
        ]
        if len(under_way) == 1:
            under_way[0].proxied.append(event)

"""What was done in which handler: the calls, messages and single events of a run as a tree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labsvc.timeline.parts import Call, Message, Run, Story, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.timeline.record import Event

    Item = Call | Message | Event


@dataclass
class Tree:
    """What happened outside of any handler, in the order of its beginnings.

    `inner` has what a run of a handler did, `proxied` what a proxy did to a call.
    """

    roots: list[Item] = field(default_factory=list)
    inner: dict[int, list[Item]] = field(default_factory=lambda: defaultdict(list))
    proxied: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def of(self, run: Run) -> list[Item]:
        """Return what a handler did."""
        return self.inner[id(run)]

    def at_proxy(self, call: Call) -> list[Event]:
        """Return what a proxy did to a call."""
        return self.proxied[id(call)]

    def last(self, item: Item) -> int:
        """Return the number of the last event, of inner ones too."""
        if isinstance(item, Message):
            return item.events[-1].number
        if not isinstance(item, Call):
            return item.number
        inner = [self.last(each) for run in item.runs for each in self.of(run)]
        return max([event.number for event in events_of(item)] + inner)


def events_of(call: Call) -> list[Event]:
    """Return a call's own events, without those of calls that its handler made."""
    ends = [each for run in call.runs for each in (run.entered, run.left)]
    return [each for each in (call.called, *ends, call.seen) if each is not None]


def first(item: Item) -> Event:
    """Return the event with which it began."""
    if isinstance(item, Message):
        return item.events[0]
    if isinstance(item, Call):
        return min(events_of(item), key=lambda event: event.number)
    return item


def build(events: Sequence[Event], names: Mapping[str, str]) -> Tree:
    """Put events together.

    What a proxy did belongs to a call if that was the only one on its way through it; `names` has
    the proxy of an address.
    """
    story = tell(events, names)
    tree = Tree()
    for event in story.proxied:
        under_way = [call for call in story.calls if _passes(story, call, event)]
        if len(under_way) == 1:
            tree.proxied[id(under_way[0])].append(event)
    calls = [call for call in story.calls if events_of(call)]
    items: list[Item] = [*calls, *story.messages, *story.commits, *story.notes]
    for item in sorted(items, key=lambda item: first(item).number):
        run = _home(story, item)
        (tree.roots if run is None else tree.of(run)).append(item)
    return tree


def _passes(story: Story, call: Call, event: Event) -> bool:
    """Say whether a call was on its way through a proxy at the time of an event there."""
    return (
        call.called is not None
        and story.via(call) == event.party
        and call.called.number < event.number
        and (call.seen is None or event.number < call.seen.number)
    )


def _home(story: Story, item: Item) -> Run | None:
    """Return the run of a handler in which an item began."""
    if isinstance(item, Message):
        return None
    outer = item.outer if isinstance(item, Call) else story.of_flow.get(item.flow)
    if outer is None:
        return None
    number = first(item).number
    before = [run for run in outer.runs if run.entered and run.entered.number < number]
    return before[-1] if before else None

"""The picture of a run: a lane for each party, time to the right; or of several, to compare them.

`parts` puts the events together, `layout` decides what is drawn where, `drawing` draws it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from labsvc.measure.plots import Plot
from labsvc.timeline.lanes import proxies
from labsvc.timeline.layout import picture
from labsvc.timeline.parts import tell
from labsvc.timeline.shapes import clean
from labsvc.timeline.words import difference, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.timeline.parts import Story
    from labsvc.timeline.record import Event

_NO_NAMES: Mapping[str, str] = MappingProxyType({})


def plot(
    events: Sequence[Event],
    title: str,
    names: Mapping[str, str] = _NO_NAMES,
    dropped: int = 0,
) -> Plot:
    """Draw one run.

    Args:
        events: of one recording, in any order; counterparts may be missing.
        title: above the picture.
        names: the service or proxy that has an address, by "host:port".
        dropped: how many older events are missing, for the caption.

    """
    from labsvc.timeline.drawing import png

    [story] = _stories([events], names)
    drawn = picture({title: story}, title, dropped=dropped)
    alt = clean(f"{title}. {sentences(story)}")
    lanes = ", ".join(drawn.names) or "nothing was recorded"
    return Plot(png(drawn.shapes, drawn.height, clean(title), alt), alt, f"Timeline: {lanes}")


def side_by_side(
    runs: Mapping[str, Sequence[Event]],
    title: str,
    names: Mapping[str, str] = _NO_NAMES,
) -> Plot:
    """Draw runs below each other on one time axis, each from 0, with what differs in words.

    Args:
        runs: the events of each run, by what it is called: "pitfall", "fix".
        title: above the picture.
        names: the service or proxy that has an address, by "host:port".

    """
    from labsvc.timeline.drawing import png

    stories = dict(zip(runs, _stories([*runs.values()], names), strict=True))
    apart = difference(stories)
    drawn = picture(stories, title, difference=apart)
    told = [f"{name}: {sentences(story)}" for name, story in stories.items()]
    alt = clean(" ".join([f"{title}.", f"{apart}." if apart else "", *told]))
    lanes = ", ".join(runs) or "nothing was recorded"
    return Plot(png(drawn.shapes, drawn.height, clean(title), alt), alt, f"Timelines: {lanes}")


def _stories(runs: Sequence[Sequence[Event]], names: Mapping[str, str]) -> list[Story]:
    """Put the events of each run together, without proxies that only passed everything on."""
    stories = [tell(events, names) for events in runs]
    busy = {event.party for events in runs for event in events if event.kind != "connected"}
    quiet = {proxy for story in stories for proxy in proxies(story)} - busy
    kept = {address: name for address, name in names.items() if name not in quiet}
    return [tell([each for each in events if each.party not in quiet], kept) for events in runs]

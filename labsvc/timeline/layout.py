"""A whole picture laid out: title, legend, a panel for each run, the time axis, a caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.measure.series import WIDTH
from labsvc.timeline import frame, strip
from labsvc.timeline.arrows import Arrows
from labsvc.timeline.bars import content
from labsvc.timeline.lanes import MOST, lanes, proxies
from labsvc.timeline.panel import EDGE, Panel
from labsvc.timeline.scale import Scale
from labsvc.timeline.shapes import Shapes, Words, cut, width, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.timeline.parts import Story

NOTHING = "Nothing was recorded: make the calls inside of the `with` block."
_WIDTH = WIDTH / 100  # inches
_LEAST, _MOST = 0.9, 2.0  # inches for the names of lanes
_SHORTEST = 1e-4  # seconds of an axis


@dataclass(frozen=True)
class Picture:
    """All shapes, the lanes in order, and the figure's height in inches."""

    shapes: Shapes
    names: list[str]
    height: float


def picture(
    stories: Mapping[str, Story], title: str, *, dropped: int = 0, difference: str = ""
) -> Picture:
    """Lay out runs below each other, each from 0 on one time axis."""
    parties = lanes([*stories.values()])
    names = parties[:MOST]
    body = Shapes()
    bottom, drawn, folded = 0.0, 0, 0
    scale = _scale(stories, names)
    for name, story in stories.items() if names else ():
        if len(stories) > 1:
            body.words.append(Words(EDGE, bottom + 0.1, cut(name, "panel", _WIDTH - 1), "panel"))
            bottom += 0.24
        panel = Panel(scale)
        floor, top = _run(panel, story, names)
        body.add(panel.shapes, bottom + top)
        body.add(frame.axis(scale, 0, floor), bottom + top)
        bottom += top + floor + 0.34
        drawn += len(panel.at)
        folded += sum(fold.count for fold in panel.folds)
    if not names:
        body.words.append(Words(EDGE, 0.15, NOTHING, "difference"))
        bottom = 0.35
    whole = Shapes()
    y = _head(whole, title, difference)
    legend, height = frame.legend(body.looks, _WIDTH - EDGE)
    whole.add(legend, y)
    y += height + 0.1
    whole.add(body, y)
    y += bottom
    caption = frame.caption(drawn, folded, len(parties) - len(names), dropped)
    for line in filter(None, wrap(caption, "caption", _WIDTH - 0.4)):
        whole.words.append(Words(EDGE, y + 0.08, line, "caption"))
        y += 0.19
    return Picture(whole, names, y + 0.1)


def _scale(stories: Mapping[str, Story], names: Sequence[str]) -> Scale:
    widest = max((width(name, "lane") for name in names), default=0) + 0.25
    span = max((story.end - story.start for story in stories.values()), default=0)
    left = EDGE + min(max(widest, _LEAST), _MOST)
    return Scale(left, _WIDTH - EDGE - 0.1, max(span, _SHORTEST))


def _head(shapes: Shapes, title: str, difference: str) -> float:
    """Put the title on top, and what differs between runs below it; return where they end."""
    y = 0.14
    for look, words, height in (("title", title, 0.26), ("difference", difference, 0.2)):
        for line in wrap(words, look, _WIDTH - 2 * EDGE - 0.1):
            if line:
                shapes.words.append(Words(EDGE, y + height / 2, line, look))
                y += height
    return y + 0.04


def _run(panel: Panel, story: Story, names: Sequence[str]) -> tuple[float, float]:
    """Lay out one run from y = 0 on; return where it ends, and how high its words rise above 0."""
    roles = dict.fromkeys(proxies(story), "proxy")
    roles |= {event.party: "broker" for message in story.messages for event in message.events}
    roles = {party: role for party, role in roles.items() if party != role}
    floor = panel.fill(content(story), names, roles, 0)
    lines = [*strip.notes(story, panel.scale), *strip.deadlines(panel, story)]
    Arrows(panel, story).draw()
    return floor, strip.draw(panel, lines, floor)

"""The vertical lines of a run, deadlines and notes, and the strip above its lanes with words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labsvc.timeline.record import CALLER
from labsvc.timeline.scale import PAD, free
from labsvc.timeline.shapes import Line, Words, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.timeline.panel import Panel
    from labsvc.timeline.parts import Call, Story
    from labsvc.timeline.scale import Scale

ROW = 0.19  # inches
_MOST_ROWS = 4
_MOST_WORDS = 3.2  # inches
_MOST_DEADLINES = 4  # that nobody missed; more of them say nothing


class Vertical(NamedTuple):
    """A vertical line; words are for the strip, "" for none."""

    x: float
    y0: float
    y1: float
    look: str
    words: str = ""
    missed: bool = True


def notes(story: Story, scale: Scale) -> list[Vertical]:
    """Return a line for each note, near ones as one."""
    found: list[Vertical] = []
    for event in story.notes:
        x = scale.x(event.at - story.start)
        words = event.detail if event.party == CALLER else f"{event.party} {event.detail}"
        if found and x - found[-1].x < scale.near:
            last = found[-1]
            known = last.words.split(", ")
            found[-1] = last if words in known else last._replace(words=f"{last.words}, {words}")
        else:
            found.append(Vertical(x, 0, 0, "note", words))
    return found


def deadlines(panel: Panel, story: Story) -> list[Vertical]:
    """Return the deadlines within the time axis, near ones as one: those missed, or a few."""
    below: dict[Call, set[str]] = {}
    for call in story.calls:
        for outer in call.chain:
            below.setdefault(outer, set()).update(run.any.party for run in call.runs)
    found: list[Vertical] = []
    for call in story.calls:
        called = call.called
        if called is None or not called.deadline <= story.start + panel.scale.span:
            continue
        parties = {called.party, story.via(call), *below[call]}
        lanes = [lane for name, lane in panel.lanes.items() if name in parties]
        missed = call.seen is None or call.seen.at >= called.deadline - story.grace
        if lanes:
            x = max(panel.scale.x(called.deadline - story.start), panel.scale.left)
            ends = min(lane.y0 for lane in lanes), max(lane.y1 for lane in lanes)
            words = "" if called.parent else "deadline"
            found.append(Vertical(x, *ends, "deadline", words, missed))
    merged = _merged(sorted(found), panel.scale.near)
    few = len(merged) <= _MOST_DEADLINES
    return [line for line in merged if few or line.missed]


def _merged(found: Sequence[Vertical], near: float) -> list[Vertical]:
    merged: list[Vertical] = []
    for line in found:
        last = merged[-1] if merged else None
        if last is not None and line.x - last.x < near:
            merged[-1] = last._replace(
                y0=min(last.y0, line.y0),
                y1=max(last.y1, line.y1),
                words=last.words or line.words,
                missed=last.missed or line.missed,
            )
        else:
            merged.append(line)
    return merged


def lettering(lines: Sequence[Vertical], scale: Scale) -> list[tuple[Vertical, Words]]:
    """Return the words above lines; `y` is their row, from 0 at the bottom. Some find no room."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MOST_ROWS)]
    found: list[tuple[Vertical, Words]] = []
    for line in sorted(lines, key=lambda line: line.x):
        look = line.look
        words = Words(line.x + PAD, 0, cut(line.words, look, _MOST_WORDS), look)
        if words.span[1] > scale.right:
            words = words._replace(x=line.x - PAD, align="right")
        start, end = words.span
        span = min(start, line.x), max(end, line.x) + PAD
        rows = [row for row, spans in enumerate(taken) if free(span, spans)]
        if rows and words.text:
            taken[rows[0]].append(span)
            found.append((line, words._replace(y=rows[0])))
    return found


def draw(panel: Panel, lines: Sequence[Vertical], floor: float) -> float:
    """Draw lines, notes down to `floor`, words above 0; return how much height the words take."""
    found = lettering(lines, panel.scale)
    tops: dict[Vertical, float] = {}
    for line, words in found:
        y = -(words.y + 0.5) * ROW - 0.02
        tops[line] = y - ROW / 2
        panel.shapes.words.append(words._replace(y=y))
    for line in lines:
        y1 = floor if line.look == "note" else line.y1
        panel.shapes.lines.append(Line(line.x, tops.get(line, line.y0), line.x, y1, line.look))
    return -min(tops.values(), default=0)

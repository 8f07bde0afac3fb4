"""What crosses lanes in a picture: requests, answers, messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from labsvc.timeline.kinds import LOSSES
from labsvc.timeline.panel import HALF, LOOSE
from labsvc.timeline.parts import Call, Message
from labsvc.timeline.shapes import Line, Mark

if TYPE_CHECKING:
    from labsvc.timeline.bars import Bar
    from labsvc.timeline.panel import Panel
    from labsvc.timeline.parts import Story
    from labsvc.timeline.record import Event

_NEAR = 0.03  # inches between two arrows of the same sort; more of them are a smear
_SLANT = 0.14  # inches that a lost message goes to the right


class Arrows:
    """Draws the arrows of one run into its panel."""

    def __init__(self, panel: Panel, story: Story) -> None:
        self._panel = panel
        self._story = story
        self._last: dict[tuple[str, str, str], float] = {}  # where the last arrow began
        self._bars = {bar.of: bar for bar in panel.at if bar.look != "consumer"}

    def draw(self) -> None:
        """Draw them all."""
        for bar in sorted(self._panel.at, key=lambda bar: bar.start):
            if isinstance(bar.of, Call):
                self._call(bar, bar.of)
            elif isinstance(bar.of, Message) and bar.look == "queue":
                self._message(bar, bar.of)

    def _call(self, bar: Bar, call: Call) -> None:
        called, seen = call.called, call.seen
        if called is not None and call.unreached:
            self._lost_request(bar, call, called)
        for run in call.runs:
            handler = self._bars.get(run)
            if handler is None:
                continue
            entered, left = run.entered, run.left
            if entered is not None and called is not None:
                # Only the caller's library knows when it tried again.
                begun = called if run is call.runs[0] else entered
                self._line(bar, begun, handler, entered, "request")
            if run.fate == "answered" and left is not None:
                last = seen if run is call.runs[-1] and seen is not None else left
                self._line(handler, left, bar, last, "answer")
            elif run.fate in ("lost", "late") and left is not None:
                end = (self._panel.at[handler] + self._panel.at[bar]) / 2
                via = self._story.via(call) if run.fate == "lost" else ""
                self._cross(handler, left, via, end, call)

    def _line(self, source: Bar, begun: Event, to: Bar, ended: Event, look: str) -> None:
        y0, y1 = self._panel.at[source], self._panel.at[to]
        down = 1 if y1 > y0 else -1
        x0, x1 = (self._x(begun), self._x(ended))
        before = self._last.get((source.lane, to.lane, look), -1.0)
        if 0 <= x0 - before < _NEAR:
            return
        self._last[source.lane, to.lane, look] = x0
        self._panel.shapes.lines.append(
            Line(x0, y0 + down * HALF[source.look], x1, y1 - down * HALF[to.look], look)
        )

    def _lost_request(self, bar: Bar, call: Call, called: Event) -> None:
        at, lanes = self._panel.at[bar], list(self._panel.lanes)
        below = [name for name in lanes if self._panel.lanes[name].middle > at]
        likely = next(
            (
                run.any.party
                for other in self._story.calls
                for run in other.runs
                if run.any.what == called.what and run.any.party in lanes
            ),
            below[0] if below else bar.lane,
        )
        self._cross(
            bar, called, self._story.via(call), (at + self._panel.lanes[likely].middle) / 2, call
        )

    def _cross(self, source: Bar, begun: Event, via: str, half_way: float, call: Call) -> None:
        """Draw an arrow to a cross: at the proxy where it was lost, else half-way."""
        x0, y0 = self._x(begun), self._panel.at[source]
        x1, y1 = min(x0 + _SLANT, self._panel.scale.right), half_way
        lane = self._panel.lanes.get(via)
        if lane is not None and via != source.lane:
            y1 = lane.middle
            until = math.inf if call.seen is None else call.seen.at
            losses = [
                (max(place.x, x0), lane.loose + LOOSE * place.row)
                for place in lane.places
                for sign in place.signs
                if sign.event is not None
                and sign.event.kind in LOSSES
                and begun.at <= sign.event.at <= until
            ]
            x1, y1 = losses[0] if losses else (x1, y1)
        down = 1 if y1 > y0 else -1
        shapes = self._panel.shapes
        shapes.lines.append(Line(x0, y0 + down * HALF[source.look], x1, y1, "lost"))
        shapes.marks.append(Mark(x1, y1, "loss"))

    def _message(self, bar: Bar, message: Message) -> None:
        consumers = {
            other.start: other
            for other in self._panel.at
            if other.look == "consumer" and other.of is message
        }
        y = self._panel.at[bar]
        for event in message.events:
            x, lane = self._x(event), self._panel.lanes.get(event.target)
            to = consumers.get(event.at - self._story.start)
            if event.kind == "delivered" and to is not None:
                self._line(bar, event, to, event, "request")
            elif event.kind == "published" and lane is not None and event.target != bar.lane:
                down = 1 if y > lane.middle else -1
                self._panel.shapes.lines.append(
                    Line(x, lane.middle, x, y - down * HALF["queue"], "request")
                )

    def _x(self, event: Event) -> float:
        return self._panel.scale.x(event.at - self._story.start)

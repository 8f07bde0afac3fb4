"""One run laid out: its lanes from top to bottom, with bars, signs and words in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from labsvc.timeline.kinds import short
from labsvc.timeline.labels import words
from labsvc.timeline.parts import Run
from labsvc.timeline.rows import Fold, pack
from labsvc.timeline.shapes import Box, Line, Mark, Shapes, Words, cut, width
from labsvc.timeline.signs import MOST_ROWS, beside, in_rows, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.timeline.bars import Bar, Content, Sign
    from labsvc.timeline.scale import Scale
    from labsvc.timeline.signs import Place

EDGE = 0.18  # inches, of the figure
HALF = {"call": 0.04, "handler": 0.1, "queue": 0.1, "consumer": 0.1}  # of a bar's height
LOOSE, UPPER, LOWER, FOLDED = 0.22, 0.27, 0.2, 0.2  # heights of a lane's rows
GAP = 0.16  # between lanes, for arrows
_MARGIN = 0.05
_LEAST = 0.36  # of a lane's height
_TICK = 0.02  # between two ticks


@dataclass(eq=False)
class Lane:
    """A party's lane; inches from the top."""

    name: str
    y0: float
    y1: float
    places: list[Place]
    loose: float = 0  # the middle of the first row of signs

    @property
    def middle(self) -> float:
        """Where arrows end that find no bar: the row of signs, if there is one."""
        return self.loose if self.places else (self.y0 + self.y1) / 2


@dataclass(eq=False)
class Panel:
    """The lanes of a run, and where its bars came to be."""

    scale: Scale
    shapes: Shapes = field(default_factory=Shapes)
    lanes: dict[str, Lane] = field(default_factory=dict)
    at: dict[Bar, float] = field(default_factory=dict)  # the middle of each bar that is drawn
    folds: list[Fold] = field(default_factory=list)

    def fill(
        self, content: Content, names: Sequence[str], roles: dict[str, str], top: float
    ) -> float:
        """Lay the lanes out from `top` on, and return where they end."""
        borders = [top]
        for name in names:
            mine = [bar for bar in content.bars if bar.lane == name]
            loose = content.loose.get(name, [])
            top = self._lane(name, roles.get(name, ""), mine, loose, top) + GAP
            borders.append(top - GAP / 2)
        borders[-1] -= GAP / 2
        for y in borders:
            self.shapes.lines.append(Line(EDGE, y, self.scale.right + EDGE / 2, y, "lane"))
        return borders[-1]

    def _lane(self, name: str, role: str, bars: list[Bar], loose: list[Sign], top: float) -> float:
        y = top + _MARGIN
        found = places(loose, self.scale)
        rows = in_rows(found, self.scale)
        lane = self.lanes[name] = Lane(name, top, top, found, y + LOOSE / 2)
        y += LOOSE * rows
        for below in (False, True):
            half = [bar for bar in bars if (bar.look == "call") == below]
            y = self._half(half, y, LOWER if below else UPPER)
        lane.y1 = max(y + _MARGIN, top + _LEAST)
        slack = (lane.y1 - y - _MARGIN) / 2
        for bar in bars:
            if bar in self.at:
                self.at[bar] += slack
        lane.loose += slack
        self._signs(lane)
        for bar in bars:
            if bar in self.at:
                self._bar(bar)
        drawn = sorted((bar for bar in bars if bar in self.at), key=_half_and_row)
        for _, same in groupby(drawn, key=_half_and_row):
            row = list(same)
            crowded = any(bar.folded and bar.look == row[0].look for bar in bars)
            written = [
                each._replace(y=self.at[row[0]]) for each in words(row, self.scale, crowded=crowded)
            ]
            self.shapes.words += written
        role = role or self._only_method([bar for bar in drawn if bar.look == "handler"])
        middle = (lane.y0 + lane.y1) / 2
        space = self.scale.left - EDGE - 0.2
        shift = 0.075 if role else 0
        self.shapes.words.append(
            Words(EDGE + 0.1, middle - shift, cut(name, "lane", space), "lane")
        )
        if role:
            self.shapes.words.append(
                Words(EDGE + 0.1, middle + 0.09, cut(role, "role", space), "role")
            )
        return lane.y1

    def _only_method(self, handlers: list[Bar]) -> str:
        """Return the method of all handlers of a lane whose bars are too short for its name."""
        methods = {short(bar.of.any.what) for bar in handlers if isinstance(bar.of, Run)}
        texts = {words.text.split(":")[0].split(",")[0] for words in self.shapes.words}
        return methods.pop() if len(methods) == 1 and not methods & texts else ""

    def _half(self, bars: list[Bar], y: float, height: float) -> float:
        """Put handlers, or calls, into rows from `y` on, and return where they end."""
        fold = pack(bars, self.scale)
        shown = [bar for bar in bars if not bar.folded]
        for bar in shown:
            self.at[bar] = y + (bar.row + 0.5) * height
        y += height * (1 + max((bar.row for bar in shown), default=-1))
        if fold is None:
            return y
        self.folds.append(fold)
        what = "message" if bars[0].look in ("queue", "consumer") else "call"
        text = f"+ {fold.count:,} more {what}{'s' * (fold.count > 1)}"
        x0, x1 = self.scale.x(fold.start), self.scale.x(fold.end)
        y1 = y + FOLDED
        self.shapes.boxes.append(Box(x0, y + 0.01, max(x1, x0 + 0.05), y1 - 0.01, "fold"))
        wide = width(text, "fold") / 2
        middle = min(max((x0 + x1) / 2, self.scale.left + wide), self.scale.right - wide)
        self.shapes.words.append(Words(middle, (y + y1) / 2, text, "fold", "center"))
        return y1

    def _bar(self, bar: Bar) -> None:
        x0, x1 = self.scale.ends(bar)
        y, half = self.at[bar], HALF[bar.look]
        look = "cancelled" if bar.cancelled else bar.look
        vain = self.scale.vain(bar)
        if vain > x0:
            torn = bar.torn if vain == x1 else bar.torn.replace("r", "")
            self.shapes.boxes.append(Box(x0, y - half, vain, y + half, look, torn))
        if vain < x1:
            torn = bar.torn if vain == x0 else bar.torn.replace("l", "")
            self.shapes.boxes.append(Box(vain, y - half, x1, y + half, "wasted", torn))
        last = -1.0
        for tick in sorted(map(self.scale.x, bar.ticks)):
            if tick - last > _TICK:
                self.shapes.marks.append(
                    Mark(tick, y, "tick on call" if bar.look == "call" else "tick")
                )
                last = tick
        for sign in bar.signs:
            self.shapes.marks.append(Mark(self.scale.x(sign.at), y, sign.look))

    def _signs(self, lane: Lane) -> None:
        for place in lane.places:
            y = lane.loose + LOOSE * place.row
            self.shapes.marks.append(Mark(place.x, y, place.look))
            if place.row < MOST_ROWS and (written := beside(place, self.scale)) is not None:
                self.shapes.words.append(written._replace(y=y))


def _half_and_row(bar: Bar) -> tuple[bool, int]:
    return bar.look == "call", bar.row

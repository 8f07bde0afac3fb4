"""A run in words: its events in causal order, the same lines each time.

Two events have an order if one thread or task did both, or if one is the cause of the other: a
handler runs after its call left, its answer is seen after it was given. Others have none, however
their times fell: they stand in a group, with a bar before them.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from labsvc.timeline import phrases
from labsvc.timeline.parts import Call, Message
from labsvc.timeline.spans import build, first

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labsvc.timeline.parts import Run
    from labsvc.timeline.phrases import Line
    from labsvc.timeline.record import Event
    from labsvc.timeline.spans import Item, Tree

BAR = "| "
EARLY = 0.02  # seconds by which the two ends of a call may differ on when its deadline is
CLOCK = 0.002  # seconds: gRPC counts a deadline in milliseconds
FALLOUT = ("DEADLINE_EXCEEDED", "CANCELLED")  # what a caller decides alone


def text(events: Sequence[Event], names: Mapping[str, str], main: int, dropped: int = 0) -> str:
    """Return the events in words; `main` is the strand that recorded, `names` has addresses."""
    tree = build(events, names)
    lines = _Order(tree).arranged(tree.roots, main, 0)
    width = max((len(line.party) for line in lines), default=0)
    rows = [f"{line.party:{width}}  {'  ' * line.depth}{line.text}" for line in lines]
    if not rows:
        rows = ["nothing was recorded: make the calls inside of the `with` block"]
    if any(line.text.startswith(BAR) for line in lines):
        rows.append(f"({BAR.strip()} side by side: these have no order)")
    if dropped:
        rows.append(f"({dropped} older events were dropped)")
    return "\n".join(rows)


class _Order:
    """Puts the items of one tree in order."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def arranged(self, items: Sequence[Item], main: int, depth: int) -> list[Line]:
        """Return the lines of items; those without an order stand in a group."""
        lines: list[Line] = []
        for group in self._groups(items, main):
            if len(group) == 1:
                lines += self._lines(group[0], depth)
                continue
            blocks = [self._lines(item, depth) for item in self._by_strand(group)]
            for block, times in _counted(blocks):
                more = f" ({times} times)" if times > 1 else ""
                head, *rest = [_beside(line, depth) for line in block]
                lines += [head._replace(text=head.text + more), *rest]
        return lines

    def _groups(self, items: Sequence[Item], main: int) -> list[list[Item]]:
        """Cut items into groups one after the other; the strands in a group go side by side."""
        groups: list[list[Item]] = []
        end = -1
        for item in items:
            event = first(item)
            aside = event.strand != main
            if groups and (
                event.number < end or (aside and _aside(groups[-1], main, event.strand))
            ):
                groups[-1].append(item)
            else:
                groups.append([item])
            end = max(end, self._tree.last(item))
        return groups

    def _by_strand(self, group: Sequence[Item]) -> list[Item]:
        """Sort strands by what they did first, in words; what one strand did keeps its order."""
        strands: dict[int, list[Item]] = {}
        for item in group:
            strands.setdefault(first(item).strand, []).append(item)
        by_words = sorted(
            strands.values(),
            key=lambda mine: [_words(line) for item in mine for line in self._lines(item, 0)],
        )
        return [item for mine in by_words for item in mine]

    def _lines(self, item: Item, depth: int) -> list[Line]:
        if isinstance(item, Call):
            return self._call(item, depth)
        if isinstance(item, Message):
            return phrases.life(item, depth)
        return [phrases.point(item, depth)]

    def _call(self, call: Call, depth: int) -> list[Line]:
        called, seen = call.called, call.seen
        inner = [line for run in call.runs for line in self._run(run, depth + (called is not None))]
        if called is None:
            return inner
        before, after = phrases.at_proxy(self._tree.at_proxy(call), depth + 1)
        lines = [phrases.called(called, depth), *before, *inner, *after]
        if seen is None:
            return lines
        place = len(lines)
        if not _answered(call, called, seen):
            later = (n for n, line in enumerate(lines) if _follows(line.event, seen, called))
            place = next(later, place)
        ends = [*phrases.streamed(call, depth), phrases.seen(seen, depth)]
        return [*lines[:place], *ends, *lines[place:]]

    def _run(self, run: Run, depth: int) -> list[Line]:
        inner = self.arranged(self._tree.of(run), run.any.strand, depth + 1)
        begins = [] if run.entered is None else [phrases.entered(run.entered, depth)]
        ends = [] if run.left is None else [phrases.left(run.left, depth)]
        return [*begins, *inner, *ends]


def _beside(line: Line, depth: int) -> Line:
    return line._replace(text=f"{BAR}{'  ' * (line.depth - depth)}{line.text}", depth=depth)


def _aside(group: Sequence[Item], main: int, strand: int) -> bool:
    """Say whether other strands than the main one, and more than this one, made all of a group."""
    strands = {first(item).strand for item in group}
    return main not in strands and strands != {strand}


def _counted(blocks: Iterable[list[Line]]) -> list[tuple[list[Line], int]]:
    """Put equal neighbours together, with their number."""
    together = groupby(blocks, key=lambda block: [_words(line) for line in block])
    return [(same[0], len(same)) for same in (list(blocks) for _, blocks in together)]


def _words(line: Line) -> tuple[str, str]:
    return line.party, line.text


def _answered(call: Call, called: Event, seen: Event) -> bool:
    """Say whether the status that the caller saw is one that a handler gave before.

    A caller whose own deadline is over needs no answer to know it, whichever came first.
    """
    if seen.detail == "DEADLINE_EXCEEDED" and seen.at >= called.deadline - CLOCK:
        return False
    return any(
        run.left is not None and run.left.number < seen.number and run.left.detail == seen.detail
        for run in call.runs
    )


def _follows(event: Event | None, seen: Event, called: Event) -> bool:
    """Say whether an event below a call came after its caller had given up, or because of that."""
    if event is None:
        return False
    if event.number > seen.number:
        return True
    gone = called.deadline - EARLY if called.deadline < math.inf else seen.at - EARLY
    fallout = event.kind == "cancelled" or (
        event.kind in ("seen", "left") and event.detail in FALLOUT
    )
    return fallout and event.at >= gone

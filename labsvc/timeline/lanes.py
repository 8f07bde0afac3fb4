"""Which parties have a lane in a picture, and in which order: callers first, then who they call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labsvc.timeline.record import CALLER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labsvc.timeline.parts import Story

MOST = 14  # lanes; a picture with more of them is none


class Edge(NamedTuple):
    """One party's first message to another; `strand` is 0 where nothing says who was first."""

    source: str
    to: str
    strand: int
    number: int


def lanes(stories: Sequence[Story]) -> list[str]:
    """Return the parties from top to bottom, the same for all of the runs."""
    edges: dict[tuple[str, str], Edge] = {}
    for story in stories:
        for edge in _edges(story):
            edges.setdefault(edge[:2], edge)
    parties = dict.fromkeys(party for story in stories for party in _parties(story))
    if not parties:
        parties = dict.fromkeys(note.party for story in stories for note in story.notes)
    to: dict[str, list[Edge]] = {party: [] for party in sorted(parties)}
    for edge in edges.values():
        if edge.source != edge.to:
            to[edge.source].append(edge)
    called = {edge.to for edges_ in to.values() for edge in edges_}
    first = sorted(to.keys() - called, key=lambda party: (party != CALLER, party))
    below = _below(first, to)
    return [*first, *(party for party in below if party not in first)]


def proxies(story: Story) -> set[str]:
    """Return the parties that pass on what others say: the target of a call that another got."""
    passing = {event.party for event in story.proxied}
    for call in story.calls:
        if call.called is not None and (via := story.via(call)):
            passing |= {via for run in call.runs if run.any.party != via}
    return passing - {run.any.party for call in story.calls for run in call.runs}


def _parties(story: Story) -> Iterator[str]:
    """Yield who did something, and the proxies that calls went through."""
    for call in story.calls:
        if call.end is not None:
            yield call.end.party
        yield from (run.any.party for run in call.runs)
        yield from (event.party for event in call.streamed)
        if call.called is not None and (via := story.via(call)):
            yield via
    for message in story.messages:
        for event in message.events:
            yield event.party
            if event.target:
                yield event.target
    for event in (*story.commits, *story.proxied):
        yield event.party


def _edges(story: Story) -> Iterator[Edge]:
    for call in sorted(story.calls, key=lambda call: call.end.number if call.end else 0):
        called = call.called
        if called is None:
            continue
        via = story.via(call)
        if via:
            yield Edge(called.party, via, called.strand, called.number)
        for run in call.runs:
            yield Edge(via or called.party, run.any.party, called.strand, called.number)
    for message in story.messages:
        for event in message.events:
            if event.target and event.kind == "published":
                yield Edge(event.target, event.party, 0, event.number)
            elif event.target and event.kind == "delivered":
                yield Edge(event.party, event.target, 0, event.number)


def _below(first: Sequence[str], to: dict[str, list[Edge]]) -> list[str]:
    """Return the parties so that each stands below those who call it, circles aside."""
    seen: set[str] = set()

    def visit(party: str) -> list[str]:
        """Return who was not seen yet of a party and those it calls, from bottom to top."""
        if party in seen:
            return []
        seen.add(party)
        called = [each for edge in reversed(_ordered(to[party])) for each in visit(edge.to)]
        return [*called, party]

    reached = [party for start in reversed(first) for party in visit(start)]
    in_circles = [party for start in to for party in reversed(visit(start))]
    return [*reversed(reached), *in_circles]


def _ordered(edges: Sequence[Edge]) -> list[Edge]:
    """Sort by who was called first if one strand called them all, else by name: races vary."""
    strands = {edge.strand for edge in edges}
    if len(strands) == 1 and 0 not in strands:
        return sorted(edges, key=lambda edge: edge.number)
    return sorted(edges, key=lambda edge: edge.to)

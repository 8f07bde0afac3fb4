"""`Timeline`: what a `with` block of a notebook recorded, as text, as a picture, as counts."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from labsvc.errors import LabError
from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from labsvc.measure.plots import Plot
    from labsvc.timeline.record import Event, Kind


class Timeline:
    """Records from the beginning of a `with` block to its end; `Lab.timeline` makes one.

    Recorded is what the lab hosts, and the calls that plain grpcio stubs and httpx2 clients make in
    this process. A call carries its number along, as the metadata key, or header, `labsvc-flow`.

    Args:
        targets: returns the "host:port" of what runs in the lab, by name.
        ended: is told who called whom when the recording ends, as pairs of names.
        most: events kept; older ones are dropped, and counted.

    """

    def __init__(
        self,
        targets: Callable[[], Mapping[str, str]],
        ended: Callable[[set[tuple[str, str]]], None],
        most: int = record.MOST,
    ) -> None:
        self._targets = targets
        self._ended = ended
        self._tape = record.Tape(most)
        self._main = 0
        self._installed = ExitStack()
        self.names: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Begin to record.

        Raises:
            LabError: another timeline records, or this one has recorded already.

        """
        from labsvc.timeline.patches import install

        if record.current() is not None or self._main:
            msg = "one timeline records at a time, and only once: end the other `with` block first"
            raise LabError(msg)
        self._main = record.strand()
        self._look_round()
        with ExitStack() as stack:
            install(self._tape, stack)
            record.put(self._tape)
            stack.callback(record.put, None)
            self._installed = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the recording, and put the clients back as they were. A second call does nothing."""
        if record.current() is self._tape:
            self._look_round()
            self._ended(self.edges())
        self._installed.close()

    @property
    def events(self) -> list[Event]:
        """What was recorded so far, in the order in which it was noted."""
        return self._tape.events

    @property
    def dropped(self) -> int:
        """How many events were dropped, the oldest first."""
        return self._tape.dropped

    def caller(self, name: str) -> AbstractContextManager[None]:
        """Return a `with` block whose calls have a caller of this name, instead of "caller"."""
        return record.acting(name)

    def note(self, words: str) -> None:
        """Put words on the timeline, for what is done now."""
        if record.current() is self._tape:
            record.note(words)

    def count(self, kind: Kind, party: str | None = None, detail: str | None = None) -> int:
        """Return how many events of a kind there are, of one party or with one detail if given."""
        return sum(
            event.kind == kind and party in (None, event.party) and detail in (None, event.detail)
            for event in self.events
        )

    def edges(self) -> set[tuple[str, str]]:
        """Return who called whom: pairs of a caller and a service, or the proxy before it."""
        edges: set[tuple[str, str]] = set()
        callers = {event.flow: event for event in self.events if event.kind == "called"}
        for event in self.events:
            called = callers.get(event.flow)
            if event.kind == "entered" and called is not None:
                edges.add((called.party, self.names.get(called.target, event.party)))
        return edges

    def plot(self, title: str = "What happened") -> Plot:
        """Draw a lane for each party, time to the right."""
        from labsvc.timeline.picture import plot

        return plot(self.events, title, self.names, self.dropped)

    def _look_round(self) -> None:
        """Learn the names of addresses; a service may come and go while it records."""
        self.names |= {target: name for name, target in self._targets().items()}

    def __str__(self) -> str:
        """Return the events in causal order, without times: the same on every run."""
        from labsvc.timeline.order import text

        return text(self.events, self.names, self._main, self.dropped)


def commits(statement: str) -> None:
    """Note each commit of a SQLite connection: `db.set_trace_callback(commits)`."""
    tape = record.current()
    if tape is not None and statement.upper().startswith("COMMIT"):
        tape.add("committed")


def side_by_side(runs: Mapping[str, Timeline], title: str = "What happened") -> Plot:
    """Draw timelines below each other on one axis, and point out what differs.

    Args:
        runs: the timelines by what they show, such as {"pitfall": before, "fix": after}.
        title: what stands above.

    """
    from labsvc.timeline.picture import side_by_side as draw

    names = {address: name for run in runs.values() for address, name in run.names.items()}
    return draw({label: run.events for label, run in runs.items()}, title, names)

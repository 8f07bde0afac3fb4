"""One run of a scenario: its doors, its child, its points, and what broke in it."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from labsvc.sweep.child import Child
from labsvc.sweep.points import FAULTS, Event, Fault, Kind, Plan, Point
from labsvc.sweep.protocols import GateOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.lab import Lab
    from labsvc.proxy.gate import Gate, Line
    from labsvc.sweep.child import Ended

_numbers = itertools.count(2)
_naming = threading.Lock()


class Door:
    """The way to a service on which faults strike; `target` and `url` are the service's, moved."""

    def __init__(self, target: str, url: str) -> None:
        self.target = target
        self.url = url


class Run:
    """What a scenario is called with, anew for each run.

    `plan` holds the faults of this run. `points` are those that were reached, in their order, each
    with the faults that could have struck there, and `events` is what happened, in order. Every
    method may be called from any thread. `number` is its place among the runs that go on at once,
    from 1: it keeps the names of their services apart.
    """

    def __init__(self, lab: Lab, plan: Plan, number: int = 1) -> None:
        self.plan = plan
        self.number = number
        self.points: dict[Point, tuple[Fault, ...]] = {}
        self.struck: set[Point] = set()
        self.broke: list[str] = []
        self.events: list[Event] = []
        self._began = time.monotonic()
        self._lab = lab
        self._doors: list[str] = []
        self._counts: dict[tuple[Kind, str], int] = {}
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._beside: list[Child] = []
        self._rival: Callable[[], object] | None = None

    def door(self, service: Any) -> Door:
        """Put a proxy before a service, on which requests, answers and messages are points.

        Args:
            service: a service or a queue of the lab, or "host:port". What goes through has to
                be plain HTTP, AMQP 0-9-1 or PostgreSQL's; TLS cannot be looked into.

        """
        with _naming:
            name = f"door {self.number}"
            if name in self._lab.targets():  # a second door, or another sweep
                name = f"door {self.number}.{next(_numbers)}"
            proxy = self._lab.proxy(service, name=name)
        self._doors.append(name)
        proxy.watch(self._gate)
        url = getattr(service, "url", "") or getattr(service, "dsn", proxy.url)
        return Door(proxy.target, url.replace(proxy.upstream, proxy.target))

    def expect(self, kept: bool, broke: str) -> None:  # noqa: FBT001  # it reads as assert does
        """Note what broke in words, "two orders", unless the promise was kept."""
        if not kept:
            self.broke.append(broke)

    def child(self, function: Callable[..., Any], *args: Any) -> Ended:
        """Call a function in a process of its own, and wait until that ends.

        There it can be killed for real: at every point that a door sees meanwhile, and before and
        after each commit of a `Database` among the arguments, which is opened in the child.

        Raises:
            SweepError: the function or an argument cannot go into another process.

        """
        with self._lock:  # a point that is reached meanwhile waits until the child can be killed
            self._child = Child(function, args, self.reach)
        try:
            return self._child.wait()
        finally:
            self._child = None

    def beside(self, function: Callable[..., Any], *args: Any) -> Child:
        """Start a function in another process, in which nothing strikes; wait for it yourself.

        Raises:
            SweepError: the function or an argument cannot go into another process.

        """
        child = Child(function, args)
        self._beside.append(child)
        return child

    def rival(self, work: Callable[[], object]) -> None:
        """Say what is to be done where a statement of the child is overtaken, in a thread.

        The statement waits until `work()` has returned. Where it waits itself for what the child
        holds, it has to return before it is done.
        """
        self._rival = work

    def overtake(self, go_on: Callable[[], object]) -> None:
        """Let the rival work, then call `go_on()`."""

        def work() -> None:
            try:
                if self._rival is not None:
                    self._rival()
            finally:
                go_on()

        threading.Thread(target=work, name="labsvc-rival", daemon=True).start()

    def reach(self, kind: Kind, method: str = "", number: int = 0) -> tuple[int, Fault | None]:
        """Note that a point is reached; return its number, and the fault that strikes there.

        Without a `number` it is the next one. Whoever calls it lets the fault happen; for "killed"
        it is enough to let nothing through.
        """
        with self._lock:
            if not number:
                number = self._counts[kind, method] = self._counts.get((kind, method), 0) + 1
            point, child = Point(kind, number, method), self._child
            lacks = {"killed": child is None, "overtaken": self._rival is None}
            faults = tuple(fault for fault in FAULTS[kind] if not lacks.get(fault))
            self.points.setdefault(point, faults)
            fault = next((s.fault for s in self.plan if s.point == point), None)
            if fault not in faults or point in self.struck:
                fault = None
            else:
                self.struck.add(point)
            self.events.append(Event(time.monotonic() - self._began, point, fault))
        if fault == "killed" and child is not None:
            child.kill()
        return number, fault

    def abandon(self) -> None:
        """Kill the children and remove the doors, with the connections that a run has left open."""
        for child in (self._child, *self._beside):
            if child is not None:
                child.kill()
        while self._doors:
            with suppress(KeyError):
                self._lab.remove(self._doors.pop())

    def _gate(self, line: Line) -> Gate:
        return GateOf(line, self)

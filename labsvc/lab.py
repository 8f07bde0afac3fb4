"""`Lab`: what runs in this kernel, by name. `Serving` says what it can host."""

from __future__ import annotations

import asyncio
import secrets
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from labsvc.child import TempFolder
from labsvc.errors import LabError
from labsvc.hosts.service import LoopService, Service
from labsvc.kernel import NoProxy, StopButton
from labsvc.lab_map import plot as draw_map
from labsvc.loop import Loop
from labsvc.panel import Panel
from labsvc.serving import Serving
from labsvc.timeline.record import MOST
from labsvc.timeline.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path

    from labsvc.measure.plots import Plot

S = TypeVar("S", bound=Service)


class Lab(Serving):
    """Hosts real services in this process, and ends them.

    A process has one lab at a time: a new one stops the one before, so that a cell may
    be run twice. The same `name=` again replaces what ran under that name, on the same
    port. `with Lab() as lab:` stops at the end of the block.
    """

    _current: ClassVar[Lab | None] = None
    _switch: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self) -> None:
        with Lab._switch:
            if Lab._current is not None:
                with suppress(LabError):
                    Lab._current.stop()
            self._lock = threading.RLock()
            self._services: dict[str, Service] = {}
            self._folder: TempFolder | None = None
            self._password = secrets.token_urlsafe(12)
            self._cleanup = ExitStack()
            self._stopped = False
            self._timeline: Timeline | None = None
            self._panel: Panel | None = None
            self._edges: set[tuple[str, str]] = set()  # who called whom, in timelines
            self.loop = Loop.start()
            self.loop.on_end(self._farewell)
            self._cleanup.callback(self.loop.stop)
            self._cleanup.callback(self._remove_folder)
            for habit in (NoProxy(), StopButton()):
                habit.install()
                self._cleanup.callback(habit.remove)
            Lab._current = self

    @classmethod
    def current(cls) -> Lab | None:
        """Return the lab of this process, or None."""
        return cls._current

    def folder(self, name: str) -> Path:
        """Return a new, empty folder of this lab; the same name again empties it.

        It is removed when the lab stops, and when the kernel is killed.

        Raises:
            ValueError: `name` is not the plain name of a folder.
            LabError: the lab was stopped, or a file in the folder cannot be removed.

        """
        self._check_name(name)
        return self._own_folder().empty(name)

    def remove(self, name: str) -> None:
        """Stop what runs under a name and forget it; if nothing does, do nothing."""
        with self._lock:
            if not self._stopped:
                self._vacate(name)

    def targets(self) -> dict[str, str]:
        """Return the "host:port" of everything that runs here, by name."""
        with self._lock:
            return {name: service.target for name, service in self._services.items()}

    def map(self) -> Plot:
        """Draw what runs here, and who talks to whom.

        Known are the upstreams of proxies, the calls that timelines have seen, and the connections
        that this kernel has open now.
        """
        with self._lock:
            return draw_map(self._services, self._edges)

    def watch(self) -> Panel:
        """Return a live panel of what runs here: the last expression of a cell shows it.

        It is refreshed until `close()`, another `watch()` or the end of the lab.
        """
        with self._lock:
            if self._panel is not None:
                self._panel.close()
            self._panel = Panel(lambda: dict(self._services))
            if self._stopped:  # it shows that, and nothing will change
                self._panel.close()
            return self._panel

    def timeline(self, most: int = MOST) -> Timeline:
        """Return a timeline, to record what happens in a `with` block.

            with lab.timeline() as seen:
                users.GetUser(request, timeout=1)
            print(seen)

        Args:
            most: events kept, about 400 bytes each; older ones are dropped, and counted.

        """
        self._timeline = Timeline(self.targets, self._edges.update, most)
        return self._timeline

    def stop(self) -> None:
        """End everything: services, child processes, the loop, temporary files.

        A second call does nothing. What fails to stop does not keep the rest from it.

        Raises:
            LabError: a service did not stop in good order; the rest is stopped.

        """
        with Lab._switch, self._lock:
            self._stopped = True
            if Lab._current is self:
                Lab._current = None
            if self._timeline is not None:
                self._timeline.end()
            if self._panel is not None:
                self._panel.close()
            with self._cleanup:
                self._release_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        if self._stopped:
            return "<Lab stopped>"
        return f"<Lab {', '.join(map(repr, self._services.values())) or 'with nothing running'}>"

    def _host(self, name: str, service: S) -> S:
        with self._lock:
            port = self._vacate(name)
            service.start_in_place_of(port)
            self._services[name] = service
            return service

    def _vacate(self, name: str) -> int:
        """Stop what runs under a name; return the port it had, 0 if nothing ran."""
        self._check_name(name)
        old = self._services.pop(name, None)
        if old is None:
            return 0
        port = int(old.target.rpartition(":")[2])
        old.release()
        return port

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not name:
            msg = f"name= must be a string such as 'orders', not {name!r}"
            raise TypeError(msg)
        if self._stopped:
            msg = "this lab was stopped; make a new one: lab = Lab()"
            raise LabError(msg)

    def _release_all(self) -> None:
        try:
            with ExitStack() as each:
                for service in self._services.values():
                    each.callback(service.release)
        except Exception as error:
            msg = f"a service did not stop in good order ({error}); restart the kernel to be sure"
            raise LabError(msg) from error

    async def _farewell(self) -> None:
        services = [s for s in self._services.values() if isinstance(s, LoopService)]
        ends = await asyncio.gather(*(s.aclose() for s in services), return_exceptions=True)
        self.loop.log.extend(repr(end) for end in ends if end is not None)

    def _new_folder(self) -> Path:
        return self._own_folder().empty(f"service-{secrets.token_hex(4)}")

    def _own_folder(self) -> TempFolder:
        with self._lock:
            if self._folder is None:
                self._folder = TempFolder()
            return self._folder

    def _remove_folder(self) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

"""A live panel of the lab: what runs, and how busy it is, twice a second while cells run."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from labsvc.hosts.grpc import GrpcService
from labsvc.hosts.http import HttpService
from labsvc.hosts.proxy import Proxy
from labsvc.hosts.queue import QueueService
from labsvc.lab_map import connections, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labsvc.hosts.service import Service

REFRESH_SECONDS = 0.5
CONNECTIONS_SECONDS = 1.0  # to count them takes longer than all the rest
TEXT = "A live panel of the lab. It shows itself in JupyterLab, while the kernel runs."
_VIEW = "application/vnd.jupyter.widget-view+json"
_HEADS = ("service", "kind", "calls under way", "calls a second", "connections", "now")


@dataclass(frozen=True)
class Reading:
    """One service at one moment; None where a service has no such thing.

    `calls` is how many came since it started; `now` is its state, and what else there is to say.
    """

    name: str
    kind: str
    under_way: int | None
    calls: int | None
    connections: int
    now: str


def read(services: Mapping[str, Service], open_now: Mapping[str, int]) -> list[Reading]:
    """Ask each service how it is; `open_now` are the connections to each "host:port"."""
    return [
        _read(name, service, open_now.get(service.target, 0)) for name, service in services.items()
    ]


def _read(name: str, service: Service, count: int) -> Reading:
    under_way = calls = None
    now = "runs" if service.running else "stopped"
    if isinstance(service, GrpcService):
        served = service.stats
        calls, under_way = served.calls, served.calls - sum(served.codes.values())
    elif isinstance(service, HttpService):
        answered = service.stats
        calls = answered.requests
        under_way = calls - sum(answered.statuses.values())
    elif isinstance(service, QueueService):
        broker = service.stats
        calls = broker.published
        depths = [
            f"{queue}: {depth.ready} ready, {depth.unacked} unacked"
            for queue, depth in sorted(broker.queues.items())
        ]
        now = "; ".join([now, *depths])
    elif isinstance(service, Proxy) and service.running:
        now = f"{now}; {service.faults}"
    return Reading(name, describe(name, service).kind, under_way, calls, count, now)


def html(readings: Sequence[Reading], before: Sequence[Reading], seconds: float) -> str:
    """Return the readings as a table; `before` are those of so many seconds ago, for the rates."""
    earlier = {reading.name: reading.calls for reading in before}
    rows = "".join(_row(each, earlier.get(each.name), seconds) for each in readings)
    heads = "".join(f'<th scope="col" style="text-align:left">{head}</th>' for head in _HEADS)
    return (
        '<table style="color:inherit;background:transparent">'
        f'<caption style="text-align:left">What runs in this lab</caption><tr>{heads}</tr>'
        f"{rows or '<tr><td>nothing</td></tr>'}</table>"
    )


def _row(reading: Reading, earlier: int | None, seconds: float) -> str:
    rate = ""
    if reading.calls is not None and earlier is not None and seconds > 0:
        rate = f"{max(0, reading.calls - earlier) / seconds:,.0f}"
    under_way = "" if reading.under_way is None else str(reading.under_way)
    cells = (reading.kind, under_way, rate, str(reading.connections), reading.now)
    told = "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in cells)
    return f'<tr><th scope="row" style="text-align:left">{escape(reading.name)}</th>{told}</tr>'


class Panel:
    """Shows itself as a widget in JupyterLab, elsewhere as a sentence. `Lab.watch` makes one.

    Args:
        services: returns what runs in the lab, by name.

    """

    def __init__(self, services: Callable[[], Mapping[str, Service]]) -> None:
        self._services = services
        self._over = threading.Event()
        self._last: tuple[float, Sequence[Reading]] = (0, [])  # of time.monotonic()
        self._counted: tuple[float, Mapping[str, int]] = (-CONNECTIONS_SECONDS, {})
        self._widget = _widget()
        if self._widget is not None:
            self._refresh()
            threading.Thread(target=self._run, name="labsvc-watch", daemon=True).start()

    def close(self) -> None:
        """Stop: the panel shows what it showed last. A second call does nothing."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(REFRESH_SECONDS):
            self._refresh()

    def _refresh(self) -> None:
        try:
            table = self._table()
        except Exception as error:  # noqa: BLE001  # a thread that dies would print
            table = f"<p>The panel could not be refreshed: {escape(str(error))}</p>"
        with suppress(Exception):  # the page is gone, or the kernel ends
            self._widget.value = table

    def _table(self) -> str:
        now = time.monotonic()
        if now - self._counted[0] >= CONNECTIONS_SECONDS:
            self._counted = now, connections()
        at, before = self._last
        readings = read(self._services(), self._counted[1])
        self._last = now, readings
        return html(readings, before, now - at)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        if self._widget is None:
            return {"text/plain": TEXT}
        shown: Any = self._widget._repr_mimebundle_()  # IPython's own protocol
        bundle = shown[0] if isinstance(shown, tuple) else shown
        return {_VIEW: bundle[_VIEW], "text/plain": TEXT}

    def __repr__(self) -> str:
        """Return the sentence that stands for the panel."""
        return TEXT


def _widget() -> Any:
    """Return a widget for HTML, None where there is no notebook to show it."""
    from IPython import get_ipython

    if getattr(get_ipython(), "kernel", None) is None:
        return None
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets.HTML()

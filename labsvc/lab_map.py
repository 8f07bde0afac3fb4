"""A map of the lab: what runs, and who talks to whom, as far as that is known.

An arrow is drawn where a proxy has its upstream, where a timeline has seen calls, and, for a
service to which nothing else leads, where this kernel has connections open.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from labsvc.hosts import (
    cache,
    collector,
    dns,
    etcd,
    external,
    grpc,
    http,
    log,
    objects,
    proxy,
    queue,
    rows,
)
from labsvc.measure.plots import Plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labsvc.hosts.service import Service

KERNEL = "this kernel"
_KINDS: tuple[tuple[type[Service] | tuple[type[Service], ...], str], ...] = (
    (grpc.GrpcService, "gRPC"),
    (http.HttpService, "HTTP"),
    ((queue.QueueService, queue.ExternalQueue), "queue"),
    (collector.CollectorService, "OTLP"),
    ((log.LogService, log.ExternalLog), "log"),
    ((etcd.EtcdService, etcd.ExternalEtcd), "etcd"),
    ((rows.RowsService, rows.ExternalRows), "PostgreSQL"),
    ((cache.CacheService, cache.ExternalCache), "Redis"),
    ((objects.ObjectsService, objects.ExternalObjects), "objects"),
    (dns.DnsService, "DNS"),
    (proxy.Proxy, "proxy"),
)


@dataclass(frozen=True)
class Box:
    """A party: its name, what it is ("" for a caller, who is no service), and whether it runs."""

    name: str
    kind: str = ""
    running: bool = True


@dataclass(frozen=True)
class Arrow:
    """Who talks to whom, and over how many connections, if only that is known."""

    source: str
    to: str
    connections: int = 0


@dataclass(frozen=True)
class Chart:
    """What is on a map; boxes in columns, from the callers on."""

    columns: tuple[tuple[Box, ...], ...]
    arrows: tuple[Arrow, ...]

    @property
    def boxes(self) -> list[Box]:
        """All boxes, column by column."""
        return [box for column in self.columns for box in column]

    def __str__(self) -> str:
        """Say it in words without what may differ: connections, and their number."""
        known = [arrow for arrow in self.arrows if not arrow.connections]
        ways = _ways(known)
        joined = {name for arrow in known for name in (arrow.source, arrow.to)}
        alone = [box.name for box in self.boxes if box.name not in joined and box.kind]
        stopped = [f"{box.name} is stopped" for box in self.boxes if not box.running]
        return "; ".join([*ways, *alone, *stopped]) or "nothing runs"


def chart(services: Mapping[str, Service], seen: Iterable[tuple[str, str]]) -> Chart:
    """Return what is on the map of these services; `seen` are the calls of timelines, as pairs."""
    boxes = {name: describe(name, service) for name, service in services.items()}
    names = {service.target: name for name, service in services.items()}
    arrows = {pair: Arrow(*pair) for pair in sorted(seen) if pair[1] in boxes}
    for name, service in services.items():
        if isinstance(service, proxy.Proxy):
            upstream = names.get(service.upstream) or _outside(service.upstream, services)
            boxes.setdefault(upstream, Box(upstream, "outside"))
            arrows[name, upstream] = Arrow(name, upstream)
    open_now = connections()
    for name, service in services.items():
        count = open_now[service.target]
        if count and not any(to == name for _, to in arrows):
            arrows[KERNEL, name] = Arrow(KERNEL, name, count)
    for source, _ in arrows:
        boxes.setdefault(source, Box(source))
    columns = _columns(boxes, [*arrows])
    place = {box.name: number for number, column in enumerate(columns) for box in column}
    ordered = sorted(arrows.items(), key=lambda item: (place[item[0][0]], item[0]))
    return Chart(columns, tuple(arrow for _, arrow in ordered))


def plot(services: Mapping[str, Service], seen: Iterable[tuple[str, str]]) -> Plot:
    """Draw the map of these services."""
    from labsvc.lab_map_picture import png

    drawn = chart(services, seen)
    title = "What runs in this lab, and who talks to whom"
    alt = f"{title}. {_sentence(drawn)}"
    return Plot(png(drawn, title, alt), alt, f"Map: {drawn}")


def describe(name: str, service: Service) -> Box:
    """Return what stands for a service on a map."""
    kind = next((kind for types, kind in _KINDS if isinstance(service, types)), "")
    outside = ", outside" if isinstance(service, external.ExternalService) else ""
    return Box(name, f"{kind}{outside}", service.running)


def connections() -> Counter[str]:
    """Count the connections that are open now to each "host:port".

    Of a service in this kernel the near ends are counted, of one in a child process or elsewhere
    the far ends of the connections that this kernel has.
    """
    near: Counter[str] = Counter()
    far: Counter[str] = Counter()
    for each in psutil.Process().net_connections(kind="tcp"):
        if each.status == psutil.CONN_ESTABLISHED and each.raddr:
            for ends, (ip, port) in ((near, each.laddr), (far, each.raddr)):
                ends[f"{ip.removeprefix('::ffff:')}:{port}"] += 1
    return near | far


def _outside(upstream: str, services: Mapping[str, Service]) -> str:
    """Name what is not in the lab by its host: a port may differ from run to run."""
    host = upstream.rpartition(":")[0]
    return f"{host} outside" if host in services else host


def _columns(
    boxes: Mapping[str, Box], arrows: Sequence[tuple[str, str]]
) -> tuple[tuple[Box, ...], ...]:
    """Put each box behind those that talk to it: as far from a caller as the longest way is.

    The first column is for callers alone, if there are any.
    """
    called = any(not box.kind for box in boxes.values())
    place = {name: int(called and bool(box.kind)) for name, box in boxes.items()}
    onward = _onward(arrows)
    for _ in boxes:
        for source, to in onward:
            place[to] = max(place[to], place[source] + 1)
    columns: dict[int, list[Box]] = {}
    for name, box in boxes.items():
        columns.setdefault(place[name], []).append(box)
    return tuple(
        tuple(sorted(columns[number], key=lambda box: box.name)) for number in sorted(columns)
    )


def _onward(arrows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the arrows without those that close a circle."""
    kept: list[tuple[str, str]] = []
    for source, to in arrows:
        reached = {to}
        for _ in kept:
            reached |= {end for start, end in kept if start in reached}
        if source not in reached:
            kept.append((source, to))
    return kept


def _ways(arrows: Sequence[Arrow]) -> list[str]:
    """Return chains of names, "caller -> network -> orders", each arrow once."""
    left = [(arrow.source, arrow.to) for arrow in arrows]
    ways = []
    while left:
        targets = {to for _, to in left}
        first = min(left, key=lambda pair: (pair[0] in targets, pair))
        left.remove(first)
        way = [*first]
        while nexts := sorted(pair for pair in left if pair[0] == way[-1]):
            left.remove(nexts[0])
            way.append(nexts[0][1])
        ways.append(" -> ".join(way))
    return ways


def _sentence(drawn: Chart) -> str:
    talks = [
        f"{arrow.source} has connections to {arrow.to}: {arrow.connections}"
        if arrow.connections
        else f"{arrow.source} talks to {arrow.to}"
        for arrow in drawn.arrows
    ]
    runs = [f"{box.name} ({box.kind})" for box in drawn.boxes if box.kind and box.running]
    stopped = [f"{box.name} is stopped" for box in drawn.boxes if not box.running]
    shown = f"Running: {', '.join(runs)}" if runs else "Nothing runs"
    return ". ".join(filter(None, (shown, "; ".join([*talks, *stopped])))) + "."

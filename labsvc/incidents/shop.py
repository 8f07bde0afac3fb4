"""A shop that is watched, and has customers: web, orders, prices, stock, payment and mails.

with Shop(lab) as shop:
    print(shop.level(seconds=3))
    shop.orders.tries = 1          # a running service is patched like this
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Self

from labsvc.discovery.cluster import Cluster
from labsvc.hosts.http import HttpService
from labsvc.incidents import level
from labsvc.incidents.customers import Customers
from labsvc.incidents.mails import Mails, Relay
from labsvc.incidents.observed import Observed
from labsvc.incidents.orders import Orders
from labsvc.incidents.payment import Certificate, Payment
from labsvc.incidents.prices import Prices
from labsvc.incidents.settings import SETTINGS
from labsvc.incidents.signals import Signals
from labsvc.incidents.stock import Address, Stock, addresses
from labsvc.incidents.web import Web
from labsvc.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.incidents.level import Level
    from labsvc.lab import Lab
    from labsvc.measure.plots import Plot

NAMES = ("web", "orders", "prices", "stock", "payment", "mails")
WORKERS = 32
STOCK_WORKERS = 20  # more of them would only wait; who finds none waits in gRPC, and may leave


class Shop:
    """The running shop. What is public may be patched while it runs.

    The same name again closes the shop that had it. It ends with its lab, but is better closed.

    Attributes:
        web, orders, prices, stock, payment, mails: the services.
        relay: sends the events of orders on to mails.
        address: of the stock service in etcd.
        certificate: of the payment service.
        wire: the proxy before payment.
        signals: what can be seen of it.
        customers: who they are, and what became of their orders.

    """

    _running: ClassVar[dict[str, Shop]] = {}

    def __init__(self, lab: Lab, name: str = "shop") -> None:
        if name in Shop._running:
            Shop._running[name].close()
        Shop._running[name] = self
        self._ends = ExitStack()
        self._ends.callback(Shop._running.pop, name, None)
        with ExitStack() as until_built:
            until_built.callback(self.close)
            self._build(lab, name)
            until_built.pop_all()

    def _build(self, lab: Lab, name: str) -> None:
        collector = self._serve(lab.serve_collector(f"{name}-collector"), lab)
        broker = self._serve(lab.serve_queue(f"{name}-queue", embedded=True), lab)
        etcd = self._serve(lab.serve_etcd(f"{name}-etcd", embedded=True), lab)
        file = lab.folder(f"{name}-orders") / "orders.db"
        self.seen = {each: Observed(each, collector.endpoint) for each in NAMES}
        for one in self.seen.values():
            self._ends.callback(one.close)
        self._cluster = Cluster([etcd.target])
        self._ends.callback(self._cluster.close)

        self.prices = Prices(self.seen["prices"].tracing.tracer)
        self.stock, self.payment = Stock(), Payment()  # type: ignore[abstract]
        self.seen["prices"].app(self.prices.app)
        own_loop = Loop.start()  # a handler that blocks its loop shall not stop the others
        self._ends.callback(own_loop.stop)
        prices = HttpService(own_loop, f"{name}-prices", self.prices.app).start()
        self._ends.callback(prices.release)

        def grpc(which: str, servicer: object, workers: int = WORKERS, **more: Any) -> Any:
            watched = self.seen[which].server()
            service = lab.serve_grpc(
                servicer, name=f"{name}-{which}", workers=workers, interceptors=watched, **more
            )
            return self._serve(service, lab)

        stock = grpc("stock", self.stock, STOCK_WORKERS)
        self.address = Address(self._cluster, stock.target)
        self._ends.callback(self.address.close)
        self.certificate = Certificate()
        payment = grpc("payment", self.payment, credentials=self.certificate.credentials)
        self.wire = self._serve(lab.proxy(payment, name=f"{name}-wire"), lab)

        self.orders = Orders(  # type: ignore[abstract]
            self.seen["orders"],
            lambda: addresses(self._cluster),
            self.wire.target,
            self.certificate.roots,
            prices.url,
        )
        self.orders.open(file)
        self._ends.callback(self.orders.close)
        orders = grpc("orders", self.orders)
        self.mails: Mails = Mails(lab.loop, broker.url, self.seen["mails"])
        self._ends.callback(self.mails.close)
        self.relay: Relay = Relay(lab.loop, broker.url, file, self.seen["orders"])
        self._ends.callback(self.relay.close)
        self.web = Web(self.seen["web"], orders.target)
        self._ends.callback(self.web.close)
        web = self._serve(lab.serve_http(self.web.app, name=f"{name}-web"), lab)
        self.signals = Signals(self.seen, collector, broker, lab.loop)
        self._ends.callback(self.signals.close)
        self.customers = Customers(web.url, lab.loop)
        self._ends.callback(self.customers.close)

    def plot(self, title: str, **marks: float) -> Plot:
        """Draw the orders since the shop began, with moments of `time.monotonic` by name."""
        from labsvc.incidents.picture import plot

        return plot(self.customers.since(0.0), marks, title)

    def level(self, seconds: float = 10, within: float = 0) -> Level:
        """Watch the service level for so long.

        If it is not kept, watch it anew, for as often as that begins in `within` seconds.
        """
        give_up = time.monotonic() + within
        while True:
            found = level.measure(self, seconds)
            if found.kept or time.monotonic() > give_up:
                return found

    def settings(self) -> str:
        """Return what can be set while the shop runs, a line "shop.web.tries = 1" for each."""
        return "\n".join(
            f"shop.{path}.{setting} = {value.__name__ if callable(value) else repr(value)}"
            for (path, setting), value in self.values().items()
        )

    def values(self) -> dict[tuple[str, str], Any]:
        """Return the values of now, by service and setting."""
        return {each: attrgetter(".".join(each))(self) for each in SETTINGS}

    def restore(self, values: Mapping[tuple[str, str], Any]) -> None:
        """Set what differs from these values."""
        for (path, setting), value in values.items():
            service = attrgetter(path)(self)
            if getattr(service, setting) != value:
                setattr(service, setting, value)

    def close(self) -> None:
        """Stop everything, the customers first. A second call does nothing."""
        self._ends.close()

    def _serve(self, service: Any, lab: Lab) -> Any:
        self._ends.callback(lab.remove, service.name)
        return service

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The service level of the shop, and whether it is kept: what the pager goes by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsvc.incidents.shop import Shop

ERRORS = 0.04
"""The share of orders that may fail."""
P99_SECONDS = 2.0
"""How long 99 of 100 customers wait at most."""
MAIL_SECONDS = 5.0
"""How soon an order that was confirmed has its mail."""
SERIES = 300
"""How many time series a service may have on its page of metrics."""


@dataclass(frozen=True)
class Level:
    """What was seen in a window.

    Attributes:
        orders: customers' orders that ended.
        failed: those that did not get an answer, or got an error.
        p99: seconds that 99 of 100 of all customers waited at most, by nearest rank.
        unpaid: confirmed orders whose goods or money were not taken.
        unmailed: confirmed orders without a mail in time.
        series: the most time series that a service has.

    """

    orders: int
    failed: int
    p99: float
    unpaid: int
    unmailed: int
    series: int

    @property
    def over(self) -> dict[str, str]:
        """What is not kept, in words, by the name of its attribute; empty if all is."""
        said = {
            "failed": (
                self.failed > ERRORS * self.orders,
                f"{self.failed} of {self.orders} orders failed",
            ),
            "p99": (self.p99 > P99_SECONDS, "customers wait too long"),
            "unpaid": (self.unpaid > 0, f"{self.unpaid} confirmed orders are not paid"),
            "unmailed": (self.unmailed > 0, f"{self.unmailed} confirmed orders have no mail"),
            "series": (self.series > SERIES, f"a service has {self.series} time series"),
            "orders": (not self.orders, "no orders came"),
        }
        return {name: text for name, (is_so, text) in said.items() if is_so}

    @property
    def kept(self) -> bool:
        """Whether all of it is kept."""
        return not self.over

    def __str__(self) -> str:
        """Say whether it is kept, and what is not."""
        return "the service level is kept" if self.kept else "; ".join(self.over.values())


def measure(shop: Shop, seconds: float) -> Level:
    """Watch the shop for so long, then wait for the mails of what was confirmed."""
    begin = time.monotonic()
    time.sleep(seconds)
    end = time.monotonic()
    give_up = end + MAIL_SECONDS
    while True:
        level = look(shop, begin, end)
        if time.monotonic() > give_up or not (
            level.unmailed or _under_way(shop, level, begin, end)
        ):
            return level
        time.sleep(0.05)


def look(shop: Shop, begin: float, end: float) -> Level:
    """Return what is known now of the orders that customers wanted in a window."""
    placed = [each for each in shop.customers.since(begin) if each.start < end]
    confirmed = [each.order_id for each in placed if each.confirmed]
    waits = sorted(each.seconds for each in placed)
    paid, reserved, sent = shop.payment.charged, shop.stock.reserved, shop.mails.sent
    return Level(
        orders=len(placed),
        failed=len(placed) - len(confirmed),
        p99=waits[-(-99 * len(waits) // 100) - 1] if waits else 0.0,
        unpaid=sum(each not in paid or each not in reserved for each in confirmed),
        unmailed=sum(each not in sent for each in confirmed),
        series=max(shop.signals.series(name) for name in shop.seen),
    )


def _under_way(shop: Shop, level: Level, begin: float, end: float) -> bool:
    """Return whether orders of the window have not ended yet."""
    return level.orders < shop.customers.wanted(begin, end)

"""Incidents of the calls between services: orders fail, or take too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.cells import until
from labsvc.incidents import prices
from labsvc.incidents.clients import CONNECTIONS
from labsvc.incidents.incident import (
    NO_DEADLINE,
    NO_KEEPALIVE,
    NO_PAUSE,
    PUT_BACK,
    Incident,
    nothing,
    put,
)
from labsvc.incidents.orders import NEVER_DONE, PAYMENT_SECONDS, UNSURE

if TYPE_CHECKING:
    from labsvc.incidents.shop import Shop
    from labsvc.incidents.signals import Signals

MANY = 0.1  # a share of failed calls that nobody overlooks
SOME = 0.08
HALF = 0.5


def _storm(shop: Shop) -> None:
    shop.web.tries = 3
    shop.orders.tries, shop.orders.again, shop.orders.pause = 4, UNSURE, 0.0


def _no_storm(shop: Shop) -> None:
    shop.web.tries = 1
    shop.orders.tries, shop.orders.again, shop.orders.pause = 2, NEVER_DONE, 0.05


def _failing(signals: Signals, cause: str) -> bool:
    """Return whether orders fail, and the log of the orders service names this cause."""
    named = any(cause in each for each in signals.causes("orders"))
    return named and signals.errors("web") > MANY


def _questions(signals: Signals) -> float:
    """Return how many questions to its database the prices service has for each request."""
    spans = signals.spans("prices")
    served = sum(span.kind == "server" for span in spans)
    return sum(span.name == prices.QUESTION for span in spans) / max(1, served)


def _stock_tries(signals: Signals) -> float:
    """Return how many times stock is asked for each order that ends."""
    asked = sum("ReserveStock" in span.name for span in signals.spans("orders"))
    return asked / max(1, signals.calls("web").total())


def _freeze(shop: Shop) -> None:
    """Let the connection to payment be forgotten, once one is in use."""
    known = len(shop.payment.charged)
    until(lambda: len(shop.payment.charged) > known)
    shop.wire.freeze()


RETRY_STORM = Incident(
    "retry-storm",
    "Orders fail by the dozen. It began when stock stood still for two seconds.",
    ("C35",),
    _storm,
    lambda shop: shop.stock.stall(2.0),
    lambda signals: (
        signals.errors("web") > MANY and _stock_tries(signals) > 3  # noqa: PLR2004
    ),
    _no_storm,
    "Two layers tried again at once and without a bound, and kept an overload alive.",
    (NO_KEEPALIVE, PUT_BACK),
)
MISSING_DEADLINE = Incident(
    "missing-deadline",
    "Every sixth customer waits for two seconds, and gets an error.",
    ("C34",),
    put("orders", payment_timeout=None),
    put("payment", hangs=True),
    lambda signals: signals.errors("web", 4) > SOME and not signals.causes("orders", 4),
    put("orders", payment_timeout=PAYMENT_SECONDS),
    "A call without a deadline waited for an answer that never came; a second try would have got"
    " one.",
    (NO_PAUSE, NO_KEEPALIVE),
)
BLOCKED_LOOP = Incident(
    "blocked-loop",
    "Orders fail or take very long. The processors are idle.",
    ("C61",),
    put("prices", check=prices.check_trade_blocking),
    nothing,
    lambda signals: _failing(signals, "ReadTimeout") and _questions(signals) < HALF,
    put("prices", check=prices.check_trade),
    "A blocking call in an async handler let one request at a time through the whole service.",
    (NO_DEADLINE, NO_KEEPALIVE),
)
SMALL_POOL = Incident(
    "small-pool",
    "Some orders fail at once, most of all when several come together.",
    ("C45", "C46", "C33", "C09"),
    put("orders", price_connections=1),
    nothing,
    lambda signals: _failing(signals, "PoolTimeout"),
    put("orders", price_connections=CONNECTIONS),
    "The client had fewer connections than there are requests under way.",
    (NO_DEADLINE, NO_KEEPALIVE),
)
BLACKHOLE = Incident(
    "blackhole",
    "No order goes through. Payment says that all is well there.",
    ("C03", "C37"),
    put("orders", keepalive=False),
    _freeze,
    lambda signals: _failing(signals, "DEADLINE_EXCEEDED") and not signals.calls("payment").total(),
    put("orders", keepalive=True),
    "A connection was forgotten on the way, and nobody asked whether it still lived.",
    (NO_PAUSE, PUT_BACK),
)
EXPIRED_CERTIFICATE = Incident(
    "expired-certificate",
    "No order goes through since a restart in the network. Nobody has deployed anything.",
    ("C38",),
    lambda shop: shop.certificate.renew(days=-1),
    lambda shop: shop.wire.cut(),
    lambda signals: _failing(signals, "certificate has expired"),
    lambda shop: shop.certificate.renew(),
    "A certificate had run out, which is asked for at the next connection only.",
    (NO_DEADLINE, NO_KEEPALIVE),
)
LOST_LEASE = Incident(
    "lost-lease",
    "No order goes through. Stock is up, and nobody asks it.",
    ("C42", "C63"),
    put("address", renewed=False),
    lambda shop: shop.address.lose_lease(),
    lambda signals: _failing(signals, "no address of stock"),
    put("address", renewed=True),
    "Nobody renewed the lease of an address, so it went out of the registry with it.",
    (NO_DEADLINE, NO_KEEPALIVE),
)
CACHE_STAMPEDE = Incident(
    "cache-stampede",
    "Orders fail since prices were changed. The database of prices is at its limit.",
    ("C17",),
    put("prices", ttl=0.0, together=False),
    lambda shop: shop.prices.expire(),
    lambda signals: _failing(signals, "ReadTimeout") and _questions(signals) > HALF,
    put("prices", together=True),
    "Everybody who missed the cache asked the database on their own.",
    (NO_DEADLINE, NO_KEEPALIVE),
)

"""What may be set while the shop runs, and which values leave it as well off as the first ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.incidents.clients import CONNECTIONS
from labsvc.incidents.orders import NEVER_DONE
from labsvc.incidents.prices import TTL, check_trade

if TYPE_CHECKING:
    from collections.abc import Callable

    Test = Callable[[Any], bool]


def _between(least: float, most: float) -> Test:
    return lambda value: isinstance(value, int | float) and least <= value <= most


def _on(value: object) -> bool:
    return value is True


def _off(value: object) -> bool:
    return value is False


SETTINGS: dict[tuple[str, str], Test] = {
    ("web", "tries"): _between(1, 1),  # orders tries again already
    ("web.red", "user_label"): _off,
    ("orders", "tries"): _between(1, 3),
    ("orders", "again"): lambda codes: isinstance(codes, tuple) and set(codes) <= set(NEVER_DONE),
    ("orders", "pause"): _between(0.05, 1.0),
    ("orders", "payment_tries"): _between(2, 4),
    ("orders", "payment_timeout"): _between(0.1, 1.0),
    ("orders", "keepalive"): _on,
    ("orders", "price_connections"): _between(CONNECTIONS, 1000),
    ("prices", "ttl"): _between(TTL, 60.0),  # prices do change
    ("prices", "together"): _on,
    ("prices", "check"): lambda value: value is check_trade,
    ("address", "renewed"): _on,
    ("mails", "prefetch"): _between(1, 10),
    ("mails", "requeue"): _off,
    ("relay", "supervised"): _on,
}
"""A test for each, by service and setting; `certificate.renew()` is beside them."""

"""The incidents: what is deployed, what strikes, what the pager says, and what explains it.

An incident is a change that looks harmless, and an event that happens in production sooner or
later. The event alone does no lasting harm to the shop as it was; so an incident is mended when
the shop bears the event once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING

from labsvc.cells import until
from labsvc.incidents import prices
from labsvc.incidents.orders import CONNECTIONS, NEVER_DONE, PAYMENT_SECONDS, UNSURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.incidents.shop import Shop
    from labsvc.incidents.signals import Signals

    Change = Callable[[Shop], object]
    Symptom = Callable[[Signals], object]

MANY = 0.1  # a share of failed calls that nobody overlooks
SOME = 0.08
HALF = 0.5
HELD = 5  # messages with one worker that has no bound


@dataclass(frozen=True, repr=False)
class Incident:
    """One incident.

    Attributes:
        name: such as "retry-storm".
        pager: what the pager says; it knows symptoms only.
        causes: ids of the ledger's claims that explain it, such as "C35"; any of them will do.
        deploy: the change.
        strike: what happens then; it may happen again.
        symptom: whether it can be seen, from telemetry alone.
        mend: what puts it right.
        why: one sentence for the review.
        parts: the single incidents of which this one is made, none for a single one.

    """

    name: str
    pager: str
    causes: tuple[str, ...]
    deploy: Change
    strike: Change
    symptom: Symptom
    mend: Change
    why: str
    parts: tuple[Incident, ...] = ()

    def begin(self, shop: Shop) -> None:
        """Let it happen."""
        self.deploy(shop)
        self.strike(shop)

    def __repr__(self) -> str:
        """Say what the pager says, and no more."""
        return f"<Incident: {self.pager}>"


def nothing(_: Shop) -> None:
    """Nothing has to happen: the change does it alone."""


def _storm(shop: Shop) -> None:
    shop.web.tries = 3
    shop.orders.tries, shop.orders.again, shop.orders.pause = 4, UNSURE, 0.0


def _no_storm(shop: Shop) -> None:
    shop.web.tries = 1
    shop.orders.tries, shop.orders.again, shop.orders.pause = 2, NEVER_DONE, 0.05


def _set(path: str, **settings: object) -> Change:
    service = attrgetter(path)

    def change(shop: Shop) -> None:
        for setting, value in settings.items():
            setattr(service(shop), setting, value)

    return change


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
)
MISSING_DEADLINE = Incident(
    "missing-deadline",
    "Every sixth customer waits for two seconds, and gets an error.",
    ("C34",),
    _set("orders", payment_timeout=None),
    _set("payment", hangs=True),
    lambda signals: signals.errors("web", 4) > SOME and not signals.causes("orders", 4),
    _set("orders", payment_timeout=PAYMENT_SECONDS),
    "A call without a deadline waited for an answer that never came; a second try would have got"
    " one.",
)
BLOCKED_LOOP = Incident(
    "blocked-loop",
    "Orders fail or take very long. The processors are idle.",
    ("C61",),
    _set("prices", check=prices.check_trade_blocking),
    nothing,
    lambda signals: _failing(signals, "ReadTimeout") and _questions(signals) < HALF,
    _set("prices", check=prices.check_trade),
    "A blocking call in an async handler let one request at a time through the whole service.",
)
SMALL_POOL = Incident(
    "small-pool",
    "Some orders fail at once, most of all when several come together.",
    ("C45", "C46", "C33", "C09"),
    _set("orders", price_connections=1),
    nothing,
    lambda signals: _failing(signals, "PoolTimeout"),
    _set("orders", price_connections=CONNECTIONS),
    "The client had fewer connections than there are requests under way.",
)
BLACKHOLE = Incident(
    "blackhole",
    "No order goes through. Payment says that all is well there.",
    ("C03", "C37"),
    _set("orders", keepalive=False),
    _freeze,
    lambda signals: _failing(signals, "DEADLINE_EXCEEDED") and not signals.calls("payment").total(),
    _set("orders", keepalive=True),
    "A connection was forgotten on the way, and nobody asked whether it still lived.",
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
)
LOST_LEASE = Incident(
    "lost-lease",
    "No order goes through. Stock is up, and nobody asks it.",
    ("C42", "C63"),
    _set("address", renewed=False),
    lambda shop: shop.address.lose_lease(),
    lambda signals: _failing(signals, "no address of stock"),
    _set("address", renewed=True),
    "Nobody renewed the lease of an address, so it went out of the registry with it.",
)
POISON_MESSAGE = Incident(
    "poison-message",
    "Customers have no mail. The mail service is busy all the time.",
    ("C31",),
    _set("mails", requeue=True),
    lambda shop: shop.mails.publish_poison(4),
    lambda signals: signals.causes("mails", 4).total() > 3 and signals.queue().ready > 3,  # noqa: PLR2004
    _set("mails", requeue=False),
    "An event that nobody can read was put back each time, before all others.",
)
NO_PREFETCH = Incident(
    "no-prefetch",
    "Half of the customers have their mail late, or not yet. The queue is empty.",
    ("C28", "C29"),
    _set("mails", prefetch=0),
    _set("mails", slow=True),
    lambda signals: signals.queue().unacked > HELD and not signals.queue().ready,
    _set("mails", prefetch=1),
    "A slow worker without a bound was handed as many events as a fast one.",
)
STOPPED_OUTBOX = Incident(
    "stopped-outbox",
    "No customer has a mail since the broker was replaced. Orders are fine, and so is the queue.",
    ("C27", "C28", "C30", "C31"),
    _set("relay", supervised=False),
    lambda shop: shop.relay.break_connection(),
    lambda signals: (
        signals.calls("orders").total() > 0
        and not signals.spans("mails")
        and not signals.queue().ready
    ),
    _set("relay", supervised=True),
    "The relay of the outbox ended with its connection, and nobody started it again.",
)
CARDINALITY_BOMB = Incident(
    "cardinality-bomb",
    "The metrics of the shop take longer to fetch from minute to minute. Orders are fine.",
    ("C36",),
    _set("web.red", user_label=True),
    nothing,
    lambda signals: signals.series("web") > 200,  # noqa: PLR2004
    _set("web.red", user_label=False),
    "The user became a label, so each customer began time series of their own.",
)
CACHE_STAMPEDE = Incident(
    "cache-stampede",
    "Orders fail since prices were changed. The database of prices is at its limit.",
    ("C17",),
    _set("prices", ttl=0.0, together=False),
    lambda shop: shop.prices.expire(),
    lambda signals: _failing(signals, "ReadTimeout") and _questions(signals) > HALF,
    _set("prices", together=True),
    "Everybody who missed the cache asked the database on their own.",
)


INCIDENTS = {
    each.name: each
    for each in (
        *(RETRY_STORM, MISSING_DEADLINE, BLOCKED_LOOP, SMALL_POOL, BLACKHOLE),
        *(EXPIRED_CERTIFICATE, LOST_LEASE, POISON_MESSAGE, NO_PREFETCH, STOPPED_OUTBOX),
        *(CARDINALITY_BOMB, CACHE_STAMPEDE),
    )
}
"""The single incidents, by name."""

# An incident of the orders and one behind them: each can be seen beside the other.
_BEFORE = (SMALL_POOL, MISSING_DEADLINE, CARDINALITY_BOMB)
_BEHIND = (POISON_MESSAGE, NO_PREFETCH, STOPPED_OUTBOX)


def both(one: Incident, other: Incident) -> Incident:
    """Return two incidents at once, as one."""
    parts = (one, other)

    def do(what: str) -> Change:
        def all_of_them(shop: Shop) -> None:
            for part in parts:
                getattr(part, what)(shop)

        return all_of_them

    return Incident(
        f"{one.name} and {other.name}",
        f"{one.pager} And: {other.pager}",
        (*one.causes, *other.causes),
        do("deploy"),
        do("strike"),
        lambda signals: one.symptom(signals) and other.symptom(signals),
        do("mend"),
        f"{one.why} {other.why}",
        parts,
    )


def random(seed: int) -> Incident:
    """Return an incident by chance, the same one for the same seed; one in four is two at once."""
    draw = Random(seed)  # noqa: S311  # no secret
    if draw.random() < 0.25:  # noqa: PLR2004
        return both(draw.choice(_BEFORE), draw.choice(_BEHIND))
    return draw.choice(list(INCIDENTS.values()))

"""What an incident is: what is deployed, what strikes, what the pager says, and what explains it.

An incident is a change that looks harmless, and an event that happens in production sooner or
later. The event alone does no lasting harm to the shop as it was; so an incident is mended when
the shop bears the event once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.incidents.shop import Shop
    from labsvc.incidents.signals import Signals

    Change = Callable[[Shop], object]
    Symptom = Callable[[Signals], object]


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
        beside: other changes of that day, which do no harm this night: the settings do not tell
            which one it was, the signals do.
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
    beside: tuple[Change, ...] = ()
    parts: tuple[Incident, ...] = ()

    def begin(self, shop: Shop) -> None:
        """Let it happen."""
        for change in self.beside:
            change(shop)
        self.deploy(shop)
        self.strike(shop)

    def __repr__(self) -> str:
        """Say what the pager says, and no more."""
        return f"<Incident: {self.pager}>"


def nothing(_: Shop) -> None:
    """Nothing has to happen: the change does it alone."""


def put(path: str, **settings: object) -> Change:
    """Return a change that sets these of a service, such as "orders" or "web.red"."""
    service = attrgetter(path)

    def change(shop: Shop) -> None:
        for setting, value in settings.items():
            setattr(service(shop), setting, value)

    return change


# What is a fault on one night is harmless on another, on which nothing strikes it.
NO_DEADLINE = put("orders", payment_timeout=None)
NO_KEEPALIVE = put("orders", keepalive=False)
NO_PAUSE = put("orders", tries=4, pause=0.0)
NO_BOUND = put("mails", prefetch=0)
PUT_BACK = put("mails", requeue=True)
NOT_SUPERVISED = put("relay", supervised=False)

"""Incidents behind the orders, which are fine: of their mails, and of the metrics."""

from __future__ import annotations

from labsvc.incidents.incident import (
    NO_BOUND,
    NO_DEADLINE,
    NO_KEEPALIVE,
    NOT_SUPERVISED,
    PUT_BACK,
    Incident,
    nothing,
    put,
)

HELD = 5  # messages with one worker that has no bound

POISON_MESSAGE = Incident(
    "poison-message",
    "Customers have no mail. The mail service is busy all the time.",
    ("C31",),
    put("mails", requeue=True),
    lambda shop: shop.mails.publish_poison(4),
    lambda signals: signals.causes("mails", 4).total() > 3 and signals.queue().ready > 3,  # noqa: PLR2004
    put("mails", requeue=False),
    "An event that nobody can read was put back each time, before all others.",
    (NOT_SUPERVISED, NO_KEEPALIVE),
)
NO_PREFETCH = Incident(
    "no-prefetch",
    "Half of the customers have their mail late, or not yet. The queue is empty.",
    ("C28",),
    put("mails", prefetch=0),
    put("mails", slow=True),
    lambda signals: signals.queue().unacked > HELD and not signals.queue().ready,
    put("mails", prefetch=1),
    "A slow worker without a bound was handed as many events as a fast one.",
    (PUT_BACK, NOT_SUPERVISED),
)
STOPPED_OUTBOX = Incident(
    "stopped-outbox",
    "No customer has a mail since the broker was replaced. Orders are fine, and so is the queue.",
    ("C27",),
    put("relay", supervised=False),
    lambda shop: shop.relay.break_connection(),
    lambda signals: (
        signals.calls("orders").total() > 0
        and not signals.spans("mails")
        and not signals.queue().ready
    ),
    put("relay", supervised=True),
    "The relay of the outbox ended with its connection. Nobody started it again, and nobody waits"
    " for what it sends.",
    (PUT_BACK, NO_BOUND),
)
CARDINALITY_BOMB = Incident(
    "cardinality-bomb",
    "The metrics of the shop take longer to fetch from minute to minute. Orders are fine.",
    ("C36",),
    put("web.red", user_label=True),
    nothing,
    lambda signals: signals.series("web") > 200,  # noqa: PLR2004
    put("web.red", user_label=False),
    "The user became a label, so each customer began time series of their own.",
    (NO_DEADLINE, NO_KEEPALIVE),
)

"""What the kinds of events and the statuses mean for a picture."""

from __future__ import annotations

PROXY = ("connected", "refused", "delayed", "swallowed", "cut")
LOSSES = ("refused", "swallowed", "cut")  # of what a proxy does
BROKER = (
    *("published", "confirmed", "rejected", "returned", "delivered"),
    *("acked", "requeued", "dead-lettered", "expired"),
)
LAST = ("acked", "rejected", "returned", "dead-lettered", "expired")  # of what becomes of a message
_FAILED = 400  # and above: a status of HTTP that is no success
_LONELY = ("DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE")  # statuses that need no answer


def succeeded(status: str) -> bool:
    """Say whether a status is a success."""
    return status == "OK" or (status.isdecimal() and int(status) < _FAILED)


def unanswered(status: str) -> bool:
    """Say whether a caller may see this status without an answer: exceptions too."""
    return status in _LONELY or not (status.isdecimal() or status.isupper())


def short(what: str) -> str:
    """Turn "OrderService/PlaceOrder" into "PlaceOrder"; "POST /orders" stays."""
    return what if " " in what or what.startswith("/") else what.rpartition("/")[2]

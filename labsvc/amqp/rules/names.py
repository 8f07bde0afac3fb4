"""Names that clients may not take or have not declared, and how they are told so."""

from __future__ import annotations

from labsvc.amqp.errors import ReplyCode, SoftError

RESERVED = "amq."


def refuse_reserved(what: str, name: str) -> None:
    """Refuse a name that belongs to the system; `what` is "queue" or "exchange".

    Raises:
        SoftError: 403, it does.

    """
    if name.startswith(RESERVED):
        text = f"{what} name '{name}' contains reserved prefix '{RESERVED}*'"
        raise SoftError(ReplyCode.ACCESS_REFUSED, text)


def no_exchange(name: str, vhost: str) -> SoftError:
    """Return the error for an exchange that does not exist: 404."""
    return SoftError(ReplyCode.NOT_FOUND, f"no exchange '{name}' in vhost '{vhost}'")


def no_queue(name: str, vhost: str) -> SoftError:
    """Return the error for a queue that does not exist: 404."""
    return SoftError(ReplyCode.NOT_FOUND, f"no queue '{name}' in vhost '{vhost}'")

"""A message as the broker keeps it: bytes that pass through, and what the rules need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.amqp.rules.arguments import MAX_MILLISECONDS, kind_of, precondition_failed
from labsvc.amqp.wire.content_header import EncodedHeader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PERSISTENT = 2


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Message:
    """One published message. It never changes, so queues share it; only itself equals it.

    Args:
        route: exchange name and routing key as they stand in the publish method and again
            in the deliver method.
        header: the payload of the content header frame.
        body: the whole body.
        persistent: its delivery mode is 2.
        priority: 0 if the publisher set none.
        expiration: its time to live in milliseconds, or None.
        copies: the routing keys in its headers CC and BCC.

    """

    route: bytes
    header: bytes
    body: bytes
    persistent: bool = False
    priority: int = 0
    expiration: int | None = None
    copies: tuple[str, ...] = ()

    @property
    def exchange(self) -> str:
        """The exchange it was published to."""
        return self.route[1 : 1 + self.route[0]].decode()

    @property
    def key(self) -> str:
        """The routing key it was published with."""
        return self.route[2 + self.route[0] :].decode()


def message_of(route: bytes, header: bytes, body: bytes, properties: Mapping[str, Any]) -> Message:
    """Return the message of a publish; `properties` are those of its header, decoded.

    The headers CC and BCC name more routing keys; consumers do not see BCC (RabbitMQ's
    guide "Sender-selected Distribution").

    Raises:
        SoftError: 406, `expiration`, CC or BCC cannot be understood.

    """
    copies: tuple[str, ...] = ()
    headers = properties.get("headers")
    if headers and ("CC" in headers or "BCC" in headers):
        copies = (*_keys("CC", headers), *_keys("BCC", headers))
        header = _without_bcc(header)
    expiration = properties.get("expiration")
    return Message(
        route,
        header,
        body,
        persistent=properties.get("delivery_mode") == PERSISTENT,
        priority=properties.get("priority", 0),
        expiration=None if expiration is None else expiration_of(expiration),
        copies=copies,
    )


def expiration_of(text: str) -> int:
    """Read the message property `expiration`, in milliseconds.

    Raises:
        SoftError: 406, it is no number, negative or too large.

    """
    why = _not_milliseconds(text)
    if why:
        precondition_failed(f"invalid expiration '{text}': {why}")
    return int(text)


def _not_milliseconds(text: str) -> str:
    """Return what is wrong with it, empty if nothing."""
    digits = text[text.startswith(("+", "-")) :]
    number = len(digits) - len(digits.lstrip("0123456789"))
    if not number:
        return "no_integer"
    if number < len(digits):
        return f'{{leftover_string,"{digits[number:]}"}}'
    if int(text) < 0:
        return f"{{value_negative,{int(text)}}}"
    if int(text) > MAX_MILLISECONDS:
        return f"{{value_too_large,{int(text)}}}"
    return ""


def _keys(name: str, headers: Mapping[str, Any]) -> Iterable[str]:
    values = headers.get(name, [])
    if not isinstance(values, list):
        kind = kind_of(values)
        text = f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}'
        precondition_failed(text)
    return (value.decode(errors="replace") for value in values if isinstance(value, bytes))


def _without_bcc(payload: bytes) -> bytes:
    header = EncodedHeader(payload)
    header.headers.pop("BCC", None)
    return header.pack()

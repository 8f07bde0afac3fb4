"""From the bytes of a publish to a message: the properties that the broker acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.amqp.arguments import expiration_of, kind_of
from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.headers import ContentHeader
from labsvc.amqp.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PERSISTENT = 2


def message_of(route: bytes, header: bytes, body: bytes, properties: Mapping[str, Any]) -> Message:
    """Return a message; `properties` are those of its header, decoded.

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


def _keys(name: str, headers: Mapping[str, Any]) -> Iterable[str]:
    values = headers.get(name, [])
    if not isinstance(values, list):
        kind = kind_of(values)
        text = f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}'
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    return (value.decode(errors="replace") for value in values if isinstance(value, bytes))


def _without_bcc(payload: bytes) -> bytes:
    header = ContentHeader(payload)
    header.headers.pop("BCC", None)
    return header.pack()

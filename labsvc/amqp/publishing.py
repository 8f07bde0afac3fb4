"""The publishing half of a channel: content in, messages to queues, confirms out."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic

from labsvc.amqp import wire
from labsvc.amqp.content import message_of
from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.fields import decode_content_header
from labsvc.amqp.tx import Publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.amqp.channel import Channel
    from labsvc.amqp.message import Message
    from labsvc.amqp.queue import Queue

MAX_MESSAGE = 16 * 1024 * 1024  # bytes; RabbitMQ's default since 4.0
PUBLISH_INDEX = Basic.Publish.index

_RETURN = Struct(">IH")
_EXCHANGE_AT = 6  # behind the index and two reserved bytes
_MANDATORY, _IMMEDIATE = 1, 2


class Publisher:
    """Puts one message after another together: a method, a header, parts of a body.

    `due` tells whether content is under way, in which case no other method may come.
    `confirming` is set by confirm.select.
    """

    def __init__(self, channel: Channel) -> None:
        self.due = False
        self.confirming = False
        self._channel = channel
        self._exchange = ""
        self._key = ""
        self._route = b""
        self._mandatory = False
        self._header = b""
        self._properties: dict[str, Any] = {}
        self._missing = 0  # bytes of body to come
        self._body: list[bytes] = []
        self._published = 0  # since confirm.select: the tag of the last publish
        self._confirmed = 0
        self._rejected: list[int] = []  # tags, of those not confirmed

    def method(self, payload: bytes) -> None:
        """Handle basic.publish.

        Raises:
            HardError: 501, it cannot be decoded; 540, `immediate` (as in RabbitMQ).

        """
        try:
            key_at = _EXCHANGE_AT + 1 + payload[_EXCHANGE_AT]
            flags_at = key_at + 1 + payload[key_at]
            flags = payload[flags_at]
            self._exchange = payload[_EXCHANGE_AT + 1 : key_at].decode()
            self._key = payload[key_at + 1 : flags_at].decode()
        except IndexError as error:
            text = "the frame cannot be decoded: basic.publish is cut short"
            raise HardError(ReplyCode.FRAME_ERROR, text) from error
        except UnicodeDecodeError as error:
            text = "the frame cannot be decoded: exchange or routing key is not UTF-8"
            raise HardError(ReplyCode.FRAME_ERROR, text, blames_method=False) from error
        if flags_at + 1 != len(payload) or flags > _MANDATORY | _IMMEDIATE:
            text = "the frame cannot be decoded: basic.publish does not end with its two bits"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        if flags & _IMMEDIATE:
            text = "immediate=true"
            raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
        self._route = payload[_EXCHANGE_AT:flags_at]
        self._mandatory = bool(flags & _MANDATORY)
        self.due = True

    def header(self, payload: bytes) -> None:
        """Handle a content header.

        Raises:
            SoftError: as `body`, if there is none; 406, the message is too large.
            HardError: 505, no header is due; 501 or 541, it cannot be decoded.

        """
        if not self.due or self._header:
            text = "expected a method frame, got a content header instead"
            raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
        size, self._properties = decode_content_header(payload)
        if size > MAX_MESSAGE:
            text = f"message size {size} is larger than configured max size {MAX_MESSAGE}"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        self._header = payload
        self._missing = size
        if not size:
            self._publish(b"")

    def body(self, payload: bytes) -> None:
        """Handle a part of a message body.

        Raises:
            SoftError: 403, the exchange is internal; 404, there is no such exchange; 406, a
                property is wrong or names another user.
            HardError: 505, no body is due; 501, it is longer than announced.

        """
        if not self._header:
            text = "got a content body that no content header announced"
            raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
        self._missing -= len(payload)
        if self._missing < 0:
            text = "the content body is longer than its header announced"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        if self._missing:
            self._body.append(payload)
        elif self._body:
            self._body.append(payload)
            self._publish(b"".join(self._body))
        else:
            self._publish(payload)

    def send_confirms(self) -> None:
        """Answer everything published so far: in one frame, unless some was rejected."""
        if self._rejected:
            self._send_nacks()
        self._confirm(self._published)

    def deliver(self, message: Message, queues: Sequence[Queue], *, mandatory: bool) -> bool:
        """Put a message into queues, or return it; return whether all of them took it."""
        channel = self._channel
        vhost = channel.vhost
        vhost.counters.published += 1
        if mandatory and not queues:
            self._return(message)
        taken = True
        for queue in queues:
            taken &= queue.publish(message)
        vhost.memory.published(channel.connection)
        return taken

    def _publish(self, body: bytes) -> None:
        properties = self._properties
        message = message_of(self._route, self._header, body, properties)
        self.due, self._header, self._body = False, b"", []
        channel = self._channel
        queues = channel.vhost.exchanges.router.publish(
            self._exchange, (self._key, *message.copies), properties.get("headers") or {}
        )
        user, right = properties.get("user_id"), channel.connection.user
        if user not in (None, right):
            text = f"user_id property set to '{user}' but authenticated user was '{right}'"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        if channel.transaction is not None:
            channel.transaction.publishes.append(Publish(message, queues, self._mandatory))
            return
        taken = self.deliver(message, queues, mandatory=self._mandatory)
        if self.confirming:
            if self._published == self._confirmed:
                channel.connection.confirm_soon(self)
            self._published += 1
            if not taken:
                self._rejected.append(self._published)

    def _send_nacks(self) -> None:
        for tag in self._rejected:
            self._confirm(tag - 1)
            self._confirmed = tag
            self._channel.connection.send(wire.nack(self._channel.number, tag))
        self._rejected.clear()

    def _confirm(self, tag: int) -> None:
        """Confirm up to a tag, in one frame."""
        count = tag - self._confirmed
        if count:
            self._confirmed = tag
            self._channel.vhost.counters.confirmed += count
            self._channel.connection.send(wire.ack(self._channel.number, tag, multiple=count > 1))

    def _return(self, message: Message) -> None:
        reason = _RETURN.pack(Basic.Return.index, ReplyCode.NO_ROUTE)
        name = wire.shortstr(ReplyCode.NO_ROUTE.name)
        self._channel.send_content(reason + name + message.route, message)

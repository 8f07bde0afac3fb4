"""What a publish does: its message goes to queues, back to the client, or nowhere."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pamqp.commands import Basic

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.message import message_of
from labsvc.amqp.session.transaction import Routed
from labsvc.amqp.wire.frames import shortstr
from labsvc.timeline import record

if TYPE_CHECKING:
    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.session.assembly import Content
    from labsvc.amqp.session.channel import Channel

_RETURN = Struct(">IH")


def publish(channel: Channel, content: Content) -> None:
    """Publish, now or at tx.commit.

    Raises:
        SoftError: 403, the exchange is internal; 404, there is no such exchange; 406, a
            property is wrong or names another user.

    """
    channel.acts("publisher")
    properties = content.properties
    message = message_of(content.route, content.header, content.body, properties)
    queues = channel.vhost.exchanges.router.publish(
        content.exchange, (content.key, *message.copies), properties.get("headers") or {}
    )
    user, right = properties.get("user_id"), channel.connection.user
    if user not in (None, right):
        text = f"user_id property set to '{user}' but authenticated user was '{right}'"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    routed = Routed(message, queues, content.mandatory)
    if channel.transaction is not None:
        channel.transaction.publishes.append(routed)
        return
    taken = deliver(channel, routed)
    if channel.confirms.on and channel.confirms.add(message, taken=taken):
        channel.connection.confirm_soon(channel)


def deliver(channel: Channel, routed: Routed) -> bool:
    """Put a message into its queues, or return it; return whether all of them took it."""
    vhost = channel.vhost
    vhost.counters.published += 1
    if record.current() is not None:  # asked here, since it is the path of each message
        vhost.traced.published(routed.message, routed.queues, channel.connection)
    if routed.mandatory and not routed.queues:
        _return(channel, routed.message)
    taken = True
    for queue in routed.queues:
        taken &= queue.publish(routed.message)
    vhost.memory.published(channel.connection)
    return taken


def _return(channel: Channel, message: Message) -> None:
    channel.note("returned", message, message.key)
    reason = _RETURN.pack(Basic.Return.index, ReplyCode.NO_ROUTE)
    channel.send_content(reason + shortstr(ReplyCode.NO_ROUTE.name) + message.route, message)

"""The channels of a connection: opened, closed, and given the frames that are theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamqp import commands

from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.session.assembly import PUBLISH_INDEX
from labsvc.amqp.session.channel import Channel
from labsvc.amqp.session.methods import handle
from labsvc.amqp.session.publish import publish
from labsvc.amqp.wire import frames
from labsvc.amqp.wire.decode import decode_method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pamqp.base import Frame

    from labsvc.amqp.rules.vhost import VHost
    from labsvc.amqp.session.channel import Link

_CHANNEL_CLASS = commands.Channel.frame_id


class Channels:
    """The open channels by number.

    Args:
        connection: whose they are.
        vhost: the virtual host that it has opened.
        most: how many may be open at once, as both sides have agreed.

    """

    def __init__(self, connection: Link, vhost: VHost, most: int) -> None:
        self._connection = connection
        self._vhost = vhost
        self._most = most
        self._open: dict[int, Channel] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def __iter__(self) -> Iterator[Channel]:
        """Iterate over the open ones."""
        return iter(self._open.values())

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """Handle a frame. What breaks a rule of a channel only closes that channel.

        Raises:
            HardError: it breaks a rule; close the connection.

        """
        channel = self._open.get(number)
        if self._connection.index >> 16 == _CHANNEL_CLASS:
            self._channel_method(channel, number, payload)
        elif channel is None:
            text = "expected 'channel.open'"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        elif not channel.closing:
            try:
                self._pass_on(channel, kind, payload)
            except SoftError as error:
                self._fail(channel, error)

    def release(self) -> None:
        """Give back what the client had: its unacked messages, its exclusive queues."""
        channels = list(self._open.values())
        self._open.clear()
        for channel in channels:
            channel.leave()
        self._vhost.delete_queues_of(self._connection)
        for queue in {queue for channel in channels for queue in channel.give_back()}:
            queue.dispatch()

    def _pass_on(self, channel: Channel, kind: int, payload: bytes) -> None:
        connection = self._connection
        if kind == frames.METHOD:
            handle(channel, connection.index, payload)
            return
        connection.index = PUBLISH_INDEX if channel.assembly.due else 0
        if kind == frames.HEADER:
            content = channel.assembly.header(payload)
        elif kind == frames.BODY:
            content = channel.assembly.body(payload)
        else:
            raise unexpected(kind, channel.number)
        if content is not None:
            publish(channel, content)

    def _channel_method(self, channel: Channel | None, number: int, payload: bytes) -> None:
        method = decode_method(payload)
        if channel is None:
            self._open_channel(method, number)
        elif isinstance(method, commands.Channel.Open):
            text = "second 'channel.open' seen"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        elif isinstance(method, commands.Channel.Close):
            self._connection.turn_ends()
            _release(channel)
            channel.reply(commands.Channel.CloseOk())
            if not channel.closing:  # else our own close is still to be answered
                del self._open[number]
        elif channel.closing:
            if isinstance(method, commands.Channel.CloseOk):
                del self._open[number]
        else:
            handle(channel, self._connection.index, payload)

    def _open_channel(self, method: Frame, number: int) -> None:
        if not isinstance(method, commands.Channel.Open):
            text = "expected 'channel.open'"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        if len(self._open) >= self._most:
            text = (
                f"number of channels opened ({len(self._open)}) has reached the negotiated"
                f" channel_max ({self._most})"
            )
            raise HardError(ReplyCode.NOT_ALLOWED, text, blames_method=False)
        channel = self._open[number] = Channel(self._connection, self._vhost, number)
        channel.reply(commands.Channel.OpenOk())

    def _fail(self, channel: Channel, error: SoftError) -> None:
        """Close a channel and say why."""
        self._connection.turn_ends()
        channel.closing = True
        _release(channel)
        ids = divmod(self._connection.index, 1 << 16)
        channel.reply(commands.Channel.Close(error.code, error.reply_text, *ids))


def unexpected(kind: int, number: int) -> HardError:
    """Return the error for a frame that has no place here: 505."""
    return HardError(ReplyCode.UNEXPECTED_FRAME, f"a frame of type {kind} on channel {number}")


def _release(channel: Channel) -> None:
    channel.leave()
    for queue in channel.give_back():
        queue.dispatch()

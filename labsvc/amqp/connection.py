"""One client connection: its states, its channels, and an end that the client is told of."""

from __future__ import annotations

import logging
from enum import Enum, auto
from typing import TYPE_CHECKING

from pamqp import commands, frame
from pamqp.commands import Connection as Methods

from labsvc.amqp import wire
from labsvc.amqp.channel import Channel
from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.fields import decode_method, method_index
from labsvc.amqp.handshake import FIRST_FRAME_MAX, FRAME_MAX, Handshake
from labsvc.amqp.heart import Heart
from labsvc.amqp.publishing import PUBLISH_INDEX
from labsvc.amqp.stream import Outbox, Stream

if TYPE_CHECKING:
    from pamqp.base import Frame

    from labsvc.amqp.publishing import Publisher
    from labsvc.amqp.vhost import VHost

HANDSHAKE_SECONDS = 10.0  # RabbitMQ's handshake_timeout
FAREWELL_SECONDS = 1.0  # for the client to answer connection.close, or to hang up
SHUTDOWN_SECONDS = 0.2  # the same when the broker stops; a frozen client must not delay it

_CONNECTION_CLASS = Methods.frame_id
_CHANNEL_CLASS = commands.Channel.frame_id

logger = logging.getLogger("labsvc.amqp")
logger.addHandler(logging.NullHandler())


class State(Enum):
    """Where a connection stands."""

    HEADER = auto()  # the protocol header is due
    HANDSHAKE = auto()
    RUNNING = auto()
    CLOSING = auto()  # connection.close sent, its answer is due
    ENDED = auto()  # all is said; what still comes is not read


class Connection(Stream):
    """The broker's side of one connection.

    `user` is who may log in, `frame_max` the largest frame to send, in bytes.
    """

    def __init__(self, vhost: VHost, outbox: Outbox, user: str, password: str) -> None:
        super().__init__(outbox, FIRST_FRAME_MAX)
        self.user = user
        self.frame_max = FRAME_MAX
        self.channels: dict[int, Channel] = {}
        self._vhost = vhost
        self._state = State.HEADER
        self._handshake = Handshake(user, password)
        self._heart = Heart(self)
        self._deadline = self.loop.call_later(HANDSHAKE_SECONDS, self.abort)
        self._index = 0  # of the method at hand, for connection.close and channel.close
        self._confirming: list[Publisher] = []

    @property
    def wants_cancel_notify(self) -> bool:
        """Whether the client wants to hear of consumers that the broker ends."""
        return bool(self._handshake.capabilities.get("consumer_cancel_notify"))

    def confirm_soon(self, publisher: Publisher) -> None:
        """Send the confirms of a channel at the end of this turn."""
        self._confirming.append(publisher)

    def shut_down(self) -> None:
        """Tell the client that the broker stops: 320 CONNECTION_FORCED."""
        self._index = 0
        text = "broker forced connection closure with reason 'shutdown'"
        self._fail(HardError(ReplyCode.CONNECTION_FORCED, text))
        self.flush()
        self._within(SHUTDOWN_SECONDS)

    def abort(self) -> None:
        """Drop the socket, without a word."""
        self.transport.abort()

    def beat(self) -> None:
        """Send a heartbeat."""
        self.send(wire.HEARTBEAT_FRAME)
        self.flush()

    # What the stream calls

    def handle_next(self) -> bool:
        """Handle the protocol header or the next frame; tell the client what is wrong."""
        try:
            if self._state is State.ENDED:
                self.reader.forget()
                return False
            if self._state is State.HEADER:
                return self._header()
            envelope = self.reader.take()
            if envelope is not None:
                self._frame(*envelope)
        except HardError as error:
            self._fail(error)
        except Exception:
            logger.exception("a defect of the broker closes a connection; please report it")
            text = "a defect of the broker; its log says more"
            self._fail(HardError(ReplyCode.INTERNAL_ERROR, text))
        else:
            return envelope is not None
        return True

    def turn_ends(self) -> None:
        """Send the confirms, one frame for each channel."""
        for publisher in self._confirming:
            publisher.send_confirms()
        self._confirming.clear()

    def wake(self) -> None:
        """Let consumers deliver again."""
        for channel in self.channels.values():
            channel.wake()

    def lost(self) -> None:
        """Give back what the client had."""
        self._state = State.ENDED
        self._deadline.cancel()
        self._heart.stop()
        self._release()

    # Frames

    def _header(self) -> bool:
        header = self.reader.take_header()
        if header == wire.PROTOCOL_HEADER:
            self._state = State.HANDSHAKE
            self._reply(self._handshake.start())
            return True
        if header is not None:  # specification, 4.2.2: answer with the header we know
            self.send(wire.PROTOCOL_HEADER)
            self._hang_up()
        return False

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        self._index = method_index(payload) if kind == wire.METHOD else 0
        if kind not in wire.KINDS or (kind == wire.HEARTBEAT and payload):
            text = f"there is no frame of type {kind} and size {len(payload)}"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        if not number:
            if kind != wire.HEARTBEAT:
                self._connection_frame(kind, payload)
        elif self._state is State.RUNNING:
            self._channel_frame(kind, number, payload)
        elif self._state is State.HANDSHAKE:
            raise _unexpected(kind, number)

    def _connection_frame(self, kind: int, payload: bytes) -> None:
        if kind != wire.METHOD:
            raise _unexpected(kind, 0)
        method = decode_method(payload)
        if isinstance(method, Methods.Close):
            self.turn_ends()
            self._reply(Methods.CloseOk())
            self._leave()
        elif self._state is State.CLOSING:
            if isinstance(method, Methods.CloseOk):
                self._leave()
        elif self._state is State.HANDSHAKE:
            self._shake_hands(method)
        elif self._index >> 16 == _CONNECTION_CLASS:
            raise HardError(ReplyCode.NOT_IMPLEMENTED, method.name)
        else:
            text = f"{method.name} on channel 0"
            raise HardError(ReplyCode.COMMAND_INVALID, text)

    def _shake_hands(self, method: Frame) -> None:
        shake = self._handshake
        answer = shake.answer(method)
        if answer is not None:
            self._reply(answer)
        if isinstance(method, Methods.TuneOk):
            self.frame_max = self.reader.frame_max = shake.frame_max
            self._heart.start(shake.heartbeat)
        if shake.done:
            self._state = State.RUNNING
            self._deadline.cancel()

    def _channel_frame(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if self._index >> 16 == _CHANNEL_CLASS:
            self._channel_method(channel, number, payload)
        elif channel is None:
            text = "expected 'channel.open'"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        elif not channel.closing:
            try:
                self._pass_on(channel, kind, payload)
            except SoftError as error:
                self._close_channel(channel, error)

    def _pass_on(self, channel: Channel, kind: int, payload: bytes) -> None:
        if kind == wire.METHOD:
            if self._index >> 16 == _CONNECTION_CLASS:
                text = f"a method of class connection on channel {channel.number}"
                raise HardError(ReplyCode.COMMAND_INVALID, text)
            channel.method(self._index, payload)
            return
        self._index = PUBLISH_INDEX  # content belongs to it
        if kind == wire.HEADER:
            channel.publisher.header(payload)
        elif kind == wire.BODY:
            channel.publisher.body(payload)
        else:
            raise _unexpected(kind, channel.number)

    # Channels

    def _channel_method(self, channel: Channel | None, number: int, payload: bytes) -> None:
        method = decode_method(payload)
        if channel is None:
            self._open_channel(method, number)
        elif isinstance(method, commands.Channel.Open):
            text = "second 'channel.open' seen"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        elif isinstance(method, commands.Channel.Close):
            self.turn_ends()
            _release_channel(channel)
            channel.reply(commands.Channel.CloseOk())
            if not channel.closing:  # else our own close is still to be answered
                del self.channels[number]
        elif channel.closing:
            if isinstance(method, commands.Channel.CloseOk):
                del self.channels[number]
        else:
            channel.method(self._index, payload)

    def _open_channel(self, method: Frame, number: int) -> None:
        if not isinstance(method, commands.Channel.Open):
            text = "expected 'channel.open'"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        most = self._handshake.channel_max
        if number > most:
            text = f"channel {number} is above the negotiated channel_max ({most})"
            raise HardError(ReplyCode.NOT_ALLOWED, text)
        channel = self.channels[number] = Channel(self, self._vhost, number)
        channel.reply(commands.Channel.OpenOk())

    def _close_channel(self, channel: Channel, error: SoftError) -> None:
        self.turn_ends()
        channel.closing = True
        _release_channel(channel)
        ids = divmod(self._index, 1 << 16)
        channel.reply(commands.Channel.Close(error.code, error.reply_text, *ids))

    # The end

    def _reply(self, method: Frame) -> None:
        self.send(frame.marshal(method, 0))

    def _fail(self, error: HardError) -> None:
        """Close the connection and say why."""
        if self._state not in (State.HANDSHAKE, State.RUNNING):
            self._hang_up()
            return
        refused = error.code is ReplyCode.ACCESS_REFUSED
        if refused and "authentication_failure_close" not in self._handshake.capabilities:
            self._leave()
            return
        self.turn_ends()
        self._release()
        self._reply(Methods.Close(error.code, error.reply_text, *divmod(self._index, 1 << 16)))
        if error.code is ReplyCode.FRAME_ERROR:  # nothing after it can be understood
            self._hang_up()
        else:
            self._state = State.CLOSING
            self._within(FAREWELL_SECONDS)

    def _leave(self) -> None:
        """Close the socket; nothing is left to say or to hear."""
        self._state = State.ENDED
        self._release()
        self.flush()
        self.transport.close()
        self._within(FAREWELL_SECONDS)

    def _hang_up(self) -> None:
        """Say no more and wait for the client to close.

        Closing at once could destroy, in the client's socket, the answer it has not read.
        """
        self._state = State.ENDED
        self.flush()
        if not self.transport.is_closing():
            self.transport.write_eof()
        self._within(FAREWELL_SECONDS)

    def _within(self, seconds: float) -> None:
        self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.abort)

    def _release(self) -> None:
        """Give back what the client had: its unacked messages, its exclusive queues."""
        channels = list(self.channels.values())
        self.channels.clear()
        for channel in channels:
            channel.leave()
        self._vhost.delete_queues_of(self)
        for queue in {queue for channel in channels for queue in channel.give_back()}:
            queue.dispatch()


def _release_channel(channel: Channel) -> None:
    channel.leave()
    for queue in channel.give_back():
        queue.dispatch()


def _unexpected(kind: int, number: int) -> HardError:
    return HardError(ReplyCode.UNEXPECTED_FRAME, f"a frame of type {kind} on channel {number}")

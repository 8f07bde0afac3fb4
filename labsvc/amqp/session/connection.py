"""One client connection: its states, its channels, and an end that the client is told of."""

from __future__ import annotations

import logging
from enum import Enum, auto
from typing import TYPE_CHECKING

from pamqp import frame
from pamqp.commands import Connection as Methods

from labsvc.amqp.errors import HardError, ReplyCode
from labsvc.amqp.session.channels import Channels, unexpected
from labsvc.amqp.session.farewell import SHUTDOWN_SECONDS, Farewell
from labsvc.amqp.session.handshake import FIRST_FRAME_MAX, FRAME_MAX, Handshake
from labsvc.amqp.session.heartbeat import Heartbeat
from labsvc.amqp.session.transport import FrameProtocol
from labsvc.amqp.wire import frames
from labsvc.amqp.wire.decode import decode_method, method_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamqp.base import Frame

    from labsvc.amqp.rules.traced import Role
    from labsvc.amqp.rules.vhost import VHost
    from labsvc.amqp.session.channel import Channel
    from labsvc.amqp.session.group_commit import GroupCommit

logger = logging.getLogger("labsvc.amqp")
logger.addHandler(logging.NullHandler())


class State(Enum):
    """Where a connection stands."""

    HEADER = auto()  # the protocol header is due
    HANDSHAKE = auto()
    RUNNING = auto()
    CLOSING = auto()  # connection.close sent, its answer is due
    ENDED = auto()  # all is said; what still comes is not read


class Connection(FrameProtocol):
    """The broker's side of one connection.

    `user` is who may log in, `frame_max` the largest frame to send, in bytes; `channels`
    are there when the handshake is done. `index` is the method at hand, class (upper 16
    bits) and method, for connection.close and channel.close. `role` is what the client did
    first, kept by its channels.
    """

    def __init__(
        self, vhosts: Mapping[str, VHost], group_commit: GroupCommit, user: str, password: str
    ) -> None:
        super().__init__(group_commit, FIRST_FRAME_MAX)
        self.user = user
        self.frame_max = FRAME_MAX
        self.index = 0
        self.role: Role = ""
        self.channels: Channels | None = None
        self._vhosts = vhosts
        self._state = State.HEADER
        self._handshake = Handshake(user, password, vhosts)
        self._heartbeat = Heartbeat(self)
        self._farewell = Farewell(self)
        self._confirming: list[Channel] = []

    @property
    def wants_cancel_notify(self) -> bool:
        """Whether the client wants to hear of consumers that the broker ends."""
        return bool(self._handshake.capabilities.get("consumer_cancel_notify"))

    @property
    def client_name(self) -> str:
        """What the client calls itself (its property connection_name), "" for nothing."""
        return self._handshake.client_name

    def block(self, reason: str) -> None:
        """Read no more, since this connection publishes and memory is low; say so."""
        self.blocked = True
        if self._handshake.capabilities.get("connection.blocked"):
            self._reply(Methods.Blocked(reason))

    def unblock(self) -> None:
        """Read again, and say so."""
        self.blocked = False
        if self._handshake.capabilities.get("connection.blocked"):
            self._reply(Methods.Unblocked())
        self.resume()

    def confirm_soon(self, channel: Channel) -> None:
        """Send the confirms of a channel at the end of this turn."""
        self._confirming.append(channel)

    def shut_down(self) -> None:
        """Tell the client that the broker stops: 320 CONNECTION_FORCED."""
        self.index = 0
        text = "broker forced connection closure with reason 'shutdown'"
        self._fail(HardError(ReplyCode.CONNECTION_FORCED, text))
        self.flush()
        self._farewell.within(SHUTDOWN_SECONDS)

    # What the transport calls

    def handle_next(self) -> bool:
        """Handle the protocol header or the next frame; tell the client what is wrong."""
        try:
            if self._state is State.ENDED:
                self.reader.forget()
                return False
            if self._state is State.HEADER:
                return self._header()
            self.index = 0
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
        for channel in self._confirming:
            channel.send_confirms()
        self._confirming.clear()

    def wake(self) -> None:
        """Let consumers deliver again."""
        for channel in self.channels or ():
            channel.wake()

    def lost(self) -> None:
        """Give back what the client had."""
        self._state = State.ENDED
        self._farewell.cancel()
        self._heartbeat.stop()
        self._release()

    # Frames

    def _header(self) -> bool:
        header = self.reader.take_header()
        if header == frames.PROTOCOL_HEADER:
            self._state = State.HANDSHAKE
            self._reply(self._handshake.start())
            return True
        if header is not None:  # specification, 4.2.2: answer with the header we know
            self.send(frames.PROTOCOL_HEADER)
            self._hang_up()
        return False

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        self.index = method_index(payload) if kind == frames.METHOD else 0
        if kind not in frames.KINDS or (kind == frames.HEARTBEAT and payload):
            text = f"there is no frame of type {kind} and size {len(payload)}"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        if not number:
            if kind != frames.HEARTBEAT:
                self._connection_frame(kind, payload)
        elif self._state is State.RUNNING:
            assert self.channels is not None
            self.channels.frame(kind, number, payload)
        elif self._state is State.HANDSHAKE:
            raise unexpected(kind, number)

    def _connection_frame(self, kind: int, payload: bytes) -> None:
        if kind != frames.METHOD:
            raise unexpected(kind, 0)
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
        elif isinstance(method, Methods.UpdateSecret):
            self._reply(Methods.UpdateSecretOk())  # any: as in RabbitMQ, passwords never expire
        else:
            text = "unexpected method in connection state running"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)

    def _shake_hands(self, method: Frame) -> None:
        shake = self._handshake
        answer = shake.answer(method)
        if answer is not None:
            self._reply(answer)
        if isinstance(method, Methods.TuneOk):
            self.frame_max = self.reader.frame_max = shake.frame_max
            self._heartbeat.start(shake.heartbeat)
        if shake.done:
            self._state = State.RUNNING
            self.channels = Channels(self, self._vhosts[shake.vhost], shake.channel_max)
            self._farewell.cancel()

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
        if not error.blames_method:
            self.index = 0
        self.turn_ends()
        self._release()
        self._reply(Methods.Close(error.code, error.reply_text, *divmod(self.index, 1 << 16)))
        if error.code is ReplyCode.FRAME_ERROR:  # nothing after it can be understood
            self._hang_up()
        else:
            self._state = State.CLOSING
            self._farewell.within()

    def _leave(self) -> None:
        """Close the socket; nothing is left to say or to hear."""
        self._state = State.ENDED
        self._release()
        self._farewell.close()

    def _hang_up(self) -> None:
        """Say no more, and wait for the client to close."""
        self._state = State.ENDED
        self._farewell.hang_up()

    def _release(self) -> None:
        """Give back what the client had."""
        if self.channels is not None:
            self.channels.release()
            self._vhosts[self._handshake.vhost].memory.left(self)

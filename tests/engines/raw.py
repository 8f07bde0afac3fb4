"""An AMQP client that sends any bytes and shows each frame that comes back."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Connection
from pamqp.heartbeat import Heartbeat

if TYPE_CHECKING:
    from types import TracebackType

HEADER = b"AMQP\x00\x00\x09\x01"
CAPABILITIES: dict[str, Any] = {
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "publisher_confirms": True,
    }
}


def envelope(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """Return a frame, well formed or not."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


class Raw:
    """One socket, with the user and virtual host of an address.

    `reset` tells whether the broker has reset it; to `receive` that is an end like any other.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.login = f"\0{unquote(parts.username or '')}\0{unquote(parts.password or '')}"
        self.vhost = unquote(parts.path[1:]) or "/"
        self.socket = socket.create_connection((parts.hostname, parts.port or 5672), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.reset = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, *parts: Any) -> None:
        """Send bytes as they are, and methods on channel 1 or as (channel, method)."""
        data = []
        for part in parts:
            if isinstance(part, bytes):
                data.append(part)
            else:
                channel, method = part if isinstance(part, tuple) else (1, part)
                data.append(frame.marshal(method, channel))
        self.socket.sendall(b"".join(data))

    def receive(self) -> tuple[int, Any] | None:
        """Return the next frame as (channel, frame), or None at the end of the stream."""
        if not self.read(7):
            return None
        (size,) = struct.unpack_from(">I", self.buffer, 3)
        if not self.read(size + 8):
            return None
        used, channel, value = frame.unmarshal(self.buffer)
        self.buffer = self.buffer[used:]
        return channel, value

    def next(self) -> Any:
        """Return the next frame that is no heartbeat, None at the end of the stream."""
        while (received := self.receive()) is not None:
            if not isinstance(received[1], Heartbeat):
                return received[1]
        return None

    def rest(self) -> list[Any]:
        """Return all frames up to the end of the stream: no reset, no frame cut short."""
        frames = []
        while (received := self.receive()) is not None:
            frames.append(received[1])
        assert not self.reset
        assert self.buffer == b""
        return frames

    def expect(self, kind: type) -> Any:
        """Return the next frame, which must be of this kind."""
        value = self.next()
        assert type(value) is kind, _text(value)
        return value

    def ask(self, method: Any, kind: type | None = None) -> Any:
        """Send a method and return its answer, which must be of this kind."""
        self.send(method)
        return self.next() if kind is None else self.expect(kind)

    def content(self) -> tuple[Basic.Properties, bytes]:
        """Return the properties and the body of a message whose method has just come."""
        head = self.expect(header.ContentHeader)
        body = b""
        while len(body) < head.body_size:
            body += self.expect(ContentBody).value
        return head.properties, body

    def log_in(self, heartbeat: int = 0, frame_max: int = 131072) -> None:
        """Shake hands."""
        self.greet()
        self.expect(Connection.Tune)
        self.send((0, Connection.TuneOk(2047, frame_max, heartbeat)))
        self.ask((0, Connection.Open(self.vhost)), Connection.OpenOk)

    def greet(self, mechanism: str = "PLAIN", response: str | None = None) -> Connection.Start:
        """Send the protocol header and start-ok; return the start that came in between."""
        self.send(HEADER)
        start = self.expect(Connection.Start)
        login = self.login if response is None else response
        self.send((0, Connection.StartOk(CAPABILITIES, mechanism, login)))
        assert isinstance(start, Connection.Start)
        return start

    def open_channel(self, number: int = 1) -> None:
        """Open a channel."""
        self.ask((number, Channel.Open()), Channel.OpenOk)

    def closed(self) -> tuple[str, int, int, int, str]:
        """Skip frames up to a close and return it: scope, code, class, method, text."""
        while (value := self.next()) is not None:
            if isinstance(value, Channel.Close | Connection.Close):
                scope = "channel" if isinstance(value, Channel.Close) else "connection"
                method = value.class_id or 0, value.method_id or 0
                return (scope, value.reply_code or 0, *method, value.reply_text)
        return ("socket", 0, 0, 0, "")

    def read(self, at_least: int) -> bool:
        """Read until the buffer has so many bytes; return False if the stream ends before."""
        while len(self.buffer) < at_least:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                self.reset = True
                return False
            if not data:
                return False
            self.buffer += data
        return True


def publish(
    exchange: str, key: str, body: bytes = b"", *, mandatory: bool = False, **properties: Any
) -> list[Any]:
    """Return the frames of a publish."""
    frames: list[Any] = [
        commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory),
        header.ContentHeader(0, len(body), Basic.Properties(**properties)),
    ]
    return [*frames, ContentBody(body)] if body else frames


def _text(value: object) -> str:
    return repr(getattr(value, "reply_text", value))

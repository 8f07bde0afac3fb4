"""The end of a connection: what was said reaches the client, and nobody waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsvc.amqp.session.transport import FrameProtocol

HANDSHAKE_SECONDS = 10.0  # RabbitMQ's handshake_timeout
FAREWELL_SECONDS = 1.0  # for the client to answer connection.close, or to hang up
SHUTDOWN_SECONDS = 0.2  # the same when the broker stops; a frozen client must not delay it


class Farewell:
    """Drops the socket of a connection when its time is over; at first that of the handshake."""

    def __init__(self, connection: FrameProtocol) -> None:
        self._connection = connection
        self._deadline = connection.loop.call_later(HANDSHAKE_SECONDS, connection.abort)

    def within(self, seconds: float = FAREWELL_SECONDS) -> None:
        """Drop the socket unless it is closed by then."""
        self._deadline.cancel()
        self._deadline = self._connection.loop.call_later(seconds, self._connection.abort)

    def cancel(self) -> None:
        """Let the connection live."""
        self._deadline.cancel()

    def close(self) -> None:
        """Write what is left, and close the socket."""
        self._connection.flush()
        self._connection.transport.close()
        self.within()

    def hang_up(self) -> None:
        """Write what is left, say no more, and wait for the client to close.

        Closing at once could destroy, in the client's socket, the answer it has not read.
        """
        self._connection.flush()
        if not self._connection.transport.is_closing():
            self._connection.transport.write_eof()
        self.within()

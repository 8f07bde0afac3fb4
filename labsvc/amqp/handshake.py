"""The handshake: who is there, and what both sides can take (AMQP 0-9-1, 2.2.4). No socket."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from pamqp.commands import Connection

from labsvc.amqp.errors import HardError, ReplyCode

if TYPE_CHECKING:
    from pamqp.base import Frame
    from pamqp.common import FieldTable

FRAME_MIN = 4096  # bytes; the specification's smallest frame_max
FRAME_MAX = 131072  # bytes; RabbitMQ's default, like the two below
CHANNEL_MAX = 2047
HEARTBEAT = 60  # seconds
FIRST_FRAME_MAX = 8192  # bytes; before anybody has logged in

_PRODUCT: FieldTable = {
    "product": "labsvc",
    "platform": "Python",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "per_consumer_qos": True,
        "publisher_confirms": True,
    },
}


class Handshake:
    """Start, tune, open: each answer of the client leads to the next method.

    When `done`, `frame_max` (bytes), `channel_max` and `heartbeat` (seconds, 0: none) are
    what both sides agreed on, and `capabilities` names what the client can do.
    """

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.done = False
        self.frame_max = FRAME_MAX
        self.channel_max = CHANNEL_MAX
        self.heartbeat = HEARTBEAT
        self.capabilities: dict[str, Any] = {}
        self._secret = f"\0{user}\0{password}".encode()
        self._expected: type[Frame] = Connection.StartOk

    @staticmethod
    def start() -> Frame:
        """Return the first method, sent when the protocol header has come."""
        return Connection.Start(server_properties=_PRODUCT, mechanisms="PLAIN")

    def answer(self, method: Frame) -> Frame | None:
        """Return what follows the client's method; nothing follows tune-ok.

        Raises:
            HardError: 403, wrong user or password; 503, not the method that is due, or an
                unknown mechanism; 530, a limit above ours, or an unknown virtual host.

        """
        if type(method) is not self._expected:
            text = f"expected {self._expected.name}, got {method.name}"
            raise HardError(ReplyCode.COMMAND_INVALID, text)
        if isinstance(method, Connection.StartOk):
            self._expected = Connection.TuneOk
            self._log_in(method)
            return Connection.Tune(CHANNEL_MAX, FRAME_MAX, HEARTBEAT)
        if isinstance(method, Connection.TuneOk):
            self._expected = Connection.Open
            self._tune(method)
            return None
        assert isinstance(method, Connection.Open)
        if method.virtual_host != "/":
            text = f"vhost {method.virtual_host} not found"
            raise HardError(ReplyCode.NOT_ALLOWED, text)
        self.done = True
        return Connection.OpenOk()

    def _log_in(self, method: Connection.StartOk) -> None:
        properties: Any = method.client_properties
        capabilities = properties.get("capabilities")
        if isinstance(capabilities, dict):
            self.capabilities = capabilities
        if method.mechanism != "PLAIN":
            text = f"unknown authentication mechanism '{method.mechanism}'"
            raise HardError(ReplyCode.COMMAND_INVALID, text)
        response: Any = method.response  # bytes: see fields.Cursor.longstr
        user, _, password = bytes(response).lstrip(b"\0").partition(b"\0")
        if not hmac.compare_digest(b"\0" + user + b"\0" + password, self._secret):
            text = "Login was refused using authentication mechanism PLAIN."
            raise HardError(ReplyCode.ACCESS_REFUSED, text)

    def _tune(self, method: Connection.TuneOk) -> None:
        self.frame_max = _negotiated("frame_max", method.frame_max, FRAME_MIN, FRAME_MAX)
        self.channel_max = _negotiated("channel_max", method.channel_max, 1, CHANNEL_MAX)
        self.heartbeat = method.heartbeat


def _negotiated(name: str, value: int, least: int, most: int) -> int:
    """Check a limit that the client chose; 0 asks for no limit, which is above ours."""
    if not value or value > most:
        text = f"negotiated {name} = {value} is higher than the maximum allowed value ({most})"
        raise HardError(ReplyCode.NOT_ALLOWED, text)
    if value < least:
        text = f"negotiated {name} = {value} is lower than the minimum allowed value ({least})"
        raise HardError(ReplyCode.NOT_ALLOWED, text)
    return value

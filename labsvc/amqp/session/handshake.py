"""The handshake: who is there, and what both sides can take (AMQP 0-9-1, 2.2.4). No socket."""

from __future__ import annotations

import hmac
from struct import Struct
from typing import TYPE_CHECKING, Any

from pamqp.commands import Connection

from labsvc.amqp.errors import HardError, ReplyCode
from labsvc.amqp.wire.cursor import Cursor

if TYPE_CHECKING:
    from collections.abc import Container

    from pamqp.base import Frame
    from pamqp.common import FieldTable

FRAME_MIN = 4096  # bytes; the specification's smallest frame_max
FRAME_MAX = 131072  # bytes; RabbitMQ's default, like the two below
CHANNEL_MAX = 2047
HEARTBEAT_SECONDS = 60
FIRST_FRAME_MAX = 8192  # bytes; before anybody has logged in

_PRODUCT: FieldTable = {
    "product": "labsvc",
    "platform": "Python",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "consumer_priorities": True,
        "exchange_exchange_bindings": True,
        "per_consumer_qos": True,
        "publisher_confirms": True,
    },
}


def _plain(response: bytes) -> tuple[bytes, bytes]:
    """Read user and password as SASL PLAIN has them (RFC 4616)."""
    user, _, password = response.lstrip(b"\0").partition(b"\0")
    return user, password


def _amqplain(response: bytes) -> tuple[bytes, bytes]:
    """Read them as AMQPLAIN has them: a field table, without its length."""
    table = Cursor(_SIZE.pack(len(response)) + response).table()
    user, password = table.get("LOGIN"), table.get("PASSWORD")
    if not isinstance(user, bytes) or not isinstance(password, bytes):
        text = "AMQPLAIN auth info is missing LOGIN or PASSWORD field"
        raise HardError(ReplyCode.SYNTAX_ERROR, text)
    return user, password


_MECHANISMS = {"PLAIN": _plain, "AMQPLAIN": _amqplain}
_SIZE = Struct(">I")
_STATES: dict[type[Frame], str] = {
    Connection.StartOk: "starting",
    Connection.TuneOk: "tuning",
    Connection.Open: "opening",
}


class Handshake:
    """Start, tune, open: each answer of the client leads to the next method.

    When `done`, `frame_max` (bytes), `channel_max` and `heartbeat` (seconds, 0: none) are
    what both sides agreed on, `vhost` is the virtual host that the client chose, and
    `capabilities` names what it can do.

    Args:
        user: who may log in.
        password: with what.
        vhosts: the names of the virtual hosts.

    """

    def __init__(self, user: str, password: str, vhosts: Container[str]) -> None:
        self.done = False
        self.vhost = ""
        self.frame_max = FRAME_MAX
        self.channel_max = CHANNEL_MAX
        self.heartbeat = HEARTBEAT_SECONDS
        self.capabilities: dict[str, Any] = {}
        self.client_name = ""  # as RabbitMQ's management page shows it
        self._secret = (user.encode(), password.encode())
        self._vhosts = vhosts
        self._expected: type[Frame] = Connection.StartOk

    @staticmethod
    def start() -> Frame:
        """Return the first method, sent when the protocol header has come."""
        return Connection.Start(server_properties=_PRODUCT, mechanisms=" ".join(_MECHANISMS))

    def answer(self, method: Frame) -> Frame | None:
        """Return what follows the client's method; nothing follows tune-ok.

        Raises:
            HardError: 403, wrong user or password; 504, not the method that is due, or an
                unknown mechanism; 530, a limit above ours, or an unknown virtual host.

        """
        if type(method) is not self._expected:
            text = f"unexpected method in connection state {_STATES[self._expected]}"
            raise HardError(ReplyCode.CHANNEL_ERROR, text)
        if isinstance(method, Connection.StartOk):
            self._expected = Connection.TuneOk
            self._log_in(method)
            return Connection.Tune(CHANNEL_MAX, FRAME_MAX, HEARTBEAT_SECONDS)
        if isinstance(method, Connection.TuneOk):
            self._expected = Connection.Open
            self._tune(method)
            return None
        assert isinstance(method, Connection.Open)
        if method.virtual_host not in self._vhosts:
            text = f"vhost {method.virtual_host} not found"
            raise HardError(ReplyCode.NOT_ALLOWED, text)
        self.vhost = method.virtual_host
        self.done = True
        return Connection.OpenOk()

    def _log_in(self, method: Connection.StartOk) -> None:
        properties: Any = method.client_properties
        name = properties.get("connection_name", b"")
        self.client_name = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        capabilities = properties.get("capabilities")
        if isinstance(capabilities, dict):
            self.capabilities = capabilities
        read = _MECHANISMS.get(method.mechanism)
        if read is None:
            text = f"unknown authentication mechanism '{method.mechanism}'"
            raise HardError(ReplyCode.CHANNEL_ERROR, text, blames_method=False)
        response: Any = method.response  # bytes: see Cursor.longstr
        if not all(map(hmac.compare_digest, read(response), self._secret)):
            text = (
                f"Login was refused using authentication mechanism {method.mechanism}."
                " For details see the broker logfile."
            )
            raise HardError(ReplyCode.ACCESS_REFUSED, text, blames_method=False)

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

"""How AMQP 0-9-1 says no: reply codes, soft errors and hard errors.

AmqpError         a rule was broken; the client learns a reply code and a text
├── SoftError     closes the channel; the connection goes on
└── HardError     closes the connection
"""

from __future__ import annotations

from enum import IntEnum


class ReplyCode(IntEnum):
    """Reply codes of AMQP 0-9-1 (specification, section 1.2, constants)."""

    REPLY_SUCCESS = 200
    NO_ROUTE = 312
    CONNECTION_FORCED = 320
    ACCESS_REFUSED = 403
    NOT_FOUND = 404
    RESOURCE_LOCKED = 405
    PRECONDITION_FAILED = 406
    FRAME_ERROR = 501
    SYNTAX_ERROR = 502
    COMMAND_INVALID = 503
    CHANNEL_ERROR = 504
    UNEXPECTED_FRAME = 505
    NOT_ALLOWED = 530
    NOT_IMPLEMENTED = 540
    INTERNAL_ERROR = 541


class AmqpError(Exception):
    """A client broke a rule of the protocol. Its fault, and it is told so."""

    def __init__(self, code: ReplyCode, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    @property
    def reply_text(self) -> str:
        """Text for the close method, `NOT_FOUND - ...`, cut to 255 bytes of UTF-8."""
        return f"{self.code.name} - {self.text}".encode()[:255].decode(errors="ignore")


class SoftError(AmqpError):
    """Closes the channel on which it happened."""


class HardError(AmqpError):
    """Closes the whole connection. `blames_method`: the close names the method at hand."""

    def __init__(self, code: ReplyCode, text: str, *, blames_method: bool = True) -> None:
        super().__init__(code, text)
        self.blames_method = blames_method

"""A publish put together from its frames: a method, a content header, parts of a body."""

from __future__ import annotations

from typing import Any, NamedTuple

from pamqp.commands import Basic

from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.wire.content_header import decode_content_header

MAX_MESSAGE = 16 * 1024 * 1024  # bytes; RabbitMQ's default since 4.0
PUBLISH_INDEX = Basic.Publish.index

_EXCHANGE_AT = 6  # behind the index and two reserved bytes
_MANDATORY, _IMMEDIATE = 1, 2


class Content(NamedTuple):
    """All of one publish.

    `route` is exchange and key as they stand in the method, `header` the payload of the
    content header, `properties` what stands in it, decoded.
    """

    exchange: str
    key: str
    mandatory: bool
    route: bytes
    header: bytes
    properties: dict[str, Any]
    body: bytes


class Assembly:
    """Puts one publish of a channel after another together.

    `due` tells whether content is under way, in which case no other method may come.
    """

    def __init__(self) -> None:
        self.due = False
        self._exchange = ""
        self._key = ""
        self._route = b""
        self._mandatory = False
        self._header = b""
        self._properties: dict[str, Any] = {}
        self._missing = 0  # bytes of body to come
        self._body: list[bytes] = []

    def method(self, payload: bytes) -> None:
        """Take basic.publish.

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

    def header(self, payload: bytes) -> Content | None:
        """Take a content header; return the content, if it has no body.

        Raises:
            SoftError: 406, the message is too large.
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
        return None if size else self._whole(b"")

    def body(self, payload: bytes) -> Content | None:
        """Take a part of a body; return the content, if this was the last one.

        Raises:
            HardError: 505, no body is due; 501, it is longer than announced.

        """
        if not self._header:
            text = "got a content body that no content header announced"
            raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
        self._missing -= len(payload)
        if self._missing < 0:
            text = "the content body is longer than its header announced"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        if not self._missing and not self._body:
            return self._whole(payload)
        self._body.append(payload)
        return None if self._missing else self._whole(b"".join(self._body))

    def _whole(self, body: bytes) -> Content:
        header = self._header
        self.due, self._header, self._body = False, b"", []
        return Content(
            self._exchange,
            self._key,
            self._mandatory,
            self._route,
            header,
            self._properties,
            body,
        )

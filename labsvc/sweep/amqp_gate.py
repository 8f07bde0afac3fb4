"""Messages and their confirms on a connection of AMQP 0-9-1, found in its frames."""

from __future__ import annotations

from struct import pack, unpack_from
from typing import TYPE_CHECKING

from labsvc.sweep.frames import Frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labsvc.proxy.gate import Line
    from labsvc.sweep.points import Kind, Points

PREFACE = b"AMQP\x00\x00\x09\x01"
_METHOD = 1  # the type of a frame that carries a method
_HEAD = 7  # bytes before the payload of a frame; one more ends it
_BASIC = 60  # the class of the methods that are points
_OPEN = (20, 10)  # channel.open
_SELECT = (85, 10)  # confirm.select
_CONFIRMS = ((60, 80), (60, 120))  # basic.ack, basic.nack
_MULTIPLE = 1  # the bit that says: and all before it
_FROM_CLIENT: Mapping[int, Kind] = {40: "publish", 80: "ack", 90: "ack", 120: "ack"}
_FROM_BROKER: Mapping[int, Kind] = {60: "delivery", 71: "delivery", 80: "confirm", 120: "confirm"}
_DELIVER = 60  # the one method in which the delivery tag does not come first


class AmqpGate:
    """Watches one connection; `run` decides what happens at each point."""

    def __init__(self, line: Line, run: Points) -> None:
        self._line = line
        self._run = run
        self._from_client = _frames(len(PREFACE))
        self._from_broker = _frames()
        self._published: dict[int, int] = {}  # how many to confirm, by channel
        self._to_confirm: dict[tuple[int, int], int] = {}  # numbers, by channel and delivery tag
        self._delivered: dict[tuple[int, int], int] = {}  # numbers, by channel and delivery tag
        self._over = False

    def up(self, data: bytes) -> None:
        """Take bytes from the client."""
        for raw in self._from_client.split(data):
            if self._passes(raw, _FROM_CLIENT):
                self._line.pass_up(raw)

    def down(self, data: bytes) -> None:
        """Take bytes from the broker."""
        for whole in self._from_broker.split(data):
            for raw in self._one_by_one(whole):
                if self._passes(raw, _FROM_BROKER):
                    self._line.pass_down(raw)

    def _passes(self, raw: bytes, kinds: Mapping[int, Kind]) -> bool:
        if not self._over and raw[0] == _METHOD:
            channel, family, method = unpack_from(">xHxxxxHH", raw)
            if kinds is _FROM_CLIENT:
                self._count_anew(channel, (family, method))
            if family == _BASIC and method in kinds and self._is_struck(raw, method, kinds[method]):
                self._over = True
                self._line.reset()
        return not self._over

    def _one_by_one(self, raw: bytes) -> Iterator[bytes]:
        """Yield a frame; in place of one that confirms several messages, one for each of these.

        How many a broker confirms together depends on the moment, and points must not.
        """
        if raw[0] != _METHOD or unpack_from(">HH", raw, _HEAD) not in _CONFIRMS:
            yield raw
            return
        channel, last, bits = unpack_from(">xHxxxxxxxxQB", raw)
        tags = [tag for of, tag in self._to_confirm if of == channel and tag <= last]
        for tag in tags if bits & _MULTIPLE else [last]:
            yield raw[: _HEAD + 4] + pack(">QB", tag, bits & ~_MULTIPLE) + raw[-1:]

    def _count_anew(self, channel: int, asked: tuple[int, int]) -> None:
        """Count tags as the broker does: from channel.open, and confirms from confirm.select."""
        if asked == _OPEN:
            self._published.pop(channel, None)
            for numbers in (self._to_confirm, self._delivered):
                for key in [key for key in numbers if key[0] == channel]:
                    del numbers[key]
        elif asked == _SELECT:
            self._published.setdefault(channel, 0)  # a second one changes nothing

    def _is_struck(self, raw: bytes, method: int, kind: Kind) -> bool:
        (channel,) = unpack_from(">H", raw, 1)
        if kind == "publish":
            number, fault = self._run.reach(kind)
            if channel in self._published:
                self._published[channel] += 1
                self._to_confirm[channel, self._published[channel]] = number
            return fault is not None
        skip = 1 + raw[_HEAD + 4] if method == _DELIVER else 0  # the consumer's tag
        (tag,) = unpack_from(">Q", raw, _HEAD + 4 + skip)
        if kind == "delivery":
            self._delivered[channel, tag], fault = self._run.reach(kind)
        elif kind == "confirm":
            _, fault = self._run.reach(kind, number=self._to_confirm.pop((channel, tag)))
        else:
            _, fault = self._run.reach(kind, number=self._delivered.get((channel, tag), 0))
        return fault is not None


def _frames(preface: int = 0) -> Frames:
    return Frames(_HEAD, lambda head: _HEAD + int.from_bytes(head[3:7]) + 1, preface)

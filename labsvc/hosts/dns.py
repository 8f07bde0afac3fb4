"""A DNS server for names that a cell chooses, so that it can be seen when a client asks."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

from labsvc.hosts.service import LoopService
from labsvc.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.loop import Loop

_HEADER = struct.Struct(">HHHHHH")  # id, flags, and the counts of the four sections (RFC 1035, 4.1)
_TAIL = struct.Struct(">HH")  # type and class of the question
_ANSWER = struct.Struct(">HHHIH4s")  # name, type, class, ttl, length, address
_A = 1
_IN = 1
_RESPONSE = 0x8580  # an answer, authoritative, recursion available
_NO_SUCH_NAME = 3
_FIRST_NAME = 0xC000 | _HEADER.size  # "the name in the question"


class DnsService(LoopService):
    """Answers questions for IPv4 addresses over UDP; `Lab.serve_dns` makes one.

    `records` has the addresses of each name, in lower case, and may be changed while it runs;
    `ttl` is how many seconds a client may keep an answer. Names that are not there do not exist.
    `asked` counts the questions for A records by name. Use it as
    `dns://{dns.target}/users.test:50051`.

    Raises ValueError for an address that is no IPv4 address.
    """

    def __init__(
        self, loop: Loop, name: str, records: Mapping[str, Sequence[str]], ttl: int
    ) -> None:
        super().__init__(loop, name)
        for address in [one for addresses in records.values() for one in addresses]:
            ipaddress.IPv4Address(address)
        self.records = {host.lower(): list(addresses) for host, addresses in records.items()}
        self.ttl = ttl
        self.asked: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    def answer(self, question: bytes) -> bytes:
        """Return the message that answers one; for what is no question raise ValueError."""
        try:
            number, _, questions, *_ = _HEADER.unpack_from(question)
            host, end = _name(question)
            kind, _class = _TAIL.unpack_from(question, end)
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            msg = "this is no question"
            raise ValueError(msg) from error
        if questions != 1:
            msg = f"a message has one question, not {questions}"
            raise ValueError(msg)
        known = self.records.get(host)
        wanted = known if known and kind == _A else []
        if kind == _A:
            self.asked[host] += 1
            self.log.append(f"{host}: {', '.join(wanted) or 'no such name'}")
        flags = _RESPONSE if known is not None else _RESPONSE | _NO_SUCH_NAME
        answers = [
            _ANSWER.pack(_FIRST_NAME, _A, _IN, self.ttl, 4, ipaddress.IPv4Address(one).packed)
            for one in wanted
        ]
        asked = question[_HEADER.size : end + _TAIL.size]
        return _HEADER.pack(number, flags, 1, len(answers), 0, 0) + asked + b"".join(answers)

    async def _aopen(self, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Endpoint(self), local_addr=(HOST, port)
        )
        taken: int = self._transport.get_extra_info("sockname")[1]
        return taken

    async def _aclose(self, grace: float) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            await asyncio.sleep(0)  # the transport closes its socket in the next turn


class _Endpoint(asyncio.DatagramProtocol):
    def __init__(self, service: DnsService) -> None:
        self._service = service

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            answer = self._service.answer(data)
        except ValueError as error:
            self._service.log.append(str(error))
        else:
            self._transport.sendto(answer, addr)


def _name(question: bytes) -> tuple[str, int]:
    """Return the name in a question, in lower case, and where it ends."""
    labels, at = [], _HEADER.size
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    return ".".join(labels).lower(), at + 1

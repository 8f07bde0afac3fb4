"""Part of the stage of T4-reserve: one member of the service, and the orders that arrive."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc

if TYPE_CHECKING:
    import trustme

    from labsvc.checks.sandbox import Sandbox

RECEIPT = b"z\x08"  # a field that the caller's version does not know: number 15, of 8 bytes


@dataclass(frozen=True)
class Arrival:
    """An order at a member: what came, from whom, when, with how many seconds, and the answer."""

    member: Member
    request: inventory_pb2.ReserveStockRequest
    certificate: bytes
    at: float
    left: float
    answer: bytes


class Member(inventory_pb2_grpc.InventoryServiceServicer):
    """One server, and the proxy before it. It notes each order, then ends the call as it is told.

    After the effect it waits for `pause` seconds. `ends` is the code that comes then, with the text
    `says`; None is no answer. Its answer has a field that the caller's version does not know.
    """

    _numbers = itertools.count(1)

    def __init__(
        self, room: Sandbox, log: list[Arrival], authority: trustme.CA, roots: bytes, name: str
    ) -> None:
        self._log = log
        self.pause = 0.0
        self.ends: grpc.StatusCode | None = grpc.StatusCode.OK
        self.says = ""
        shown = [pair(authority.issue_cert(name))]
        credentials = grpc.ssl_server_credentials(shown, roots, require_client_auth=True)
        number = next(self._numbers)
        self.service = room.serve_grpc(self, name=f"member-{number}", credentials=credentials)
        self.door = room.proxy(self.service, name=f"door-{number}")

    @property
    def arrived(self) -> int:
        """How many orders have arrived here."""
        return sum(each.member is self for each in self._log)

    async def ReserveStock(self, request: Any, context: Any) -> inventory_pb2.ReserveStockResponse:
        """Note the order, and end the call."""
        [certificate] = context.auth_context().get("x509_pem_cert", [b""])
        answer = RECEIPT + random.randbytes(4).hex().encode()
        left = context.time_remaining()
        seconds = float("inf") if left is None else left
        self._log.append(Arrival(self, request, certificate, time.monotonic(), seconds, answer))
        await asyncio.sleep(self.pause)
        if self.ends is None:
            await asyncio.Event().wait()
        elif self.ends is not grpc.StatusCode.OK:
            await context.abort(self.ends, self.says)
        return inventory_pb2.ReserveStockResponse.FromString(answer)


def pair(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    """Return key and chain of a certificate, in PEM."""
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return certificate.private_key_pem.bytes(), chain

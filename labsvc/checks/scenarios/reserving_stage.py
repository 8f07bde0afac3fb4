"""Stage of T4-reserve: members of a service with mutual TLS, each behind a proxy, and strangers."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import trustme

from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission

    Files = tuple[bytes, bytes, bytes]

SERVICE, ELSEWHERE, CALLER = "inventory.internal", "orders.internal", "shop.internal"
SECONDS = 4.0  # for a call that ends well; it takes a few thousandths where there is time
LATE = 1.5  # seconds over its own that a call may take on a busy machine


class Member(inventory_pb2_grpc.InventoryServiceServicer):
    """One server, and the proxy before it. It notes each order, then ends the call as it is told.

    `arrived` is the id of each order, with the certificate of the caller in PEM. `ends` is the code
    that comes after the effect; None is no answer.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        room: Sandbox,
        authority: trustme.CA,
        *,
        name: str = SERVICE,
        clients: trustme.CA | None = None,
    ) -> None:
        self.arrived: list[tuple[str, bytes]] = []
        self.ends: grpc.StatusCode | None = grpc.StatusCode.OK
        roots = clients.cert_pem.bytes() if clients else None
        shown = [_pair(authority.issue_cert(name))]
        credentials = grpc.ssl_server_credentials(shown, roots, clients is not None)
        number = next(self._numbers)
        self.service = room.serve_grpc(self, name=f"member-{number}", credentials=credentials)
        self.door = room.proxy(self.service, name=f"door-{number}")

    async def ReserveStock(self, request: Any, context: Any) -> inventory_pb2.ReserveStockResponse:
        """Note the order, and end the call."""
        [certificate] = context.auth_context().get("x509_pem_cert", [b""])
        self.arrived.append((request.order_id, certificate))
        if self.ends is None:
            await asyncio.Event().wait()
        elif self.ends is not grpc.StatusCode.OK:
            await context.abort(self.ends, "the goods are put aside, and then this happened")
        return inventory_pb2.ReserveStockResponse()


@dataclass(frozen=True)
class Order:
    """One call of the answer: the order's id, how the call ended, and after how many seconds."""

    order_id: str
    outcome: Outcome
    took: float


class Stage:
    """One case: the members, strangers among them, and the caller's files.

    `tale` is what goes on, `hint` what to say when a call fails then, `notebook` the one to read.
    """

    _orders = itertools.count(1)

    def __init__(
        self, answer: Submission, room: Sandbox, members: int = 3, *, strangers: bool = False
    ) -> None:
        self._answer = answer
        self._authority = authority = trustme.CA()
        self.members = [
            Member(room, authority, clients=authority)  # type: ignore[abstract]  # one method is enough
            for _ in range(members)
        ]
        self.strangers = [
            Member(room, signed_by, name=name)  # type: ignore[abstract]  # one method is enough
            for signed_by, name in ((authority, ELSEWHERE), (trustme.CA(), SERVICE))
            if strangers
        ]
        self.kept: dict[Any, Any] = {}
        self.files: Files | None = None
        self.renew()
        self.tale, self.hint, self.notebook = "", "", ""
        room.enter(closing(self))  # before the members leave: they wait for who watches them

    def during(self, tale: str, hint: str, notebook: str) -> None:
        """Go on to what a call that fails now is told."""
        self.tale, self.hint, self.notebook = tale, hint, notebook

    @property
    def certificate(self) -> bytes:
        """The caller's certificate of now, in PEM."""
        return self.read()[1]

    def renew(self) -> None:
        """Replace the caller's key and certificate."""
        pair = _pair(self._authority.issue_cert(CALLER))
        self.files = *pair, self._authority.cert_pem.bytes()

    def read(self) -> Files:
        """Return the caller's key, its certificate and the authority, in PEM.

        Raises:
            OSError: they cannot be read now.

        """
        if self.files is None:
            msg = "the files cannot be read"
            raise OSError(msg)
        return self.files

    def order(self, members: Sequence[Member], seconds: float = SECONDS) -> Order:
        """Call the answer with a new order, and a list of these members.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        order_id, began = f"o-{next(self._orders)}", time.monotonic()
        outcome = self._answer.attempt(
            inventory_pb2.ReserveStockRequest(order_id=order_id),
            [each.door.target for each in members],
            self.read,
            self.kept,
            seconds,
            within=seconds + LATE,
        )
        return Order(order_id, outcome, time.monotonic() - began)

    def arrivals(self, order_id: str) -> int:
        """Return how often an order has arrived, wherever."""
        everywhere = [*self.members, *self.strangers]
        return sum(come == order_id for each in everywhere for come, _ in each.arrived)

    def close(self) -> None:
        """Close what the answer has kept: its connections would outlive the check."""
        for value in self.kept.values():
            for each in value if isinstance(value, tuple | list) else [value]:
                if hasattr(each, "close"):
                    with suppress(Exception):  # it is the answer's own, and may be closed
                        each.close()


def _pair(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return certificate.private_key_pem.bytes(), chain

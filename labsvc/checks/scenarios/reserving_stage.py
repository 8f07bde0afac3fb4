"""Stage of T4-reserve: a caller, and members of a service with mutual TLS, strangers among them."""

from __future__ import annotations

import itertools
import random
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trustme

from labsvc.checks.scenarios.reserving_member import Member, pair
from labsvc.shop.v1 import inventory_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.reserving_member import Arrival
    from labsvc.checks.submission import Outcome, Submission

    Files = tuple[bytes, bytes, bytes]

SERVICE, ELSEWHERE, CALLER = "inventory.internal", "orders.internal", "shop.internal"
SECONDS = (3.0, 5.0)  # for a call that ends well; it takes a few thousandths where there is time
LATE = 1.5  # seconds over its own that a call may take on a busy machine


@dataclass(frozen=True)
class Order:
    """One call of the answer: what it was given, how it ended, and after how many seconds.

    `began` is a time of `time.monotonic`, `seen` the orders that had arrived by then. The caller
    may show one of `certificates`.
    """

    request: inventory_pb2.ReserveStockRequest
    seconds: float
    outcome: Outcome
    began: float
    took: float
    seen: int
    certificates: Sequence[bytes]


class Stage:
    """One caller: its members, strangers among them, its files, and what it keeps.

    `tale` is what goes on, `hint` what to say when a call fails then, `notebook` the one to read.
    """

    _orders = itertools.count(1)

    def __init__(
        self, answer: Submission, room: Sandbox, members: int = 3, *, strangers: bool = False
    ) -> None:
        self._answer = answer
        self._authorities = [trustme.CA(), trustme.CA()]
        mine, other = self._authorities
        roots = mine.cert_pem.bytes() + other.cert_pem.bytes()
        self.log: list[Arrival] = []
        shown = [(mine, SERVICE)] * members
        if strangers:
            shown += [(mine, ELSEWHERE), (other, SERVICE)]
        every = [Member(room, self.log, by, roots, name) for by, name in shown]  # type: ignore[abstract]  # one method is enough
        self.members, self.strangers = every[:members], every[members:]
        self._list: list[str] = []  # one and the same for each call, changed in place
        self._request = inventory_pb2.ReserveStockRequest()
        self._read: list[bytes] = []
        self._shown: list[bytes] = []
        self.kept: dict[Any, Any] = {}
        self.readable, self.restless = True, False
        self.renew()
        self.tale, self.hint, self.notebook = "", "", ""
        room.enter(closing(self))  # before the members leave: they wait for who watches them

    def during(self, tale: str, hint: str, notebook: str) -> None:
        """Go on to what a call that fails now is told."""
        self.tale, self.hint, self.notebook = tale, hint, notebook

    def renew(self) -> None:
        """Replace the caller's key and certificate."""
        self._pair = pair(self._authorities[0].issue_cert(CALLER))
        self._files = *self._pair, self._authorities[0].cert_pem.bytes()

    def trust_the_other(self) -> None:
        """Replace the authority in the caller's files, and nothing else."""
        self._files = *self._pair, self._authorities[1].cert_pem.bytes()

    def read(self) -> Files:
        """Return the caller's key, its certificate and the authority, in PEM.

        Each time others, while it is `restless`.

        Raises:
            OSError: they are not `readable` now.

        """
        if not self.readable:
            msg = "the files cannot be read"
            raise OSError(msg)
        if self.restless:
            self.renew()
        self._read.append(self._files[1])
        return self._files

    def order(
        self,
        members: Sequence[Member],
        seconds: float | None = None,
        *,
        again: bool = False,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Order:
        """Call the answer with an order, and a list of these members in any order.

        The order is a new one, or the last one `again`. A member may be in the list twice.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        if not again:
            self._request = _drawn(next(self._orders))
        seconds = random.uniform(*SECONDS) if seconds is None else seconds
        listed = [each.door.target for each in members]
        self._list[:] = random.sample(listed, len(listed)) + listed[: random.randint(0, 1)]
        seen, self._read = len(self.log), [self._files[1]]
        began = time.monotonic()
        request = inventory_pb2.ReserveStockRequest()
        request.CopyFrom(self._request)
        attempt = self._answer.start(
            request, self._list, self.read, self.kept, seconds, within=seconds + LATE
        )
        meanwhile()
        outcome = attempt.outcome()
        took = time.monotonic() - began
        if self.readable:
            self._shown = self._read[-1:] if not self.restless else self._read
        return Order(self._request, seconds, outcome, began, took, seen, self._shown)

    def came(self, order: Order) -> Sequence[Arrival]:
        """Return what has arrived since a call began, which has to be the last one."""
        return self.log[order.seen :]

    def close(self) -> None:
        """Close what the answer has kept: its connections would outlive the check."""
        for value in self.kept.values():
            for each in value if isinstance(value, tuple | list) else [value]:
                if hasattr(each, "close"):
                    with suppress(Exception):  # it is the answer's own, and may be closed
                        each.close()


def _drawn(number: int) -> inventory_pb2.ReserveStockRequest:
    order = inventory_pb2.ReserveStockRequest(order_id=f"o-{number}")
    for sku in random.sample(range(100), random.randint(1, 3)):
        order.lines.add(sku=f"book-{sku}", quantity=random.randint(1, 9))
    return order

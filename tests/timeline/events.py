"""Event lists for the pictures: doubles of what a recording makes, so that each case is exact."""

from __future__ import annotations

import math
from typing import Any

from labsvc.timeline.record import Event, Kind

NAMES = {"h:1": "orders", "h:2": "stock", "h:3": "network", "h:4": "prices", "h:5": "depot"}
ADDRESS = {name: address for address, name in NAMES.items()}


class Script:
    """Writes events down; times are in milliseconds."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._flow = 0

    def add(self, at: float, party: str, kind: Kind, **more: Any) -> None:
        """Add one event."""
        self.events.append(Event(len(self.events), 50 + at / 1000, party, kind, **more))

    def call(
        self,
        begin: float,
        end: float | None,
        who: str,
        to: str,
        what: str,
        *,
        status: str = "OK",
        work: tuple[float, float | None] | None = None,
        answer: str = "",
        parent: int = 0,
        deadline: float = math.inf,
        via: str = "",
        attempt: int = 1,
        strand: int = 1,
    ) -> int:
        """Add a call and its handler; `work` is when that runs, None for never or without end."""
        self._flow += 1
        flow = self._flow
        self.add(
            begin,
            who,
            "called",
            what=what,
            flow=flow,
            parent=parent,
            target=ADDRESS.get(via or to, ""),
            attempt=attempt,
            deadline=50 + deadline / 1000,
            strand=strand,
        )
        if work is not None:
            self.add(work[0], to, "entered", what=what, flow=flow)
            if work[1] is not None:
                kind: Kind = "cancelled" if answer == "cancelled" else "left"
                detail = "" if answer == "cancelled" else answer or status
                self.add(work[1], to, kind, what=what, flow=flow, detail=detail)
        if end is not None:
            self.add(end, who, "seen", what=what, flow=flow, detail=status)
        return flow


def plain() -> Script:
    """One call that succeeds."""
    run = Script()
    flow = run.call(
        0, 42, "caller", "orders", "OrderService/PlaceOrder", work=(6, 36), deadline=300
    )
    run.add(25, "orders", "committed", flow=flow)
    return run


def four_hops() -> Script:
    """Make a chain of calls with a deadline only at its top, and work after that."""
    run = Script()
    late = "DEADLINE_EXCEEDED"
    one = run.call(
        0,
        250,
        "caller",
        "orders",
        "OrderService/PlaceOrder",
        status=late,
        work=(8, 252),
        answer="cancelled",
        deadline=250,
    )
    two = run.call(20, 700, "orders", "stock", "StockService/Reserve", work=(30, 690), parent=one)
    three = run.call(60, 610, "stock", "prices", "PriceService/Quote", work=(70, 600), parent=two)
    run.call(90, 520, "prices", "depot", "Depot/Find", work=(100, 510), parent=three)
    run.add(640, "stock", "committed", flow=two)
    return run


def lost_answer() -> Script:
    """Lose an answer at a proxy, a request of the second try, and nothing of the third."""
    run = Script()
    run.add(-30, "caller", "noted", detail="the network goes silent")
    run.add(1, "network", "connected")
    one = run.call(
        0,
        200,
        "caller",
        "orders",
        "OrderService/PlaceOrder",
        via="network",
        status="DEADLINE_EXCEEDED",
        work=(12, 60),
        answer="OK",
        deadline=200,
    )
    run.add(40, "orders", "committed", flow=one)
    for at in (66, 67, 68):
        run.add(at, "network", "swallowed")
    run.call(
        215,
        330,
        "caller",
        "orders",
        "OrderService/PlaceOrder",
        via="network",
        status="UNAVAILABLE",
        attempt=2,
        deadline=500,
    )
    run.add(216, "network", "connected")
    run.add(240, "network", "swallowed")
    run.add(330, "network", "cut")
    run.add(345, "network", "noted", detail="cleared")
    three = run.call(
        360,
        430,
        "caller",
        "orders",
        "OrderService/PlaceOrder",
        via="network",
        work=(372, 418),
        attempt=3,
        deadline=800,
    )
    run.add(361, "network", "connected")
    run.add(400, "orders", "committed", flow=three)
    return run


def tries(most: int = 3, budget: float = 250) -> Script:
    """Retries at three hops, which multiply; 27 calls at the last one."""
    run = Script()
    at = 4.0
    late = "UNAVAILABLE"
    for first in range(most):
        start = at
        one = run.call(
            start,
            None,
            "caller",
            "orders",
            "OrderService/PlaceOrder",
            attempt=first + 1,
            work=(start + 2, None),
            deadline=budget,
        )
        at += 5
        for second in range(most):
            two = run.call(
                at,
                None,
                "orders",
                "stock",
                "StockService/Reserve",
                parent=one,
                attempt=second + 1,
                work=(at + 2, None),
            )
            at += 5
            for third in range(most):
                run.call(
                    at,
                    at + 22,
                    "stock",
                    "prices",
                    "PriceService/Quote",
                    parent=two,
                    status=late,
                    attempt=third + 1,
                    work=(at + 3, at + 20),
                )
                at += 26
            run.add(at, "stock", "left", what="StockService/Reserve", flow=two, detail=late)
            run.add(at + 2, "orders", "seen", what="StockService/Reserve", flow=two, detail=late)
            at += 6
        run.add(at, "orders", "left", what="OrderService/PlaceOrder", flow=one, detail=late)
        run.add(at + 2, "caller", "seen", what="OrderService/PlaceOrder", flow=one, detail=late)
        at += 6
    return run


def nested() -> Script:
    """27 calls at once in one handler, 4 of them after its caller gave up."""
    run = Script()
    one = run.call(
        0,
        120,
        "caller",
        "orders",
        "OrderService/PlaceOrder",
        status="DEADLINE_EXCEEDED",
        work=(4, 200),
        answer="OK",
        deadline=120,
    )
    for number in range(27):
        begin = 8 + 1.5 * number + (100 if number > 22 else 0)
        run.call(
            begin,
            begin + 70,
            "orders",
            "stock",
            "StockService/Reserve",
            parent=one,
            work=(begin + 3, begin + 64),
        )
    return run


def stream() -> Script:
    """20 messages of a stream of answers."""
    run = Script()
    flow = run.call(0, 430, "caller", "orders", "OrderService/Watch", work=(5, 420), deadline=1000)
    for number in range(20):
        run.add(12 + 20 * number, "orders", "sent", what="OrderService/Watch", flow=flow)
        run.add(16 + 20 * number, "caller", "received", what="OrderService/Watch", flow=flow)
    return run


def queue() -> Script:
    """Five messages, one delivered twice, one dead-lettered, one left in the queue."""
    run = Script()

    def at_broker(at: float, kind: Kind, flow: int, target: str = "") -> None:
        run.add(at, "broker", kind, what="orders", flow=flow, target=target)

    for flow in range(1, 6):
        at_broker(20 * flow, "published", flow, "shop")
        at_broker(20 * flow + 3, "confirmed", flow, "shop")
    for flow, consumer in ((1, "mail"), (2, "ledger"), (3, "mail"), (4, "ledger")):
        at_broker(20 * flow + 30, "delivered", flow, consumer)
    at_broker(90, "acked", 1, "mail")
    at_broker(150, "requeued", 2, "ledger")
    at_broker(170, "delivered", 2, "mail")
    at_broker(240, "acked", 2, "mail")
    at_broker(180, "acked", 3, "mail")
    at_broker(210, "rejected", 4, "ledger")
    at_broker(212, "dead-lettered", 4, "ledger")
    run.add(150, "ledger", "noted", detail="loses its connection")
    return run


def many() -> Script:
    """1,000 calls from ten threads."""
    run = Script()
    for number in range(1000):
        begin = number // 10 * 11 + number % 10
        run.call(
            begin,
            begin + 9,
            "caller",
            "orders",
            "OrderService/GetOrder",
            strand=number % 10,
            work=(begin + 2, begin + 7),
        )
    return run


def one_after_the_other() -> Script:
    """1,000 calls in a row."""
    run = Script()
    for number in range(1000):
        begin = number * 5
        run.call(
            begin,
            begin + 4,
            "caller",
            "orders",
            "OrderService/GetOrder",
            work=(begin + 1, begin + 3),
        )
    return run


def once() -> Script:
    """Make the same calls as `tries`, with tries at the last hop alone, and a deadline for all."""
    run = Script()
    late = "UNAVAILABLE"
    one = run.call(
        4,
        100,
        "caller",
        "orders",
        "OrderService/PlaceOrder",
        work=(6, 98),
        deadline=250,
        status=late,
    )
    two = run.call(
        9, 96, "orders", "stock", "StockService/Reserve", parent=one, work=(11, 94), status=late
    )
    for third in range(3):
        at = 14 + 26 * third
        run.call(
            at,
            at + 22,
            "stock",
            "prices",
            "PriceService/Quote",
            parent=two,
            status=late,
            attempt=third + 1,
            work=(at + 3, at + 20),
        )
    return run


def nothing() -> Script:
    """Nothing at all."""
    return Script()


def pair() -> dict[str, Script]:
    """Return the same calls with tries everywhere, and at one hop."""
    return {"pitfall": tries(), "fix": once()}

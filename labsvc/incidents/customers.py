"""The customers: an open loop of orders that does not wait for answers, and what became of each."""

from __future__ import annotations

import random
import secrets
import threading
import time
from bisect import bisect_left
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from labsvc.loop import Loop

RATE = 6.0  # orders in a second, on average
PATIENCE = 5.0  # seconds until a customer leaves
AT_ONCE = 64
SKUS = ("tea", "mug", "pot")
USERS = 5000
KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Placed:
    """One order as its customer saw it: times in seconds of `time.monotonic`."""

    order_id: str
    start: float  # when the customer wanted it, whenever it was sent
    end: float
    status: int  # of HTTP, 0 without an answer

    @property
    def seconds(self) -> float:
        """How long the customer waited."""
        return self.end - self.start

    @property
    def confirmed(self) -> bool:
        """Whether the shop has taken it."""
        return self.status == 200  # noqa: PLR2004


class Customers:
    """Place `rate` orders a second on average, whatever the shop does, until closed.

    They end with the lab's loop, too.

    Customers know nothing of each other: the time between two orders is drawn from an exponential
    distribution, with a fixed seed.
    """

    def __init__(self, url: str, loop: Loop, rate: float = RATE) -> None:
        self._loop = loop
        self._rate = rate
        self._placed: deque[Placed] = deque(maxlen=KEPT)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=AT_ONCE)
        self._http = httpx2.Client(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False)
        self._pool = ThreadPoolExecutor(AT_ONCE, "labsvc-customer")
        self._stopping = threading.Event()
        self._due: list[float] = []
        self._thread = threading.Thread(target=self._run, name="labsvc-customers", daemon=True)
        self._thread.start()

    def since(self, moment: float) -> list[Placed]:
        """Return the orders that customers wanted from a moment on and that have ended."""
        return [each for each in list(self._placed) if each.start >= moment]

    def wanted(self, begin: float, end: float) -> int:
        """Return how many orders customers wanted in a window that is over."""
        return bisect_left(self._due, end) - bisect_left(self._due, begin)

    def close(self) -> None:
        """Send no more, and wait for the last ones."""
        self._stopping.set()
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def _run(self) -> None:
        draw, due = random.Random(7), time.monotonic()  # noqa: S311  # no secret
        for number in count():
            due += draw.expovariate(self._rate)
            self._due.append(due)
            if self._stopping.wait(max(0.0, due - time.monotonic())) or not self._loop.alive:
                return
            self._pool.submit(self._place, number, due)

    def _place(self, number: int, due: float) -> None:
        order_id = f"o-{number}-{secrets.token_hex(3)}"
        headers = {"x-order": order_id, "x-user": f"u-{number % USERS}"}
        try:
            status = self._http.post(f"/orders/{SKUS[number % 3]}", headers=headers).status_code
        except httpx2.HTTPError:
            status = 0
        self._placed.append(Placed(order_id, due, time.monotonic(), status))

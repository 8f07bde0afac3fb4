"""What a saga costs: its journal around three calls, flushed to the disk at each step."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import grpc

from labsvc import Lab, compare
from labsvc.delivery.saga import Saga
from labsvc.shop.books import Books, open_book
from labsvc.shop.checkout import AioCheckout, AioPayment, AioStock
from labsvc.shop.steps import checkout_steps
from tests.bench.bench_row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS = 1000
ROUNDS = 20
GOAL = 3.5
ORDER = {"user_id": "u-1", "sku": "book-1", "pieces": 1, "cents": 1}


def saga() -> Iterator[Row]:
    """Put a saga of three steps beside its three calls, made to the same services."""
    with Lab() as lab:
        folder = lab.folder("books")
        Books(folder, {"book-1": 10**9}, {"u-1": 10**9})
        stock = lab.serve_grpc(AioStock(open_book(folder, "stock")), name="stock")
        payment = lab.serve_grpc(AioPayment(open_book(folder, "payment")), name="payment")
        orders = lab.serve_grpc(AioCheckout(open_book(folder, "orders")), name="orders")
        channels = [grpc.insecure_channel(each.target) for each in (stock, payment, orders)]
        steps = checkout_steps(*channels, timeout=5)
        numbers = itertools.count()

        def bare() -> None:
            order_id = f"o-{next(numbers)}"
            for step in steps:
                step.action(order_id, ORDER)

        with closing(sqlite3.connect(folder / "sagas.db")) as db:
            orchestrator = Saga(db, steps)

            def through_it() -> None:
                orchestrator.run(f"o-{next(numbers)}", ORDER)

            measured = compare({"saga": through_it, "bare": bare}, calls=CALLS, rounds=ROUNDS)
        for channel in channels:
            channel.close()
    ratio, q = measured.ratio("saga", "bare"), measured.quantiles
    detail = (
        f"p50 {q['saga'].p50 * 1e6:.0f} us against {q['bare'].p50 * 1e6:.0f} us,"
        f" 95 % interval {ratio.low:.2f} to {ratio.high:.2f}; 7 flushes against 3"
    )
    yield Row("saga of three steps, over its calls alone", ratio.value, GOAL, "x", detail)


PARTS: list[Callable[[], Iterator[Row]]] = [saga]

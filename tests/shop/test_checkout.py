"""The checkout over three services: what each call does, and how the steps call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.cells import outcome
from labsvc.delivery.barrier import Barrier
from labsvc.delivery.saga import Refused
from labsvc.lab import Lab
from labsvc.shop.books import Books, open_book
from labsvc.shop.checkout import AioCheckout, AioPayment, AioStock, NoGuard
from labsvc.shop.steps import checkout_steps
from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc, order_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labsvc.delivery.saga import Step
    from labsvc.shop.books import Service

ORDER = {"user_id": "u-1", "sku": "book", "pieces": 2, "cents": 1500}
SERVICERS: dict[Service, Any] = {"stock": AioStock, "payment": AioPayment, "orders": AioCheckout}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run the services."""
    with Lab() as running:
        yield running


class Shop:
    """The three services on fresh books, their channels and steps."""

    def __init__(self, lab: Lab, folder: Path, guard: Any) -> None:
        self.books = Books(folder, {"book": 5, "pen": 1}, {"u-1": 2000, "u-2": 0})
        self.channels = []
        self.dbs = []
        for name, servicer in SERVICERS.items():
            db = open_book(folder, name)
            self.dbs.append(db)
            served = lab.serve_grpc(servicer(db, guard(db)), name=name)
            self.channels.append(grpc.insecure_channel(served.target))
        self.steps: list[Step] = checkout_steps(*self.channels, timeout=10)

    def close(self) -> None:
        """Close what was opened."""
        for channel in self.channels:
            channel.close()
        for db in self.dbs:
            db.close()


@pytest.fixture
def shop(lab: Lab, tmp_path: Path) -> Iterator[Shop]:
    """Open a shop behind barriers."""
    opened = Shop(lab, tmp_path, Barrier)
    yield opened
    opened.close()


def test_an_order_and_its_way_back(shop: Shop) -> None:
    """Three steps make an order that adds up; each one less is told, and undone there is none."""
    wrong = []
    for step in shop.steps:
        step.action("o-1", ORDER)
        wrong.append(shop.books.wrong())
    assert wrong == [
        {"o-1": "2 pieces for 0 ordered, 0 cents for 0"},
        {"o-1": "2 pieces for 0 ordered, 1500 cents for 0"},
        {},
    ]
    assert (shop.books.available(), shop.books.orders()) == (4, 1)
    for step in reversed(shop.steps):
        step.compensation("o-1", ORDER)
    assert (shop.books.wrong(), shop.books.available(), shop.books.orders()) == ({}, 6, 0)


@pytest.mark.parametrize("number", range(3))
def test_calls_that_come_again_or_too_late(shop: Shop, number: int) -> None:
    """Behind a barrier an action counts once, and none after its compensation."""
    step = shop.steps[number]
    before = shop.books.wrong()
    step.action("o-1", ORDER)
    once = shop.books.wrong()
    step.action("o-1", ORDER)
    assert shop.books.wrong() == once != before
    for _ in range(2):
        step.compensation("o-1", ORDER)
        assert shop.books.wrong() == before
    with pytest.raises(Refused, match="of o-1 was compensated before it came"):
        step.action("o-1", ORDER)
    assert shop.books.wrong() == before


@pytest.mark.parametrize(
    ("number", "change", "text"),
    [
        (0, {"pieces": 6}, "6 of book are not in stock"),
        (0, {"sku": "none"}, "2 of none are not in stock"),
        (1, {"user_id": "u-2"}, "u-2 does not have 1500 cents"),
        (1, {"user_id": "nobody"}, "nobody does not have 1500 cents"),
    ],
)
def test_what_is_refused_changes_nothing(
    shop: Shop, number: int, change: dict[str, Any], text: str
) -> None:
    """There is too little: a definite no."""
    with pytest.raises(Refused, match=text):
        shop.steps[number].action("o-1", ORDER | change)
    assert shop.books.wrong() == {}


def test_all_lines_or_none(shop: Shop) -> None:
    """The first line is put back when the second one is refused."""
    lines = [
        order_pb2.OrderLine(sku="book", quantity=1),
        order_pb2.OrderLine(sku="pen", quantity=2),
    ]
    request = inventory_pb2.ReserveStockRequest(order_id="o-1", lines=lines)
    stub = inventory_pb2_grpc.InventoryServiceStub(shop.channels[0])
    assert outcome(stub.ReserveStock, request, timeout=10) == "FAILED_PRECONDITION"
    assert (shop.books.available(), shop.books.wrong()) == (6, {})


def test_what_may_have_happened_is_no_refusal(shop: Shop, lab: Lab) -> None:
    """An error of the network is raised as it is."""
    lab.remove("payment")
    with pytest.raises(grpc.RpcError):
        shop.steps[1].action("o-1", ORDER)


def test_without_a_guard(lab: Lab, tmp_path: Path) -> None:
    """Each call does what it says, each time."""
    shop = Shop(lab, tmp_path, NoGuard)
    for _ in range(2):
        shop.steps[0].action("o-1", ORDER)
    assert shop.books.wrong() == {"o-1": "4 pieces for 0 ordered, 0 cents for 0"}
    shop.steps[0].compensation("o-1", ORDER)
    shop.steps[0].action("o-1", ORDER)
    assert shop.books.available() == 4
    shop.close()


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    """Pieces and cents that belong to no order and to nobody are missed."""
    books = Books(tmp_path, {"book": 5}, {"u-1": 2000})
    for service, sql in (
        ("stock", "UPDATE goods SET available = 4"),
        ("payment", "UPDATE accounts SET cents = 1990"),
    ):
        with open_book(tmp_path, service) as db:  # type: ignore[arg-type]
            db.execute(sql)
        db.close()
    assert books.wrong() == {"": "1 pieces and 10 cents are lost"}


def test_books_are_kept(tmp_path: Path) -> None:
    """Books that are opened again are as they were, and each commit is flushed."""
    Books(tmp_path, {"book": 5}, {})
    with open_book(tmp_path, "stock") as db:
        db.execute("UPDATE goods SET available = 3")
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    db.close()
    assert Books(tmp_path, {"book": 5}, {}).available() == 3

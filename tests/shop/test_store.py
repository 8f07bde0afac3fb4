"""Tests of the shop's tables."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from labsvc.shop.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    OutOfStock,
    ShopError,
    Unavailable,
)
from labsvc.shop.model import NewOrder, Order, OrderLine, OrderStatus
from labsvc.shop.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOK = OrderLine("book-1", 2)
LAMP = OrderLine("lamp-1", 3)


@pytest.fixture
def store() -> Iterator[Store]:
    """Open a fresh seeded store in memory."""
    with Store.seeded() as opened:
        yield opened


def _order(order_id: str = "o-1", *lines: OrderLine) -> Order:
    return Order(order_id, "u-1", lines or (BOOK,), OrderStatus.PLACED, 2500)


def test_seed_has_users_in_any_script(store: Store) -> None:
    """The seed is found and read as UTF-8."""
    assert store.user("u-3").name == "第三位顾客"


def test_unknown_keys_are_not_found(store: Store) -> None:
    """A well-formed key that nothing has is NotFound, everywhere."""
    for ask in (
        lambda: store.user("u-9"),
        lambda: store.stock("no-such"),
        lambda: store.total_cents((OrderLine("no-such", 1),)),
        lambda: store.reserve("o-1", (OrderLine("no-such", 1),)),
    ):
        with pytest.raises(NotFound):
            ask()
    assert store.find_order("o-9") is None


@pytest.mark.parametrize("key", ["", "a b", "x" * 65, "é", "\ud800", "a\n", "'; DROP TABLE users"])
def test_malformed_keys_are_refused(store: Store, key: str) -> None:
    """A key of other characters or length never reaches SQL."""
    for ask in (store.user, store.stock, store.find_order, store.orders_of, store.release):
        with pytest.raises(InvalidArgument):
            ask(key)


@pytest.mark.parametrize("quantity", [0, -1, 1001, -(2**31), 2**31 - 1])
def test_quantity_has_bounds(quantity: int) -> None:
    """A line outside 1 to 1000 pieces cannot be made."""
    with pytest.raises(InvalidArgument, match="quantity"):
        OrderLine("book-1", quantity)


def test_lines_have_bounds() -> None:
    """No line, a hundred and one lines, or a SKU twice cannot be ordered; a hundred can."""
    many = tuple(OrderLine(f"s-{n}", 1) for n in range(101))
    for lines in ((), many, (BOOK, OrderLine("book-1", 1))):
        with pytest.raises(InvalidArgument):
            NewOrder("o-1", "u-1", lines)
    assert len(NewOrder("o-1", "u-1", many[:100]).lines) == 100


def test_reserve_takes_all_lines_or_none(store: Store) -> None:
    """A second line without stock leaves the first untouched."""
    before = store.stock("book-1")
    with pytest.raises(OutOfStock, match="6 of lamp-1 wanted, 5 left"):
        store.reserve("o-1", (BOOK, OrderLine("lamp-1", 6)))
    with pytest.raises(NotFound):
        store.reserve("o-1", (BOOK, OrderLine("no-such", 1)))
    assert store.stock("book-1") == before


def test_reserve_and_release_are_idempotent(store: Store) -> None:
    """The same reservation twice takes goods once; a release twice gives them back once."""
    store.reserve("o-1", (LAMP, BOOK))
    store.reserve("o-1", (BOOK, LAMP))
    assert store.stock("lamp-1") == 2
    with pytest.raises(AlreadyExists):
        store.reserve("o-1", (BOOK,))
    store.release("o-1")
    store.release("o-1")
    assert store.stock("lamp-1") == 5


def test_many_threads_never_oversell(store: Store) -> None:
    """Twenty buyers of five lamps at once: five get one, the stock ends at nothing."""
    barrier = threading.Barrier(20)

    def buy(number: int) -> str:
        barrier.wait(10)
        try:
            store.reserve(f"o-{number}", (OrderLine("lamp-1", 1),))
        except OutOfStock:
            return "refused"
        return "sold"

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(buy, range(20)))
    assert results.count("sold") == 5
    assert store.stock("lamp-1") == 0


def test_order_is_read_back_as_written(store: Store) -> None:
    """An order keeps its lines in their order; a second one with its id is refused."""
    store.add_order(_order("o-1", LAMP, BOOK))
    assert store.find_order("o-1") == _order("o-1", LAMP, BOOK)
    with pytest.raises(AlreadyExists):
        store.add_order(_order("o-1", BOOK))
    assert store.find_order("o-1") == _order("o-1", LAMP, BOOK)


def test_newest_orders_come_first_and_are_limited(store: Store) -> None:
    """The list holds the newest orders only."""
    for number in range(5):
        store.add_order(_order(f"o-{number}"))
    assert [one.order_id for one in store.orders_of("u-1", limit=3)] == ["o-4", "o-3", "o-2"]
    assert store.orders_of("u-2") == []


def test_failed_write_leaves_nothing_behind(store: Store) -> None:
    """A line that SQLite refuses takes the order's head with it, and the store goes on."""
    line = OrderLine("book-1", 1)
    object.__setattr__(line, "sku", None)
    with pytest.raises(sqlite3.IntegrityError):
        store.add_order(_order("o-1", BOOK, line))
    assert store.find_order("o-1") is None
    store.add_order(_order("o-1"))
    assert store.find_order("o-1") is not None


def test_file_keeps_orders(tmp_path: Path) -> None:
    """A store in a file is there again after a restart, and seeding does not restock it."""
    with Store.seeded(tmp_path / "shop.db") as store:
        store.reserve("o-1", (LAMP,))
        store.add_order(_order("o-1", LAMP))
    with Store.seeded(tmp_path / "shop.db") as store:
        assert store.find_order("o-1") == _order("o-1", LAMP)
        assert store.stock("lamp-1") == 2


def test_locked_file_is_unavailable(tmp_path: Path) -> None:
    """Another process holds the file: Unavailable, nothing is taken, and later it works."""
    with Store.seeded(tmp_path / "shop.db") as store:
        other = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="send the same request again"):
            store.reserve("o-1", (LAMP,))
        other.execute("ROLLBACK")
        other.close()
        assert store.stock("lamp-1") == 5
        store.reserve("o-1", (LAMP,))


def test_definite_says_whether_anything_may_have_happened() -> None:
    """Only the two indefinite errors leave the outcome open."""
    indefinite = {kind.__name__ for kind in ShopError.__subclasses__() if not kind.definite}
    assert indefinite == {"Unavailable", "DeadlineExceeded"}

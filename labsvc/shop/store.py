"""Users, stock, prices and orders in SQLite.

Every write is one transaction, begun and ended without an `await` in between: a request that is
cancelled is either wholly in the store or not at all.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from labsvc.shop.errors import AlreadyExists, NotFound, OutOfStock, Unavailable
from labsvc.shop.model import Order, OrderLine, OrderStatus, User, check_id, check_lines
from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    user_id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stock (
    sku TEXT PRIMARY KEY, available INTEGER NOT NULL CHECK (available BETWEEN 0 AND 2147483647)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prices (
    sku TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (
    order_id TEXT, sku TEXT, quantity INTEGER NOT NULL, PRIMARY KEY (order_id, sku)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY, order_id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL,
    status TEXT NOT NULL, total_cents INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS orders_by_user ON orders (user_id, number);
CREATE TABLE IF NOT EXISTS order_lines (
    order_id TEXT, position INTEGER, sku TEXT NOT NULL, quantity INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT, WITHOUT ROWID;
"""

# A wheel carries the seed inside the package; a checkout keeps it in data/.
_SEED = Path(__file__).with_name("seed")
if not _SEED.is_dir():
    _SEED = Path(__file__).parents[2] / "data" / "shop"


class Store:
    """The shop's tables; safe to use from several threads, one connection behind one lock.

    `path` is a file, or ":memory:" for tables that live as long as the object. The methods block
    for some tens of microseconds in memory, so the event loop calls them directly. Every method
    raises Unavailable if SQLite itself cannot go on.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=0.1, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._db.close)  # a cell that runs twice forgets the first store
        self._db.executescript(_SCHEMA)

    @classmethod
    def seeded(cls, path: str | Path = ":memory:") -> Self:
        """Open a store that holds the users, stock and prices of data/shop.

        Rows that are there already stay as they are.
        """
        store = cls(path)
        users = json.loads((_SEED / "users.json").read_text(encoding="utf-8"))
        goods = json.loads((_SEED / "stock.json").read_text(encoding="utf-8"))
        with store._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO users VALUES (:user_id, :name, :email)", users)
            db.executemany("INSERT OR IGNORE INTO stock VALUES (:sku, :available)", goods)
            db.executemany("INSERT OR IGNORE INTO prices VALUES (:sku, :price_cents)", goods)
        return store

    def close(self) -> None:
        """Close the database; a store in memory is gone. Closing twice is allowed."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and write all or nothing."""
        with self._lock, _trouble_as_shop_error():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
                if (tape := record.current()) is not None:
                    tape.add("committed")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self._lock, _trouble_as_shop_error():
            return self._db.execute(sql, values).fetchall()

    def user(self, user_id: str) -> User:
        """Return one user. Raises InvalidArgument, NotFound."""
        check_id("user_id", user_id)
        rows = self._rows("SELECT user_id, name, email FROM users WHERE user_id = ?", user_id)
        if not rows:
            msg = f"no user {user_id}; check the user_id"
            raise NotFound(msg)
        return User(*rows[0])

    def stock(self, sku: str) -> int:
        """Return how many pieces can be reserved. Raises InvalidArgument, NotFound."""
        check_id("sku", sku)
        rows = self._rows("SELECT available FROM stock WHERE sku = ?", sku)
        if not rows:
            msg = f"no sku {sku}; check the sku"
            raise NotFound(msg)
        return int(rows[0][0])

    def reserve(self, order_id: str, lines: tuple[OrderLine, ...]) -> None:
        """Take the goods of one order out of stock: all lines, or nothing.

        AioIdempotent by order_id. Raises InvalidArgument, NotFound, OutOfStock, and AlreadyExists
        if the order holds other goods.
        """
        check_id("order_id", order_id)
        check_lines(lines)
        with self._transaction() as db:
            held = db.execute(
                "SELECT sku, quantity FROM reservations WHERE order_id = ?", (order_id,)
            ).fetchall()
            if held:
                if {OrderLine(*row) for row in held} != set(lines):
                    msg = f"order {order_id} holds other goods; use a new order_id"
                    raise AlreadyExists(msg)
                return
            for line in lines:
                taken = db.execute(
                    "UPDATE stock SET available = available - :n WHERE sku = :sku "
                    "AND available >= :n",
                    {"n": line.quantity, "sku": line.sku},
                )
                if taken.rowcount == 0:
                    raise _refusal(db, line)
            db.executemany(
                "INSERT INTO reservations VALUES (?, ?, ?)",
                [(order_id, line.sku, line.quantity) for line in lines],
            )

    def release(self, order_id: str) -> None:
        """Put the goods of one order back; nothing happens if it holds none.

        Raises InvalidArgument.
        """
        check_id("order_id", order_id)
        with self._transaction() as db:
            held = db.execute(
                "DELETE FROM reservations WHERE order_id = ? RETURNING quantity, sku", (order_id,)
            ).fetchall()
            db.executemany("UPDATE stock SET available = available + ? WHERE sku = ?", held)

    def total_cents(self, lines: tuple[OrderLine, ...]) -> int:
        """Return today's price of all lines, in cents. Raises NotFound for an unknown SKU."""
        marks = ",".join("?" * len(lines))
        rows = self._rows(
            f"SELECT sku, cents FROM prices WHERE sku IN ({marks})",  # noqa: S608 - marks only
            *(line.sku for line in lines),
        )
        cents: dict[str, int] = dict(rows)
        for line in lines:
            if line.sku not in cents:
                msg = f"no sku {line.sku}; check the sku"
                raise NotFound(msg)
        return sum(line.quantity * cents[line.sku] for line in lines)

    def add_order(self, order: Order) -> None:
        """Write one order with its lines. Raises AlreadyExists if the id is taken."""
        with self._transaction() as db:
            try:
                db.execute(
                    "INSERT INTO orders (order_id, user_id, status, total_cents) "
                    "VALUES (?, ?, ?, ?)",
                    (order.order_id, order.user_id, order.status.value, order.total_cents),
                )
            except sqlite3.IntegrityError:
                msg = f"order {order.order_id} exists; use a new order_id"
                raise AlreadyExists(msg) from None
            db.executemany(
                "INSERT INTO order_lines VALUES (?, ?, ?, ?)",
                [
                    (order.order_id, position, line.sku, line.quantity)
                    for position, line in enumerate(order.lines)
                ],
            )

    def find_order(self, order_id: str) -> Order | None:
        """Return one order, or None. Raises InvalidArgument."""
        check_id("order_id", order_id)
        found = self._orders("order_id = ?", order_id, limit=1)
        return found[0] if found else None

    def orders_of(self, user_id: str, limit: int = 100) -> list[Order]:
        """Return the newest orders of one user, the newest first. Raises InvalidArgument."""
        check_id("user_id", user_id)
        return self._orders("user_id = ?", user_id, limit=limit)

    def _orders(self, where: str, key: str, *, limit: int) -> list[Order]:
        # One statement reads orders and lines, so a write in between cannot tear them apart.
        rows = self._rows(
            "SELECT o.order_id, o.user_id, o.status, o.total_cents, l.sku, l.quantity "  # noqa: S608
            f"FROM (SELECT * FROM orders WHERE {where} ORDER BY number DESC LIMIT ?) o "
            "JOIN order_lines l USING (order_id) ORDER BY o.number DESC, l.position",
            key,
            limit,
        )
        lines: dict[tuple[str, str, str, int], list[OrderLine]] = {}
        for *head, sku, quantity in rows:
            lines.setdefault(tuple(head), []).append(OrderLine(sku, quantity))
        return [
            Order(order_id, user_id, tuple(goods), OrderStatus(status), total_cents)
            for (order_id, user_id, status, total_cents), goods in lines.items()
        ]


@contextmanager
def _trouble_as_shop_error() -> Iterator[None]:
    """Say Unavailable when the file is locked by another process, or the disk is full."""
    try:
        yield
    except sqlite3.OperationalError as error:
        msg = f"the store cannot answer now ({error}); send the same request again"
        raise Unavailable(msg) from error


def _refusal(db: sqlite3.Connection, line: OrderLine) -> NotFound | OutOfStock:
    row = db.execute("SELECT available FROM stock WHERE sku = ?", (line.sku,)).fetchone()
    if row is None:
        return NotFound(f"no sku {line.sku}; check the sku")
    return OutOfStock(f"{line.quantity} of {line.sku} wanted, {row[0]} left; order fewer")

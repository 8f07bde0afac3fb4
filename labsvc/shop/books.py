"""The books of a checkout, which is spread over three services: goods, money and orders.

Each service has a SQLite file of its own, flushed to the disk at each commit. Nobody can change two
of them in one transaction; only who audits them may look into all three.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Service = Literal["stock", "payment", "orders"]

_SCHEMAS: dict[Service, str] = {
    "stock": """
        CREATE TABLE IF NOT EXISTS goods (
            sku TEXT PRIMARY KEY, available INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS held (
            order_id TEXT NOT NULL, sku TEXT NOT NULL, pieces INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX IF NOT EXISTS held_by_order ON held (order_id);
    """,
    "payment": """
        CREATE TABLE IF NOT EXISTS accounts (
            user_id TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS payments (
            order_id TEXT NOT NULL, user_id TEXT NOT NULL, cents INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX IF NOT EXISTS payments_by_order ON payments (order_id);
    """,
    "orders": """
        CREATE TABLE IF NOT EXISTS orders (
            order_id TEXT NOT NULL, user_id TEXT NOT NULL, pieces INTEGER NOT NULL,
            cents INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX IF NOT EXISTS orders_by_id ON orders (order_id);
    """,
}


def open_book(folder: Path, service: Service) -> sqlite3.Connection:
    """Open the file of one service, and make it if need be; for all threads."""
    db = sqlite3.connect(folder / f"{service}.db", timeout=5, check_same_thread=False)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _SCHEMAS[service])
    return db


class Books:
    """What the three services hold together: filled at the start, added up at the end.

    Args:
        folder: where the files are, or shall be.
        goods: pieces of each SKU, put into a new stock.
        accounts: cents of each user, put into new accounts.

    """

    def __init__(self, folder: Path, goods: Mapping[str, int], accounts: Mapping[str, int]) -> None:
        self.folder = folder
        self._pieces = sum(goods.values())
        self._cents = sum(accounts.values())
        with closing(open_book(folder, "stock")) as db, db:
            db.executemany("INSERT OR IGNORE INTO goods VALUES (?, ?)", goods.items())
        with closing(open_book(folder, "payment")) as db, db:
            db.executemany("INSERT OR IGNORE INTO accounts VALUES (?, ?)", accounts.items())
        open_book(folder, "orders").close()

    def available(self) -> int:
        """Return how many pieces can be ordered."""
        return self._sum("stock", "SELECT 'all', available FROM goods").total()

    def orders(self) -> int:
        """Return how many orders there are."""
        return self._sum("orders", "SELECT 'all', 1 FROM orders").total()

    def wrong(self) -> dict[str, str]:
        """Return what is wrong with which order: it holds goods and has paid, or neither.

        The key of what adds up to no order is "".
        """
        held = self._sum("stock", "SELECT order_id, pieces FROM held")
        paid = self._sum("payment", "SELECT order_id, cents FROM payments")
        pieces = self._sum("orders", "SELECT order_id, pieces FROM orders")
        cents = self._sum("orders", "SELECT order_id, cents FROM orders")
        found = {
            order_id: (
                f"{held[order_id]} pieces for {pieces[order_id]} ordered,"
                f" {paid[order_id]} cents for {cents[order_id]}"
            )
            for order_id in sorted({*held, *paid, *pieces})
            if (held[order_id], paid[order_id]) != (pieces[order_id], cents[order_id])
        }
        lost_pieces = self._pieces - self.available() - held.total()
        accounts = self._sum("payment", "SELECT user_id, cents FROM accounts")
        lost_cents = self._cents - accounts.total() - paid.total()
        if lost_pieces or lost_cents:
            found[""] = f"{lost_pieces} pieces and {lost_cents} cents are lost"
        return found

    def _sum(self, service: Service, sql: str) -> Counter[str]:
        sums: Counter[str] = Counter()
        with closing(open_book(self.folder, service)) as db:
            for name, number in db.execute(sql):
                sums[name] += number
        return sums

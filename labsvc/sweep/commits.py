"""A SQLite connection on which each commit is a point."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from labsvc.sweep.points import Kind

CHANGES = ("INSERT", "REPLACE", "UPDATE", "DELETE")


def watched(path: Path, reach: Callable[[Kind], None]) -> sqlite3.Connection:
    """Open a database, and call `reach` before and after each of its commits."""
    db = sqlite3.connect(path, factory=_Watched, check_same_thread=False)
    db.reach = reach
    return db


class _Watched(sqlite3.Connection):
    reach: Callable[[Kind], None]

    def commit(self) -> None:
        if self.in_transaction:
            self.reach("commit")
            super().commit()
            self.reach("committed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        if kind is None:
            self.commit()
        else:
            self.rollback()
        return False

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Statements)

    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)


class _Statements(sqlite3.Cursor):
    """A statement may commit: COMMIT, and a change where no transaction is begun for it."""

    connection: _Watched

    def execute(self, sql: str, *args: Any) -> Self:
        if not self._commits(sql):
            return super().execute(sql, *args)
        self.connection.reach("commit")
        super().execute(sql, *args)
        self.connection.reach("committed")
        return self

    def _commits(self, sql: str) -> bool:
        word = sql.strip(" \n\t;").upper().partition(" ")[0]
        db = self.connection
        alone = db.isolation_level is None and not db.in_transaction
        return word in ("COMMIT", "END") or (alone and word in CHANGES)

"""The file of the store: its tables, and how it is opened.

Write-ahead log with `synchronous=NORMAL`: a commit survives a kill of the process at any
moment. It is not flushed to the disk, so a power cut may take the last commits with it, in
one piece. With `flush` it is FULL: each commit waits for the disk, and survives that too
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "broker.db"
VERSION = 1  # of the tables

_TABLES = """
BEGIN;
CREATE TABLE exchanges (
    vhost TEXT, name TEXT, kind TEXT, auto_delete INTEGER, internal INTEGER, arguments BLOB,
    PRIMARY KEY (vhost, name)
) WITHOUT ROWID;
CREATE TABLE queues (
    id INTEGER PRIMARY KEY, vhost TEXT, name TEXT, auto_delete INTEGER, arguments BLOB
);
CREATE TABLE bindings (
    vhost TEXT, source TEXT, destination TEXT, to_exchange INTEGER, key TEXT, arguments BLOB,
    PRIMARY KEY (vhost, source, destination, to_exchange, key, arguments)
) WITHOUT ROWID;
CREATE TABLE messages (id INTEGER PRIMARY KEY, route BLOB, header BLOB, body BLOB);
CREATE TABLE entries (
    queue INTEGER, position INTEGER, message INTEGER, deliveries INTEGER, expires REAL,
    PRIMARY KEY (queue, position)
) WITHOUT ROWID;
CREATE TABLE ends (clean INTEGER);
INSERT INTO ends VALUES (0);
PRAGMA user_version = 1;
COMMIT;
"""


def open_database(file: Path, *, flush: bool) -> sqlite3.Connection:
    """Open the file, made if need be, in autocommit mode; nobody else can use it then.

    Args:
        file: where it is.
        flush: each commit waits until it is on the disk.

    Raises:
        LabError: another broker uses it, or it cannot be read.

    """
    database = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        _prepare(database, file, "FULL" if flush else "NORMAL")
    except BaseException as error:
        database.close()
        if not isinstance(error, sqlite3.Error):
            raise
        msg = f"{file} cannot be used ({error}); a folder serves one broker at a time"
        raise LabError(msg) from error
    return database


def _prepare(database: sqlite3.Connection, file: Path, synchronous: str) -> None:
    database.execute("PRAGMA locking_mode=EXCLUSIVE")  # a second broker is refused
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA synchronous={synchronous}")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if not version:
        database.executescript(_TABLES)
    elif version != VERSION:
        msg = f"{file} is of another version of labsvc; take another folder, or remove it"
        raise LabError(msg)
    database.execute("DELETE FROM messages WHERE id NOT IN (SELECT message FROM entries)")

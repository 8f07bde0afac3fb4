"""The end of a turn of the loop: what happened is stored, in one commit, then answers go out."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Protocol

from labsvc.amqp.rules.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.amqp.rules.clock import Timer
    from labsvc.amqp.storage.store import Store

RETRY_SECONDS = 1.0  # until the next try to store, on a disk that was full

logger = logging.getLogger("labsvc.amqp")


class Writer(Protocol):
    """Somebody who has collected what is to be written to a socket."""

    def write(self) -> None:
        """Write it."""


class GroupCommit:
    """The writers of this turn, over all connections.

    Nothing is written before the changes that caused it are stored. Changes wait for the
    other sockets that are ready now, so that all of them share one commit.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.writers: list[Writer] = []
        self._store = store
        self._waiting = False

    def flush(self) -> None:
        """Write, when it is stored what caused it."""
        if self._store is None or not self._store.pending:
            self._write()
        elif not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_soon(self._settle)

    def commit(self) -> bool:
        """Store the changes now; return whether they are stored."""
        if self._store is None:
            return True
        try:
            self._store.commit()
        except sqlite3.Error as error:
            logger.warning("cannot store (%s): nothing is answered until that works", error)
            return False
        return True

    def _settle(self) -> None:
        self._waiting = False
        if self.commit():
            self._write()
        else:
            self._waiting = True
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._settle)

    def _write(self) -> None:
        while self.writers:
            self.writers.pop().write()


class TurnClock(LoopClock):
    """What happens in time is a turn of its own: its changes are stored, then written."""

    def __init__(self, group_commit: GroupCommit) -> None:
        self._group_commit = group_commit
        self._stopped = False

    def stop(self) -> None:
        """Let nothing happen any more."""
        self._stopped = True

    def call_at(self, when: float, act: Callable[[], None]) -> Timer:
        """Call `act` once, at a time or soon after it."""

        def turn() -> None:
            if not self._stopped:
                act()
                self._group_commit.flush()

        return super().call_at(when, turn)

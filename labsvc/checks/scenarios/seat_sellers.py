"""The other processes of exercise 52: one that comes in between, two that wait for a third buyer.

How long one of them is waited for is counted in looks, and not in seconds: where programs queue for
a core, a look takes longer too.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from labsvc.checks.scenarios.box_office import LOOK_SECONDS, looks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.scenarios.box_office import Hall
    from labsvc.sweep import Ended, Run
    from labsvc.sweep.child import Child

LOOKS_AT_HANG = 700  # four seconds
# Longer than that: who waits for a lease to end either hangs, or sells while its holder is held up.
LOOKS_AT_RIVAL = 1000
STATEMENTS = 20  # of one that neither ends nor waits for a lock, but asks again and again
LOOKS_AT_HELD = 200  # a second, in which somebody else keeps the row from two sellers


class Seller:
    """A process that sells, beside the one at which faults strike."""

    def __init__(
        self, hall: Hall, run: Run, sell: Callable[..., Any], seat: str, buyer: str
    ) -> None:
        self._hall = hall
        self._run = run
        self._sell = sell
        self._seat = seat
        self._buyer = buyer
        self._child: Child | None = None

    def overtake(self) -> None:
        """Sell while another one is held up, and return when that is done, or cannot be."""
        with suppress(psycopg.Error):  # the case was given up meanwhile
            self._overtake()

    def _overtake(self) -> None:
        for_nothing = self._hall.is_locked()  # who is held up keeps its locks for as long
        child = self.started()
        while not child.has_ended() and self._hall.sessions() < 2:  # noqa: PLR2004  # both
            time.sleep(LOOK_SECONDS)
        statements = set()
        for _ in looks(LOOKS_AT_RIVAL):
            statements.add(self._hall.last_statement())
            if child.has_ended() or self._hall.waiting():
                return
            if for_nothing and len(statements) > STATEMENTS:
                return

    def end(self) -> Ended | None:
        """Return how it ended, started now if it was not before; None if it does not end."""
        child = self.started()
        while not child.has_ended() and not self._hall.sessions():  # it starts
            time.sleep(LOOK_SECONDS)
        for _ in looks(LOOKS_AT_HANG):
            self._hall.sessions()  # a question, so that a look takes as long as one does now
            if child.has_ended():
                return child.wait()
        child.kill()
        return None

    def started(self) -> Child:
        """Return its process, started now if it was not before."""
        if self._child is None:
            self._child = self._run.beside(self._sell, self._hall.dsn, self._seat, self._buyer)
        return self._child


def keep_waiting(hall: Hall, seat: str, sellers: Sequence[Seller]) -> None:
    """Hold a seat as another buyer does until all of them wait, and a second longer; then undo it.

    One that does not wait has ended, or asks again and again.
    """
    with hall.held(seat):
        children = [each.started() for each in sellers]
        statements = set()
        while hall.sessions() < len(sellers) and not any(each.has_ended() for each in children):
            statements.add(hall.last_statement())
            if len(statements) > STATEMENTS:  # of one that does not stay connected
                break
            time.sleep(LOOK_SECONDS)
        for _ in looks(LOOKS_AT_HANG):
            statements.add(hall.last_statement())
            settled = hall.waiting() + [each.has_ended() for each in children].count(True)
            if settled == len(children) or len(statements) > STATEMENTS:
                break
        for _ in looks(LOOKS_AT_HELD):
            if all(each.has_ended() for each in children):
                break

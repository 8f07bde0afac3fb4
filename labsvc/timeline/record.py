"""The tape: what happens at the boundaries of the lab, noted as events while somebody records.

Whoever owns a boundary asks `current()`, which is None as long as nobody records, and adds what it
sees. `here` is who is acting: a service while its handler runs, else the caller in the cell.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
import weakref
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import Token

    Noted = tuple[int, float, "Here", int, "Kind", str, str, dict[str, Any]]

Kind = Literal[
    "called",  # at the caller: a call begins
    "seen",  # at the caller: its status is known
    "entered",  # at the service: the handler begins
    "left",  # the handler ended, with this status
    "cancelled",  # the handler was told to stop
    "sent",  # a message of a stream was handed over, at either end
    "received",  # a message of a stream was taken, at either end
    "committed",  # a transaction of the store took effect
    "connected",  # a proxy took a connection
    "refused",  # a proxy has no connection for who comes
    "delayed",  # a proxy holds bytes back
    "swallowed",  # a proxy loses bytes, and tells nobody
    "cut",  # a proxy resets the connection
    "published",  # the broker got a message
    "confirmed",  # the broker took responsibility for it
    "rejected",  # the broker did not take it, or a consumer sent it away for good
    "returned",  # no queue wanted it
    "delivered",  # the broker handed it to a consumer
    "acked",  # the consumer is done with it
    "requeued",  # it is in its queue again
    "dead-lettered",  # it went to the dead letter exchange
    "expired",  # its time in the queue was up
    "noted",  # the notebook says what it does now
]

MOST = 20_000  # events kept, about 8 MB
CALLER = "caller"


class Here(NamedTuple):
    """Who acts, and in the handler of which call (0 outside of any)."""

    party: str
    flow: int


@dataclass(slots=True)
class Event:
    """What happened at one moment, at one party.

    Attributes:
        number: counts the events in the order in which they were added.
        at: seconds on the clock of `time.perf_counter`.
        party: who: a service, a proxy, the broker, a caller.
        kind: what happened.
        what: the method ("OrderService/PlaceOrder", "POST /orders") or the queue.
        detail: the status, the fault, the words of a note.
        flow: the call or message it belongs to, 0 for none; the same number at every party.
        parent: of "called": the call in whose handler the caller is, 0 outside of any.
        strand: the thread or asyncio task in which it happened: its events have an order.
        deadline: of "called": when the caller gives up, on the clock of `at`; infinite for never.
        target: of "called": the address that the caller uses, as far as it is known. Of what a
            broker tells: the connection of the publisher or consumer, by its name.
        attempt: of "called" and "entered": which try of the same call this is, from 1.

    """

    number: int
    at: float
    party: str
    kind: Kind
    what: str = ""
    detail: str = ""
    flow: int = 0
    parent: int = 0
    strand: int = 0
    deadline: float = math.inf
    target: str = ""
    attempt: int = 1


class Tape:
    """Events as they come, from any thread; the oldest are dropped where there are too many."""

    def __init__(self, most: int = MOST) -> None:
        self._noted: deque[Noted] = deque(maxlen=most)
        self._numbers = itertools.count()
        self._flows = itertools.count(1)
        self._of: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        # By strand, handler and method: the request and the number of the last try, if it failed.
        self.failed: dict[tuple[int, int, str], tuple[Any, int]] = {}

    def new_flow(self) -> int:
        """Return a number for a new call or message."""
        return next(self._flows)

    def flow_of(self, thing: object) -> int:
        """Return the number of a message, a new one when it is first seen."""
        flow = self._of.get(thing)
        if flow is None:
            flow = self._of[thing] = self.new_flow()
        return flow

    def same(self, thing: object, copy: object) -> None:
        """Give a copy of a message the number of the message."""
        self._of[copy] = self.flow_of(thing)

    def add(self, kind: Kind, what: str = "", detail: str = "", **more: Any) -> None:
        """Note an event of now; `more` are fields of `Event`. Who acts is known from `here`."""
        # An Event would cost as much again, on the path of the call that is measured.
        self._noted.append(
            (
                next(self._numbers),
                time.perf_counter(),
                _here.get(),
                strand(),
                kind,
                what,
                detail,
                more,
            )
        )

    @property
    def events(self) -> list[Event]:
        """What was noted so far, in the order in which it was."""
        return [_event(noted) for noted in sorted(self._noted.copy(), key=itemgetter(0))]

    @property
    def dropped(self) -> int:
        """How many events were dropped, the oldest first."""
        noted = self._noted.copy()
        return max(number for number, *_ in noted) + 1 - len(noted) if noted else 0


def _event(noted: Noted) -> Event:
    number, at, here, strand, kind, what, detail, more = noted
    fields: dict[str, Any] = {"party": here.party, "flow": here.flow} | more
    return Event(number, at, kind=kind, what=what, detail=detail, strand=strand, **fields)


_here: ContextVar[Here] = ContextVar("labsvc-here", default=Here(CALLER, 0))  # noqa: B039  # never changes
_tape: Tape | None = None
_local = threading.local()
_tasks: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_strands = itertools.count(1)


def current() -> Tape | None:
    """Return the tape that is being recorded, None if nobody records."""
    return _tape


def put(tape: Tape | None) -> None:
    """Record on this tape from now on, on none with None."""
    global _tape  # noqa: PLW0603  # one recording in a process, as there is one lab
    _tape = tape


def note(words: str, party: str = "") -> None:
    """Note in words what is done now to a party, if somebody records; "" is who acts."""
    if _tape is not None:
        _tape.add("noted", detail=words, party=party or _here.get().party)


def here() -> Here:
    """Return who acts in this thread or task."""
    return _here.get()


def enter(party: str, flow: int) -> Token[Here]:
    """Say who acts in this thread or task from now on; `leave` takes it back."""
    return _here.set(Here(party, flow))


def leave(token: Token[Here]) -> None:
    """Take back what `enter` said."""
    _here.reset(token)


@contextmanager
def acting(party: str) -> Iterator[None]:
    """Name the caller for the calls made in this block."""
    token = enter(party, here().flow)
    try:
        yield
    finally:
        leave(token)


def strand() -> int:
    """Return a number for this asyncio task, or this thread; it is never used again."""
    if asyncio._get_running_loop() is not None and (task := asyncio.current_task()) is not None:  # noqa: SLF001  # documented, and the only one that does not raise
        number = _tasks.get(task)
        if number is None:
            number = _tasks[task] = next(_strands)
        return number
    number = getattr(_local, "number", None)
    if number is None:
        number = _local.number = next(_strands)
    return number

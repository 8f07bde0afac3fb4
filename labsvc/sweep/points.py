"""Where a fault can strike, and what it does there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal[
    "request",
    "answer",
    "publish",
    "confirm",
    "delivery",
    "ack",
    "commit",
    "committed",
    "statement",
    "result",
]
"""What happens at a point. "commit" is before a commit of a database, "committed" after it.

A statement is one of PostgreSQL's, COMMIT among them; its result comes when it is done.
"""

Fault = Literal["lost", "refused", "late", "killed", "overtaken"]
"""What can go wrong there.

lost: the connection breaks before it gets through. refused: the server says UNAVAILABLE (503 over
HTTP/1.1), and does nothing. late: it comes when the caller has given up. killed: the process that
is at work is killed just then (SIGKILL). overtaken: it waits while a rival is at work.
"""

FAULTS: dict[Kind, tuple[Fault, ...]] = {
    "request": ("lost", "refused", "killed"),
    "answer": ("lost", "late", "killed"),
    "publish": ("lost", "killed"),
    "confirm": ("lost", "killed"),
    "delivery": ("lost", "killed"),
    "ack": ("lost", "killed"),
    "commit": ("killed",),
    "committed": ("killed",),
    "statement": ("lost", "killed", "overtaken"),
    "result": ("lost", "killed"),
}
"""What can go wrong at each kind of point; "killed" only where a child is at work, and "overtaken"
only where there is a rival."""


_NAMES: dict[Kind, str] = {
    "committed": "commit",
    "answer": "the answer to request",
    "result": "the result of statement",
}


@dataclass(frozen=True, order=True)
class Point:
    """The `number`th event of its kind in a run, counted from 1 for each method.

    An answer has the number of its request, a confirm that of its message, an ack that of its
    delivery; results are counted as statements are. `method` is the name of a gRPC method, "POST"
    over HTTP/1.1, and empty for all others.
    """

    kind: Kind
    number: int
    method: str = ""

    def __str__(self) -> str:
        """Name it as a reader would: "the answer to request 1 of PlaceOrder", "commit 2"."""
        kind = _NAMES.get(self.kind, self.kind)
        return f"{kind} {self.number}" + (f" of {self.method}" if self.method else "")


@dataclass(frozen=True)
class Strike:
    """One fault at one point."""

    point: Point
    fault: Fault

    def __str__(self) -> str:
        """Say it in words: "request 1 of PlaceOrder was lost"."""
        if self.fault == "killed":
            when = "after" if self.point.kind == "committed" else "before"
            return f"the process was killed {when} {self.point}"
        by_http = self.point.method.isupper()
        how = {
            "lost": "was lost",
            "refused": f"was refused with {'503' if by_http else 'UNAVAILABLE'}",
            "late": "came when the caller had given up",
            "overtaken": "waited while a rival was at work",
        }
        return f"{self.point} {how[self.fault]}"


@dataclass(frozen=True)
class Event:
    """A point that was reached so many seconds after its run began, and the fault that struck."""

    seconds: float
    point: Point
    fault: Fault | None

    def __str__(self) -> str:
        """Say it in words: "commit 1 is done", "request 1 of PlaceOrder was lost"."""
        if self.fault is not None:
            return str(Strike(self.point, self.fault))
        return f"{self.point} is done" if self.point.kind == "committed" else str(self.point)


Plan = tuple[Strike, ...]
"""The faults of one run; empty for the run without any."""


def words(plan: Plan) -> str:
    """Say a plan in words."""
    return ", and ".join(map(str, plan)) or "nothing went wrong"


class Points(Protocol):
    """Who is told of each point that is reached: a run."""

    def reach(self, kind: Kind, method: str = "", number: int = 0) -> tuple[int, Fault | None]:
        """Note a point, the next of its kind without a number; return that, and what strikes."""


class RivalPoints(Points, Protocol):
    """The same, where a rival may come first."""

    def overtake(self, go_on: Callable[[], object]) -> None:
        """Let the rival work, and call `go_on()`, from any thread, when it has done what it can."""

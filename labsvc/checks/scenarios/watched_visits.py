"""Part of T6-watched: one message, and what became of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

from labsvc.checks.scenarios.traceparent import Ids, ids

Traced = Literal["yes", "no", "broken", "number", "zeros", "unsampled"]
STATE = "shop=blue,mail=7"


@dataclass(eq=False)
class Visit:
    """One message, and what became of it.

    `raises` is what `handle` raises; with `leaves` its task is cancelled. `sends` says how many
    events it sends, `away` what `publish` raises for them, `traced` what its headers say of a
    trace. A `slow` one takes its time, to publish and then. `published` are the headers that
    `publish` was called with, `confirmed` how many of these calls came to their end, `told` what
    each `send` raised, and `early` is set if one returned before its event was out.
    """

    kind: str | None = "order"
    raises: BaseException | None = None
    leaves: bool = False
    sends: int = 1
    away: Exception | None = None
    slow: bool = False
    traced: Traced = "yes"
    body: bytes = field(default_factory=lambda: secrets.token_hex(6).encode())
    carrier: dict[str, Any] = field(default_factory=dict)
    span: Ids = field(default_factory=Ids)
    published: list[dict[str, Any]] = field(default_factory=list)
    confirmed: int = 0
    told: list[BaseException] = field(default_factory=list)
    early: bool = False
    runs: int = 0
    lasted: float = 0.0
    took: float = 0.0
    raised: BaseException | None = None
    waited: bool = False

    def __post_init__(self) -> None:
        """Write its trace, but for one that a customer's span begins."""
        trace = secrets.token_hex(16)
        made = {
            "broken": "00-no-trace-01",
            "number": 7,
            "zeros": f"00-000{trace[3:]}-{secrets.token_hex(8)}-01",
            "unsampled": f"00-{trace}-{secrets.token_hex(8)}-00",
        }
        if self.traced in made:
            self.carrier["traceparent"] = made[self.traced]
        if ids(self.carrier).trace:
            self.carrier["tracestate"] = STATE

    @property
    def outcome(self) -> str:
        """The word that belongs into its line."""
        if self.leaves:
            return "cancelled"
        if self.raises is None:
            return "ok"
        return "refused" if isinstance(self.raises, ValueError) else "failed"

"""Part of T6-watched: one message, and what became of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from labsvc.checks.scenarios.traceparent import Ids


@dataclass(eq=False)
class Visit:
    """One message, and what became of it.

    `raises` is what `handle` raises; with `leaves` its task is cancelled. `sends` says how many
    events it sends, `traced` what its headers say of a trace.
    """

    kind: str = "order"
    raises: BaseException | None = None
    leaves: bool = False
    sends: int = 1
    traced: str = "yes"
    body: bytes = field(default_factory=lambda: secrets.token_hex(6).encode())
    carrier: dict[str, str] = field(default_factory=dict)
    span: Ids = field(default_factory=Ids)
    runs: int = 0
    lasted: float = 0.0
    took: float = 0.0
    raised: BaseException | None = None
    waited: bool = False

    @property
    def outcome(self) -> str:
        """The word that belongs into its line."""
        if self.leaves:
            return "cancelled"
        if self.raises is None:
            return "ok"
        return "refused" if isinstance(self.raises, ValueError) else "failed"

"""What happened in a broker, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What happened in a broker since it was started, in messages."""

    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    acked: int = 0
    redelivered: int = 0

    def handed_out(self, *, redelivered: bool) -> None:
        """Count a message that goes to a client."""
        self.delivered += 1
        self.redelivered += redelivered

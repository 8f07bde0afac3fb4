"""A call on its way out: what its caller knows of it, whichever client makes it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from labsvc.timeline import record

if TYPE_CHECKING:
    from labsvc.timeline.record import Tape

FLOW = "labsvc-flow"  # the metadata key, or header, that names the call at both ends


class Outgoing:
    """One try of a call, from "called" to "seen".

    A call is another try of the one before it in the same strand and handler, if that failed and
    asked for the same with the same request.
    """

    __slots__ = ("_attempt", "_key", "_open", "_request", "_tape", "flow", "party", "what")

    def __init__(
        self, tape: Tape, what: str, request: Any, target: str = "", timeout: float | None = None
    ) -> None:
        self.party, parent = record.here()
        self.what = what
        self.flow = tape.new_flow()
        self._tape = tape
        self._open = True
        self._request = request
        self._key = (record.strand(), parent, what)
        before = tape.failed.get(self._key)
        self._attempt = before[1] + 1 if before is not None and before[0] == request else 1
        tape.add(
            "called",
            what,
            flow=self.flow,
            parent=parent,
            target=target,
            attempt=self._attempt,
            deadline=math.inf if timeout is None else time.perf_counter() + timeout,
        )

    @property
    def pair(self) -> tuple[str, str]:
        """What goes along with the call."""
        return FLOW, str(self.flow)

    def end(self, status: str, *, answered: bool) -> None:
        """Note the status that the caller sees; a second one is none."""
        if not self._open:
            return
        self._open = False
        if answered:
            self._tape.failed.pop(self._key, None)
        else:
            self._tape.failed[self._key] = self._request, self._attempt
        self._tape.add("seen", self.what, status, flow=self.flow, party=self.party)

    def message(self, kind: record.Kind) -> None:
        """Note a message of the stream: "sent" or "received"."""
        self._tape.add(kind, self.what, flow=self.flow, party=self.party)

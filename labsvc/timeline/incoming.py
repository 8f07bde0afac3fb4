"""A call on its way into a handler: who it comes from, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.timeline import record
from labsvc.timeline.outgoing import FLOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextvars import Token

    from labsvc.timeline.record import Here, Tape

ATTEMPTS = "grpc-previous-rpc-attempts"  # gRPC's own retries: https://grpc.io/docs/guides/retry/


class Incoming:
    """One handler at work for one call. What its thread or task does meanwhile is the service's."""

    __slots__ = ("_open", "_tape", "_token", "flow", "party", "what")

    def __init__(
        self, tape: Tape, party: str, what: str, pairs: Iterable[tuple[str, str | bytes]]
    ) -> None:
        self.party = party
        self.what = what
        self._tape = tape
        self._token: Token[Here] | None = None
        self._open = True
        self.flow, attempt = 0, 1
        for key, value in pairs:  # the last one is the nearest caller's, if a hop passes all on
            if key == FLOW:
                self.flow = int(value)
            elif key == ATTEMPTS:
                attempt = int(value) + 1
        self.flow = self.flow or tape.new_flow()  # its caller is not watched
        tape.add("entered", what, party=party, flow=self.flow, attempt=attempt)

    def act(self) -> None:
        """Let this thread or task act for the service, until the handler has left."""
        self._token = record.enter(self.party, self.flow)

    def message(self, kind: record.Kind) -> None:
        """Note a message of the stream: "sent" or "received"."""
        self._tape.add(kind, self.what, party=self.party, flow=self.flow)

    def left(self, status: str, *, cancelled: bool = False) -> None:
        """Note the status that is decided; a second one is none."""
        if self._open:
            self._open = False
            kind: record.Kind = "cancelled" if cancelled else "left"
            self._tape.add(kind, self.what, status, party=self.party, flow=self.flow)

    def done(self) -> None:
        """Let the thread or task act for whom it did before."""
        if self._token is not None:
            record.leave(self._token)
            self._token = None


def requests(request: Any, note: Callable[[], None]) -> Any:
    """Return a request as it is, or the same stream of requests, with a note for each taken."""

    async def asynchronous() -> AsyncIterator[Any]:
        async for message in request:
            note()
            yield message

    def plain() -> Iterator[Any]:
        for message in request:
            note()
            yield message

    if hasattr(request, "__anext__") or hasattr(request, "__aiter__"):
        return asynchronous()
    return plain() if hasattr(request, "__next__") else request

"""One case of notebook 54's exercise: a film as a file, a server, and the way to it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import channel, status_of, wait_while_moving
from labsvc.checks.learner_code import chain
from labsvc.checks.scenarios.film_server import Film, FilmServer
from labsvc.checks.submission import Outcome
from labsvc.rpc._client import ClientInterceptor
from labsvc.shop.v1 import media_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.examiner import Allowed
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

STILL = 10.0  # seconds without a call, after which nothing comes any more
MOST_CALLS = 200  # over twice what any case takes; whoever makes more goes on and on
MOST_SECONDS = 120.0  # for whoever makes no end of it otherwise
PATIENCE = 20.0  # seconds for a call that is answered for certain


class Pace:
    """Sees each call where it is made: its timeout, its end, and the pause before the next.

    No load makes a pause shorter here, or a timeout. Nor does it let a call expire: each gets
    more time than it asks for, unless an answer is to come `late`.
    """

    def __init__(self, to: grpc.Channel, *, late: bool = False) -> None:
        seen = grpc.intercept_channel(to, ClientInterceptor(self._begins, self._has_ended))
        self.stub = media_pb2_grpc.UploadServiceStub(seen)
        self.timeouts: list[float | None] = []
        self.failed: list[str] = []  # the methods of calls that failed
        self.gaps: list[float] = []  # after calls that failed
        self.count = 0
        self.has_just_failed = False
        self._late = late
        self._method = ""
        self._failed_at = 0.0

    def _begins(self, details: Any) -> dict[str, Any]:
        if self.has_just_failed:
            self.gaps.append(time.monotonic() - self._failed_at)
        self.count += 1
        self.timeouts.append(details.timeout)
        self._method = details.method.rpartition("/")[2]
        return {} if self._late else {"timeout": PATIENCE}

    def _has_ended(self, call: Any) -> None:
        self.has_just_failed = call.code() is not grpc.StatusCode.OK
        if self.has_just_failed:
            self.failed.append(self._method)
            self._failed_at = time.monotonic()


class Stage:
    """A film of which the server may have a part, and the way to it on which faults strike."""

    def __init__(
        self, room: Sandbox, run: Run, film_size: int, size: int, *, stored: int = 0
    ) -> None:
        self.film = Film(film_size)
        self.server = FilmServer(self.film, stored=stored)
        self.size = size
        self._file = film_file(room, self.film)
        door = run.door(room.serve_grpc(self.server, name="films"))
        to = room.enter(channel(door.target, initial_reconnect_backoff_ms=100))
        self.pace = Pace(to, late=any(strike.fault == "late" for strike in run.plan))

    def upload(self, answer: Submission) -> Outcome:
        """Call the answer; an error may be right after a call that failed."""

        def may_leave(error: BaseException) -> bool:
            return status_of(error) is not None or self.pace.has_just_failed

        self._file.seek(0)
        return attempted(answer, self.pace, self._file, self.size, may_leave)


def film_file(room: Sandbox, film: Film) -> Any:
    """Return a film as an open file, gone when the case ends."""
    path = Path(room.enter(tempfile.TemporaryDirectory(prefix="labsvc-"))) / "film"
    path.write_bytes(film.content)
    return room.enter(path.open("rb"))


def attempted(answer: Submission, pace: Pace, file: Any, size: int, allow: Allowed) -> Outcome:
    """Call the answer, as long as it makes calls, and not too many."""
    attempt = answer.start(pace.stub, file, size, within=MOST_SECONDS, allow=allow)
    most = pace.count + MOST_CALLS
    wait_while_moving(lambda: not attempt.running or pace.count > most, lambda: pace.count, STILL)
    if attempt.running:
        attempt.stop()
        return Outcome(hung=True)
    return attempt.outcome()


def code_told(error: BaseException | None) -> str | None:
    """Return the code that a caller can read from an error, or from the error that caused it.

    `grpc.RpcError()` has none: whoever catches it looks no further.
    """
    for each in () if error is None else chain(error):
        if isinstance(each, grpc.RpcError):
            return status_of(each) if callable(getattr(each, "code", None)) else None
    return None

"""Exercise of notebook 54: an upload that resumes (C19)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grpc

from labsvc.checks.asking import status_of
from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.film_errors import METHODS, gives_up, leaves_at_once
from labsvc.checks.scenarios.film_memory import holds_little
from labsvc.checks.scenarios.film_server import Refusal
from labsvc.checks.scenarios.film_stage import MOST_SECONDS, Stage
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.film_server import Call, FilmServer
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Run

SIZE = 1000  # bytes of a chunk
LIMIT = 1.0  # seconds

BEGIN = "Begin with GetUpload: the server may have some of it already."
NO_ANSWER = "A GetUpload that failed has not said 0: wait a little, and ask again."
ASK = "After a break ask GetUpload: it says where to go on."
MISS = grpc.StatusCode.UNAVAILABLE


@exercise("54-resume-upload", title="Resume an upload", returns=str, deadline=5 * MOST_SECONDS)
def resume_upload(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`upload_film(stub, file, size)` brings a film to a server over a line that breaks."""
    cases = Cases(answer, sandbox)
    # How long an answer may take is bounded where it is called, by what it does.
    asked = partial(cases.broken, within=2 * MOST_SECONDS)
    away = [partial(gives_up, method=method) for method in ("", *METHODS)]
    refused = [partial(leaves_at_once, method=method) for method in METHODS]
    return (
        asked(_whole)
        or asked(_in_part, beside=[_empty, _exact, _all_there, _finished])
        or asked(holds_little)
        or asked(_breaks, only=("lost",))
        or asked(
            _late,
            only=("late",),
            beside=[_asked_in_vain, _forgets, _forgets_all, _further, *away, *refused],
        )
        or solved(
            "the film arrived byte for byte, wherever the line broke, and little came twice",
            cases=cases.count,
        )
    )


def _whole(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film while nothing goes wrong."""
    stage = Stage(room, run, 2 * SIZE + SIZE // 2, SIZE)
    return _judge(stage, stage.upload(answer))


def _in_part(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film of which an earlier call has brought a part, which is no number of chunks."""
    stage = Stage(room, run, 3 * SIZE, SIZE, stored=SIZE + SIZE // 2)
    return _judge(stage, stage.upload(answer), "a part of the film was there")


def _empty(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film without a byte."""
    stage = Stage(room, run, 0, SIZE)
    return _judge(stage, stage.upload(answer), "the film was empty")


def _exact(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film that is a whole number of chunks."""
    stage = Stage(room, run, 2 * SIZE, SIZE)
    return _judge(stage, stage.upload(answer), "the film was two whole chunks")


def _all_there(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film of which all bytes are there, and which is not finished."""
    stage = Stage(room, run, 2 * SIZE, SIZE, stored=2 * SIZE)
    return _judge(stage, stage.upload(answer), "all of the film was there")


def _finished(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film that was uploaded before."""
    stage = Stage(room, run, 2 * SIZE, SIZE, stored=2 * SIZE)
    stage.server.is_finished = True
    return _judge(stage, stage.upload(answer), "the film had been uploaded before")


def _asked_in_vain(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let the first question fail, when most of the film is there."""

    def lose(_: FilmServer, call: Call) -> None:
        if (call.method, call.number) == ("GetUpload", 1):
            raise Refusal(MISS)

    stage = Stage(room, run, 4 * SIZE, SIZE, stored=3 * SIZE)
    stage.server.before = lose
    return _judge(stage, stage.upload(answer), "the first GetUpload failed")


def _breaks(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film while requests and answers are lost."""
    stage = Stage(room, run, 2 * SIZE + SIZE // 2, SIZE)
    return _judge(stage, stage.upload(answer))


def _late(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Upload a film while an answer comes too late."""
    stage = Stage(room, run, SIZE + SIZE // 2, SIZE)
    return _judge(stage, stage.upload(answer))


def _forgets(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let the server lose a chunk and a half that it said it had."""

    def restart(server: FilmServer, call: Call) -> None:
        if (call.method, call.number) == ("PutChunk", 3):
            server.part = server.part[: SIZE + SIZE // 2]

    stage = Stage(room, run, 5 * SIZE, SIZE)
    stage.server.after = restart
    outcome = stage.upload(answer)
    return _judge(stage, outcome, "the server was started again, and had less than it said")


def _forgets_all(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let the server lose what an earlier call has brought, just when the next chunk comes."""

    def restart(server: FilmServer, call: Call) -> None:
        if (call.method, call.number) == ("PutChunk", 1):
            server.part = b""

    stage = Stage(room, run, 5 * SIZE, SIZE, stored=3 * SIZE)
    stage.server.before = restart
    outcome = stage.upload(answer)
    return _judge(stage, outcome, "the server was started again, and had nothing")


def _further(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Lose the answer to each new chunk: more breaks than tries, and it comes further each time."""
    seen = {0}

    def lose(server: FilmServer, call: Call) -> None:
        if call.method == "PutChunk" and len(server.part) not in seen:
            seen.add(len(server.part))
            raise Refusal(MISS)

    stage = Stage(room, run, 10 * SIZE, SIZE)
    stage.server.after = lose
    outcome = stage.upload(answer)
    when = "the line broke ten times, and the film had come further each time"
    return _judge(stage, outcome, when)


def _judge(stage: Stage, outcome: Outcome, when: str = "") -> Verdict | None:
    """Return what is wrong after an upload that had to succeed."""
    server, film = stage.server, stage.film
    before = f"{when}, and " if when else ""
    left = status_of(outcome.error)
    chunks = server.of("PutChunk")
    timeouts = stage.pace.timeouts
    lost = stage.pace.failed.count("PutChunk")  # chunks of which nobody knows whether they came
    unanswered = "GetUpload" in stage.pace.failed
    largest = max([call.data for call in chunks], default=0)
    return first_broken(
        (
            outcome.hung,
            f"{before}your function did not come back",
            "Which of its loops ends only when all goes well? Which call has no timeout?",
        ),
        (
            left == "INVALID_ARGUMENT",
            f"{before}the server knew no such film",
            "sha256 is hashlib's hexdigest of all bytes of the file, in every request.",
        ),
        (
            left == "DATA_LOSS",
            f"{before}what came was not the film: the server dropped it",
            "Each chunk says at which byte of the file it starts. `seek` there before you read.",
        ),
        (
            left == "OUT_OF_RANGE" and lost > 1,
            f"{before}chunk after chunk started beyond what was stored",
            "The next chunk starts at the number of bytes that are stored: the first byte is 0.",
        ),
        (
            left == "OUT_OF_RANGE",
            f"{before}your function gave up with OUT_OF_RANGE",
            f"It may have had more before. {ASK}",
        ),
        (
            outcome.error is not None,
            f"{before}your function gave up with {left or type(outcome.error).__name__}",
            (
                "Go on from what is stored until five tries in a row were in vain. One that brought"
                " the film further was not."
            ),
        ),
        (
            not server.is_finished and server.part == film.content,
            f"{before}all bytes came, and the film was never finished",
            "Call FinishUpload when the last byte is stored, also if it was stored before.",
        ),
        (
            not server.is_finished,
            f"{before}your function returned, and the film is not there",
            "Return only after FinishUpload has been answered.",
        ),
        (
            outcome.value != film.sha256,
            f"{before}your function returned something else than the film's SHA-256",
            "The digest of the whole file, 64 hexadecimal digits.",
        ),
        (
            None in timeouts or max(filter(None, timeouts), default=0) > LIMIT,
            "a call had no timeout, or more than a second",
            "Each of the three methods takes timeout=1.",
        ),
        (
            largest > stage.size,
            f"{before}a chunk had {largest} bytes, and {stage.size} are allowed",
            "`file.read(size)` returns `size` bytes at most.",
        ),
        (
            server.again > lost * stage.size,
            f"{before}{server.again} bytes were sent though they were stored",
            NO_ANSWER if unanswered else ASK if lost else BEGIN,
        ),
        bytes=len(film.content),
        sent_again=server.again,
    )

"""Notebook 54's exercise, where no upload can succeed: what leaves the answer, and when."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grpc

from labsvc.checks.scenarios.film_server import Refusal
from labsvc.checks.scenarios.film_stage import Stage, code_told
from labsvc.checks.verdict import first_broken
from labsvc.rpc.chunks import AGAIN

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.film_server import Call, FilmServer
    from labsvc.checks.submission import Submission
    from labsvc.checks.verdict import Verdict
    from labsvc.sweep import Run

SIZE = 1000  # bytes of a chunk
PAUSE = 0.04  # seconds; the text says 0.05
ENOUGH = range(3, 10)  # tries: three to eight in vain, after one that may have come further
METHODS = ("GetUpload", "PutChunk", "FinishUpload")
OTHERS = [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, *AGAIN}]


def gives_up(answer: Submission, room: Sandbox, run: Run, method: str) -> Verdict | None:
    """Let a method fail again and again, all of them without one."""

    def fail(_: FilmServer, call: Call) -> None:
        if method in ("", call.method):
            tries = len(server.of(method) if method else server.calls)
            first = tries == 1  # so that the last error is another
            again = grpc.StatusCode.UNAVAILABLE if first else grpc.StatusCode.DEADLINE_EXCEEDED
            # Whoever goes on and on is told apart by then, and is let go.
            raise Refusal(again if tries <= 2 * ENOUGH[-1] else grpc.StatusCode.INTERNAL)

    stage = Stage(room, run, 2 * SIZE, SIZE)
    server = stage.server
    server.before = fail
    outcome = stage.upload(answer)
    what = f"every {method}" if method else "every call"
    tries, told = len(server.of(method) if method else server.calls), code_told(outcome.error)
    return first_broken(
        (
            outcome.hung or tries > ENOUGH[-1],
            f"{what} failed, and your function went on and on",
            "Count the tries that bring the film no further, whatever else is answered meanwhile.",
        ),
        (
            outcome.error is None,
            f"{what} failed, and your function returned as if all was well",
            "Nobody calls it again if it raises nothing. Raise the last error.",
        ),
        (told is None, f"{what} failed, and {_NO_CODE}", _RAISE),
        (
            tries < ENOUGH[0],
            f"{what} failed, and your function gave up with {told} after {tries} of them",
            (
                "A line may be away for a moment: go on after each of the three codes, until five"
                " tries in a row were in vain."
            ),
        ),
        (
            told != grpc.StatusCode.DEADLINE_EXCEEDED.name,
            f"{what} failed, with DEADLINE_EXCEEDED at last, and your function raised {told}",
            "Raise the error of the last try: its code says what is wrong now.",
        ),
        (
            min(stage.pace.gaps) < PAUSE,
            f"{what} failed, and the next one came at once",
            "Wait a little before you go on, also before the last try.",
        ),
        tries=tries,
    )


def leaves_at_once(answer: Submission, room: Sandbox, run: Run, method: str) -> Verdict | None:
    """Answer a method with each of the errors that do not pass."""
    stage = Stage(room, run, 2 * SIZE, SIZE)
    for code in OTHERS:
        stage.server.start_anew()
        stage.server.before = partial(_refuse, method, code)
        outcome = stage.upload(answer)
        tries = len(stage.server.of(method))
        told = code_told(outcome.error)
        said = f"{method} was answered with {code.name}, and"
        verdict = first_broken(
            (
                outcome.hung or tries > 1 or stage.server.calls[-1].method != method,
                f"{said} your function went on",
                "Which codes say that the next try may go well? Let all others out at once.",
            ),
            (
                outcome.error is None,
                f"{said} your function returned as if all was well",
                "Catch the three codes that pass, and no other.",
            ),
            (told is None, f"{said} {_NO_CODE}", _RAISE),
            (
                told != code.name,
                f"{said} your function raised {told}",
                "Raise the error that came: its code says what is wrong.",
            ),
            tries=tries,
        )
        if verdict:
            return verdict
    return None


_NO_CODE = "from the error that your function raised nobody can read a code"
_RAISE = (
    "A `raise` alone passes on the error that you caught. An error of your own needs a `from`"
    " with it; `grpc.RpcError()` is empty."
)


def _refuse(method: str, code: grpc.StatusCode, _: FilmServer, call: Call) -> None:
    if call.method == method:
        raise Refusal(code)

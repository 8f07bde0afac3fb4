"""What is wrong with any answer, in the same words for every exercise."""

from __future__ import annotations

HUNG_HINT = (
    "Look for a call without a timeout, a loop without an end,"
    " or something that waits for what never comes."
)
SLIPS = (
    AttributeError,
    ImportError,
    NameError,
    RecursionError,
    SyntaxError,
    TypeError,
)
"""Errors that are never an answer's right outcome, unless its exercise says so."""

_HINTS = (
    (UnboundLocalError, "The name gets its value on another way through the function than this."),
    (NameError, "Look for a slip in the name, or for a cell above that was not run."),
    (ImportError, "Look for a slip in the name of what is imported."),
    (RecursionError, "The function calls itself, and nothing ends it."),
)
_TRY_HINT = "Try that line in a cell of its own, or print what it works with and check again."


class NotAttemptedError(Exception):
    """The stub still raises NotImplementedError."""


class SubmissionError(Exception):
    """The answer is at fault: it raised, hung or cannot be called; the parts of a verdict."""

    def __init__(self, guarantee: str, hint: str) -> None:
        super().__init__(guarantee)
        self.guarantee = guarantee
        self.hint = hint


def raised(error: BaseException, place: str, cause: BaseException | None = None) -> SubmissionError:
    """Return what to say when the answer raised `error`, in `place` ("in line 3: …") if known.

    `cause` is the slip that an error of the answer's own hides.
    """
    said = f"your function raised {summary(error)}"
    if cause is not None and cause is not error:
        said += f", because of {summary(cause)}"
    if place:
        said += f", {place}"
    slip = cause or error
    hint = next((text for kind, text in _HINTS if isinstance(slip, kind)), _TRY_HINT)
    return SubmissionError(said, hint)


def hung(place: str, slip: BaseException | None = None) -> SubmissionError:
    """Return what to say when the answer did not return; `slip` is what its loop swallows."""
    where = f", {place}" if place else ""
    if slip is None:
        return SubmissionError(f"your function did not return in time{where}", HUNG_HINT)
    return SubmissionError(
        f"your function did not return in time: its loop goes on after {summary(slip)}{where}",
        "An `except Exception` catches slips too. Name the errors that you mean.",
    )


def cannot_be_called(error: TypeError) -> SubmissionError:
    """Return what to say when the answer does not take the exercise's arguments."""
    return SubmissionError(
        f"your function cannot be called: {error}", "Keep the first line of the stub as it was."
    )


def closed(thing: str) -> SubmissionError:
    """Return what to say when the answer closed an argument, such as a "database"."""
    return SubmissionError(
        f"your function closed the {thing} that it was given",
        "Whoever opened it closes it. Others still use it.",
    )


def summary(error: BaseException) -> str:
    """Return an error in one line: its type, and its status code if it is a gRPC error."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):
        text = f"{getattr(code(), 'name', code())}: {details() or ''}"
        return f"a gRPC error {_first_line(text)}"
    text = _first_line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]

"""A learner's function, run within limits: it may raise, hang or never end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import inspect
import linecache
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HUNG_HINT = (
    "Look for a call without a timeout, a loop without an end,"
    " or something that waits for what never comes."
)
FAREWELL_SECONDS = 1.0


class NotAttemptedError(Exception):
    """The stub still raises NotImplementedError."""


class AnswerError(Exception):
    """The answer is at fault: it raised, hung or cannot be called; the parts of a verdict."""

    def __init__(self, guarantee: str, hint: str) -> None:
        super().__init__(guarantee)
        self.guarantee = guarantee
        self.hint = hint


class _Stop(BaseException):
    """Thrown into a thread that has run too long; no `except Exception` swallows it."""


@dataclass(frozen=True)
class Outcome:
    """How one call of the answer ended: a value, an error, or neither because it hangs."""

    value: Any = None
    error: BaseException | None = None
    hung: bool = False


class Attempt:
    """One call of the answer, under way in a daemon thread of its own."""

    def __init__(self, answer: Answer, args: tuple[Any, ...], give_up_at: float) -> None:
        self._answer = answer
        self._args = args
        self._give_up_at = give_up_at
        self._outcome = Outcome(hung=True)
        self._cancel: Callable[[], object] | None = None  # of an async answer
        self._ending = False  # its loop is being closed, which must not be torn apart
        # A copied context keeps what the answer prints in the cell that asked for the check.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._run,), name="labsvc-check", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the answer has not come back yet."""
        return self._thread.is_alive()

    def outcome(self) -> Outcome:
        """Wait for the end of the call, no longer than its limit.

        Raises:
            NotAttemptedError: the answer is still the stub.
            AnswerError: the answer cannot be called with these arguments.

        """
        self._thread.join(max(0.0, self._give_up_at - time.monotonic()))
        outcome = Outcome(hung=True) if self.running else self._outcome
        if isinstance(outcome.error, NotImplementedError) and self._answer.line(outcome.error):
            raise NotAttemptedError
        return outcome

    def stop(self) -> None:
        """End the thread if Python code still runs in it; waits one second at most.

        A thread that is parked in C code cannot be ended. It stays, as a daemon thread, until its
        call returns, and holds nothing up.
        """
        if not self.running:
            return
        if self._cancel is not None:
            self._cancel()
            self._thread.join(FAREWELL_SECONDS / 2)
        give_up_at = time.monotonic() + FAREWELL_SECONDS
        while self._may_be_ended() and time.monotonic() < give_up_at:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(_Stop)
            )
            self._thread.join(0.05)

    def _may_be_ended(self) -> bool:
        return self.running and self._outcome.hung and not self._ending

    def _run(self) -> None:
        # A late _Stop may hit the thread when its work is done.
        with contextlib.suppress(_Stop):
            self._run_to_end()

    def _run_to_end(self) -> None:
        try:
            value = self._answer.function(*self._args)
            if inspect.isawaitable(value):
                value = self._run_async(value)
            self._outcome = Outcome(value)
        except BaseException as error:  # noqa: BLE001  # SystemExit too is an outcome
            self._outcome = Outcome(error=error)

    def _run_async(self, awaitable: Any) -> Any:
        async def main() -> Any:
            return await awaitable

        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(_quiet)
            task = loop.create_task(main())
            self._cancel = lambda: _cancel(loop, task)
            try:
                return loop.run_until_complete(task)
            finally:
                self._ending = True
                loop.run_until_complete(_end_tasks())


class Answer:
    """The learner's function with the time that is left to it.

    Call it like the function itself: what it raises, and a hang, become an `AnswerError` that ends
    the scenario with a fitting verdict. Use `attempt` where an error is a possible right answer,
    and `start` where the scenario goes on while the answer runs.
    """

    def __init__(self, function: Callable[..., Any], deadline: float) -> None:
        self.function = function
        self._give_up_at = time.monotonic() + deadline
        self._attempts: list[Attempt] = []

    def __call__(self, *args: Any) -> Any:
        """Return what the answer returns.

        Raises:
            NotAttemptedError: the answer is still the stub.
            AnswerError: the answer raised or did not return in time.

        """
        outcome = self.attempt(*args)
        if outcome.hung:
            msg = "your function did not return in time"
            raise AnswerError(msg, HUNG_HINT)
        if outcome.error is not None:
            raise self.fault(outcome.error)
        return outcome.value

    def attempt(self, *args: Any, within: float | None = None) -> Outcome:
        """Run the answer to its end, `within` seconds at most, and return how it ended."""
        return self.start(*args, within=within).outcome()

    def start(self, *args: Any, within: float | None = None) -> Attempt:
        """Start the answer and return at once.

        Raises:
            AnswerError: the answer does not take these arguments.

        """
        try:
            inspect.signature(self.function).bind(*args)
        except TypeError as error:
            msg = f"your function cannot be called: {error}"
            raise AnswerError(msg, "Keep the first line of the stub as it was.") from error
        except ValueError:
            pass  # some built-in functions have no signature
        give_up_at = self._give_up_at
        if within is not None:
            give_up_at = min(give_up_at, time.monotonic() + within)
        attempt = Attempt(self, args, give_up_at)
        self._attempts.append(attempt)
        return attempt

    def fault(self, error: BaseException) -> AnswerError:
        """Return what to tell a learner whose function raised `error`."""
        said = f"your function raised {summary(error)}"
        if line := self.line(error):
            said += f", {line}"
        return AnswerError(said, "Call the function in a cell of its own and read the error there.")

    def line(self, error: BaseException) -> str:
        """Return the last line of the learner's own code that `error` passed, "" if none."""
        globals_ = getattr(inspect.unwrap(self.function), "__globals__", None)
        found: TracebackType | None = None
        walk = error.__traceback__
        while walk is not None:
            if walk.tb_frame.f_globals is globals_:
                found = walk
            walk = walk.tb_next
        if found is None:
            return ""
        text = linecache.getline(found.tb_frame.f_code.co_filename, found.tb_lineno).strip()
        return f"in line {found.tb_lineno}: {text}" if text else f"in line {found.tb_lineno}"

    def close(self) -> None:
        """End what still runs."""
        for attempt in self._attempts:
            attempt.stop()


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


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has just closed: nothing to cancel
        loop.call_soon_threadsafe(task.cancel)


async def _end_tasks() -> None:
    """Cancel what the answer left running, and what that starts as it ends, as aio-pika does."""
    give_up_at = time.monotonic() + FAREWELL_SECONDS
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=FAREWELL_SECONDS / 4)
        if time.monotonic() > give_up_at:
            return


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Two loops share grpc.aio's one poller; the loser of a race for an event reports this.
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)

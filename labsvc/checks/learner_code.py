"""Find the learner's own code in errors, threads and coroutines."""

from __future__ import annotations

import contextlib
import functools
import inspect
import linecache
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from labsvc.checks.wording import SLIPS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from types import FrameType

_BUILT_IN = (None, "_thread", "builtins", "threading", "time")  # libraries run code of their own
GLANCES = 20
GLANCE_SECONDS = 0.002


class LearnerCode:
    """The code that shares its globals with the learner's function: in a notebook, every cell."""

    def __init__(self, function: object) -> None:
        self._globals = _globals(function)

    def culprit(self, error: BaseException) -> BaseException | None:
        """Return the error that passed the learner's code: this one, a cause, or one of its group.

        None if there is none.
        """
        return next((each for each in chain(error) if self._last_line(each)), None)

    def place(self, error: BaseException) -> str:
        """Return the last line of the learner's code that the culprit passed, "" if none."""
        culprit = self.culprit(error)
        return "" if culprit is None else self._last_line(culprit)

    def raised(self, error: BaseException) -> bool:
        """Return whether a line of the learner's code itself raised `error`."""
        walk = error.__traceback__
        while walk is not None and walk.tb_next is not None:
            walk = walk.tb_next
        return walk is not None and self._has(walk.tb_frame)

    def slip(self, error: BaseException) -> BaseException | None:
        """Return the slip of the pen behind `error`, None if there is none."""
        return next((each for each in chain(error) if isinstance(each, SLIPS)), None)

    def standing(self, thread: threading.Thread, coroutine: Any = None) -> str:
        """Return the line of the learner's code in which a thread or a coroutine is, or ""."""
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # its only way
        while frame is not None and not self._has(frame):
            frame = frame.f_back
        while coroutine is not None:
            inner = getattr(coroutine, "cr_frame", None)
            frame = inner if inner is not None and self._has(inner) else frame
            coroutine = getattr(coroutine, "cr_await", None)
        return "" if frame is None else _line(frame, frame.f_lineno)

    def awaits(self, task: asyncio.Task[Any]) -> bool:
        """Return whether a task is in the learner's code, at whatever depth."""
        coroutine: Any = task.get_coro()
        while coroutine is not None:
            frame = getattr(coroutine, "cr_frame", None)
            if frame is not None and self._has(frame):
                return True
            coroutine = getattr(coroutine, "cr_await", None)
        return False

    def swallowed(self, thread: threading.Thread) -> BaseException | None:
        """Return a slip that a thread handles again and again, as seen in a few glances."""
        for _ in range(GLANCES):
            handled = sys._current_exceptions().get(thread.ident or 0)  # noqa: SLF001
            error = handled[1] if isinstance(handled, tuple) else handled
            if isinstance(error, SLIPS) and self.place(error):
                return error
            time.sleep(GLANCE_SECONDS)
        return None

    def runs(self, thread: threading.Thread) -> bool:
        """Return whether the learner's code started a thread, as far as can be told."""
        target = getattr(thread, "_target", None) or getattr(thread, "function", None)
        if target is None and type(thread).run is not threading.Thread.run:
            target = type(thread).run
        if target is not None and getattr(target, "__module__", None) in _BUILT_IN:
            return True
        return _globals(target) is self._globals or bool(self.standing(thread))

    def _last_line(self, error: BaseException) -> str:
        walk, found = error.__traceback__, ""
        while walk is not None:
            if self._has(walk.tb_frame):
                found = _line(walk.tb_frame, walk.tb_lineno)
            walk = walk.tb_next
        return found

    def _has(self, frame: FrameType) -> bool:
        return frame.f_globals is self._globals


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it or was handled meanwhile, and the members of a group."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left.append(each.__cause__)
        if not each.__suppress_context__:
            left.append(each.__context__)
        if isinstance(each, BaseExceptionGroup):
            left.extend(each.exceptions)


def _globals(function: object) -> dict[str, Any] | None:
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and callable(function):
        function = type(function).__call__
    if callable(function):
        with contextlib.suppress(ValueError):  # it wraps itself
            function = inspect.unwrap(function)
    found: dict[str, Any] | None = getattr(function, "__globals__", None)  # methods pass it on
    return found


def _line(frame: FrameType, number: int) -> str:
    text = linecache.getline(frame.f_code.co_filename, number).strip()
    return f"in line {number}: {text}" if text else f"in line {number}"

"""A service that is one program, in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.child import Child
from labsvc.hosts.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class ProgramService(Service):
    """A service whose `_open` calls `_run` once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._child: Child | None = None

    def _run(self, command: Sequence[str], ready: Callable[[], bool], **how: Any) -> None:
        """Start the program as `Child` does, and wait until it is ready."""
        self._child = Child(command, self.log, **how)
        self._child.wait_until(ready)

    def _said(self, words: str) -> bool:
        """Say whether these words are in the log."""
        return any(words in line for line in list(self.log))

    def _close(self, grace: float) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

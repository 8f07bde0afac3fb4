"""What an answer must leave as it found it: the lab, and the modules that all cells share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from labsvc.checks.wording import SubmissionError

if TYPE_CHECKING:
    from labsvc.lab import Lab

SHARED = (
    "aio_pika",
    "asyncio",
    "grpc",
    "grpc.aio",
    "httpx2",
    "random",
    "secrets",
    "sqlite3",
    "threading",
    "time",
    "uuid",
)
"""Modules whose functions and classes an answer must not replace."""


class World:
    """How the process was when it was made, to be compared later."""

    def __init__(self) -> None:
        self._lab = _current()
        self._dead = self._lab is not None and not self._lab.loop.alive
        self._shared = {
            (module, name): value
            for module in SHARED
            if module in sys.modules
            for name, value in vars(sys.modules[module]).items()
            if not name.startswith("_") and callable(value)
        }

    def changed(self, sandbox_lab: Lab | None) -> SubmissionError | None:
        """Return what the answer changed, None if nothing; put back what can be put back."""
        replaced = [place for place in self._shared if not self._is_as_it_was(*place)]
        for module, name in replaced:
            setattr(sys.modules[module], name, self._shared[module, name])
        lab = sandbox_lab or self._lab
        if lab is not None and not lab.loop.alive and not self._dead:
            return SubmissionError(
                "your function stopped the lab, and every service in it",
                "Use only what the function is given."
                " Run the cell that makes the lab again, and the cells that start services.",
            )
        if replaced:
            names = ", ".join(".".join(place) for place in replaced)
            return SubmissionError(
                f"your function replaced {names}, for every other cell too",
                "It was put back. Pass on what you need instead of changing a module.",
            )
        return None

    def _is_as_it_was(self, module: str, name: str) -> bool:
        return getattr(sys.modules[module], name, None) is self._shared[module, name]


def _current() -> Lab | None:
    module: Any = sys.modules.get("labsvc.lab")  # without it, there is none
    return None if module is None else module.Lab.current()

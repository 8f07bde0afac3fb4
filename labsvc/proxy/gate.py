"""Who watches the events on a connection, and may hold them back or break it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Line(Protocol):
    """What a gate can do with its connection."""

    def pass_up(self, data: bytes) -> None:
        """Send bytes on to the upstream."""

    def pass_down(self, data: bytes) -> None:
        """Send bytes on to the client."""

    def reset(self) -> None:
        """Send RST to both sides."""


class Gate(Protocol):
    """Takes the bytes of one connection, and passes on what it likes through its `Line`."""

    def up(self, data: bytes) -> None:
        """Take bytes from the client."""

    def down(self, data: bytes) -> None:
        """Take bytes from the upstream."""


if TYPE_CHECKING:
    MakeGate = Callable[[Line], Gate]

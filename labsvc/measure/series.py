"""What is drawn in a figure: its lines, and how wide it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsvc.measure.histogram import Histogram

WIDTH = 900
"""How wide a figure is shown, in pixels."""


@dataclass(frozen=True)
class Series:
    """One line of a figure: its name, its answered calls, and how many failed."""

    name: str
    latency: Histogram
    failed: int = 0

    @property
    def legend(self) -> str:
        """The name, and what failed, for failed calls are not on the line."""
        return f"{self.name} ({self.failed:,} failed)" if self.failed else self.name

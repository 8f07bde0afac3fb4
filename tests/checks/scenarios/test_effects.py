from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from labsvc.checks.scenarios.effects import (
    BEHIND,
    NO_ROW,
    ONE_LESS,
    ONE_TRANSACTION,
    SWAPPED,
    TOO_FAR,
    where_to_look,
)


@pytest.mark.parametrize(
    ("positions", "hint"),
    [
        ([], NO_ROW),
        ([(0, 5), (1, 2)], ONE_TRANSACTION),
        ([(5, 0), (2, 1)], SWAPPED),
        ([(0, 4), (1, 1)], ONE_LESS),
        ([(0, 4)], BEHIND),  # nothing was noted of partition 1, which is two events behind
        ([(0, 4), (1, 2)], BEHIND),
        ([(0, 5), (1, 3)], TOO_FAR),
        ([(0, "5"), (1, 2)], BEHIND),
    ],
)
def test_hint_by_the_positions(positions: list[tuple[Any, Any]], hint: str) -> None:
    """What the positions say of a log of five events and two: a stage without a broker has both."""
    stage: Any = SimpleNamespace(
        rows=lambda _table: positions, log=SimpleNamespace(ends={0: 5, 1: 2})
    )
    assert where_to_look(stage) == hint

"""Test out of a part: one hard exercise in a notebook of its own, "T2" for part 2.

It is an exercise like any other. Once its notebook is solved, the part counts as known: that
follows from the stored states, so a reset of the notebook forgets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.catalogue import notebooks
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "T"


def notebook_of(part: str) -> str:
    """Return the number of the notebook that tests a part out: "T2" for "2".

    Raises:
        LabError: there is no such part, or no such notebook yet.

    """
    course = notebooks()
    parts = sorted({number[0] for number in course} - {MARK})
    if part not in parts:
        msg = f"there is no part {part}; choose {parts[0]} to {parts[-1]}"
        raise LabError(msg)
    if (number := f"{MARK}{part}") not in course:
        have = ", ".join(each[1] for each in course if is_test_out(each))
        msg = f"part {part} has no test-out yet; there is one for part {have}"
        raise LabError(msg)
    return number


def is_test_out(name: str) -> bool:
    """Return whether a notebook, or an exercise, is there to test a part out."""
    return name.startswith(MARK)


def known_parts(states: Mapping[str, str]) -> list[str]:
    """Return the parts whose test-out is solved, by the states of exercises."""
    return [
        number[1]
        for number, each in notebooks().items()
        if is_test_out(number) and all(states.get(key) == "solved" for key in each.exercises)
    ]

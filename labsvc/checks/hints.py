"""The next hint for an exercise, from vague to exact. The texts are in `scenarios/NN.toml`."""

from __future__ import annotations

from labsvc.checks.catalogue import texts
from labsvc.checks.progress import count_hint
from labsvc.checks.registry import unknown


def hint(exercise_id: str) -> None:
    """Print the next hint for an exercise; the last one is repeated.

    Which hints were shown is kept with the progress, until the notebook is reset.

    Raises:
        LabError: there is no such exercise; the message lists those there are.

    """
    found = texts(exercise_id)
    if found is None:
        raise unknown(exercise_id)
    most = len(found.hints)
    number, note = count_hint(exercise_id, most)
    last = ", the last" if number == most else ""
    print(f"{exercise_id}: hint {number} of {most}{last}")  # noqa: T201  # this is its purpose
    print("  " + found.hints[number - 1])  # noqa: T201
    if note:
        print(note)  # noqa: T201

"""What `labsvc update` and `labsvc test-out` do, and what they say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.course.edition import Edition
from labsvc.course.places import chosen_copy, copy_here
from labsvc.course.update import bring, give, ready
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from labsvc.course.working_copy import WorkingCopy


def update(into: Path | None = None) -> str:
    """Bring the edition of this checkout into a copy; return what was done.

    Args:
        into: the copy's folder; without it, the copy around the current folder, else the one in
            the learner's data folder.

    Raises:
        LabError: there is no copy.
        OSError: it cannot be written.

    """
    copy = _existing(into)
    said = bring(copy, Edition())
    if not said:
        return f"The copy in {copy.folder} has the newest edition already."
    reload = "Notebooks that are open in JupyterLab: choose File > Reload Notebook from Disk."
    return "\n".join([f"The copy in {copy.folder} is up to date:", *said, reload])


def give_test_out(number: str) -> str:
    """Put the notebook of a test-out into the learner's copy; return where it lies.

    Raises:
        LabError: there is no copy.
        OSError: it cannot be written.

    """
    copy, edition = _existing(None), Edition()
    name = edition.named(number)
    new = give(copy, edition, name)
    where = copy.path(name).relative_to(copy.folder)
    return f"{where} {'is new' if new else 'is there already'}, in the copy in {copy.folder}."


def finish() -> None:
    """Finish an interrupted update of the copy that is meant here, if there is one.

    Raises:
        OSError: it cannot be written.

    """
    copy = copy_here()
    if copy is not None and copy.updating.exists():
        ready(copy, Edition())


def _existing(into: Path | None) -> WorkingCopy:
    copy = chosen_copy(into)
    if not copy.made:
        msg = (
            f"There is no copy of the course in {copy.folder}. `labsvc lab` makes one; if yours"
            " lies elsewhere, change to its folder first."
        )
        raise LabError(msg)
    return copy

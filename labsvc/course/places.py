"""Which copy of the course, or which checkout, a command or a kernel is about."""

from __future__ import annotations

from pathlib import Path

from labsvc.course.edition import SOURCE
from labsvc.course.working_copy import WorkingCopy, copy_around


def copy_here() -> WorkingCopy | None:
    """Return the copy that is meant in the current folder, None for a checkout's own notebooks.

    It is the one that the folder lies in. Elsewhere, as in a terminal in the checkout, it is the
    learner's copy in the data folder. In the folder `notebooks` of a checkout, and where there is
    no copy, the checkout's own notebooks are meant.
    """
    here = Path.cwd()
    above = (here, *here.parents)
    around = copy_around(here)
    if around is not None:
        return around
    if any(folder.name == "notebooks" and (folder / "source").is_dir() for folder in above):
        return None
    default = WorkingCopy()
    return default if default.made else None


def chosen_copy(into: Path | None) -> WorkingCopy:
    """Return the copy in the folder `into`, made or not.

    Without `into` it is the one around the current folder, else the one in the data folder.
    """
    return WorkingCopy(into) if into else copy_around(Path.cwd()) or WorkingCopy()


def checkout_folder() -> Path | None:
    """Return the checkout: around the current folder, else around this package."""
    here = Path.cwd()
    for parent in (here, *here.parents, Path(__file__).parents[2]):
        if (parent / SOURCE).is_dir():
            return parent
    return None

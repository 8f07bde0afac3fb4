"""A newer edition of the course, brought into a copy.

Each notebook goes from the old edition to the new in one step, the renaming of a file; it says in
its metadata which edition it was made from. So an update that is interrupted, at whatever moment,
leaves old and new notebooks and nothing between. A mark tells the next command to finish it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.course.merge import merge
from labsvc.course.notebook import base_of, digest, read, text
from labsvc.course.restore import restore, sweep
from labsvc.course.working_copy import WELCOME
from labsvc.folders import keep, locked, write_whole

if TYPE_CHECKING:
    from labsvc.course.edition import Edition
    from labsvc.course.merge import Merged
    from labsvc.course.notebook import Notebook
    from labsvc.course.working_copy import WorkingCopy


def ready(copy: WorkingCopy, edition: Edition) -> list[str]:
    """Make a copy, or see that it is whole: an interrupted update done, no notebook broken.

    Returns what was done, a line each.

    Raises:
        LabError: the folder holds something else.
        OSError: it cannot be written.

    """
    if not copy.made:
        copy.make()
    with locked(copy.lock):
        return _ready(copy, edition)


def bring(copy: WorkingCopy, edition: Edition) -> list[str]:
    """Bring an edition into a copy; return what was done, a line each, nothing if it is there.

    Raises:
        OSError: the copy cannot be written.

    """
    with locked(copy.lock):
        copy.updating.touch()
        return _ready(copy, edition)


def give(copy: WorkingCopy, edition: Edition, name: str) -> bool:
    """Put a notebook, a test-out, into a copy; return whether it was not there.

    Raises:
        OSError: the copy cannot be written.

    """
    with locked(copy.lock):
        _ready(copy, edition)
        new = not copy.path(name).exists()
        if new:
            copy.begin(name, edition.notebook(name))
        return new


def behind(copy: WorkingCopy, edition: Edition) -> list[str]:
    """Return the names of the notebooks for which an edition has something newer."""
    return [name for name in edition.lessons if _newer(copy, name, edition.notebook(name))]


def _ready(copy: WorkingCopy, edition: Edition) -> list[str]:
    sweep(copy)
    said = restore(copy, edition)
    if copy.updating.exists():
        said += _bring(copy, edition)
    copy.welcome()
    return said


def _bring(copy: WorkingCopy, edition: Edition) -> list[str]:
    given = [name for name in copy.names() if name in edition.test_outs]
    said = [line for name in (*edition.lessons, *given) for line in _one(copy, edition, name)]
    for name in edition.pages:
        _page(copy, name, edition.page(name))
    copy.updating.unlink(missing_ok=True)
    return said


def _one(copy: WorkingCopy, edition: Edition, name: str) -> list[str]:
    """Bring one notebook in; return what is worth saying of it."""
    path, theirs = copy.path(name), edition.notebook(name)
    if not path.exists():
        copy.begin(name, theirs)
        return [f"{name} is new."]
    if not _newer(copy, name, theirs):
        return []
    while True:
        before, mine = read(path)
        base = None if mine is None else copy.base(mine)
        if mine is None or base is None:  # not ours, or nothing is left of what it was
            said = f"{name} is new. What stood in its place was kept as {keep(path)}."
            copy.begin(name, theirs)
            return [said]
        merged = merge(base, mine, theirs)
        lines = _lines(name, merged)
        if _own(mine, base):
            lines[0] += f" Your version before was kept as {keep(path)}."
        stored = copy.remember(theirs)
        if copy.write(name, merged.notebook, stored, over=before):
            return lines
        # JupyterLab has just saved it: merge that.


def _newer(copy: WorkingCopy, name: str, theirs: Notebook) -> bool:
    path = copy.path(name)
    mine = read(path)[1] if path.exists() else None
    return mine is None or base_of(mine) != digest(theirs)


def _own(mine: Notebook, base: Notebook) -> bool:
    """Return whether a notebook holds anything that was not in its base."""
    cells = [cell for cell in mine["cells"] if cell.get("id") != WELCOME]
    ran = any(cell.get("outputs") for cell in cells)
    return ran or list(map(text, cells)) != list(map(text, base["cells"]))


def _lines(name: str, merged: Merged) -> list[str]:
    lines = [f"{name} is updated."]
    if merged.answers_beside:
        lines.append("    The exercise changed: your answer stands below the new cell.")
    if merged.texts_beside:
        lines.append("    Cells that you had changed are newer: your text stands beside them.")
    return lines


def _page(copy: WorkingCopy, name: str, content: bytes) -> None:
    path = copy.path(name)
    if not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)

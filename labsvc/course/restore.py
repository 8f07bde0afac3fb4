"""A notebook that a cut save has broken or that was deleted, given back as it was last whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labsvc.course.notebook import parse, read
from labsvc.course.working_copy import copy_around
from labsvc.folders import PARTIAL, keep, write_whole

if TYPE_CHECKING:
    from labsvc.course.edition import Edition
    from labsvc.course.working_copy import WorkingCopy


def restore(copy: WorkingCopy, edition: Edition) -> list[str]:
    """Give broken and deleted notebooks back, and return what was done, a line each.

    The last good version is the newest of what was saved whole, JupyterLab's own checkpoint, and
    what the file held before JupyterLab emptied it to write it anew.
    Without either a broken notebook is given as it came.
    """
    said = []
    for name in sorted({*edition.lessons, *copy.names()}):
        path = copy.path(name)
        there = path.is_file()
        if there:
            content, notebook = read(path)
            if notebook is not None:
                _remember(copy, name, content)
                continue
        good = _last_good(copy, name)
        if there:
            what = "as it was last saved whole" if good else "as it came"
            said.append(f"{name} was broken, and is back {what}. What it held: {keep(path)}")
        elif good:
            said.append(f"{name} was gone, and is back as it was last saved.")
        if good:
            write_whole(path, good)
        elif there:
            copy.begin(name, edition.notebook(name))
    return said


def sweep(copy: WorkingCopy) -> None:
    """Remove what interrupted writes have left behind."""
    for folder in copy.written():
        for partial in folder.glob(f"{PARTIAL}*"):
            with suppress(OSError):
                partial.unlink()


def keep_good(os_path: str, model: dict[str, Any], **_: Any) -> None:
    """Keep a notebook that JupyterLab has just saved: its `post_save_hook`.

    A save never fails because of this.
    """
    with suppress(OSError):
        path = Path(os_path).resolve()
        copy = copy_around(path.parent)
        if model.get("type") == "notebook" and copy is not None and copy.holds(path):
            content = path.read_bytes()
            if parse(content) is not None:
                _remember(copy, path.name, content)


def _remember(copy: WorkingCopy, name: str, content: bytes) -> None:
    """Keep a whole notebook as the last good one.

    At a start too: a server that was killed has saved it, perhaps, and not called the hook.
    """
    good = copy.good(name)
    if not good.is_file() or good.read_bytes() != content:
        write_whole(good, content)


def _last_good(copy: WorkingCopy, name: str) -> bytes | None:
    path = copy.path(name)
    checkpoint = path.parent / ".ipynb_checkpoints" / f"{path.stem}-checkpoint.ipynb"
    found: list[tuple[float, bytes]] = []
    before = path.with_name(f".~{path.name}")
    for candidate in (copy.good(name), checkpoint, before):
        with suppress(OSError):
            content = candidate.read_bytes()
            if parse(content) is not None:
                found.append((candidate.stat().st_mtime, content))
    return max(found, default=(0.0, None))[1]

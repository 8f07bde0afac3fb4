"""A notebook that a cut save has broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labsvc.course import Edition, WorkingCopy, ready
from labsvc.course.notebook import parse, serialise
from labsvc.course.restore import keep_good
from tests.course import make

if TYPE_CHECKING:
    from pathlib import Path

LESSON = "22_deadlines.ipynb"
ANSWER = "def answer(n):\n    return 7"
BLANK = serialise(make.notebook({**make.code(""), "id": "blank"}))


def save(copy: WorkingCopy, words: str) -> bytes:
    """Save the lesson with an answer, as JupyterLab's server does; return the file's content."""
    path = copy.path(LESSON)
    notebook = parse(path.read_bytes())
    assert notebook is not None
    content = serialise(make.change(notebook, make.STUB, words))
    path.write_bytes(content)
    keep_good(str(path), {"type": "notebook"})
    return content


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", BLANK], ids=["empty", "cut", "list", "blank"])
def test_a_broken_notebook_is_as_last_saved(
    copy: WorkingCopy, old: Edition, data: Path, broken: bytes
) -> None:
    """The answer is back, what the broken file held is kept, and the learner is told."""
    whole = save(copy, ANSWER)
    copy.path(LESSON).write_bytes(broken)
    keep_good(str(copy.path(LESSON)), {"type": "notebook"})  # as the server does after each save
    kept = data / "kept" / LESSON
    assert ready(copy, old) == [
        f"{LESSON} was broken, and is back as it was last saved whole. What it held: {kept}"
    ]
    assert copy.path(LESSON).read_bytes() == whole
    assert kept.read_bytes() == broken


def test_a_save_under_way_is_not_broken(
    copy: WorkingCopy, old: Edition, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab has emptied the file and writes it in parts: what it saves is there at the end."""
    path = copy.path(LESSON)
    whole = save(copy, ANSWER)
    path.write_bytes(b"")
    make.save_in_parts(monkeypatch, path, whole[:100], whole)
    assert ready(copy, old) == []
    assert path.read_bytes() == whole
    assert not (data / "kept").exists()


def test_a_deleted_notebook_is_as_last_saved(copy: WorkingCopy, old: Edition) -> None:
    """It is back with the answer."""
    whole = save(copy, ANSWER)
    copy.path(LESSON).unlink()
    assert ready(copy, old) == [f"{LESSON} was gone, and is back as it was last saved."]
    assert copy.path(LESSON).read_bytes() == whole


def test_jupyterlabs_checkpoint_is_taken_if_it_is_newer(copy: WorkingCopy, old: Edition) -> None:
    """Another server may have saved the notebook, without our hook."""
    save(copy, ANSWER)
    path = copy.path(LESSON)
    checkpoint = path.parent / ".ipynb_checkpoints" / "22_deadlines-checkpoint.ipynb"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(path.read_bytes().replace(b"return 7", b"return 8"))
    path.write_bytes(b"")
    ready(copy, old)
    assert b"return 8" in path.read_bytes()


def test_what_a_killed_server_saved_is_known_from_the_next_start_on(
    copy: WorkingCopy, old: Edition
) -> None:
    """The file was whole; the hook never ran. Then half of it is lost."""
    path, before = copy.path(LESSON), copy.good(LESSON).read_bytes()
    saved = save(copy, ANSWER)
    copy.good(LESSON).write_bytes(before)
    ready(copy, old)
    path.write_bytes(saved[:100])
    ready(copy, old)
    assert path.read_bytes() == saved


def test_what_jupyterlab_set_aside_is_taken_if_it_is_newer(copy: WorkingCopy, old: Edition) -> None:
    """A first kill came before the hook, a second in the middle of the next save."""
    save(copy, ANSWER)
    path = copy.path(LESSON)
    aside = path.with_name(f".~{LESSON}")
    aside.write_bytes(path.read_bytes().replace(b"return 7", b"return 8"))
    path.write_bytes(b"")
    ready(copy, old)
    assert b"return 8" in path.read_bytes()


def test_without_a_good_one_it_is_as_it_came(copy: WorkingCopy, old: Edition) -> None:
    """Where nothing whole is left, the course's own is better than a broken file."""
    copy.good(LESSON).unlink()
    copy.path(LESSON).write_bytes(b"{")
    assert "is back as it came" in ready(copy, old)[0]
    notebook = parse(copy.path(LESSON).read_bytes())
    assert notebook is not None
    assert make.texts(notebook) == make.texts(old.notebook(LESSON))


def test_the_hook_never_fails_a_save(copy: WorkingCopy, tmp_path: Path) -> None:
    """Other files, other folders and a file that is gone are none of its business."""
    (tmp_path / "22_deadlines.ipynb").write_bytes(BLANK)
    for path in (tmp_path / LESSON, copy.folder / "notes.ipynb", copy.folder / "gone" / "a.txt"):
        keep_good(str(path), {"type": "notebook"})
    assert sorted(path.name for path in (copy.hidden / "good").iterdir()) == [
        "00_start_here.ipynb",
        LESSON,
    ]

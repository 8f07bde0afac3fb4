"""A copy that is made, and a newer edition that comes into it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest

from labsvc import jupyter
from labsvc.__main__ import main
from labsvc.course import Edition, WorkingCopy, bring, merge, ready
from labsvc.course.commands import finish, give_test_out
from labsvc.course.notebook import parse, serialise, text
from labsvc.course.places import copy_here
from labsvc.course.update import behind
from labsvc.course.working_copy import FIRST, WELCOME
from labsvc.errors import LabError
from labsvc.folders import PARTIAL
from tests.course import make

if TYPE_CHECKING:
    from pathlib import Path

    from labsvc.course.notebook import Notebook

LESSON = "22_deadlines.ipynb"
ANSWER = "def answer(n):\n    return 7"
ROUNDS = int(os.environ.get("UPDATE_KILLS", "25"))


def read(copy: WorkingCopy, name: str = LESSON) -> Notebook:
    """Return a notebook of a copy."""
    notebook = parse(copy.path(name).read_bytes())
    assert notebook is not None
    return notebook


def answer(copy: WorkingCopy, words: str = ANSWER) -> None:
    """Type an answer into the copy, as JupyterLab saves it."""
    path = copy.path(LESSON)
    path.write_bytes(serialise(make.change(read(copy), make.STUB, words)))


def newer(tmp_path: Path, **more: Notebook) -> Edition:
    """Write an edition in which the lesson has another demonstration."""
    return make.edition(tmp_path / "checkout", n22_deadlines=make.lesson(demo="demo = 2"), **more)


def shown(folder: Path) -> list[str]:
    """Return what JupyterLab lists: no file and no folder that begins with a dot."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not path.parts[0].startswith("."))


def test_a_copy_shows_the_notebooks_by_part_and_nothing_else(copy: WorkingCopy) -> None:
    """No source, no solution, no test-out; outputs are cleared, and links hold."""
    assert shown(copy.folder) == [f"0 start/{FIRST}", f"2 calls/{LESSON}", "sources.md"]
    assert not any(cell.get("outputs") for cell in read(copy)["cells"])
    assert "[sources.md](../sources.md)" in text(read(copy)["cells"][0])
    assert "(2%20calls/22_deadlines.ipynb#exercise)" in copy.path("sources.md").read_text()


def test_the_first_screen_says_where_the_copy_lies(copy: WorkingCopy, old: Edition) -> None:
    """The first cell of the first notebook does; where the folder was moved, it says so anew."""
    assert f"`{copy.folder}`" in text(read(copy, FIRST)["cells"][0])
    moved = WorkingCopy(copy.folder.rename(copy.folder.with_name("elsewhere")))
    assert ready(moved, old) == []
    welcomes = [cell for cell in read(moved, FIRST)["cells"] if cell["id"] == WELCOME]
    assert [f"`{moved.folder}`" in text(cell) for cell in welcomes] == [True]
    assert bring(moved, old) == []


def test_an_edition_comes_in_and_the_answer_stays(
    copy: WorkingCopy, tmp_path: Path, data: Path
) -> None:
    """What is new is there, what the learner wrote too, and the version before is kept."""
    answer(copy)
    before = copy.path(LESSON).read_bytes()
    extra = make.notebook(make.markdown("# Cancellation"))
    said = bring(copy, newer(tmp_path, n23_cancellation=extra))
    kept = data / "kept" / LESSON
    assert said == [
        f"{LESSON} is updated. Your version before was kept as {kept}.",
        "23_cancellation.ipynb is new.",
    ]
    assert kept.read_bytes() == before
    assert make.texts(read(copy)) == make.texts(
        make.change(newer(tmp_path).notebook(LESSON), make.STUB, ANSWER)
    )
    assert bring(copy, newer(tmp_path)) == []


def test_a_notebook_that_did_not_change_is_left_alone(copy: WorkingCopy, old: Edition) -> None:
    """Not a byte of it is touched, whatever the learner did with it."""
    answer(copy)
    before = copy.path(LESSON).read_bytes()
    assert bring(copy, old) == []
    assert copy.path(LESSON).read_bytes() == before


def test_a_notebook_that_forgot_its_base(copy: WorkingCopy, tmp_path: Path) -> None:
    """An editor may drop our metadata: the base is found by the cells."""
    answer(copy)
    notebook = {**read(copy), "metadata": {}}
    copy.path(LESSON).write_bytes(serialise(notebook))
    bring(copy, newer(tmp_path))
    assert ANSWER in make.texts(read(copy))
    assert "demo = 2" in make.texts(read(copy))


def test_something_else_in_the_place_of_a_notebook(
    copy: WorkingCopy, tmp_path: Path, data: Path
) -> None:
    """What shares no cell with the course is kept before the course takes its place."""
    other = serialise(make.notebook({**make.code("mine = 1"), "id": "other"}))
    copy.path(LESSON).write_bytes(other)
    said = bring(copy, newer(tmp_path))
    assert said == [
        f"{LESSON} is new. What stood in its place was kept as {data / 'kept' / LESSON}."
    ]
    assert (data / "kept" / LESSON).read_bytes() == other


def test_a_save_in_the_middle_of_an_update_is_merged(
    copy: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab saves between reading and writing: what it saved is in the result."""
    saves = iter([ANSWER])

    def save_meanwhile(*notebooks: Notebook) -> object:
        merged = merge.merge(*notebooks)
        for words in saves:
            answer(copy, words)
        return merged

    monkeypatch.setattr("labsvc.course.update.merge", save_meanwhile)
    bring(copy, newer(tmp_path))
    assert ANSWER in make.texts(read(copy))


def test_a_save_at_the_last_moment_is_merged(
    copy: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab saves while the merged notebook is on its way to the disk: the save stays."""
    to_disk, saves = os.fsync, iter([ANSWER])

    def save_meanwhile(file: int) -> None:
        to_disk(file)
        if list(copy.path(LESSON).parent.glob(f"{PARTIAL}*")):
            for words in saves:
                answer(copy, words)

    monkeypatch.setattr(os, "fsync", save_meanwhile)
    bring(copy, newer(tmp_path))
    assert next(saves, None) is None
    assert ANSWER in make.texts(read(copy))
    assert "demo = 2" in make.texts(read(copy))
    assert not list(copy.folder.rglob(f"{PARTIAL}*"))


def test_a_save_that_an_update_sees_half_is_merged(
    copy: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update waits for its end: nothing is set aside, and what it saved is in the result."""
    path = copy.path(LESSON)
    whole = serialise(make.change(read(copy), make.STUB, ANSWER))
    half = iter([whole[:100]])

    def begin_to_save(*notebooks: Notebook) -> object:
        merged = merge.merge(*notebooks)
        for content in half:
            path.write_bytes(content)
        return merged

    make.save_in_parts(monkeypatch, path, whole)
    monkeypatch.setattr("labsvc.course.update.merge", begin_to_save)
    edition = newer(tmp_path)
    assert behind(copy, edition) == [LESSON]
    assert bring(copy, edition)[0].startswith(f"{LESSON} is updated.")
    assert ANSWER in make.texts(read(copy))
    assert "demo = 2" in make.texts(read(copy))


def test_a_save_under_way_is_not_told_as_newer(
    copy: WorkingCopy, old: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file looks like no edition: its end is waited for before it is compared."""
    path = copy.path(LESSON)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    make.save_in_parts(monkeypatch, path, whole)
    assert behind(copy, old) == []


def test_two_copies_have_their_own_progress(
    copy: WorkingCopy, old: Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when one was made by copying the other's folder, and wherever a copy is moved."""
    from labsvc.checks.progress import is_solved, record

    monkeypatch.chdir(copy.folder / "2 calls")
    record("22-budget", "solved")
    other = tmp_path / "other"
    ready(WorkingCopy(other), old)
    monkeypatch.chdir(other)
    assert not is_solved("22-budget")
    shutil.copytree(copy.folder, tmp_path / "twin")
    monkeypatch.chdir(tmp_path / "twin")
    assert is_solved("22-budget")
    record("22-pass-on", "solved")
    monkeypatch.chdir(copy.folder)
    assert not is_solved("22-pass-on")


def test_reset_gives_a_notebook_of_the_copy_back(
    copy: WorkingCopy,
    old: Edition,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`labsvc reset 22` in the copy: as it came, the answer kept, its progress forgotten."""
    from labsvc.checks import reset as module

    monkeypatch.setattr(module, "Edition", lambda: old)
    monkeypatch.chdir(copy.folder)
    answer(copy)
    assert main(["reset", "22"]) == 0
    assert f"kept as {data / 'kept' / LESSON}" in capsys.readouterr().out
    assert make.texts(read(copy)) == make.texts(old.notebook(LESSON))
    assert main(["reset", "23"]) == 1
    assert "choose one of: 00, 22" in capsys.readouterr().err


def test_a_folder_with_something_else_is_refused(old: Edition, tmp_path: Path) -> None:
    """No file is written beside somebody's own."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(LabError, match="so nothing in it was touched"):
        ready(WorkingCopy(tmp_path / "full"), old)
    assert shown(tmp_path / "full") == ["thesis.tex"]


def test_a_test_out_comes_when_it_is_asked_for(
    copy: WorkingCopy, old: Edition, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It lies in its part from then on, is not given twice, and is updated with the others."""
    from labsvc.course import commands

    monkeypatch.setattr(commands, "Edition", lambda: old)
    monkeypatch.chdir(copy.folder)
    assert give_test_out("T2").startswith("2 calls/T2_calls.ipynb is new")
    assert "is there already" in give_test_out("T2")
    changed = make.edition(tmp_path / "checkout", nT2_calls=make.lesson(demo="demo = 3"))
    assert any(line.startswith("T2_calls") for line in bring(copy, changed))


def test_which_copy_is_meant(
    copy: WorkingCopy, old: Edition, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The one around the folder; in a checkout's notebooks none; elsewhere the learner's own."""
    monkeypatch.chdir(copy.folder / "2 calls")
    around = copy_here()
    assert around is not None
    assert around.folder == copy.folder
    monkeypatch.chdir(tmp_path / "checkout")
    assert copy_here() is None
    default = WorkingCopy()
    ready(default, old)
    found = copy_here()
    assert found is not None
    assert found.folder == default.folder
    monkeypatch.chdir(tmp_path / "checkout" / "notebooks")
    assert copy_here() is None


def test_the_terminal_says_where_the_copy_lies(old: Edition, tmp_path: Path) -> None:
    """At the first start and at each; a newer edition is announced, not forced on anybody."""
    folder = tmp_path / "own"
    edition = Edition
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jupyter, "Edition", lambda: edition(tmp_path / "checkout"))
        assert jupyter.own_copy(folder) == (
            folder,
            [
                f"Your copy of the course lies in {folder}",
                "2 notebooks were copied; change in them what you like.",
            ],
        )
        newer(tmp_path, n23_cancellation=make.notebook(make.markdown("# Cancellation")))
        assert jupyter.own_copy(folder)[1][1:] == [
            "2 of them have a newer edition: `labsvc update` brings it in."
        ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process that it forked")
def test_an_update_killed_at_any_moment_loses_nothing(copy: WorkingCopy, tmp_path: Path) -> None:
    """SIGKILL at random moments: the next command finishes, and the answers are there.

    `make updates` does it 200 times.
    """
    others = {f"n{number}_more": make.lesson() for number in range(40, 43)}
    began = time.monotonic()
    bring(copy, make.edition(tmp_path / "checkout", **others))
    took = time.monotonic() - began
    names = [LESSON, *(f"{number}_more.ipynb" for number in range(40, 43))]
    for name in names:
        path = copy.path(name)
        path.write_bytes(serialise(make.change(read(copy, name), make.STUB, ANSWER)))
    killed = 0
    for number in range(ROUNDS):
        demo = make.lesson(demo=f"demo = {number}")
        edition = make.edition(
            tmp_path / "checkout", n22_deadlines=demo, **dict.fromkeys(others, demo)
        )
        child = os.fork()
        if child == 0:
            bring(copy, edition)
            os._exit(0)
        time.sleep(random.uniform(0, took))  # noqa: S311  # a moment of no meaning
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        killed += os.WIFSIGNALED(status)
        for name in names:  # each is the old one or the new one
            assert ANSWER in make.texts(read(copy, name))
        ready(copy, edition)
        unfinished = copy.updating.exists()
        bring(copy, edition)
        for name in names:
            assert f"demo = {number}" in make.texts(read(copy, name))
            assert ANSWER in make.texts(read(copy, name))
        assert not unfinished
        assert not list(copy.folder.rglob(".part-*"))
    assert killed > ROUNDS / 10, "the update was too quick to be killed"


def test_progress_finishes_an_update(
    copy: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any command does, for which the mark of the update is enough."""
    from labsvc.course import commands

    edition = newer(tmp_path)
    copy.updating.touch()
    monkeypatch.setattr(commands, "Edition", lambda: edition)
    monkeypatch.chdir(copy.folder)
    finish()
    assert "demo = 2" in make.texts(read(copy))
    assert not copy.updating.exists()


def test_update_without_a_copy(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what makes one."""
    assert main(["update"]) == 1
    assert "`labsvc lab` makes one" in capsys.readouterr().err


def test_a_copy_that_is_written_by_hand(copy: WorkingCopy, tmp_path: Path) -> None:
    """Sources may be one string or a list of lines."""
    notebook = json.loads(copy.path(LESSON).read_bytes())
    notebook["cells"] = [{**cell, "source": text(cell)} for cell in notebook["cells"]]
    copy.path(LESSON).write_text(json.dumps(notebook))
    bring(copy, newer(tmp_path))
    assert "demo = 2" in make.texts(read(copy))

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from labsvc.checks.progress import Progress, count_hint, load, record
from labsvc.checks.reset import reset
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a course with a committed notebook 20, and go there."""
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(key, raising=False)
    (tmp_path / "course" / "notebooks" / "source").mkdir(parents=True)
    notebook = tmp_path / "course" / "notebooks" / "20_channels.ipynb"
    notebook.write_bytes("the first ü\r\n".encode())
    monkeypatch.chdir(tmp_path / "course")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path / "course"


def git(*arguments: str) -> None:
    """Run git in the current folder as somebody."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    no_hooks = ["-c", "core.hooksPath=", "-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"]
    subprocess.run(["git", *who, *no_hooks, *arguments], check=True, capture_output=True)


def test_reset_restores_and_keeps_a_copy(checkout: Path, data: Path) -> None:
    """The notebook is as committed, the learner's version is kept, only its progress is gone."""
    notebook = checkout / "notebooks" / "20_channels.ipynb"
    record("20-one-channel", "solved")
    count_hint("20-one-channel", 4)
    count_hint("01-percentile", 4)
    record("01-percentile", "solved")
    for number, name in ((1, "20_channels.ipynb"), (2, "20_channels-2.ipynb")):
        notebook.write_text(f"my work {number}")
        said = reset("20")
        assert f"Your version was kept as {data / 'kept' / name}." in said
        assert "20_channels.ipynb is as in the last commit" in said
        assert (data / "kept" / name).read_text() == f"my work {number}"
        assert notebook.read_bytes() == "the first ü\r\n".encode()
    assert load()[0] == Progress({"01-percentile": "solved"}, {"01-percentile": 1})


def test_reset_of_a_missing_or_untouched_notebook(
    checkout: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted notebook comes back, an untouched one needs no copy, from any folder below."""
    notebook = checkout / "notebooks" / "20_channels.ipynb"
    notebook.unlink()
    monkeypatch.chdir(checkout / "notebooks")
    assert "kept" not in reset("20")
    assert notebook.exists()
    assert "kept" not in reset("20")
    assert not (data / "kept").exists()


@pytest.mark.parametrize("number", ["2", "20_channels", "../20", "٢٠"])
def test_reset_refuses_what_is_no_number(checkout: Path, number: str) -> None:
    """Only two digits, or T and one, name a notebook."""
    with pytest.raises(LabError, match="give its number"):
        reset(number)


def test_reset_without_what_it_needs(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such notebook, no git history and no git are each a sentence that says what to do."""
    with pytest.raises(LabError, match=r"no notebook 55; choose one of: 20"):
        reset("55")
    bare = tmp_path / "bare"
    (bare / "notebooks" / "source").mkdir(parents=True)
    (bare / "notebooks" / "20_channels.ipynb").write_text("my work")
    monkeypatch.chdir(bare)
    with pytest.raises(LabError, match=r"git has no committed notebook here .*git clone"):
        reset("20")
    assert (bare / "notebooks" / "20_channels.ipynb").read_text() == "my work"
    monkeypatch.setenv("PATH", str(bare))
    with pytest.raises(LabError, match=r"git could not be started .*; install it"):
        reset("20")

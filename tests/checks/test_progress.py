from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import labsvc
from labsvc.checks import check
from labsvc.checks.progress import Progress, forget, load, record, show
from labsvc.checks.registry import listed
from labsvc.checks.testing_out import is_test_out
from labsvc.errors import LabError
from labsvc.folders import data_folder


def stub(n: int) -> int:
    """Stand for a cell that nobody has filled in."""
    raise NotImplementedError


def name(suffix: str) -> str:
    """Return the name of the file of this copy of the course."""
    place = str(Path(__file__).resolve().parents[2])
    return f"progress-{hashlib.sha256(place.encode()).hexdigest()[:12]}{suffix}.json"


def test_progress_is_kept_and_shown(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts are remembered, what was solved stays solved, and the table is fixed text."""
    check(double, stub)
    check(double, lambda n: n * 2)
    check(double, lambda n: n)
    capsys.readouterr()
    assert labsvc.progress is show
    show("98")
    assert capsys.readouterr().out == (
        "exercise   title            state\n98-double  Double a number  solved\n1 of 1 solved\n"
    )
    show()
    said = capsys.readouterr().out.splitlines()
    lessons = [key for key in listed() if not is_test_out(key)]
    assert [line.split()[0] for line in said[1:-1]] == lessons
    assert said[-1].startswith("1 of ")
    with pytest.raises(LabError, match="no exercises in notebook '77'; there are 0"):
        show("77")


def test_progress_survives_a_restart(data: Path) -> None:
    """Another process reads what this one has stored."""
    record("98-double", "solved")
    code = "from labsvc.checks.progress import load; print(load()[0].exercises)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said == "{'98-double': 'solved'}\n"


def test_broken_progress_is_set_aside(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be read is kept under another name, the learner is told, work goes on."""
    for number, content in enumerate([b'{"exercises": {"98-do', b"\xff\xfe", b"[]", b"{}"]):
        data_folder().mkdir(exist_ok=True)
        (data_folder() / name("")).write_bytes(content)
        check(double, lambda n: n * 2)
        said = capsys.readouterr().out
        aside = data_folder() / name(".broken" if number == 0 else f".broken-{number + 1}")
        assert f"set aside as {aside}; a new one begins" in said
        assert aside.read_bytes() == content
        assert load() == (Progress({"98-double": "solved"}), "")


def test_progress_of_a_newer_course_is_kept() -> None:
    """An exercise this version does not know stays in the file."""
    record("99-future", "solved")
    record("98-double", "not solved")
    forget("98")
    assert load()[0].exercises == {"99-future": "solved"}


def test_unwritable_folder_does_not_fail_a_check(
    double: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the result cannot be stored, the verdict is printed with a word about the folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "file"))
    check(double, lambda n: n * 2)
    said = capsys.readouterr().out
    assert "solved" in said
    assert "Your progress was not stored" in said
    assert f"Check the folder {tmp_path / 'file'}." in said
    with pytest.raises(LabError, match="name another one in LABSVC_DATA_DIR"):
        show()


def test_two_kernels_lose_nothing(data: Path) -> None:
    """Two processes and two threads that record at once all find their entries again."""
    code = (
        "import sys\n"
        "from labsvc.checks.progress import record\n"
        "for n in range(40): record(f'{sys.argv[1]}-number-{n}', 'solved')\n"
    )
    kernels = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("96", "97")]

    def write(name: str) -> None:
        for n in range(40):
            record(f"{name}-number-{n}", "solved")

    threads = [threading.Thread(target=write, args=(name,)) for name in ("94", "95")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kernel.wait(60) for kernel in kernels] == [0, 0]
    kept, note = load()
    assert len(kept.exercises) == 160
    assert note == ""
    stored = Path(name(""))
    kept_files = sorted(path.name for path in data.iterdir())
    assert kept_files == [str(stored), str(stored.with_suffix(".lock"))]


def test_two_copies_of_the_course(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is solved in one copy is not solved in another, from any folder of the copy."""
    for copy in ("one", "two"):
        (tmp_path / copy / "notebooks" / "source").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one")
    record("98-double", "solved")
    monkeypatch.chdir(tmp_path / "two" / "notebooks")
    assert load() == (Progress(), "")
    record("98-double", "not solved")
    monkeypatch.chdir(tmp_path / "one" / "notebooks" / "source")
    assert load() == (Progress({"98-double": "solved"}), "")


def test_progress_without_a_course(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no course lies around, progress is kept all the same."""
    monkeypatch.chdir(tmp_path)
    module = sys.modules["labsvc.course.places"]
    monkeypatch.setattr(module, "__file__", str(tmp_path / "a" / "b" / "c" / "d"))
    record("98-double", "solved")
    assert load() == (Progress({"98-double": "solved"}), "")
    assert (data / "progress.json").exists()

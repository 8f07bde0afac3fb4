"""The command line, and how JupyterLab is started by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labsvc import doctor, jupyter
from labsvc.__main__ import RUN, main
from labsvc.course import places
from labsvc.course.edition import SOURCE
from labsvc.course.working_copy import FIRST
from labsvc.doctor import Finding
from labsvc.errors import LabError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Make what a checkout of the course is told by."""
    (tmp_path / SOURCE).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("command", [(), *((name,) for name in RUN)])
def test_every_command_has_help(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """--help prints how each command is used, and its exit code is 0."""
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: labsvc", *command]))


def test_module_runs_as_a_program() -> None:
    """`python -m labsvc doctor` ends with 0 on a machine where the tests run."""
    done = subprocess.run(
        [sys.executable, "-m", "labsvc", "doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Python" in done.stdout


@pytest.mark.parametrize(
    ("ok", "code", "mark"), [(True, 0, "ok"), (None, 0, "note"), (False, 1, "WRONG")]
)
def test_doctor_prints_findings_and_repairs(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ok: bool | None,  # noqa: FBT001 - pytest passes it by name
    code: int,
    mark: str,
) -> None:
    """The exit code is 1 only if something is wrong; what is fine needs no repair."""
    found = [Finding("fuel", ok, "half full", "fill it up")]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert main(["doctor"]) == code
    printed = capsys.readouterr().out
    assert printed.startswith(mark)
    assert ("fill it up" in printed) == (ok is not True)


def test_progress_of_one_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    """`labsvc progress 01` lists the exercises of that notebook only."""
    assert main(["progress", "01"]) == 0
    printed = capsys.readouterr().out
    assert "01-percentile" in printed
    assert "02-" not in printed


@pytest.mark.parametrize("arguments", [["progress", "99"], ["reset", "three"]])
def test_known_mistakes_are_sentences(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook that does not exist is one sentence and exit code 1."""
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert arguments[1] in printed.err
    assert "Traceback" not in printed.err


def test_stray_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Only `lab` passes arguments on; elsewhere a mistyped one is an error."""
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--fast"])
    assert stopped.value.code == 2
    assert "--fast" in capsys.readouterr().err


def test_course_is_found_from_inside(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the course is found from itself and from a folder in it."""
    for here in (course, course / "notebooks"):
        monkeypatch.chdir(here)
        assert jupyter.tracked_folder() == course


def test_no_checkout_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no checkout, the error says how to get one."""
    monkeypatch.setattr(places, "__file__", str(tmp_path / "labsvc" / "course" / "places.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match="git clone"):
        jupyter.tracked_folder()


def test_jupyter_keeps_to_its_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and history go to the course's data folder, unless the user names others."""
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path))
    made = jupyter.environment({"PATH": "/bin", "JUPYTER_CONFIG_PATH": "/etc/own"})
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        assert Path(made[name]).is_relative_to(tmp_path), name
    assert made["JUPYTER_CONFIG_PATH"] == os.pathsep.join([str(jupyter.CONFIG), "/etc/own"])
    assert made["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/bin"]

    named = jupyter.environment({"JUPYTER_CONFIG_DIR": "/mine"})
    assert named["JUPYTER_CONFIG_DIR"] == "/mine"


def test_jupyter_is_told_to_stay_at_home(course: Path) -> None:
    """JupyterLab listens on 127.0.0.1, asks for no news, keeps its token; own flags come last."""
    given = jupyter.arguments(course, Path(FIRST), ["--port=9000"])
    assert "--ServerApp.ip=127.0.0.1" in given
    assert "--LabApp.news_url=None" in given
    assert given[-1] == "--port=9000"
    assert not any("token" in argument or "password" in argument for argument in given)


def test_shipped_settings_reach_jupyterlab(course: Path, tmp_path: Path) -> None:
    """JupyterLab itself, started with our environment, reads the files that silence it."""
    code = (
        "import os, labsvc.jupyter as j\n"
        "os.environ.update(j.environment(os.environ))\n"
        "from jupyterlab_server.config import LabConfig, get_page_config\n"
        "from jupyterlab_server.settings_utils import _get_overrides\n"
        "page = get_page_config([])\n"
        "print(sorted(page['disabledExtensions']))\n"
        "print(page['buildCheck'])\n"
        "print(sorted(_get_overrides('none')[0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "LABSVC_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    disabled, build_check, overridden = done.stdout.splitlines()
    assert "@jupyterlab/apputils-extension:announcements" in disabled
    assert "@jupyterlab/extensionmanager-extension:plugin" in disabled
    assert build_check == "False"
    assert "@jupyterlab/notebook-extension:tracker" in overridden

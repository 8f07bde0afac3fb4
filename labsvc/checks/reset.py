"""Give one notebook back as it came."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from labsvc.checks.progress import forget
from labsvc.course.edition import Edition
from labsvc.course.places import checkout_folder, copy_here
from labsvc.course.update import ready
from labsvc.errors import LabError
from labsvc.folders import keep, locked, write_whole

GIT_SECONDS = 30
RELOAD = "If it is open in JupyterLab, choose File > Reload Notebook from Disk."


def reset(number: str) -> str:
    """Restore the learner's notebook `number` ("02"), forget its progress, return what was done.

    In a learner's copy it is as the course has it now, in a checkout as in the last commit. The
    learner's own version is first kept in the data folder.

    Raises:
        LabError: no such number, no course folder here, or git cannot give the notebook.
        OSError: the notebook or the data folder cannot be written.

    """
    if not re.fullmatch(r"[0-9T][0-9]", number):
        msg = f"{number!r} is no notebook number; give its number, for example 02"
        raise LabError(msg)
    copy = copy_here()
    if copy is None:
        said = _reset_checkout(number)
    else:
        edition = Edition()
        name = edition.named(number)
        ready(copy, edition)
        with locked(copy.lock):
            said = _keep(copy.path(name))
            copy.begin(name, edition.notebook(name))
        said.append(f"{name} is as it came, and its progress is forgotten. {RELOAD}")
    forget(number)
    return "\n".join(said)


def _reset_checkout(number: str) -> list[str]:
    folder = _notebooks()
    name = _committed_name(folder, number)
    committed = _git(folder, "show", f"HEAD:./{name}")
    path = folder / name
    said = [] if path.exists() and path.read_bytes() == committed else _keep(path)
    write_whole(path, committed)
    said.append(f"{name} is as in the last commit, and its progress is forgotten. {RELOAD}")
    return said


def _keep(path: Path) -> list[str]:
    return [f"Your version was kept as {keep(path)}."] if path.exists() else []


def _notebooks() -> Path:
    course = checkout_folder()
    if course is None:
        msg = (
            f"no course was found from {Path.cwd()} upwards;"
            " change to the folder of the course first"
        )
        raise LabError(msg)
    return course / "notebooks"


def _committed_name(folder: Path, number: str) -> str:
    listed = _git(folder, "ls-tree", "--name-only", "HEAD", "./").decode()
    names = [name for name in listed.splitlines() if re.fullmatch(rf"{number}_\w+\.ipynb", name)]
    if not names:
        there = sorted(set(re.findall(r"^([0-9T]\d)_\w+\.ipynb$", listed, re.MULTILINE)))
        msg = f"the last commit has no notebook {number}; choose one of: {', '.join(there)}"
        raise LabError(msg)
    return names[0]


def _git(folder: Path, *arguments: str) -> bytes:
    """Return what git prints, run in `folder`.

    Raises:
        LabError: git is missing, there is no commit, or git does not answer.

    """
    repair = "get the course with `git clone`, or download the notebook again"
    # Inside a git hook these may name another repository.
    other = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    env = {key: value for key, value in os.environ.items() if key not in other}
    try:
        done = subprocess.run(  # noqa: S603  # no shell, fixed words
            ["git", *arguments],  # noqa: S607  # the learner's own git
            cwd=folder,
            env=env,
            capture_output=True,
            check=True,
            timeout=GIT_SECONDS,
            start_new_session=True,
        )
    except OSError as error:
        msg = f"git could not be started ({error.strerror}); install it, or {repair}"
        raise LabError(msg) from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        msg = f"git has no committed notebook here ({reason}); {repair}"
        raise LabError(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"git did not answer within {GIT_SECONDS} seconds; try again, or {repair}"
        raise LabError(msg) from error
    return done.stdout

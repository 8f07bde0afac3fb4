"""JupyterLab on the course: on this machine only, with a token, silent, and with its own settings.

JupyterLab is configured by flags, which win over every file, and by the two files in
`jupyter_config/labconfig`. Its settings, workspaces and history live in the course's data
directory, so that neither `~/.jupyter` nor `~/.ipython` is read or written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from labsvc.course.edition import Edition, place
from labsvc.course.places import checkout_folder, chosen_copy
from labsvc.course.update import behind, ready
from labsvc.course.working_copy import FIRST
from labsvc.errors import LabError
from labsvc.folders import data_folder
from labsvc.grammars import leave_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = Path(__file__).parent / "jupyter_config"


def tracked_folder() -> Path:
    """Return the checkout whose own notebooks are opened.

    Raises LabError if there is none.
    """
    folder = checkout_folder()
    if folder is None:
        msg = (
            "--tracked opens the notebooks of a checkout of the course, and there is none here."
            " Run it in the folder that you got with `git clone`."
        )
        raise LabError(msg)
    return folder


def own_copy(into: Path | None) -> tuple[Path, list[str]]:
    """Make the learner's copy ready; return where it lies, and what to tell the learner of it.

    Raises:
        LabError: `into` holds something else, or there is no course to copy.
        OSError: the copy cannot be written.

    """
    copy, edition = chosen_copy(into), Edition()
    new = not copy.made
    done = ready(copy, edition)
    said = [f"Your copy of the course lies in {copy.folder}"]
    if new:
        said.append(f"{len(copy.names())} notebooks were copied; change in them what you like.")
    else:
        said += done
    if newer := behind(copy, edition):
        said.append(f"{len(newer)} of them have a newer edition: `labsvc update` brings it in.")
    return copy.folder, said


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables JupyterLab and its kernels run with.

    A Jupyter or IPython folder that is named in `inherited` is kept.
    """
    own = data_folder().resolve() / "jupyter"
    configs = [str(CONFIG), inherited.get("JUPYTER_CONFIG_PATH", "")]
    tools = [str(Path(sys.executable).parent), inherited.get("PATH", "")]
    return {
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "IPYTHONDIR": str(own / "ipython"),
        **inherited,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, configs)),
        # A terminal in JupyterLab finds `labsvc` and the tools of the same environment.
        "PATH": os.pathsep.join(filter(None, tools)),
    }


def arguments(folder: Path, first: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return JupyterLab's arguments to open the notebook `first` in `folder`; `extra` wins."""
    fixed = [
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{quote(first.as_posix())}",
        "--ServerApp.ip=127.0.0.1",
        "--Application.log_level=WARN",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--FileContentsManager.post_save_hook=labsvc.course.restore.keep_good",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Containers run as root; the address and the token guard the server as elsewhere.
        fixed.append("--ServerApp.allow_root=True")
    return [*fixed, *extra]


def lab(extra: Sequence[str] = (), into: Path | None = None, *, tracked: bool = False) -> None:
    """Run JupyterLab until it is stopped, on the learner's own copy of the course.

    Args:
        extra: arguments of JupyterLab's own, as `--port=9000`.
        into: the folder of the copy; without it, the one around the current folder, else the one
            in the learner's data folder.
        tracked: open the repository's own notebooks.

    Raises:
        LabError: there is no course here, or `into` holds something else.
        OSError: the copy cannot be written.

    """
    if tracked:
        folder = tracked_folder()
        first = Path("notebooks", FIRST)
    else:
        folder, said = own_copy(into)
        first = Path(place(FIRST))
        print(*said, sep="\n")  # noqa: T201  # the terminal's first lines
    print("JupyterLab is starting. Pressing Ctrl-C twice here stops it.", flush=True)  # noqa: T201
    os.environ.update(environment(os.environ))
    leave_out()
    # Imported now, for Jupyter reads its folders from the environment.
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    LabApp.launch_instance(arguments(folder, first, extra))

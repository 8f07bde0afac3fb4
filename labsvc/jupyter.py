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

from labsvc.checks.folders import data_folder
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST = Path("notebooks", "00_start_here.ipynb")
CONFIG = Path(__file__).parent / "jupyter_config"


def course_folder(start: Path) -> Path:
    """Return the checkout: `start`, a folder above it, or the one this package lies in.

    Raises LabError if none of them holds the first notebook.
    """
    for folder in (start, *start.parents, Path(__file__).parents[1]):
        if (folder / FIRST).is_file():
            return folder
    msg = (
        f"There are no notebooks in {start} or above it. "
        f"Run this in the checkout of the course, the folder that holds {FIRST.as_posix()}."
    )
    raise LabError(msg)


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


def arguments(folder: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return JupyterLab's arguments to open the first notebook in `folder`; `extra` wins."""
    fixed = [
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{FIRST.as_posix()}",
        "--ServerApp.ip=127.0.0.1",
        "--Application.log_level=WARN",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Containers run as root; the address and the token guard the server as elsewhere.
        fixed.append("--ServerApp.allow_root=True")
    return [*fixed, *extra]


def lab(extra: Sequence[str] = ()) -> None:
    """Run JupyterLab until it is stopped; `extra` are arguments of its own, as `--port=9000`.

    Raises LabError outside a checkout.
    """
    folder = course_folder(Path.cwd())
    os.environ.update(environment(os.environ))
    # Imported now, for Jupyter reads its folders from the environment.
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    LabApp.launch_instance(arguments(folder, extra))

"""Run every cell of every solution twice in a row, and compare each run with the stored output.

    python tests/nbval_twice.py [NN ...]

takes all solutions unless numbers are given. A learner runs cells twice all the time. Only the cell
that makes the lab is run once: a new lab stops the first one, and all that follows would have to be
run again.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
ONCE = "lab = Lab()"


def doubled(path: Path) -> nbformat.NotebookNode:
    """Return the notebook with each code cell twice."""
    book: nbformat.NotebookNode = nbformat.read(path, 4)
    cells = []
    for cell in book.cells:
        cells.append(cell)
        if cell.cell_type == "code" and ONCE not in cell.source:
            again = copy.deepcopy(cell)
            again.id = f"{cell.id}-again"
            cells.append(again)
    book.cells = cells
    return book


def main(numbers: list[str]) -> int:
    """Double the notebooks into a temporary folder and give them to nbval."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb")):
            if not numbers or path.name[:2] in numbers:
                nbformat.write(doubled(path), Path(folder, path.name))
        shutil.copy2(ROOT / "notebooks" / "conftest.py", folder)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.no_grammars"]
        command += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        command += ["-n", "5", "--dist", "loadscope", "--nbval", folder, "--nbval-current-env"]
        command += ["--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg")]
        command += ["--nbval-cell-timeout", "60", "-c", str(ROOT / "pyproject.toml")]
        env = os.environ | {"LABSVC_DATA_DIR": str(Path(folder, "data"))}
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A notebook as it is stored (nbformat 4.5): read, compared, written.

The notebooks of a copy are read before each start of JupyterLab. They are plain JSON here, for
loading the package nbformat takes longer than reading them all.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Cell = dict[str, Any]
Notebook = dict[str, Any]

CHECKED = re.compile(r"""\bcheck\(\s*["']([0-9A-Z]{2}-[a-z0-9-]+)["']""")
SAVE = 0.5  # seconds: a save takes some milliseconds, and more on a drive in the network
OURS = "labsvc"
"""The key of what we remember in a notebook's metadata: `{"base": digest}`."""


def text(cell: Cell) -> str:
    """Return what stands in a cell; a file may hold it as a list of lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def parse(content: bytes) -> Notebook | None:
    """Return the notebook in a file's content, None if it is broken, or holds nothing at all."""
    try:
        notebook: Notebook = json.loads(content)
        cells = notebook["cells"]
        written = [text(cell) for cell in cells if cell["cell_type"] in ("code", "markdown", "raw")]
    except (ValueError, LookupError, TypeError):
        return None
    return notebook if len(written) == len(cells) and any(map(str.strip, written)) else None


def read(path: Path) -> tuple[bytes, Notebook | None]:
    """Return what a file holds, and the notebook in it, None if it is broken.

    JupyterLab empties a file before it writes it. What looks broken may be a save under way, so it
    is read again until it stays as it is.

    Raises:
        OSError: the file cannot be read.

    """
    content = path.read_bytes()
    while (notebook := parse(content)) is None:
        time.sleep(SAVE)
        before, content = content, path.read_bytes()
        if content == before:
            break
    return content, notebook


def serialise(notebook: Notebook) -> bytes:
    """Return a notebook as a file's content, in the form that Jupyter gives it."""
    cells = [{**cell, "source": text(cell).splitlines(keepends=True)} for cell in notebook["cells"]]
    whole = {**notebook, "cells": cells}
    return (json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def without_outputs(notebook: Notebook) -> Notebook:
    """Return a notebook in which no cell was run."""
    cells = [
        {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell
        for cell in notebook["cells"]
    ]
    return {**notebook, "cells": cells}


def digest(notebook: Notebook) -> str:
    """Return a short hash of the cells, by which an edition of a notebook is known."""
    cells = json.dumps(notebook["cells"], sort_keys=True).encode()
    return hashlib.sha256(cells).hexdigest()[:16]


def base_of(notebook: Notebook) -> str | None:
    """Return the digest of the notebook that this one was made from, None if it names none."""
    ours = notebook.get("metadata", {}).get(OURS)
    base = ours.get("base") if isinstance(ours, dict) else None
    return base if isinstance(base, str) and re.fullmatch(r"[0-9a-f]{16}", base) else None


def with_base(notebook: Notebook, base: str) -> Notebook:
    """Return the same notebook that names what it was made from."""
    return {**notebook, "metadata": {**notebook.get("metadata", {}), OURS: {"base": base}}}


def keys(notebook: Notebook) -> list[str]:
    """Return what each cell is known by in all editions: an exercise by its check, else its id.

    The id of a cell follows from its text, so that a cell which an edition changes is another one.
    """
    found = []
    unchecked: list[int] = []
    numbers: Counter[str] = Counter()
    for place, cell in enumerate(notebook["cells"]):
        found.append(str(cell["id"]))
        if "exercise" in cell.get("metadata", {}).get("tags", []):
            unchecked.append(place)
        elif unchecked and (checked := CHECKED.search(text(cell))):
            for exercise in unchecked:
                found[exercise] = f"{checked[1]}/{numbers[checked[1]]}"
                numbers[checked[1]] += 1
            unchecked.clear()
    return found

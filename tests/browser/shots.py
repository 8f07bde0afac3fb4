"""Photograph notebooks as JupyterLab shows them, top to bottom, in the light and the dark theme.

    python -m tests.browser.shots FOLDER [NN ...]

writes FOLDER/NN-light-1.png and so on, of all notebooks unless numbers are given. The outputs
are the stored ones; no cell is run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.driver import ROOT, Notebook, browser, checkout, jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SIZE: ViewportSize = {"width": 1200, "height": 1500}
PANE = ".jp-NotebookPanel .jp-WindowedPanel-outer"


def photograph(folder: Path, numbers: list[str]) -> None:
    """Write the pictures of the notebooks whose numbers are given, of all without a number."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted((ROOT / "notebooks").glob("[0-9T][0-9]_*.ipynb"))
    chosen = [path for path in found if not numbers or path.name[:2] in numbers]
    for theme in THEMES:
        with tempfile.TemporaryDirectory() as scratch:
            course, data = Path(scratch, "course"), Path(scratch, "data")
            checkout(course)
            use_theme(data, theme)
            with jupyterlab(course, data, "--tracked") as lab, browser() as running:
                for path in chosen:
                    notebook = Notebook(running.new_page(viewport=SIZE))
                    # doc shows one document, without side bars and menus.
                    notebook.open(lab.at(f"notebooks/{path.name}", view="doc/tree"))
                    shoot(notebook, folder / f"{path.name[:2]}-{theme}")
                    notebook.page.close()


def use_theme(data: Path, theme: str) -> None:
    """Store the choice of a theme as JupyterLab's own menu would."""
    settings = data / "jupyter/config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    choice = json.dumps({"theme": THEMES[theme]})
    (settings / "themes.jupyterlab-settings").write_text(choice, encoding="utf-8")


def shoot(notebook: Notebook, stem: Path) -> None:
    """Write a picture of each screenful, a little of the one before at the top of the next."""
    pane = notebook.page.locator(PANE)
    ends = "cells => cells.map(cell => cell.getBoundingClientRect().bottom)"
    height = int(max(pane.locator(".jp-Cell").evaluate_all(ends)))
    step = pane.evaluate("pane => pane.clientHeight") - 60
    for number, top in enumerate(range(0, height, step), 1):
        pane.evaluate("(pane, top) => pane.scrollTo(0, top)", top)
        pane.screenshot(path=f"{stem}-{number}.png")


if __name__ == "__main__":
    photograph(Path(sys.argv[1]), sys.argv[2:])

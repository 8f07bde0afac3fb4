"""Write what the index of symptoms gives: `index.json`, the page `symptoms.md`, a table of README.

The index is for `labsvc symptom`; page and table are for those who read.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import symptoms_index
import yaml
from symptoms_index import SymptomsError

from labsvc.course.edition import PARTS
from labsvc.symptoms.index import Entry, Index, read

NAME = "symptoms.md"
INDEX = Path("labsvc/symptoms/index.json")
DATA = Path("data/symptoms.yaml")
BEGIN, END = "<!-- symptoms: made by notebooks/build.py -->\n", "<!-- /symptoms -->"
IN_ANCHORS = "-_.~:,'!*=?"  # what a browser and Markdown both leave as it is
HEAD = """\
<!-- Made by notebooks/build.py from data/symptoms.yaml and the notebooks: do not edit. -->

# Find by symptom

Each row is a pitfall of the course: what you see, why, and what to change. The link leads to the
section that shows it: in JupyterLab the first click opens the notebook, a second one goes to the
section. `labsvc symptom` searches this page by your own words, by an error's text or by a whole
traceback:

```
labsvc symptom Socket closed
labsvc symptom "added a server and it gets no calls"
labsvc symptom < traceback.txt
```
"""
COLUMNS = "| you see | cause | fix | setting | shown in |\n| --- | --- | --- | --- | --- |"
PASTED = "| pasted text | pitfall |\n| --- | --- |"


def anchor(section: str) -> str:
    """Return the fragment that JupyterLab and nbconvert give to a heading, fit for a link."""
    return quote(section.replace("`", "").replace(" ", "-"), safe=IN_ANCHORS)


def link(entry: Entry, folder: str = "") -> str:
    """Return a link to the section of an entry; `folder` leads to the notebooks."""
    number = entry.notebook[:2]
    return f"[{number} {entry.title}]({folder}{entry.notebook}.ipynb#{anchor(entry.section)})"


def line(entry: Entry) -> str:
    """Return an entry as a row of a table."""
    cells = (entry.symptom, entry.cause, entry.fix, entry.setting, link(entry))
    return f"| {' | '.join(cells)} |"


def page(index: Index) -> str:
    """Return the page: a table for each part of the course."""
    rows = [entry for entry in index.entries if entry.cause]
    said = [HEAD]
    for part, entries in groupby(rows, key=lambda entry: entry.notebook[0]):
        said += [f"## Part {part}: {PARTS[part]}\n", COLUMNS, *map(line, entries), ""]
    return "\n".join(said)


def pasted(index: Index, texts: list[str]) -> str:
    """Return README's table of texts that people paste, each with the pitfalls it stands under.

    Raises:
        SymptomsError: no pitfall has the text.

    """
    table = [PASTED]
    for text in texts:
        under = [entry for entry in index.entries if entry.cause and text in entry.paste]
        if not under:
            msg = f"{DATA}: readme names {text!r}, which stands under no pitfall"
            raise SymptomsError(msg)
        links = dict.fromkeys(link(entry, "notebooks/") for entry in under)
        table.append(f"| `{text}` | {'; '.join(links)} |")
    return "\n".join(["", *table, "", ""])


def made(root: Path) -> dict[Path, str]:
    """Return the files of the course in `root` that the index gives, nothing without its data.

    Raises:
        SymptomsError: data/symptoms.yaml does not fit the notebooks, or README has no place.

    """
    if not (root / DATA).exists():
        return {}
    stored = symptoms_index.make(root)
    index = read(stored)
    told: dict[str, Any] = yaml.safe_load((root / DATA).read_text(encoding="utf-8"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    before, mark, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        msg = f"README.md: the lines {BEGIN.strip()} and {END} are missing"
        raise SymptomsError(msg)
    return {
        root / INDEX: stored,
        root / "notebooks" / NAME: page(index),
        root / "README.md": before + mark + pasted(index, told["readme"]) + end + after,
    }


def stale(root: Path) -> list[Path]:
    """Return the files that are not what the course gives."""
    return [
        path
        for path, text in made(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def write(root: Path) -> None:
    """Write the files that changed."""
    texts = made(root)
    for path in stale(root):
        path.write_text(texts[path], encoding="utf-8")

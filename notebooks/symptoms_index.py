"""Make the index of `labsvc symptom`: what the course says of each pitfall, and how people say it.

From `data/symptoms.yaml` come people's words and the texts of libraries, from the notebooks the
summary tables, the prose and the outputs, from the ledger its claims, from the checks their texts.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from labsvc.symptoms.index import Entry
from labsvc.symptoms.words import Vocabulary

SCENARIOS = Path("labsvc/checks/scenarios")
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
CHECK = re.compile(r'\bcheck\("(\d\d-[a-z0-9-]+)"')
CELL = re.compile(r"(?<!\\)\|")
COLUMNS = 4
FEWEST_WORDS = 5  # of a check's sentence that can be told from others


class SymptomsError(Exception):
    """data/symptoms.yaml and a notebook do not fit; the message says which line to change."""


def make(root: Path) -> str:
    """Return the index of the course in `root`, in JSON.

    Raises:
        SymptomsError: a row or a section that data/symptoms.yaml names is not in its notebook.

    """
    told: dict[str, Any] = yaml.safe_load((root / "data/symptoms.yaml").read_text("utf-8"))
    claims: list[dict[str, Any]] = yaml.safe_load((root / "data/claims.yaml").read_text("utf-8"))
    words = Vocabulary(told["words"])
    entries = []
    for name, rows in told["pitfalls"].items():
        sections = read(root / "notebooks" / f"{name}.ipynb")
        mine = [claim for claim in claims if claim["notebook"] == name]
        entries += pitfalls(name, rows, sections, mine, words)
        entries += exercises(name, sections, root)
    index = {"words": told["words"], "entries": [asdict(entry) for entry in entries]}
    return json.dumps(index, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> dict[str, str]:
    """Return the sections of a notebook by heading: prose, code and what was printed."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sections = {"": ""}
    heading = ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            before, *others = HEADING.split(source)
            sections[heading] += before + "\n"
            for heading, body in zip(others[::2], others[1::2], strict=True):
                sections[heading] = body + "\n"
        else:
            printed = ("".join(output.get("text", "")) for output in cell["outputs"])
            sections[heading] += "\n".join([source, *printed]) + "\n"
    return sections


def table(text: str) -> dict[str, list[str]]:
    """Return the rows of a summary table by symptom: cause, fix, setting."""
    lines = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in CELL.split(line)] for line in lines[2:]]
    return {row[0]: row[1:COLUMNS] for row in rows}


def pitfalls(
    name: str,
    rows: dict[str, dict[str, Any]],
    sections: dict[str, str],
    claims: list[dict[str, Any]],
    words: Vocabulary,
) -> list[Entry]:
    """Return the entries of a notebook's summary table, in its order."""
    stored = table(sections["Summary"])
    if list(rows) != list(stored):
        odd = sorted({*rows} ^ {*stored}) or "their order"
        msg = f"data/symptoms.yaml: the rows of {name} are not those of its summary table: {odd}"
        raise SymptomsError(msg)
    headings = [heading for heading in sections if heading.startswith("Pitfall: ")]
    found = []
    for place, (symptom, more) in enumerate(rows.items()):
        section = more.get("section") or headings[min(place, len(headings) - 1)]
        if section not in sections:
            msg = f"data/symptoms.yaml: {name} has no section {section!r}; it has {headings}"
            raise SymptomsError(msg)
        mine = [claim for claim in claims if claim.get("section") == section]
        said = " ".join(f"{claim['claim']} {claim['python']}" for claim in mine)
        cause, fix, setting = stored[symptom]
        ids = tuple(claim["id"] for claim in mine)
        say, paste = tuple(more.get("say", ())), tuple(more.get("paste", ()))
        prose = " ".join(sorted(set(words.terms(f"{sections[section]} {said}"))))
        found.append(
            Entry(name, section, symptom, cause, fix, setting, ids, say, paste, prose),
        )
    return found


def exercises(name: str, sections: dict[str, str], root: Path) -> list[Entry]:
    """Return an entry for each exercise, which the texts of its check find."""
    texts = check_texts(name[:2], root / SCENARIOS)
    return [
        Entry(
            name,
            section,
            f"the check {exercise} says this of your answer",
            "",
            f'`hint("{exercise}")`',
            "",
            (),
            (),
            tuple(sorted(texts.get(exercise, ()))),
            "",
        )
        for section, text in sections.items()
        if section.startswith("Exercise: ")
        for exercise in dict.fromkeys(CHECK.findall(text))
    ]


def check_texts(number: str, folder: Path) -> dict[str, set[str]]:
    """Return what the checks of a notebook can say, and their hints, by exercise."""
    path = folder / f"{number}.toml"
    told: dict[str, Any] = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    texts: dict[str, set[str]] = {}
    for module in told.pop("modules", ()):
        tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
        said = sentences(tree)
        for exercise in registered(tree):
            texts.setdefault(exercise, set()).update(said)
    return texts


def registered(tree: ast.AST) -> list[str]:
    """Return the exercises that a module registers by `@exercise("…")`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    named = [call.args[0] for call in calls if getattr(call.func, "id", "") == "exercise"]
    return [str(each.value) for each in named if isinstance(each, ast.Constant)]


def sentences(tree: ast.AST) -> set[str]:
    """Return the texts of a module that a learner may read: no docstrings, no short ones."""
    docs = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inner: set[ast.AST] = set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [each for each in node.values if isinstance(each, ast.Constant)]
            inner.update(pieces)
            found.add(" ".join(str(each.value).strip() for each in pieces))
        elif isinstance(node, ast.Constant) and node not in docs | inner:
            found.add(str(node.value))
    return {" ".join(text.split()) for text in found if len(text.split()) >= FEWEST_WORDS}

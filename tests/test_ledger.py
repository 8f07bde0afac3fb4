from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
CLAIMS: list[dict[str, Any]] = yaml.safe_load((ROOT / "data" / "claims.yaml").read_text("utf-8"))
DONE = [claim for claim in CLAIMS if claim.get("status") == "done"]

ALWAYS = {"id", "source", "notebook", "verdict", "claim", "python", "show", "status"}
WHEN_DONE = {"section", "observable"}
VERDICTS = {"holds", "limited", "refuted"}


def faults(claim: dict[str, Any]) -> list[str]:
    """Return what is wrong with a row by itself."""
    said = []
    wanted = ALWAYS | WHEN_DONE if claim.get("status") == "done" else ALWAYS
    if set(claim) != wanted:
        said.append(f"fields differ: {sorted(set(claim) ^ wanted)}")
    if claim.get("status") not in {"done", "todo"}:
        said.append("status is neither done nor todo")
    if claim.get("verdict") not in VERDICTS:
        said.append("no such verdict")
    if not re.fullmatch(r"\d\d_[a-z_]+", str(claim.get("notebook"))):
        said.append("the notebook is not named as 02_channels")
    source = claim.get("source")
    if not isinstance(source, list) or not source or not set(source) <= set(range(5)):
        said.append("the source is no list of article numbers")
    texts = wanted - {"source"}
    said += [f"{key} is empty" for key in sorted(texts) if not str(claim.get(key) or "").strip()]
    if re.search(str(claim.get("observable", "x")), ""):
        said.append("the observable is found in an empty text")
    return said


def headings(cell: Any) -> list[tuple[int, str]]:
    """Return level and text of the headings of a Markdown cell, code blocks left out."""
    text = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^(#+)\s+(.+?)\s*$", text, re.MULTILINE)
    return [(len(mark), title) for mark, title in found]


def sections(notebook: Any, heading: str) -> list[list[Any]]:
    """Return the code cells of each section with this heading, its subsections included."""
    found: list[list[Any]] = []
    level = 0  # of the section we are in, 0 for none
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if level:
                found[-1].append(cell)
            continue
        for depth, title in headings(cell):
            if level and depth <= level:
                level = 0
            if title == heading:
                found.append([])
                level = depth
    return found


def printed(cells: list[Any]) -> str:
    """Return what the cells have printed or shown as text."""
    texts = []
    for cell in cells:
        for output in cell.outputs:
            texts.append(output.get("text", ""))
            texts.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(texts)


def unproven(claim: dict[str, Any], notebook: Any) -> str:
    """Return why the notebook does not show what a done row says, "" if it does."""
    found = sections(notebook, claim["section"])
    if len(found) != 1:
        return f"{len(found)} headings {claim['section']!r}, one is needed"
    shown = printed(found[0])
    if not shown.strip():
        return f"the cells under {claim['section']!r} print nothing"
    if not re.search(claim["observable"], shown):
        return f"{claim['observable']!r} is not in what these cells print:\n{shown}"
    return ""


def test_every_claim_is_in_the_ledger() -> None:
    """The ledger has the 63 claims, each once, in order."""
    assert [claim["id"] for claim in CLAIMS] == [f"C{n:02}" for n in range(1, 64)]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["id"])
def test_row_is_whole(claim: dict[str, Any]) -> None:
    """A row has its fields, and none that it must not have."""
    assert faults(claim) == []


def test_notebooks_with_a_source_have_no_claim_left() -> None:
    """Once a notebook is written, each of its claims is done."""
    written = {path.stem for path in NOTEBOOKS.glob("source/*.md")}
    left = [c["id"] for c in CLAIMS if c["status"] == "todo" and c["notebook"] in written]
    assert left == []


@pytest.mark.parametrize("claim", DONE, ids=lambda claim: claim["id"])
@pytest.mark.parametrize("folder", [NOTEBOOKS, NOTEBOOKS / "solutions"], ids=["learner", "solved"])
def test_done_claim_is_shown(claim: dict[str, Any], folder: Path) -> None:
    """The section that a done row names exists, and its cells print the observable."""
    path = folder / f"{claim['notebook']}.ipynb"
    assert path.exists()
    assert unproven(claim, nbformat.read(path, 4)) == ""


@pytest.mark.parametrize("claim", DONE, ids=lambda claim: claim["id"])
def test_done_claim_is_named_in_its_notebook(claim: dict[str, Any]) -> None:
    """The notebook tells its reader which claim is put to the test."""
    source = (NOTEBOOKS / "source" / f"{claim['notebook']}.md").read_text("utf-8")
    assert re.search(rf"\b{claim['id']}\b", source)


def row(**fields: Any) -> dict[str, Any]:
    """Return a row that is in order, except for the fields given."""
    good = dict.fromkeys(ALWAYS | WHEN_DONE, "text")
    return (
        good
        | {"notebook": "02_channels", "verdict": "holds", "status": "done", "source": [0]}
        | fields
    )


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, ""),
        ({"verdict": "true"}, "no such verdict"),
        ({"status": "soon"}, "status is neither"),
        ({"status": "todo"}, "fields differ: ['observable', 'section']"),
        ({"observable": " "}, "observable is empty"),
        ({"observable": "(60)?"}, "found in an empty text"),
        ({"show": None}, "show is empty"),
        ({"source": [5]}, "no list of article numbers"),
        ({"notebook": "channels"}, "not named as"),
        ({"proof": "trust me"}, "fields differ: ['proof']"),
    ],
)
def test_faulty_row_is_found(fields: dict[str, Any], fault: str) -> None:
    """Each fault of a row is found, and a row in order has none."""
    said = faults(row(**fields))
    assert said == [] if not fault else any(fault in line for line in said)


@pytest.mark.parametrize(
    ("heading", "observable", "reason"),
    [
        ("Measure", "measured", "2 headings"),
        ("Pitfall: slow", "60 connections", ""),
        ("Pitfall: slow", r"ratio above \d", ""),
        ("Fix: keep it", "ratio above 3", ""),
        ("Pitfall: other", "60", "0 headings"),
        ("not a heading", "60", "0 headings"),
        ("Pitfall: silent", "60", "print nothing"),
        ("Pitfall: silent", "", "print nothing"),
        ("Fix: keep it", "60 connections", "is not in what"),
        ("Pitfall: slow", "of the next section", "is not in what"),
    ],
)
def test_proof_is_looked_for_under_the_heading(heading: str, observable: str, reason: str) -> None:
    """Only what the cells of the section printed is proof; subsections belong to it."""
    v4: Any = nbformat.v4

    def cell(text: str) -> Any:
        outputs = [v4.new_output("stream", text=text)] if text else []
        return v4.new_code_cell("x = '60 connections'", outputs=outputs)

    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# Title\n\n60 connections"),
            cell("before"),
            v4.new_markdown_cell("## Pitfall: slow\n\nWords."),
            cell("60 connections\n"),
            v4.new_markdown_cell("### Fix: keep it"),
            cell("ratio above 3"),
            v4.new_markdown_cell("### Measure"),
            cell("measured"),
            v4.new_markdown_cell("## Pitfall: silent\n\n```\n# not a heading\n```\n"),
            cell(""),
            v4.new_markdown_cell("### Measure"),
            cell(""),
            v4.new_markdown_cell("## Pitfall: after"),
            cell("of the next section"),
        ]
    )
    claim = row(section=heading, observable=observable)
    assert bool(unproven(claim, notebook)) == bool(reason)
    assert reason in unproven(claim, notebook)

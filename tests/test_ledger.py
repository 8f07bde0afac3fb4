from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import sources_page
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
CLAIMS: list[dict[str, Any]] = yaml.safe_load((ROOT / "data" / "claims.yaml").read_text("utf-8"))
ARTICLES: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "data" / "articles.yaml").read_text("utf-8")
)
DONE = [claim for claim in CLAIMS if claim.get("status") == "done"]

ALWAYS = {"id", "source", "notebook", "verdict", "claim", "quote", "python", "show", "status"}
WHEN_DONE = {"seen", "section", "observable"}
VERDICTS = {"holds", "limited", "refuted"}
COURSE = (  # the notebooks that a claim may stand in, written or to come
    *("00_start_here", "01_measuring"),
    *("10_contracts", "11_evolution", "12_json"),
    *("20_channels", "21_outages", "22_deadlines", "23_cancellation", "24_context"),
    *("25_errors", "26_retries", "27_streaming", "28_server_concurrency"),
    "29_connections_under_load",
    *("30_http_clients", "31_http_contracts", "32_http_or_grpc", "33_gateway"),
    *("40_tls", "41_balancing", "42_discovery"),
    *("50_queues", "51_delivery", "52_shared_state", "53_sagas", "54_large_payloads"),
    *("60_tracing", "61_logs_and_metrics", "62_choosing", "63_incidents"),
)


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
    if claim.get("notebook") not in COURSE:
        said.append("the course has no such notebook")
    sentences = {key: str(claim[key]) for key in ("quote", "seen") if key in claim}
    said += [
        f"the {key} is not one sentence on one line"
        for key, text in sentences.items()
        if not re.fullmatch(r"\S.*[.]", text)
    ]
    if '"' in str(claim.get("quote")):
        said.append("the quote has double quotes inside; use single ones")
    source = claim.get("source")
    if not isinstance(source, list) or not source or not set(source) <= set(range(5)):
        said.append("the source is no list of article numbers")
    texts = wanted - {"source"}
    said += [f"{key} is empty" for key in sorted(texts) if not str(claim.get(key) or "").strip()]
    if re.search(str(claim.get("observable", "x")), ""):
        said.append("the observable is found in an empty text")
    return said


def first_screen(notebook: Any) -> str:
    """Return what a notebook says before its first code cell."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            break
        texts.append(cell.source)
    return "\n\n".join(texts)


def plain(text: str) -> str:
    """Return the text on one line, quotation marks straight, without the marks of a block quote."""
    text = re.sub(r"^[ ]*>[ ]?", "", text, flags=re.MULTILINE)
    text = text.translate(str.maketrans("\u201c\u201d\u2018\u2019", "\"\"''"))
    return " ".join(text.split())


def unquoted(claim: dict[str, Any], notebook: Any) -> str:
    """Return what the first screen leaves out of a claim's quote, title and id, "" for nothing."""
    title = next(a["title"] for a in ARTICLES if a["number"] == claim["source"][0])
    blocks = [plain(block) for block in re.split(r"\n[ >]*\n", first_screen(notebook))]
    found = [block for block in blocks if plain(claim["quote"]) in block]
    if not found:
        return f"the first screen does not quote {claim['id']}: {claim['quote']!r}"
    if not any(plain(title) in b and re.search(rf"\b{claim['id']}\b", b) for b in found):
        return f"the quote of {claim['id']} needs beside it the id and the title {title!r}"
    return ""


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


@pytest.mark.parametrize("claim", DONE, ids=lambda claim: claim["id"])
def test_done_claim_is_quoted_on_the_first_screen(claim: dict[str, Any]) -> None:
    """Before its first code cell the notebook quotes the claim, with the article's title."""
    path = NOTEBOOKS / f"{claim['notebook']}.ipynb"
    assert path.exists()
    assert unquoted(claim, nbformat.read(path, 4)) == ""


def test_articles_are_whole() -> None:
    """The five articles have a number, a title and a description; no address names a site."""
    assert [article["number"] for article in ARTICLES] == [0, 1, 2, 3, 4]
    for article in ARTICLES:
        assert set(article) == {"number", "title", "original", "about"}
        assert article["title"].isascii()
        assert re.search(r"[\u4e00-\u9fff]", article["original"]) or article["number"] == 4
        assert article["about"].endswith(".")
    assert not re.search(r"https?:|www\.", str(ARTICLES))


def test_page_about_the_articles_is_fresh() -> None:
    """notebooks/sources.md is what the ledger gives; if not, run notebooks/build.py."""
    assert sources_page.fresh(NOTEBOOKS)


def test_page_lists_every_claim_once_and_its_links_exist() -> None:
    """Each claim is one row of the page, and each link of the page leads to a notebook."""
    page = (NOTEBOOKS / sources_page.NAME).read_text("utf-8")
    assert sorted(re.findall(r"^\| (C\d\d) ", page, re.MULTILINE)) == [c["id"] for c in CLAIMS]
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links
    assert [link for link in links if not (NOTEBOOKS / link).exists()] == []


def test_page_tells_what_is_open(tmp_path: Path) -> None:
    """A claim that no cell shows is open, whatever its row expects, and its notebook to come."""
    claim = row(id="C99", status="todo", source=[0, 2], quote="A | b.")
    del claim["seen"]
    expected = "| C99 | “A \\| b.”, also article 2 | open | 20, to come |  |"
    assert sources_page.line(claim, tmp_path) == expected
    (tmp_path / "20_channels.ipynb").touch()
    expected = "| C99 | “Text.” | holds | [20_channels](20_channels.ipynb) | Text. |"
    assert sources_page.line(row(id="C99"), tmp_path) == expected


def row(**fields: Any) -> dict[str, Any]:
    """Return a row that is in order, except for the fields given."""
    good = dict.fromkeys(ALWAYS | WHEN_DONE, "text")
    return (
        good
        | {"notebook": "20_channels", "verdict": "holds", "status": "done", "source": [0]}
        | {"quote": "Text.", "seen": "Text."}
        | fields
    )


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, ""),
        ({"verdict": "true"}, "no such verdict"),
        ({"status": "soon"}, "status is neither"),
        ({"status": "todo"}, "fields differ: ['observable', 'section', 'seen']"),
        ({"observable": " "}, "observable is empty"),
        ({"observable": "(60)?"}, "found in an empty text"),
        ({"show": None}, "show is empty"),
        ({"source": [5]}, "no list of article numbers"),
        ({"notebook": "20_chanels"}, "no such notebook"),
        ({"quote": "two\nlines."}, "the quote is not one sentence"),
        ({"quote": "No full stop"}, "the quote is not one sentence"),
        ({"quote": 'A "b".'}, "double quotes inside"),
        ({"seen": "no full stop"}, "the seen is not one sentence"),
        ({"proof": "trust me"}, "fields differ: ['proof']"),
    ],
)
def test_faulty_row_is_found(fields: dict[str, Any], fault: str) -> None:
    """Each fault of a row is found, and a row in order has none."""
    said = faults(row(**fields))
    assert said == [] if not fault else any(fault in line for line in said)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("> \"It is so: 'yes'.\" (*{title}*, claim C01)", ""),
        ("> \u201cIt is so:\n> \u2018yes\u2019.\u201d\n> (*{title}*, claim C01)", ""),
        ("> \"It is so: 'yes'.\"\n>\n> (*{title}*, claim C01)", "needs beside it"),
        ("> \"It is so: 'yes'.\" (claim C01)", "needs beside it"),
        ("> \"It is so: 'yes'.\" (*{title}*)", "needs beside it"),
        ("> \"It is so: 'no'.\" (*{title}*, claim C01)", "does not quote C01"),
        ("C01, {title}", "does not quote C01"),
    ],
)
def test_quote_is_looked_for_before_the_first_code(text: str, reason: str) -> None:
    """Quote, title and id stand in one block, across lines and quotation marks of either kind."""
    v4: Any = nbformat.v4
    claim = row(id="C01", quote="It is so: 'yes'.")
    cell = v4.new_markdown_cell(text.format(title=ARTICLES[0]["title"]))
    code = v4.new_code_cell("1")
    said = unquoted(claim, v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), cell, code]))
    assert bool(said) == bool(reason)
    assert reason in said
    assert "does not quote" in unquoted(claim, v4.new_notebook(cells=[code, cell]))


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

"""Write `sources.md`: what the articles claim, and what became of each claim, from the ledger."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).resolve().parent.parent / "data"
NAME = "sources.md"
HEAD = """\
<!-- Made from data/claims.yaml and data/articles.yaml by notebooks/build.py: do not edit. -->

# The five articles, and what became of their claims

The pitfalls of this course come from five articles about microservices in Go, written in
Chinese. The quotes and the titles are translated. The articles are about Go; a verdict is about
Python, and it rests on what the cells of a notebook print:

- **holds**: the claim is true in Python too.
- **limited**: it is true only within the limits that the notebook shows.
- **refuted**: the notebook shows that it is not so.
- **open**: no notebook shows it yet.

A claim that several articles make stands under the one that is quoted; the others are named
behind the quote.
"""


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a list in YAML."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def verdict(claim: dict[str, Any]) -> str:
    """Return the verdict on a claim, "open" while no cell shows it."""
    return str(claim["verdict"]) if claim["status"] == "done" else "open"


def link(notebook: str, folder: Path) -> str:
    """Return a link to a notebook in `folder`, its number alone while it is not there."""
    file = f"{notebook}.ipynb"
    return f"[{notebook}]({file})" if (folder / file).exists() else f"{notebook[:2]}, to come"


def line(claim: dict[str, Any], folder: Path) -> str:
    """Return a claim as a row of a table."""
    others = "".join(f", also article {number}" for number in claim["source"][1:])
    quoted = f"“{claim['quote']}”{others}"
    notebook = link(claim["notebook"], folder)
    cells = [claim["id"], quoted, verdict(claim), notebook, claim.get("seen", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page(folder: Path, data: Path = DATA) -> str:
    """Return the page as Markdown; `folder` is where the notebooks are that it links to."""
    claims = rows(data / "claims.yaml")
    count = Counter(verdict(claim) for claim in claims)
    summary = (
        f"Of {len(claims)} claims {count['holds']} hold, {count['limited']} are limited, "
        f"{count['refuted']} are refuted, and {count['open']} are open.\n"
    )
    parts = [HEAD, summary]
    for article in rows(data / "articles.yaml"):
        original = f"Original title: {article['original']}" if article["original"] else "No title"
        table = [line(c, folder) for c in claims if c["source"][0] == article["number"]]
        parts += [
            f"## Article {article['number']}: {article['title']}\n",
            f"{original}. {article['about']}\n",
            "| Claim | The article says | Verdict | Notebook | Seen in Python |",
            "| --- | --- | --- | --- | --- |",
            *table,
            "",
        ]
    return "\n".join(parts)


def fresh(folder: Path) -> bool:
    """Tell whether the stored page is what the ledger gives."""
    path = folder / NAME
    return path.exists() and path.read_text(encoding="utf-8") == page(folder)


def write(folder: Path) -> None:
    """Write the page beside the notebooks, if it changed."""
    if not fresh(folder):
        (folder / NAME).write_text(page(folder), encoding="utf-8")

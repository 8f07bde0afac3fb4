"""The index, the page and README's table are fresh, and their links lead to sections."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import symptoms_index
import symptoms_page
import yaml

from labsvc.symptoms.index import load, read
from labsvc.symptoms.words import Vocabulary

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
LINK = re.compile(r"\]\(((?:notebooks/)?[0-9]\w+\.ipynb)#([^)]+)\)")


def headings(path: Path) -> set[str]:
    """Return the anchors of a notebook's sections, as JupyterLab makes them."""
    return {heading.replace("`", "").replace(" ", "-") for heading in symptoms_index.read(path)}


def test_what_is_generated_is_fresh() -> None:
    """Index, page and table are what the course gives; if not, run notebooks/build.py --pages."""
    assert symptoms_page.stale(ROOT) == []


@pytest.mark.parametrize("path", ["README.md", "notebooks/symptoms.md"])
def test_links_lead_to_sections(path: str) -> None:
    """Each link has a notebook that exists, and a heading in it."""
    links = LINK.findall((ROOT / path).read_text(encoding="utf-8"))
    assert links
    for target, fragment in links:
        assert unquote(fragment) in headings((ROOT / path).parent / target)


def test_every_pitfall_is_on_the_page() -> None:
    """The page has each section that is a pitfall, and each row of a summary table."""
    page = (NOTEBOOKS / symptoms_page.NAME).read_text(encoding="utf-8")
    links = {(target, unquote(fragment)) for target, fragment in LINK.findall(page)}
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        for heading in symptoms_index.read(path):
            if heading.startswith("Pitfall: "):
                anchor = heading.replace("`", "").replace(" ", "-")
                assert (path.name, anchor) in links
    assert page.count("\n| ") == len([e for e in load().entries if e.cause]) + 14


def test_readers_are_led_to_the_page() -> None:
    """README and the first notebook link to it."""
    assert "(notebooks/symptoms.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    first = (NOTEBOOKS / "00_start_here.ipynb").read_text(encoding="utf-8")
    assert "(symptoms.md)" in first


def test_texts_of_the_readme_stand_under_a_pitfall() -> None:
    """A text that no pitfall has is an error that names it."""
    index = load()
    told = yaml.safe_load((ROOT / symptoms_page.DATA).read_text(encoding="utf-8"))
    assert symptoms_page.pasted(index, told["readme"]).count("\n| `") == len(told["readme"])
    with pytest.raises(symptoms_index.SymptomsError, match="unheard of"):
        symptoms_page.pasted(index, ["unheard of"])


def test_a_changed_summary_table_is_named() -> None:
    """A row that the notebook does not have is an error that says where, and which."""
    sections = {"Pitfall: a": "", "Summary": "| s | c | f | e |\n| --- |\n| slow | a | b | c |\n"}
    words = Vocabulary([])
    made = symptoms_index.pitfalls("09_x", {"slow": {"say": ["so slow"]}}, sections, [], words)
    assert [(entry.section, entry.cause) for entry in made] == [("Pitfall: a", "a")]
    with pytest.raises(symptoms_index.SymptomsError, match=r"rows of 09_x .*\['quick', 'slow'\]"):
        symptoms_index.pitfalls("09_x", {"quick": {}}, sections, [], words)
    with pytest.raises(symptoms_index.SymptomsError, match="no section 'b'"):
        symptoms_index.pitfalls("09_x", {"slow": {"section": "b"}}, sections, [], words)


def test_texts_of_a_check_are_found_in_its_module(tmp_path: Path) -> None:
    """Sentences are texts, the texts of an f-string around its values, and hints; no docstrings."""
    (tmp_path / "09.toml").write_text('modules = ["m"]\n[09-x]\nhints = []\n', encoding="utf-8")
    (tmp_path / "m.py").write_text(
        '"""A docstring of five words."""\n'
        '@exercise("09-x", title="t")\n'
        "def f(n):\n"
        '    """Another docstring of five words."""\n'
        '    return f"asked {n} times and then gave up", "every call needs a deadline", "short"\n',
        encoding="utf-8",
    )
    assert symptoms_index.check_texts("09", tmp_path) == {
        "09-x": {"asked times and then gave up", "every call needs a deadline"}
    }
    assert symptoms_index.check_texts("08", tmp_path) == {}


def test_index_is_read_as_it_was_made() -> None:
    """What is written reads back as the same entries."""
    assert read(symptoms_index.make(ROOT)) == load()


def test_a_course_without_symptoms_has_no_files(tmp_path: Path) -> None:
    """Without data/symptoms.yaml nothing is made."""
    assert symptoms_page.made(tmp_path) == {}

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsvc.course.edition import Edition
from labsvc.course.merge import BEHIND, GONE, merge
from labsvc.course.notebook import keys, without_outputs
from tests.course.make import CHECK, STUB, change, code, lesson, markdown, notebook, texts

if TYPE_CHECKING:
    from labsvc.course.notebook import Cell

ANSWER = "def answer(n):\n    return 7"
BASE = without_outputs(lesson())


def test_an_answer_is_carried_over() -> None:
    """The learner's answer stands in the exercise's cell, the rest is the new edition's."""
    newer = without_outputs(lesson(demo="demo = 2", more=[markdown("A new sentence.")]))
    merged = merge(BASE, change(BASE, STUB, ANSWER), newer)
    assert texts(merged.notebook) == [text if text != STUB else ANSWER for text in texts(newer)]
    assert (merged.answers_beside, merged.texts_beside) == (0, 0)
    tags = [cell["metadata"].get("tags") for cell in merged.notebook["cells"]]
    assert tags.count(["exercise"]) == 1


def test_an_answer_to_an_exercise_that_changed_stands_behind_it() -> None:
    """It is code that runs after the new stub, so that the check gets the learner's answer."""
    stub = "def answer(n, deadline):\n    raise NotImplementedError"
    merged = merge(BASE, change(BASE, STUB, ANSWER), without_outputs(lesson(stub=stub)))
    said = texts(merged.notebook)
    assert said[said.index(stub) :] == [stub, BEHIND, ANSWER, CHECK]
    assert merged.notebook["cells"][said.index(ANSWER)]["cell_type"] == "code"
    assert merged.answers_beside == 1


def test_an_untouched_stub_becomes_the_new_one() -> None:
    """Where nobody answered, the new exercise stands alone."""
    newer = without_outputs(lesson(stub="def answer(n, deadline):\n    raise NotImplementedError"))
    assert texts(merge(BASE, BASE, newer).notebook) == texts(newer)


def test_cells_of_the_learner_stay_where_they_stood() -> None:
    """A learner's cells stand behind the cell they stood behind, in their order."""
    own = [markdown("my note"), code("mine = 1", printed="mine")]
    cells = BASE["cells"]
    mine = notebook(own[0], *cells[:2], *own, *cells[2:], code("last = 1"))
    newer = without_outputs(lesson(more=[markdown("A new sentence.")]))
    said = texts(merge(BASE, mine, newer).notebook)
    assert said[0] == "my note"
    assert said[3:5] == ["my note", "mine = 1"]
    assert said[5] == "A new sentence."
    assert said[-1] == "last = 1"


def test_a_cell_that_both_changed_is_kept_as_text() -> None:
    """Run beside the new one it could disturb it; a fence in it does not end the quotation."""
    old = 'demo = """\n```\n"""'
    merged = merge(BASE, change(BASE, "demo = 1", old), without_outputs(lesson(demo="demo = 2")))
    said = texts(merged.notebook)
    assert said[1] == "demo = 2"
    assert said[2] == f"{GONE}\n\n````python\n{old}\n````"
    assert merged.texts_beside == 1


def test_a_cell_that_is_gone_is_kept_if_the_learner_changed_it() -> None:
    """What the edition dropped goes, but not the learner's version of it."""
    more = [markdown("first"), code("second = 2")]
    base = without_outputs(lesson(more=more))
    merged = merge(base, change(base, "second = 2", "second = 3"), BASE)
    said = texts(merged.notebook)
    assert "first" not in said
    assert any("second = 3" in text for text in said)


def test_outputs_stay_with_cells_that_nobody_changed() -> None:
    """What a learner saw is still there, but not below code that is another now."""
    mine = lesson()
    merged = merge(BASE, mine, without_outputs(lesson(demo="demo = 2")))
    printed = {
        text: bool(cell.get("outputs"))
        for text, cell in zip(texts(merged.notebook), merged.notebook["cells"], strict=True)
    }
    assert printed["demo = 2"] is False
    assert printed[CHECK] is True


def test_cut_and_paste_is_known_by_its_text() -> None:
    """A cell that was moved has lost its id; it is not doubled."""
    cells = [dict(cell) for cell in BASE["cells"]]
    cells[1]["id"] = "pasted"
    newer = without_outputs(lesson(more=[markdown("A new sentence.")]))
    assert texts(merge(BASE, notebook(*cells), newer).notebook) == texts(newer)


def test_an_answer_in_a_new_cell_still_wins() -> None:
    """Who deleted the stub and wrote a cell of his own finds it behind the stub that is back."""
    cells = [cell for cell in BASE["cells"] if STUB not in cell["source"]]
    mine = notebook(*cells[:-1], {**code(ANSWER), "id": "new"}, cells[-1])
    said = texts(merge(BASE, mine, without_outputs(lesson(demo="demo = 2"))).notebook)
    assert said[-3:] == [STUB, ANSWER, CHECK]


def test_a_second_update_changes_nothing_more() -> None:
    """What stands beside a new cell is the learner's own cell from then on."""
    stub = "def answer(n, deadline):\n    raise NotImplementedError"
    newer = without_outputs(lesson(stub=stub))
    once = merge(BASE, change(BASE, STUB, ANSWER), newer).notebook
    twice = merge(newer, once, newer)
    assert texts(twice.notebook) == texts(once)
    assert (twice.answers_beside, twice.texts_beside) == (0, 0)


WORDS = [f"cell {number}" for number in range(9)]
EDITS = st.lists(
    st.tuples(st.sampled_from(["change", "add", "delete", "move"]), st.integers(0, 20)), max_size=8
)


def edited(cells: list[Cell], edits: list[tuple[str, int]]) -> tuple[list[Cell], list[str]]:
    """Return what a learner made of the cells, and the texts that are his alone."""
    mine, wrote = list(cells), list[str]()
    for count, (what, where) in enumerate(edits):
        place = where % max(1, len(mine))
        if what == "add" or not mine:
            mine.insert(place, {**code(f"mine {count}"), "id": f"added{count}"})
            wrote.append(f"mine {count}")
        elif what == "change":
            wrote = [words for words in wrote if words != mine[place]["source"]]
            wrote.append(f"changed {count}")
            mine[place] = {**mine[place], "source": f"changed {count}"}
        elif what == "move":
            mine.append(mine.pop(place))
        elif mine[place]["source"] not in wrote:
            mine.pop(place)
    return mine, wrote


@settings(max_examples=300, deadline=None)
@given(
    EDITS,
    st.lists(st.sampled_from(WORDS), unique=True),
    st.sets(st.sampled_from(range(9))),
    st.sets(st.sampled_from(range(9))),
)
def test_nothing_that_a_learner_wrote_is_left_out(
    edits: list[tuple[str, int]], order: list[str], exercises: set[int], changed: set[int]
) -> None:
    """Whatever both sides did: each text of the learner's is in the result, each new cell once."""
    cells = []
    for number, words in enumerate(WORDS):
        tags = ["exercise"] if number in exercises else []
        cells += [code(words, *tags), code(f'check("22-e{number}", f)')]
    mine, wrote = edited(cells, edits)
    theirs = [code(words) for words in [*order, "new"]]
    for number in changed:
        theirs += [code(f"newer {number}", "exercise"), code(f'check("22-e{number}", f)')]
    result = merge(notebook(*cells), notebook(*mine), notebook(*theirs)).notebook
    said = texts(result)
    for words in wrote:
        assert any(words in text.split("\n") for text in said), (words, said)
    assert said.count("new") == 1
    ids = [cell["id"] for cell in result["cells"]]
    assert len(set(ids)) == len(ids)


def test_every_cell_of_the_course_is_known_by_one_key() -> None:
    """No two cells of a notebook share a key, and each exercise is known by its check."""
    edition = Edition()
    for name in (*edition.lessons, *edition.test_outs):
        book = edition.notebook(name)
        found = keys(book)
        assert len(set(found)) == len(found), name
        tags = [cell["metadata"].get("tags", []) for cell in book["cells"]]
        assert ["exercise" in each for each in tags] == ["/" in key for key in found], name


@pytest.mark.parametrize("lost", ["id", "metadata"])
def test_a_notebook_of_an_old_editor(lost: str) -> None:
    """A cell without an id or without metadata is no obstacle."""
    mine = notebook(*({k: v for k, v in cell.items() if k != lost} for cell in BASE["cells"]))
    newer = without_outputs(lesson(demo="demo = 2"))
    assert texts(merge(BASE, change(mine, STUB, ANSWER), newer).notebook)[-1] == CHECK

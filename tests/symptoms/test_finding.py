"""Every pitfall is found by its own symptom and by sentences that the index has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from labsvc.symptoms.index import load
from labsvc.symptoms.match import Matcher
from labsvc.symptoms.reading import lines
from labsvc.symptoms.words import parts, stem

if TYPE_CHECKING:
    from labsvc.symptoms.index import Entry

HERE = Path(__file__).parent
INDEX = load()
MATCHER = Matcher(INDEX)
PITFALLS = [entry for entry in INDEX.entries if entry.section.startswith("Pitfall: ")]
EXERCISES = [entry for entry in INDEX.entries if not entry.cause]
HELD_OUT: dict[str, dict[str, list[str]]] = yaml.safe_load(
    (HERE / "held_out.yaml").read_text(encoding="utf-8")
)
SENTENCES = [
    (notebook, title, sentence)
    for notebook, titles in HELD_OUT.items()
    for title, sentences in titles.items()
    for sentence in sentences
]
FOREIGN = (HERE / "foreign.txt").read_text(encoding="utf-8").splitlines()
FOREIGN_FOUND = 2  # of these 40 at most; the others are "not in this course"
CHECKS_FOUND = 0.9  # of the texts of checks; the rest stand in several checks, or say too little
ALIKE = 0.6  # of the words of two sentences: more is a copy

PASTED = {
    "UNAVAILABLE": ("40", "21", "41"),
    "Socket closed": ("40", "41"),
    "too_many_pings": ("21",),
    "Too many open files": ("30",),
    "PRECONDITION_FAILED - inequivalent arg": ("50",),
    "channel_error 406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'o'": ("50",),
    "RESOURCE_EXHAUSTED": ("54", "25"),
    "[Errno 98] Address already in use": ("33",),
    "sqlite3.IntegrityError: UNIQUE constraint failed: handled.message_id": ("51",),
    "psycopg.errors.LockNotAvailable: canceling statement due to lock timeout": ("53",),
    "ssl.SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED: self-signed certificate": ("40",),
    "asyncio ERROR Task was destroyed but it is pending!": ("23",),
    "unavalable": ("40", "21", "41"),
}
"""What is pasted or mistyped -> the notebooks of which one has to come first."""


def found(text: str) -> list[Entry]:
    """Return the entries that are found, best first."""
    return [match.entry for match in MATCHER.find(lines(text))]


def words(sentence: str) -> set[str]:
    """Return the words of a sentence without their endings."""
    return {stem(word) for each in parts(sentence) for word in each}


def test_there_are_two_sentences_for_each_pitfall() -> None:
    """The sentences kept apart are of every pitfall of the course, two each."""
    course = {(entry.notebook, entry.title) for entry in PITFALLS}
    assert {(notebook, title) for notebook, title, _ in SENTENCES} == course
    assert {len(each) for titles in HELD_OUT.values() for each in titles.values()} == {2}


def test_no_sentence_kept_apart_stands_in_the_index() -> None:
    """Nothing in the index is a copy of what measures it, or nearly one."""
    indexed = [words(text) for entry in INDEX.entries for text in entry.say]
    copies = [
        sentence
        for *_, sentence in SENTENCES
        if any(len(words(sentence) & w) >= ALIKE * len(words(sentence) | w) for w in indexed)
    ]
    assert copies == []


@pytest.mark.parametrize("entry", PITFALLS, ids=lambda e: f"{e.notebook[:2]} {e.symptom}")
def test_pitfall_is_first_by_its_own_symptom(entry: Entry) -> None:
    """The heading finds its pitfall first; where several share one, all of them."""
    assert found(entry.title)[0].title == entry.title
    assert entry.section in [each.section for each in found(entry.title)]
    assert (entry.notebook, entry.section) in [
        (each.notebook, each.section) for each in found(entry.symptom)
    ]


@pytest.mark.parametrize(("notebook", "title", "sentence"), SENTENCES)
def test_pitfall_is_found_by_what_people_type(notebook: str, title: str, sentence: str) -> None:
    """A sentence that the index does not have finds the pitfall, among three at most."""
    answers = [(entry.notebook, entry.title) for entry in found(sentence)]
    assert (notebook, title) in answers


@pytest.mark.parametrize("text", PASTED)
def test_pasted_text_leads_to_its_notebook(text: str) -> None:
    """Codes and texts of libraries are found, whole or with what changes around them."""
    assert found(text)[0].notebook[:2] in PASTED[text]


@pytest.mark.parametrize("path", sorted((HERE / "pasted").iterdir()), ids=lambda path: path.name)
def test_stored_paste_leads_to_its_notebook(path: Path) -> None:
    """Tracebacks and logs as programs wrote them; a file's name begins with the notebook's."""
    answers = found(path.read_text(encoding="utf-8"))
    assert answers[0].notebook[:2] == path.name[:2]


def test_each_text_of_a_library_finds_its_pitfall() -> None:
    """What stands under `paste` is found as it is, among three at most."""
    lost = [
        (entry.notebook, text)
        for entry in INDEX.entries
        if entry.cause
        for text in entry.paste
        if (entry.notebook, entry.section)
        not in [(each.notebook, each.section) for each in found(text)]
    ]
    assert lost == []


def test_texts_of_checks_find_their_exercises() -> None:
    """What a check says leads to its exercise, and to its hints."""
    texts = [(entry, text) for entry in EXERCISES for text in entry.paste]
    hits = [
        (entry.notebook, entry.section) in [(each.notebook, each.section) for each in found(text)]
        for entry, text in texts
    ]
    assert len(texts) > len(EXERCISES)
    assert sum(hits) >= CHECKS_FOUND * len(hits)
    assert all(entry.fix.startswith('`hint("') for entry in EXERCISES)


def test_questions_on_other_subjects_find_nothing() -> None:
    """Of questions that the course does not treat, next to none gets an answer."""
    answered = [(text, found(text)[0].title) for text in FOREIGN if found(text)]
    assert len(FOREIGN) >= 30
    assert len(answered) <= FOREIGN_FOUND, answered


def test_the_ledger_stands_behind_an_entry() -> None:
    """Entries name claims of the ledger, each one that exists."""
    ledger: list[dict[str, Any]] = yaml.safe_load(
        (HERE.parents[1] / "data" / "claims.yaml").read_text(encoding="utf-8")
    )
    named = {claim for entry in PITFALLS for claim in entry.claims}
    assert named
    assert named <= {claim["id"] for claim in ledger}

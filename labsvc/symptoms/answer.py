"""The answer of `labsvc symptom`: what was found, in words, at most 80 columns wide."""

from __future__ import annotations

import sys
from textwrap import wrap
from typing import TYPE_CHECKING

from labsvc.symptoms.index import load
from labsvc.symptoms.match import Matcher
from labsvc.symptoms.reading import lines, take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.symptoms.index import Entry
    from labsvc.symptoms.match import Match

WIDTH = 80
LABEL = 10  # columns of the words before the texts
FOUND, NOT_FOUND, NOTHING_ASKED = 0, 1, 2
"""Exit codes, as grep has them."""

USAGE = """\
Say what you see: `labsvc symptom UNAVAILABLE`, or a sentence of your own.
A traceback or a log comes from a pipe: `labsvc symptom < traceback.txt`.
Nothing of it is kept or sent."""
ABSENT = """\
Not in this course, as far as these words tell. Paste the error's own text, or
say what you see rather than what you want. symptoms.md, beside the notebooks,
lists all that there is."""
SOURCE = "symptoms.md, beside the notebooks, lists all, with links."


def symptom(words: Sequence[str]) -> tuple[str, int]:
    """Return the answer to the words of a command line, and the exit code.

    Without words, or with "-", the text comes from standard input, unless that is a terminal.
    """
    typed = "" if list(words) == ["-"] else " ".join(words)
    if not typed and not sys.stdin.isatty():
        typed = take(sys.stdin.buffer)
    return answer(typed)


def answer(text: str) -> tuple[str, int]:
    """Return what the course has on a text, and the exit code.

    It is 0 if there is something, 1 if there is nothing, 2 if the text says nothing.
    """
    asked = lines(text)
    if not any(character.isalnum() for line in asked for character in line.text):
        return USAGE, NOTHING_ASKED
    found = Matcher(load()).find(asked)
    if not found:
        return ABSENT, NOT_FOUND
    return "\n\n".join([*(told(n, match) for n, match in enumerate(found, 1)), SOURCE]), FOUND


def told(number: int, match: Match) -> str:
    """Return a match as lines: a heading, and what the summary table says."""
    entry = match.entry
    rows = (
        ("symptom", entry.symptom),
        ("cause", entry.cause),
        ("fix", entry.fix),
        ("setting", entry.setting),
        ("where", where(entry)),
    )
    heading = wrap(f"{number}. {plain(entry.title)}", WIDTH, subsequent_indent="   ")
    return "\n".join([*heading, *(line for row in rows if row[1] for line in labelled(*row))])


def where(entry: Entry) -> str:
    """Return the place of an entry: the notebook's file, and the heading in it.

    The folder is left out: a copy of one's own has other folders than the repository.
    """
    return f'{entry.notebook}.ipynb, "{entry.section}"'


def labelled(label: str, text: str) -> list[str]:
    """Return a cell of a table as lines of a block, with a label before the first one."""
    first = f"   {label:{LABEL}}"
    return wrap(plain(text), WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def plain(text: str) -> str:
    """Return a text without the marks of Markdown."""
    return text.replace("`", "").replace("\\|", "|")

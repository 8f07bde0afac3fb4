"""From a text to the terms that are compared: words without endings, and whole identifiers."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = re.compile(r"\w+")
SEAM = re.compile(r"_+|(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
SHORTEST_NUMBER = 3  # digits: 404 and 40001 tell something, 5 does not
SHORTEST_STEM = 3
ENDINGS = ("ization", "ation", "ition", "ingly", "ating", "ated", "ate", "ing", "ed", "ion", "ly")
VOWEL = re.compile("[aeiouy]")
DOUBLE = re.compile(r"([^aeiouy])\1$")
LITTLE_SAYING = """
    a about after all also although always am an and any are as at be because been before being
    but by can cannot could did do does doesn doing don each even ever every for from get gets
    getting give gives got had has have having he her here him his how i if in into is isn it its
    just keep keeps let like ll made make makes may me might more most much must my need needs no
    not now of off on one only or other our ours out own s same say says see seem seems she should
    so some still such t than that the their them then there these they thing this those though
    through to too under until up us use used uses using very want wants was we were what when
    where whether which while who whose why will with within without would yes yet you your
"""
COMMON = frozenset(LITTLE_SAYING.split())


@cache
def stem(word: str) -> str:
    """Return a word without its common endings: cancels, cancelled and cancellation are one."""
    word = _singular(word.lower())
    for ending in ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= SHORTEST_STEM and VOWEL.search(rest):
            word = rest
            break
    word = DOUBLE.sub(r"\1", word)
    return word.removesuffix("e") if len(word) > SHORTEST_STEM else word


def _singular(word: str) -> str:
    if len(word) <= SHORTEST_STEM or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def parts(text: str) -> list[list[str]]:
    """Return the words of a text, an identifier as its parts: [["Pool", "Timeout"], ["again"]]."""
    return [
        [
            part
            for part in ([chunk] if chunk.isalpha() and chunk.islower() else SEAM.split(chunk))
            if part and _tells(part)
        ]
        for chunk in CHUNK.findall(text)
    ]


def _tells(part: str) -> bool:
    if part.isdecimal():
        return len(part) >= SHORTEST_NUMBER
    return len(part) > 1 and part.lower() not in COMMON


class Vocabulary:
    """Words that people use for one another: each is read as the first of its group."""

    def __init__(self, groups: Iterable[list[str]]) -> None:
        self._one: dict[str, str] = {}
        self._two: dict[tuple[str, ...], str] = {}
        for first, *others in groups:
            for other in others:
                words = tuple(map(stem, other.split()))
                if len(words) == 1:
                    self._one[words[0]] = stem(first)
                else:
                    self._two[words] = stem(first)

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text in order; DEADLINE_EXCEEDED gives three, "time out" one more.

        An identifier is given whole and in its parts, so that a person may write either.
        """
        found = []
        for words in parts(text):
            stems = [stem(word) for word in words]
            found += [self._one.get(each, each) for each in stems]
            if len(words) > 1:
                found.append("".join(words).lower())
        plain = [stem(word) for word in CHUNK.findall(text)]
        return found + [self._two[pair] for pair in pairwise(plain) if pair in self._two]

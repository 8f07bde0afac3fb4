"""Which entries fit what a person typed or pasted: words weighed by how rare they are.

A line is compared with each entry in three ways, each from 0 to 1:

- coverage: how much of the line the entry's words cover. A word counts by how few entries have it
  (its inverse document frequency), and by where: most where several sentences say it, least where
  it only stands in the prose.
- likeness: the cosine between the line and the closest sentence of the entry.
- quote: the weightiest text of a library or a check that stands in the line as a whole.

The numbers were chosen by leaving out each sentence of data/symptoms.yaml in turn and looking for
it, beside questions on other subjects. `tests/symptoms` measures with sentences kept apart.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from labsvc.symptoms.words import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labsvc.symptoms.index import Entry, Index
    from labsvc.symptoms.reading import Line

MOST = 3
OFTEN, ONCE, CAUSE, FIX, PASTE, PROSE = 1.0, 0.6, 0.7, 0.5, 0.35, 0.3
"""The weights of a word: said by many sentences of an entry, by one, in its table, elsewhere."""

COVERAGE, LIKENESS, SAME, QUOTE = 0.85, 0.15, 0.6, 1.3
"""What each comparison adds to a score; `SAME` for a sentence that is all but equal."""

FOUND = 0.38
"""The least score of a match."""

NEAR = 0.55
"""The least score of the second and third, as a share of the best."""

HALF = 6.0
"""The weight of a quoted text that counts half of what the weightiest could."""

CHECKED = 0.8
"""A check's text counts less than a library's: it was read beside its exercise."""

UNKNOWN_PASTED = 0.2
"""Of a rare word's weight, for an unknown word in pasted text: the names there are the reader's."""

MOSTLY = 0.6
"""The least share of a line that is a check's text: some of these are everyday words."""

NAMED = ("error", "exception", "warning")
"""Endings of a word that names what happened, known or not."""

MISSPELT = 5
"""Letters at least of a word that is taken for a misspelt one."""

CLOSE = 0.84
"""How much of it has to be right (`difflib`'s ratio)."""


class Match(NamedTuple):
    """An entry, and how well it fits: from `FOUND` to some 2.5."""

    entry: Entry
    score: float


class Quote(NamedTuple):
    """A text that may stand in a pasted line: its entry's place, its terms, how much it tells."""

    place: int
    terms: frozenset[str]
    score: float


class Matcher:
    """Finds the entries of an index. It keeps nothing of what it is asked."""

    def __init__(self, index: Index) -> None:
        self._entries = index.entries
        self._terms = Vocabulary(map(list, index.words)).terms
        said = [[self._terms(text) for text in _said(entry)] for entry in index.entries]
        pasted = [[self._terms(text) for text in entry.paste] for entry in index.entries]
        self._weights = list(map(self._weigh, index.entries, said, pasted))
        count = Counter(term for weights in self._weights for term in weights)
        self._rare = math.log(1 + len(index.entries))
        self._idf = {term: math.log(1 + len(index.entries) / n) for term, n in count.items()}
        self._sentences = [[self._vector(terms) for terms in texts] for texts in said]
        self._quotes = self._by_rarest(pasted)

    def find(self, lines: Iterable[Line]) -> list[Match]:
        """Return the entries that fit, best first, `MOST` at most; none if nothing fits."""
        ranked: dict[int, list[float]] = defaultdict(list)
        for line in lines:
            for place, score in self._scores(line).items():
                ranked[place].append(score * line.weight)
        matches = []
        for place, scores in ranked.items():
            best, second, *_ = [*sorted(scores, reverse=True), 0.0]
            matches.append(Match(self._entries[place], best + second / 4))
        matches.sort(key=lambda match: -match.score)
        least = max(FOUND, NEAR * matches[0].score) if matches else FOUND
        return [match for match in matches[:MOST] if match.score >= least]

    def _weigh(
        self, entry: Entry, said: list[list[str]], pasted: list[list[str]]
    ) -> dict[str, float]:
        """Return the weight of each term of an entry, the largest of where it stands."""
        if not entry.cause:  # an exercise is found by the texts of its check alone
            return {}
        weights = dict.fromkeys(entry.prose.split(), PROSE)
        weights.update((term, PASTE) for terms in pasted for term in terms)
        weights.update(dict.fromkeys(self._terms(f"{entry.fix} {entry.setting}"), FIX))
        weights.update(dict.fromkeys(self._terms(entry.cause), CAUSE))
        for term, n in Counter(term for terms in said for term in set(terms)).items():
            weights[term] = max(weights.get(term, 0.0), OFTEN - (OFTEN - ONCE) * 2 / (n + 1))
        return weights

    def _weight(self, term: str) -> float:
        """Return how much a term tells, as much as the rarest if no entry has it."""
        return self._idf.get(term, self._rare)

    def _vector(self, terms: list[str]) -> dict[str, float]:
        """Return terms with their weights, scaled to a length of 1."""
        weights = {term: self._weight(term) for term in terms}
        length = math.hypot(*weights.values()) or 1.0
        return {term: weight / length for term, weight in weights.items()}

    def _by_rarest(self, pasted: list[list[list[str]]]) -> dict[str, list[Quote]]:
        """Return the texts that may be quoted, by their rarest term."""
        found = defaultdict(list)
        for place, texts in enumerate(pasted):
            trust = 1.0 if self._entries[place].cause else CHECKED
            for terms in filter(None, texts):
                mass = sum(map(self._weight, set(terms)))
                quote = Quote(place, frozenset(terms), trust * mass / (mass + HALF))
                found[max(terms, key=self._weight)].append(quote)
        return dict(found)

    @cached_property
    def _known(self) -> list[str]:
        return sorted(term for term in self._idf if len(term) >= MISSPELT)

    def _spelt(self, term: str) -> str:
        """Return the known term that a person may have meant."""
        if term in self._idf or len(term) < MISSPELT:
            return term
        return next(iter(get_close_matches(term, self._known, 1, CLOSE)), term)

    def _scores(self, line: Line) -> dict[int, float]:
        """Return how well each entry fits a line, by its place, if it fits at all."""
        terms = list(dict.fromkeys(self._terms(line.text)))
        if not line.pasted:
            terms = [self._spelt(term) for term in terms]
        idf = {term: self._weight(term) for term in terms}
        if line.pasted:
            own = [term for term in terms if term not in self._idf and not term.endswith(NAMED)]
            idf.update(dict.fromkeys(own, self._rare * UNKNOWN_PASTED))
        whole = sum(idf.values())
        length = math.hypot(*idf.values())
        quotes = self._quoted(idf, whole)
        scores = {}
        for place, weights in enumerate(self._weights):
            covered = sum(weight * weights.get(term, 0.0) for term, weight in idf.items())
            if not covered and place not in quotes:
                continue
            alike = max(
                sum(weight * vector.get(term, 0.0) for term, weight in idf.items())
                for vector in self._sentences[place]
            )
            alike /= length
            scores[place] = (
                COVERAGE * covered / whole
                + LIKENESS * alike
                + SAME * alike**4
                + QUOTE * quotes.get(place, 0.0)
            )
        return scores

    def _quoted(self, idf: dict[str, float], whole: float) -> dict[int, float]:
        """Return the best quote of each entry: how much it tells, how much of the line it is."""
        best: dict[int, float] = {}
        for term in idf:
            for quote in self._quotes.get(term, ()):
                if quote.terms <= idf.keys():
                    share = sum(idf[each] for each in quote.terms) / whole
                    if share < MOSTLY and not self._entries[quote.place].cause:
                        continue
                    score = (quote.score + share) / 2
                    best[quote.place] = max(score, best.get(quote.place, 0.0))
        return best


def _said(entry: Entry) -> tuple[str, ...]:
    return (entry.title, entry.symptom, *entry.say)

"""How well a passage supports a sentence, judged by what both say: pure, quick, and readable after the fact.

A claim is compared with every sentence of a passage and with every two neighbours, together with the passage's title and headings,
which say what its sentences are about. Support is the share of the claim's content found there, each word weighted by its inverse
document frequency among the passages at hand, and nothing at all where one of these is violated:

- every number and code of the claim stands in those very sentences or in the headings;
- every name of the claim stands in the passage;
- claim and sentence agree on whether they negate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.domain import Passage
from services.generator.sentences import split
from services.generator.terms import Terms, coverage, inverse_frequencies, terms

RELEVANCE_SHARE = 0.3
"""How much nearness to the question counts beside support when passages compete for a sentence."""
_ROW = re.compile(r"^\s*\|")
_RULE = re.compile(r"^[\s|:\-]+$")


@dataclass(frozen=True)
class Support:
    """What passage `number` (from 1) says for a claim: how well, 0…1; in which words; and how near those are to the question, 0…1."""

    number: int
    score: float
    quote: str
    relevance: float

    @property
    def rank(self) -> float:
        """What passages are ordered by when several support a claim."""
        return self.score + RELEVANCE_SHARE * self.relevance


@dataclass(frozen=True)
class _Unit:
    """A sentence, or two neighbours."""

    quote: str
    words: frozenset[str]
    exact: frozenset[str]
    negates: bool


@dataclass(frozen=True)
class _Read:
    """A passage taken apart."""

    units: tuple[_Unit, ...]
    context: Terms
    words: frozenset[str]
    exact: frozenset[str]


class Reader:
    """The passages of one answer, read once."""

    def __init__(self, passages: Sequence[Passage], question: str = "") -> None:
        self._passages = [_read(passage) for passage in passages]
        self._question = terms(question)
        units = [unit.quote for passage in self._passages for unit in passage.units]
        self._weights = inverse_frequencies([*units, *(" ".join(sorted(passage.words)) for passage in self._passages)])

    def supports(self, claim: str) -> list[Support]:
        """Return what every passage says for `claim`, the best first."""
        found = [self.support(claim, number) for number in range(1, len(self._passages) + 1)]
        return sorted(found, key=lambda support: support.rank, reverse=True)

    def support(self, claim: str, number: int) -> Support:
        """Return what passage `number` says for `claim`; a score of 0 where there is no such passage."""
        nothing = Support(number, 0.0, "", 0.0)
        if not 1 <= number <= len(self._passages):
            return nothing
        passage, said = self._passages[number - 1], terms(claim)
        if not said.words or said.names - passage.words:
            return nothing
        # A claim may leave out what the question named ("36 months."): the passage must be about that, not about its neighbour.
        elsewhere = frozenset().union(*(other.words for other in self._passages))
        named = (self._question.exact | self._question.names) & elsewhere
        if named - passage.words:
            return nothing
        best = nothing
        for unit in passage.units:
            held = unit.words | passage.context.words
            if said.exact - unit.exact - passage.context.exact or not said.words & unit.words:
                continue
            if bool(said.negations) != unit.negates:
                continue
            score = coverage(said.words, held, self._weights)
            relevance = coverage(self._question.words, held, self._weights)
            candidate = Support(number, score, unit.quote, relevance)
            if (candidate.rank, -len(unit.quote)) > (best.rank, -len(best.quote)):
                best = candidate
        return best


def _read(passage: Passage) -> _Read:
    context = terms("; ".join((passage.title, *passage.heading_path)))
    sentences = [sentence.text for sentence in split(passage.text) if not _RULE.match(sentence.text)]
    units: list[_Unit] = []
    header: Terms | None = None
    for index, sentence in enumerate(sentences):
        said = terms(sentence)
        if _ROW.match(sentence):
            header = header or said  # the first row names the columns: what the cells mean
            units.append(_Unit(sentence, said.words | header.words, said.exact | header.exact, said.negations > 0))
            continue
        header = None
        units.append(_Unit(sentence, said.words, said.exact, said.negations > 0))
        if index + 1 < len(sentences) and not _ROW.match(sentences[index + 1]):
            after = terms(sentences[index + 1])
            both = f"{sentence} {sentences[index + 1]}"
            units.append(_Unit(both, said.words | after.words, said.exact | after.exact, said.negations + after.negations > 0))
    everything = terms(passage.text)
    return _Read(tuple(units), context, everything.words | context.words, everything.exact | context.exact)

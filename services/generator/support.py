"""How well a passage supports a sentence, judged by what both say: pure, quick, and readable after the fact.

A claim is compared with every sentence of a passage and with every two neighbours, together with the passage's title and headings,
which say what its sentences are about. Support is the share of the claim's content found there, each word weighted by its inverse
document frequency among the passages at hand, and nothing at all where one of these is violated:

- every number and code of the claim stands in those very sentences or in the headings;
- every name of the claim stands in the passage;
- claim and sentence agree on whether they negate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from services.generator.domain import Passage
from services.generator.reading import Reading, read, term_weights
from services.generator.terms import coverage, inverse_frequencies, terms

RELEVANCE_SHARE = 0.3
"""How much nearness to the question counts beside support when passages compete for a sentence."""
OTHER_SUBJECT_SHARE = 0.8
"""What support is worth from a passage that lacks a number or name of the question that another passage has."""


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
class _Window:
    """A sentence, or two neighbours: the words that support a claim."""

    quote: str
    words: frozenset[str]
    exact: frozenset[str]
    negations: int
    is_row: bool


class Reader:
    """The passages of one answer, read once."""

    def __init__(self, passages: Sequence[Passage], question: str = "") -> None:
        self._readings = [read(passage) for passage in passages]
        self._windows = [_windows(reading) for reading in self._readings]
        self._question = terms(question)
        self._question_weights = term_weights(self._question.words, self._readings)
        self._weights = inverse_frequencies(unit.text for reading in self._readings for unit in reading.units)
        held = frozenset().union(*(reading.words for reading in self._readings))
        # What the question names and somebody speaks of: a passage must speak of that, not of its neighbour.
        self._named = (self._question.exact | self._question.names) & held

    def supports(self, claim: str) -> list[Support]:
        """Return what every passage says for `claim`, the best first."""
        found = [self.support(claim, number) for number in range(1, len(self._readings) + 1)]
        return sorted(found, key=lambda support: support.rank, reverse=True)

    def support(self, claim: str, number: int) -> Support:
        """Return what passage `number` says for `claim`; a score of 0 where there is no such passage."""
        nothing = Support(number, 0.0, "", 0.0)
        if not 1 <= number <= len(self._readings):
            return nothing
        reading, said = self._readings[number - 1], terms(claim)
        if not said.words or said.names - reading.words:
            return nothing
        if self._speaks_of_another(reading):
            return nothing
        share = 1.0 if self._named <= reading.words else OTHER_SUBJECT_SHARE
        prose = frozenset().union(reading.context.words, *(unit.said.words for unit in reading.units if not unit.is_row))
        best = nothing
        for window in self._windows[number - 1]:
            held = window.words | reading.context.words
            if said.exact - window.exact - reading.context.exact or not said.words & window.words:
                continue
            if said.negations > window.negations or bool(said.negations) != bool(window.negations):
                continue
            if window.is_row and self._named - held - prose:
                continue  # the row of another product
            found = Support(
                number,
                share * coverage(said.words, held, self._weights),
                window.quote,
                coverage(self._question.words, held, self._question_weights),
            )
            if (found.rank, -len(found.quote)) > (best.rank, -len(best.quote)):
                best = found
        return best

    def _speaks_of_another(self, reading: Reading) -> bool:
        """Tell whether the headings name a sibling of what the question names: Tolva 10 where Tolva 20 is asked for."""
        asked, context = self._question, reading.context
        missing = (self._named & asked.exact) - reading.words
        return bool(missing and context.exact - asked.exact and context.words & asked.names)


def _windows(reading: Reading) -> list[_Window]:
    windows: list[_Window] = []
    for unit, after in zip_longest(reading.units, reading.units[1:]):
        said, header = unit.said, unit.header
        windows.append(_Window(unit.text, said.words | header.words, said.exact | header.exact, said.negations, unit.is_row))
        if after and not (unit.stands_alone or after.stands_alone) and said.negations == after.said.negations:
            words, exact = said.words | after.said.words, said.exact | after.said.exact
            windows.append(_Window(f"{unit.text} {after.text}", words, exact, said.negations, False))
    return windows

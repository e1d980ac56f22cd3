"""Takes passages apart into what can be quoted: sentences, list items, table rows with the header that says what their cells mean.

Citing, refusing and composing the prompt read passages in the same way. `key_sentences` finds those nearest to a question.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from services.generator.domain import Passage
from services.generator.sentences import split
from services.generator.terms import Terms, stem, terms

# `| a | b |`, or `a | b` as the retriever writes rows.
_ROW = re.compile(r"^\s*\||^[^\n|]*\S \|(?:\s|$)")
_ITEM = re.compile(r"^\s*(?:[-*+•]\s|\d{1,3}[.)]\s)")
_RULE = re.compile(r"^[\s|:\-]+$")
_NOTHING = terms("")

# Words that questions hold and answers do not: "which type of", "what is the name of".
_GENERIC = """
    type kind name take percentage entity part start term order hold another result issue say involve call describe mean happen use year
    date person people thing example word place amount number reason way cause refer main common first become
"""
GENERIC_STEMS = frozenset(stem(word) for word in _GENERIC.split())
_GENERIC_WEIGHT = 0.3
# A heading says what a sentence is about less surely than the sentence itself; the header of a table, less surely than the row.
_HEADING_SHARE, _HEADER_SHARE = 0.8, 0.7
_RANK_COST = 0.05


@dataclass(frozen=True)
class Unit:
    """A sentence, list item or table row. `header` is what the first row of the table says; empty outside tables."""

    text: str
    said: Terms
    header: Terms
    header_text: str = ""

    @property
    def is_row(self) -> bool:
        """Whether it is a row of a table."""
        return bool(_ROW.match(self.text))

    @property
    def stands_alone(self) -> bool:
        """Whether its neighbours say nothing about it: a row or a list item."""
        return self.is_row or bool(_ITEM.match(self.text))

    @property
    def readable(self) -> str:
        """The text; a row with its columns' names: `Product: Tolva 20, Warranty: 36 months`."""
        if not self.is_row:
            return " ".join(self.text.split())
        cells = _cells(self.text)
        names = _cells(self.header_text)
        if len(names) != len(cells):
            return ", ".join(cell for cell in cells if cell)
        return ", ".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, cells, strict=True) if cell)


@dataclass(frozen=True)
class Reading:
    """A passage taken apart. `context`: title and headings. `words` and `exact`: of the whole, context included."""

    context: Terms
    units: tuple[Unit, ...]
    words: frozenset[str]
    exact: frozenset[str]


@dataclass(frozen=True)
class KeySentence:
    """A sentence near a question. `number` is its passage's, from 1; `score` 0…1."""

    number: int
    unit: Unit
    score: float


def read(passage: Passage) -> Reading:
    """Take `passage` apart. What was read last is kept: refusing, composing and citing read the same passages in turn."""
    return _read(passage.title, passage.heading_path, passage.text)


@lru_cache(maxsize=256)
def _read(title: str, heading_path: tuple[str, ...], text: str) -> Reading:
    context = terms("; ".join((title, *heading_path)))
    units: list[Unit] = []
    header_text = ""
    for sentence in split(text):
        if _RULE.match(sentence.text):
            continue
        in_table = bool(_ROW.match(sentence.text))
        is_header = in_table and not header_text
        units.append(
            Unit(sentence.text, terms(sentence.text), *((terms(header_text), header_text) if header_text and in_table else (_NOTHING,)))
        )
        header_text = sentence.text if is_header else header_text if in_table else ""
    said = [context, *(unit.said for unit in units)]
    return Reading(
        context, tuple(units), frozenset().union(*(each.words for each in said)), frozenset().union(*(each.exact for each in said))
    )


def term_weights(wanted: frozenset[str], readings: Sequence[Reading]) -> dict[str, float]:
    """Weigh each of the `wanted` terms: ln(1 + N/n) over the N units of the passages; what questions are made of counts little."""
    units = [unit for reading in readings for unit in reading.units]
    counts = Counter(term for unit in units for term in unit.said.words)
    total = max(len(units), 1)
    rarities = {term: math.log(1 + total / counts[term]) if counts[term] else math.log(1 + 2 * total) for term in wanted}
    return {term: rarity * (_GENERIC_WEIGHT if term in GENERIC_STEMS else 1.0) for term, rarity in rarities.items()}


def key_sentences(question: str, passages: Sequence[Passage], limit: int) -> list[KeySentence]:
    """Return the `limit` sentences nearest to `question`, the nearest first; what says nothing new is passed over."""
    asked = terms(question).words
    readings = [read(passage) for passage in passages]
    weights = term_weights(asked, readings)
    found = [
        KeySentence(number, unit, _nearness(weights, unit, reading.context) - _RANK_COST * (number - 1))
        for number, reading in enumerate(readings, start=1)
        for unit in reading.units
        if unit.said.words - asked
    ]
    return sorted(found, key=lambda key: -key.score)[:limit]


def _nearness(weights: Mapping[str, float], unit: Unit, context: Terms) -> float:
    total = sum(weights.values())
    held = 0.0
    for term, weight in weights.items():
        if term in unit.said.words:
            held += weight
        elif term in context.words:
            held += _HEADING_SHARE * weight
        elif term in unit.header.words:
            held += _HEADER_SHARE * weight
    return held / total if total else 0.0


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]

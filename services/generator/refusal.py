"""Judges, before the model is called, whether the passages found hold the answer to a question at all."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.domain import Evidence, Passage
from services.generator.sentences import split
from services.generator.terms import coverage, inverse_frequencies, terms

DEFAULT_THRESHOLD = 0.2
"""Below this the answer is "I do not know."."""


@dataclass(frozen=True)
class Features:
    """What the judgement rests on."""

    top_vector_score: float
    passage_coverage: float
    sentence_coverage: float
    exact_missing: float
    name_missing: float
    overlap: float
    answer_type: float


def answerability(question: str, passages: Sequence[Passage], evidence: Evidence) -> float:
    """Estimate the probability, 0…1, that `passages` hold the answer to `question`; 0 when there are none."""
    if not passages:
        return 0.0
    found = features(question, passages, evidence)
    z = -3.5 + 4.0 * found.top_vector_score + 3.0 * found.sentence_coverage - 1.5 * found.exact_missing - found.name_missing
    return 1 / (1 + math.exp(-z))


_TYPES = (
    (
        re.compile(
            r"\b(?:how (?:many|much|long|far|often|old|deep|high|big|large)|when|what (?:year|date|price|number|percentage))\b", re.I
        ),
        r"\d",
    ),
    (re.compile(r"\b(?:who|whose|whom)\b", re.I), r"\b[A-Z]\w+"),
)


def features(question: str, passages: Sequence[Passage], evidence: Evidence) -> Features:
    """Return what is known of `question` and the `passages` found for it."""
    texts = [" ".join((passage.title, *passage.heading_path, passage.text)) for passage in passages]
    units = [(index, sentence.text) for index, passage in enumerate(passages) for sentence in split(passage.text)]
    weights = inverse_frequencies([*texts, *(unit for _, unit in units)])
    asked = terms(question)
    held = [terms(text).words for text in texts]
    best, best_unit = 0.0, ""
    for index, unit in units:
        heading = terms(" ".join((passages[index].title, *passages[index].heading_path))).words
        share = coverage(asked.words, terms(unit).words | heading, weights)
        if share > best:
            best, best_unit = share, unit
    everything = frozenset().union(*held)
    wanted = next((pattern for asks, pattern in _TYPES if asks.search(question)), None)
    return Features(
        top_vector_score=evidence.top_vector_score if evidence.top_vector_score is not None else 0.5,
        passage_coverage=max(coverage(asked.words, words, weights) for words in held),
        sentence_coverage=best,
        exact_missing=float(bool(asked.exact - everything)),
        name_missing=float(bool(asked.names - everything)),
        overlap=min(evidence.overlap_count, 10) / 10,
        answer_type=0.5 if wanted is None else float(bool(re.search(wanted, best_unit))),
    )

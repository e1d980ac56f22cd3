"""Judges, before the model is called, whether the passages found hold the answer to a question at all.

A logistic regression over what is known by then: the nearest vector, how much of the question stands in the best sentence and its
headings, which of its numbers and names stand nowhere, and whether what is asked for (a number, a name) is there. It reads; it
does not understand: a question that differs from the documents in one ordinary word passes, and the answer's own check
(`citing.py`) is the second net. Fitted and measured by `bench/refusal.py`; see docs/decisions/0007-refusal.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from services.generator.domain import Evidence, Passage
from services.generator.reading import read, term_weights
from services.generator.terms import Terms, asks_name, asks_number, terms

DEFAULT_THRESHOLD = 0.35
"""Below this the answer is "I do not know.": the highest at which under 5 % of SQuAD's answerable questions are refused, and four of five
refusals are right."""

_OWN_SHARE = 0.3  # how much the sentence itself counts beside its headings when the best one is chosen


@dataclass(frozen=True)
class Features:
    """What the judgement rests on; each about 0…1. Shares are of the question's terms by inverse document frequency."""

    top_vector_score: float  # nearness of the nearest vector; the fitted mean where vectors were not used
    sentence_coverage: float  # share that stands in the best sentence or in its headings
    sentence_own_coverage: float  # share that stands in the best sentence itself
    exact_missing: float  # 1: a number or code of the question is not in the best sentence's passage
    name_missing: float  # 1: a name of the question is not there
    type_missing: float  # 1: a number or a name is asked for, and the best sentence brings none that is new
    question_negates: float  # 1: the question negates
    negation_differs: float  # 1: of question and best sentence, one negates
    question_length: float  # content terms, 12 or more being 1


# Fitted by bench/refusal.py. Log-odds are `INTERCEPT + weights · features`.
INTERCEPT = -2.6
WEIGHTS = Features(
    top_vector_score=2.35,
    sentence_coverage=0.68,
    sentence_own_coverage=0.93,
    exact_missing=-0.55,
    name_missing=-0.35,
    type_missing=-1.02,
    question_negates=-0.75,
    negation_differs=-0.42,
    question_length=1.47,
)
MEAN_VECTOR_SCORE = 0.6
"""Stands in where no vectors were used."""


def answerability(question: str, passages: Sequence[Passage], evidence: Evidence) -> float:
    """Estimate the probability, 0…1, that `passages` hold the answer to `question`; 0 when there are none."""
    if not passages:
        return 0.0
    values = astuple(features(question, passages, evidence))
    log_odds = INTERCEPT + sum(weight * value for weight, value in zip(astuple(WEIGHTS), values, strict=True))
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, log_odds))))


def features(question: str, passages: Sequence[Passage], evidence: Evidence) -> Features:
    """Return what is known of `question` and of the `passages` found for it (at least one)."""
    asked = terms(question)
    readings = [read(passage) for passage in passages]
    weights = term_weights(asked.words, readings)
    total = sum(weights.values()) or 1.0

    def share(words: frozenset[str]) -> float:
        return sum(weight for term, weight in weights.items() if term in words) / total

    candidates = [
        (share(unit.said.words | unit.header.words | reading.context.words), share(unit.said.words | unit.header.words), unit.said, reading)
        for reading in readings
        for unit in reading.units
    ]
    within, own, said, reading = max(
        candidates or [(0.0, 0.0, terms(""), readings[0])], key=lambda candidate: candidate[0] + _OWN_SHARE * candidate[1]
    )
    return Features(
        top_vector_score=MEAN_VECTOR_SCORE if evidence.top_vector_score is None else evidence.top_vector_score,
        sentence_coverage=within,
        sentence_own_coverage=own,
        exact_missing=float(bool(asked.exact - reading.exact)),
        name_missing=float(bool(asked.names - reading.words)),
        type_missing=float(_type_missing(question, asked, said)),
        question_negates=float(asked.negations > 0),
        negation_differs=float((asked.negations > 0) != (said.negations > 0)),
        question_length=min(len(asked.words), 12) / 12,
    )


def _type_missing(question: str, asked: Terms, said: Terms) -> bool:
    """Tell whether a number or a name is asked for and `said` brings none that the question does not hold itself."""
    if asks_number(question):
        return not said.exact - asked.exact
    return asks_name(question) and not said.names - asked.words

"""Scores of one answer against gold, and of many together.

Token F1 and exact match normalise as the SQuAD evaluation does (Rajpurkar et al., EMNLP 2016): lower case, no punctuation, no articles,
single spaces; the best over the gold answers counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MARKER = re.compile(r"\s*\[\d+\]")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> list[str]:
    """The words that are compared. Citation markers are not part of an answer's words."""
    return _ARTICLE.sub(" ", _MARKER.sub("", text).lower().translate(_PUNCTUATION)).split()


def token_f1(answer: str, gold: Iterable[str]) -> float:
    """Harmonic mean of word precision and recall, best over the gold answers. 0…1."""
    return max((_f1(normalize(answer), normalize(one)) for one in gold), default=0.0)


def exact_match(answer: str, gold: Iterable[str]) -> bool:
    """Whether the words are those of a gold answer."""
    return any(normalize(answer) == normalize(one) for one in gold)


def contains_gold(answer: str, gold: Iterable[str]) -> bool:
    """Whether a gold answer's words stand in the answer, in one piece: the fair question to a model that answers in whole sentences."""
    words = f" {' '.join(normalize(answer))} "
    return any(f" {' '.join(normalize(one))} " in words for one in gold if normalize(one))


def _f1(answer: list[str], gold: list[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    if not common:
        return float(answer == gold)
    precision, recall = common / len(answer), common / len(gold)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class Judged:
    """One question asked, against its gold."""

    answerable: bool
    refused: bool
    f1: float
    contains: bool
    cited: tuple[str, ...]
    """URIs of the citations."""
    right: tuple[bool, ...]
    """Of each citation, whether it points to a gold source."""
    found: bool
    """Whether the passages held a gold source."""
    first_text_seconds: float
    total_seconds: float


@dataclass(frozen=True)
class Summary:
    """Scores over many questions; each is a share, 0…1, and None where there was nothing to divide by."""

    count: int
    answerable_count: int
    f1: float | None
    """Of answerable questions; a refusal scores 0."""
    contains_gold: float | None
    passage_recall: float | None
    """Answerable questions whose passages held a gold source."""
    citation_precision: float | None
    """Of the citations under answerable questions, those that point to a gold source."""
    citation_recall: float | None
    """Answerable questions answered with at least one right citation."""
    cited_when_answered: float | None
    """Of the answers given, those with at least one citation."""
    refusal_precision: float | None
    refusal_recall: float | None
    median_first_text_seconds: float | None
    median_total_seconds: float | None


def summarize(judged: Sequence[Judged]) -> Summary:
    """Scores over many questions."""
    answerable = [one for one in judged if one.answerable]
    refused = [one for one in judged if one.refused]
    answered = [one for one in judged if not one.refused]
    citations = [right for one in answerable for right in one.right]
    wrongly_open = [one for one in judged if not one.answerable]
    return Summary(
        count=len(judged),
        answerable_count=len(answerable),
        f1=_mean(one.f1 for one in answerable),
        contains_gold=_mean(one.contains for one in answerable),
        passage_recall=_mean(one.found for one in answerable),
        citation_precision=_mean(citations),
        citation_recall=_mean(any(one.right) for one in answerable),
        cited_when_answered=_mean(bool(one.cited) for one in answered),
        refusal_precision=_mean(not one.answerable for one in refused),
        refusal_recall=_mean(one.refused for one in wrongly_open),
        median_first_text_seconds=_median(one.first_text_seconds for one in answered),
        median_total_seconds=_median(one.total_seconds for one in answered),
    )


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def _median(values: Iterable[float]) -> float | None:
    listed = sorted(values)
    return listed[len(listed) // 2] if listed else None

"""Makes a follow-up stand alone, so that it retrieves what it means, and tells when it opens a new topic."""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.generator.domain import Turn
from services.generator.terms import terms

_DEPENDENT = re.compile(
    r"\b(?:it|its|they|them|their|theirs|this|that|these|those|he|him|his|she|her|one|ones|there|former|latter|same|such)\b"
    r"|^\W*(?:and|or|but|so|then|also|what about|how about|why|ok|okay|yes|no)\b",
    re.IGNORECASE,
)
MAX_ADDED_TERMS = 12


def standalone_question(question: str, summary: str, turns: Sequence[Turn]) -> str:
    """Return `question` in a form that can be searched for without its conversation; unchanged when it needs nothing."""
    if not (summary or turns) or not depends(question):
        return question
    earlier = turns[-1].standalone_question or turns[-1].question if turns else summary
    known = terms(question).words
    added: list[str] = []
    for word in re.findall(r"[\w.\-/+#]+", earlier):
        if terms(word).words - known and len(added) < MAX_ADDED_TERMS:
            added.append(word)
    return f"{question} ({' '.join(added)})" if added else question


def depends(question: str) -> bool:
    """Tell whether `question` leans on what was said before."""
    return bool(_DEPENDENT.search(question)) or len(terms(question).content) < 3


def topic_changed(question: str, turns: Sequence[Turn], summary: str, similarity: float | None = None) -> bool:
    """Tell whether `question` has little to do with the earlier turns, so that a new conversation would serve better."""
    if not (turns or summary) or depends(question):
        return False
    asked = terms(question).words
    known = terms(" ".join([summary, *(f"{turn.question} {turn.answer}" for turn in turns[-3:])])).words
    if similarity is not None and similarity >= 0.35:
        return False
    return bool(asked) and not asked & known

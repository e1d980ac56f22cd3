"""Makes a follow-up stand alone, so that it retrieves what it means, and tells when it opens a new topic.

Deterministic: the words of the last turns' questions that the follow-up leaves out are added to it. A small model asked to rewrite a
question changes it as often as it completes it; see docs/decisions/0010-follow-ups.md for what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.generator.domain import Turn
from services.generator.terms import terms

REMEMBERED_TURNS = 2
MAX_ADDED_WORDS = 12

_DEPENDENT = re.compile(
    r"\b(?:it|its|they|them|their|theirs|this|that|these|those|he|him|his|she|her|one|ones|there|former|latter|same|such)\b"
    r"|^\W*(?:and|or|but|so|then|also|what about|how about|why|ok|okay|yes|no)\b",
    re.IGNORECASE,
)
_REPLACES = re.compile(r"^\W*(?:and|or|what about|how about)\b", re.IGNORECASE)
_WORD = re.compile(r"\w[\w.\-/+#'’]*")


def standalone_question(question: str, summary: str, turns: Sequence[Turn]) -> str:
    """Return `question` so that it can be understood without its conversation; unchanged when it needs nothing.

    `turns` are the latest ones, oldest first. `summary` serves where there are none. What is added stands in brackets behind it.
    """
    if not (depends(question) or _related(question, summary, turns)):
        return question
    known = set(terms(question).words)
    if _REPLACES.search(question) and (terms(question).names or terms(question).exact):
        # "And of the Ondel L5?" puts another name in the place of the earlier one.
        for text in _earlier(summary, turns):
            known |= terms(text).names | terms(text).exact
    added: list[str] = []
    for text in _earlier(summary, turns):
        for word in _WORD.findall(text):
            stems = terms(word).words
            if stems - known:
                known |= stems
                added.append(word.rstrip(".'’-"))
    return f"{question} ({' '.join(added[:MAX_ADDED_WORDS])})" if added else question


def search_query(question: str, standalone: str) -> str:
    """Return what to search for: a question that was added to counts twice against what was added."""
    return question if standalone == question else f"{question} {standalone}"


def answered_question(question: str, standalone: str) -> str:
    """Return what the model is asked, and what its answer is measured against: the question with the names it leans on.

    The other words that were added help to find passages, but would make an answer to the turn before look like one to this turn. They
    stay where the question says only what is different now ("And of the Ondel L5?").
    """
    if standalone == question or _REPLACES.search(question) or not terms(question).content:
        return standalone
    added = standalone.removeprefix(question).strip(" ()").split()
    names = [word for word in added if word[:1].isupper() or any(char.isdigit() for char in word)]
    return f"{question} ({' '.join(names)})" if names else standalone


def depends(question: str) -> bool:
    """Tell whether `question` leans on what was said before: a pronoun, a beginning such as "and", or hardly any content."""
    return bool(_DEPENDENT.search(question)) or len(terms(question).content) < 3


def topic_changed(question: str, turns: Sequence[Turn], summary: str, similarity: float | None = None) -> bool:
    """Tell whether `question` has little to do with the earlier turns, so that a new conversation would serve better.

    `similarity` is the cosine between the question and the last one, where somebody has computed it.
    """
    if not (turns or summary) or depends(question):
        return False
    if similarity is not None and similarity >= 0.4:
        return False
    return not _related(question, summary, turns)


def _related(question: str, summary: str, turns: Sequence[Turn]) -> bool:
    """Tell whether `question` shares a content word with the last turns or the summary."""
    known = terms(" \n".join([summary, *(f"{turn.question}\n{turn.answer}" for turn in turns[-REMEMBERED_TURNS:])])).words
    return bool(terms(question).words & known)


def _earlier(summary: str, turns: Sequence[Turn]) -> list[str]:
    """Return the texts to take words from, the most telling first: the last questions, in full where they leaned on others."""
    if not turns:
        return [summary]
    return [
        turn.standalone_question or turn.question if depends(turn.question) else turn.question
        for turn in turns[: -REMEMBERED_TURNS - 1 : -1]
    ]

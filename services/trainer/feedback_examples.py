"""Makes examples of what people thought of answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from services.trainer.domain import DONT_KNOW, Example, Passage
from services.trainer.examples import MAX_ANSWER, MAX_PASSAGES, MAX_QUESTION
from services.trainer.patience import patiently
from services.trainer.ports import FeedbackRecord, Retriever
from services.trainer.words import words

BATCH = 100
"""Records whose passages are looked up together."""
_DONT_KNOW_WORDS = {tuple(words(DONT_KNOW)), tuple(words("I don't know"))}
_MARKER = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")


@dataclass(frozen=True)
class FromFeedback:
    """Examples, oldest feedback first. `dropped_count`: of documents that are gone; `useless_count`: feedback that teaches nothing."""

    examples: tuple[Example, ...]
    dropped_count: int
    useless_count: int


async def from_feedback(records: AsyncIterator[FeedbackRecord], retriever: Retriever) -> FromFeedback:
    """The examples in feedback. Of several on one answer the last counts. Raises the retriever's errors."""
    last: dict[str, FeedbackRecord] = {}
    useless = 0
    async for record in records:
        useless += last.pop(record.answer_id, None) is not None
        last[record.answer_id] = record
    useful = [record for record in last.values() if right_answer(record)]
    useless += len(last) - len(useful)
    examples: list[Example] = []
    for start in range(0, len(useful), BATCH):
        batch = useful[start : start + BATCH]
        names = list(dict.fromkeys(name for record in batch for name in record.passages))
        there = await patiently(lambda wanted=names: retriever.existing(wanted)) if names else {}  # type: ignore[misc]
        for record in batch:
            if all(name in there for name in record.passages):
                examples.append(_example(record, [there[name] for name in record.passages]))
    return FromFeedback(tuple(examples), len(useful) - len(examples), useless)


def right_answer(record: FeedbackRecord) -> str:
    """What the answer should be: the correction, or the answer itself after a thumb up; empty when nobody said."""
    if not 0 < len(record.question.strip()) <= MAX_QUESTION or not (record.corpus or record.passages):
        return ""
    if record.corrected_text.strip():
        return record.corrected_text.strip()[:MAX_ANSWER]
    return record.answer_text.strip()[:MAX_ANSWER] if record.rating == "up" else ""


def _example(record: FeedbackRecord, passages: Sequence[Passage]) -> Example:
    answer = right_answer(record)
    answerable = tuple(words(answer)) not in _DONT_KNOW_WORDS
    cited = [passage for number, passage in enumerate(passages, start=1) if number in _numbers(answer)]
    return Example(
        id=f"feedback-{record.answer_id.rpartition('/')[2]}",
        question=record.question.strip(),
        answer=answer if answerable else DONT_KNOW,
        answerable=answerable,
        passages=tuple(passages[:MAX_PASSAGES]),
        corpus=record.corpus,
        sources=tuple(source for passage in cited for source in (passage.uri, passage.name) if source) if answerable else (),
        concept=(cited or [*passages, Passage("")])[0].title,
        origin="feedback",
        chunks=tuple(record.passages),
        trace_id=record.trace_id,
    )


def _numbers(answer: str) -> set[int]:
    return {int(number) for match in _MARKER.finditer(answer) for number in re.findall(r"\d+", match.group(1))}

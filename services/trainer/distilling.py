"""Writes examples from a corpus ("dataset distillation"): a teacher asks about a sentence of a passage, and the serving path checks it.

    passage -> sentence -> question (teacher) -> search, as `Ask` does -> cite, as `Ask` does -> short answer (teacher) -> example

An example is kept when the passage is among those found for its question, and the sentence counts as an answer that cites it. A share of
them is made unanswerable: the passage, and every other that supports the answer, is taken away, and "I do not know." is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from services.trainer.answer_spans import Wanted, candidates_of
from services.trainer.domain import DONT_KNOW, CorpusSource, Example, Message, Passage
from services.trainer.examples import content_id
from services.trainer.facts import Fact, chosen
from services.trainer.patience import each, patiently
from services.trainer.ports import CitedText, Generator, Retriever, Teacher
from services.trainer.question_writing import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    asking,
    cleaned_answer,
    cleaned_question,
    is_same,
    leads_back,
    shortening,
    why_not,
)
from services.trainer.words import content

PASSAGES = 4
"""As many as `Ask` searches for by default."""
SPARE_PASSAGES = 4
"""Searched for in addition, to take the place of those taken away."""
TRIES = ((0.0, 0), (0.6, 1))
"""(temperature, seed) of the attempts at one question."""
CANDIDATES_PER_EXAMPLE = 12
"""Things asked for at most, for one example wanted."""
_BATCH = 16

Progress = Callable[[int, int], None]
"""Called with how many items are done, and how many there are."""


@dataclass(frozen=True)
class Distilled:
    """What was written, and how often a sentence gave nothing, by the reason."""

    examples: tuple[Example, ...]
    tried: int
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class _Asked:
    """A question that the sentence answers through the serving path; `reason` says why there is none."""

    fact: Fact
    question: str = ""
    passages: tuple[Passage, ...] = ()
    answer: str = ""
    reason: str = ""


async def distil(source: CorpusSource, generator: Generator, retriever: Retriever, teacher: Teacher, progress: Progress) -> Distilled:
    """At most `source.max_examples` examples. Repeatable as far as the teacher is. Raises the errors of what it calls."""
    writer = _Writer(source.corpus, generator, retriever, teacher)
    passages = await chosen(retriever.chunks(source.corpus), source.seed)
    most = CANDIDATES_PER_EXAMPLE * source.max_examples
    candidates = list(islice(candidates_of(passages), most))
    examples: list[Example] = []
    asked: list[frozenset[str]] = []
    reasons: Counter[str] = Counter()
    tried = 0
    progress(0, len(candidates))
    while tried < len(candidates) and len(examples) < source.max_examples:
        batch = candidates[tried : tried + _BATCH]
        tried += len(batch)
        for found in await each(batch, writer.ask):
            if found.reason:
                reasons[found.reason] += 1
                continue
            same = any(is_same(found.question, earlier) for earlier in asked)
            if same or len(examples) >= source.max_examples:
                reasons["asked before" if same else "not needed"] += 1
                continue
            wants_none = int((len(examples) + 1) * source.unanswerable_share) > int(len(examples) * source.unanswerable_share)
            example = await writer.unanswerable(found) if wants_none else writer.answerable(found)
            if example is None:
                reasons["answered elsewhere"] += 1
                continue
            asked.append(content(found.question))
            examples.append(example)
        progress(tried, len(candidates))
    progress(len(candidates), len(candidates))
    return Distilled(tuple(examples), tried, dict(reasons))


class _Writer:
    """Makes examples of facts of one corpus."""

    def __init__(self, corpus: str, generator: Generator, retriever: Retriever, teacher: Teacher) -> None:
        self._corpus = corpus
        self._generator = generator
        self._retriever = retriever
        self._teacher = teacher

    async def ask(self, candidate: tuple[Fact, Wanted]) -> _Asked:
        """The first of a few questions that stands the checks."""
        fact, want = candidate
        reason = ""
        tried: set[str] = set()
        for temperature, seed in TRIES:
            question = cleaned_question(await self._written(asking(fact, want), QUESTION_TOKENS, temperature, seed))
            if question in tried:
                continue
            tried.add(question)
            reason = why_not(question, fact, want)
            if not reason:
                found = await self._checked(fact, question, want)
                if not found.reason:
                    return found
                reason = found.reason
        return _Asked(fact, reason=reason)

    async def _checked(self, fact: Fact, question: str, want: Wanted) -> _Asked:
        """The question with its answer as the serving path has it."""
        passages = await patiently(lambda: self._retriever.search(self._corpus, question, PASSAGES))
        if fact.passage.name not in {passage.name for passage in passages}:
            return _Asked(fact, reason="not found")
        if not _cites(await self._cite(question, passages, fact.sentence), fact):
            return _Asked(fact, reason="not supported")
        short = cleaned_answer(await self._written(shortening(fact, question), ANSWER_TOKENS), fact)
        if not leads_back(short, want):
            return _Asked(fact, reason="does not lead back")
        for answer in dict.fromkeys((want.answer, short)):
            if answer and _cites(await self._cite(question, passages, answer), fact):
                return _Asked(fact, question, passages, answer)
        if not want.stands_alone:
            return _Asked(fact, reason="no short answer")
        return _Asked(fact, question, passages, fact.sentence)

    async def _written(self, chat: list[Message], max_tokens: int, temperature: float = 0.0, seed: int = 0) -> str:
        return await patiently(lambda: self._teacher.write(chat, max_tokens, temperature=temperature, seed=seed))

    def answerable(self, found: _Asked) -> Example:
        """The example with its answer."""
        fact, answer = found.fact, found.answer
        return self._example(
            found,
            answer=answer,
            answers=(fact.sentence,) if answer != fact.sentence else (),
            sources=tuple(source for source in (fact.passage.uri, fact.passage.name) if source),
            chunks=(fact.passage.name,),
        )

    async def unanswerable(self, found: _Asked) -> Example | None:
        """The example with passages that do not hold the answer; None when nothing is left of them."""
        fact, question = found.fact, found.question
        more = await patiently(lambda: self._retriever.search(self._corpus, question, PASSAGES + SPARE_PASSAGES))
        left = [passage for passage in more if passage.name != fact.passage.name]
        kept: list[Passage] = []
        for passage in left:
            # One by one: beside others a passage may lose a comparison that it wins alone.
            if len(kept) < PASSAGES and (await self._cite(question, [passage], fact.sentence)).refused:
                kept.append(passage)
        if not kept or not (await self._cite(question, kept, fact.sentence)).refused:
            return None
        return self._example(
            found,
            answer=DONT_KNOW,
            answerable=False,
            passages=tuple(kept),
            chunks=(fact.passage.name, *(passage.name for passage in kept)),
        )

    async def _cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        return await patiently(lambda: self._generator.cite(question, passages, text))

    def _example(self, found: _Asked, **given: object) -> Example:
        example = Example(
            id="",
            question=found.question,
            corpus=self._corpus,
            group=found.fact.document,
            concept=found.fact.passage.title,
            origin="corpus",
            **given,  # type: ignore[arg-type]
        )
        return replace(example, id=content_id(example))


def _cites(cited: CitedText, fact: Fact) -> bool:
    return not cited.refused and any(chunk == fact.passage.name for _, _, chunk in cited.citations)

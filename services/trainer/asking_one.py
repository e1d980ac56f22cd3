"""One held-out example, put to every version: the calls it takes, through the serving path, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from services.chassis.errors import FailedPrecondition, Unimplemented
from services.trainer.asked import Asked, Label, gold_response, judge, says_dont_know
from services.trainer.domain import DONT_KNOW, Example, Message, Passage
from services.trainer.patience import patiently
from services.trainer.ports import CitedText, Generator, Written

MAX_PASSAGES = 5
"""As many as the contract of `RenderPrompt` takes."""

Result = TypeVar("Result")


class AskingStopped(Exception):
    """The caller wanted it to stop; what was asked so far is gone."""


class WrongAdapter(FailedPrecondition):
    """The generator answered with another adapter than the one asked for, so the answers say nothing about the candidate."""

    reason = "WRONG_ADAPTER"


@dataclass(frozen=True)
class Version:
    """What is asked. `adapter` is a version's name or `base`. A whole model is judged with a generator of its own that serves it."""

    label: Label
    adapter: str
    generator: Generator


def versions(generator: Generator, candidate: str, serving: str = "") -> tuple[Version, ...]:
    """The versions to compare. `serving` empty: the base model serves, is asked once, and counts as both.

    What serves is asked by its name: a promotion while the gate asks must not change what the candidate is compared with.
    """
    base = Version("base", "base", generator)
    served = () if serving in ("", "base") else (Version("serving", serving, generator),)
    return (base, *served, Version("candidate", candidate, generator))


class AskingOne:
    """The calls for one example."""

    def __init__(self, versions: Sequence[Version], should_stop: Callable[[], bool]) -> None:
        self._versions = versions
        self._should_stop = should_stop
        self._can_score = True
        self._found: dict[str, tuple[Passage, ...]] = {}

    async def example(self, example: Example, turn: int, *, alone: bool, scored: bool) -> list[Asked]:
        """Answers of all versions, the one whose `turn` it is first; when `alone` also the candidate's without passages."""
        first = turn % len(self._versions)
        answers: list[Asked] = []
        for version in (*self._versions[first:], *self._versions[:first]):
            self._check_stop()
            answers.append(replace(await self._answer(example, version), alone=alone))
        if alone:
            candidate = next(version for version in self._versions if version.label == "candidate")
            self._check_stop()
            answers.append(replace(await self._tuned(example, candidate), alone=True))
        if scored and self._can_score:
            answers = await self._scored(example, answers)
        return answers

    async def _answer(self, example: Example, version: Version) -> Asked:
        if example.is_question and example.corpus:
            return await self._whole_path(example, version)
        if example.is_question:
            return await self._own_passages(example, version)
        written = await self._complete(example.messages, version, _room(example))
        return _with_cost(judge(example, version.label, "served", CitedText(written.text, False)), written)

    async def _whole_path(self, example: Example, version: Version) -> Asked:
        answer = await self._patiently(lambda: version.generator.ask(example.question, example.corpus, version.adapter))
        self._found.setdefault(example.id, answer.passages[:MAX_PASSAGES])
        # A question refused for its evidence alone never reached a model.
        if answer.written.completion_tokens:
            _check_adapter(version, answer.written)
        asked = _with_cost(judge(example, version.label, "served", answer.cited), answer.written)
        return replace(asked, retrieval_seconds=answer.retrieval_seconds, seconds=answer.total_seconds)

    async def _own_passages(self, example: Example, version: Version) -> Asked:
        began = time.perf_counter()
        passages = example.passages[:MAX_PASSAGES]
        generator = version.generator
        refused = CitedText(DONT_KNOW, True)
        if not passages:
            return replace(judge(example, version.label, "served", refused), seconds=time.perf_counter() - began)
        prompt = await self._patiently(lambda: generator.render_question(example.question, passages))
        if prompt.answerability < prompt.refusal_threshold:
            return replace(judge(example, version.label, "served", refused), seconds=time.perf_counter() - began)
        written = await self._complete(prompt.messages, version)
        seen = passages[: prompt.passage_count] if prompt.passage_count else passages
        cited = await self._patiently(lambda: generator.cite(example.question, seen, written.text)) if written.text.strip() else refused
        seconds = time.perf_counter() - began
        return replace(_with_cost(judge(example, version.label, "served", cited), written), seconds=seconds)

    async def _tuned(self, example: Example, version: Version) -> Asked:
        written = await self._complete((Message("user", example.question),), version)
        cited = CitedText(written.text, says_dont_know(written.text))
        return _with_cost(judge(example, version.label, "tuned", cited), written)

    async def _complete(self, messages: Sequence[Message], version: Version, max_tokens: int = 96) -> Written:
        written = await self._patiently(lambda: version.generator.complete(messages, version.adapter, max_tokens))
        _check_adapter(version, written)
        return written

    async def _scored(self, example: Example, answers: list[Asked]) -> list[Asked]:
        """Gold responses after the prompt they belong to. Where the passages found do not hold the gold, there is nothing to score."""
        by_label = {version.label: version for version in self._versions}
        messages: Sequence[Message] = example.messages
        response = gold_response(example)
        generator = self._versions[0].generator
        if example.is_question:
            passages = example.passages[:MAX_PASSAGES] or self._found.get(example.id, ())
            if not passages:
                return answers
            messages = (await self._patiently(lambda: generator.render_question(example.question, passages))).messages
            if example.answerable:
                # What is learnt to be written has markers where the generator's own check sets them.
                cited = await self._patiently(lambda: generator.cite(example.question, passages, response))
                if cited.refused and not example.passages:
                    return answers
                response = response if cited.refused else cited.text
        if not response.strip():
            return answers
        scored: list[Asked] = []
        for asked in answers:
            self._check_stop()
            if asked.way == "served":
                version = by_label[asked.version]
                try:
                    log_likelihood, tokens = await self._patiently(
                        lambda version=version: version.generator.score(messages, response, version.adapter)  # type: ignore[misc]
                    )
                except Unimplemented:
                    self._can_score = False
                    return answers
                asked = asked.with_score(log_likelihood, tokens)  # noqa: PLW2901
            scored.append(asked)
        return scored

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """People come first: a full queue, or a generator that is being replaced, is waited for."""

        async def attempt() -> Result:
            self._check_stop()
            return await call()

        return await patiently(attempt)

    def _check_stop(self) -> None:
        if self._should_stop():
            raise AskingStopped


def _room(example: Example) -> int:
    """Tokens a continuation may have: twice what the gold needs (a word is about 1.5 tokens), so that rambling shows and costs little."""
    return min(512, max(96, 3 * len(example.answer.split())))


def _with_cost(asked: Asked, written: Written) -> Asked:
    return replace(
        asked,
        prompt_tokens=written.prompt_tokens,
        completion_tokens=written.completion_tokens,
        engine_seconds=written.engine_seconds,
        seconds=written.engine_seconds,
    )


def _check_adapter(version: Version, written: Written) -> None:
    wanted = "" if version.adapter == "base" else version.adapter
    if ("" if written.adapter == "base" else written.adapter) != wanted:
        raise WrongAdapter(
            f"The generator was asked for `{version.adapter}` and answered with `{written.adapter or 'base'}`, so the "
            "candidate was not judged."
        )

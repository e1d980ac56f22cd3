"""Asks held-out examples through the serving path: the same retrieval, prompt, engine, citations and refusals that people get.

Base, what serves and the candidate get each example one right after the other, in turning order, so that neither a machine that slows
down nor a cache that warms up favours one of them. Up to `cost_questions` questions are asked first and one at a time: only then are the
seconds of an answer the seconds it costs, and the same questions are also put to the candidate alone, without any passage.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.chassis.errors import InvalidArgument
from services.trainer.asked import Asked
from services.trainer.asking_one import AskingOne, AskingStopped, Version, WrongAdapter, versions
from services.trainer.domain import Example

__all__ = ["Answers", "AskingSettings", "AskingStopped", "Version", "WrongAdapter", "ask_held_out", "choose", "versions"]


@dataclass(frozen=True)
class AskingSettings:
    """How much is asked."""

    at_once: int = 4
    cost_questions: int = 20
    """Questions asked one at a time and without passages too, to measure what each way costs. 0: none."""
    scored_examples: int = 60
    """Examples whose gold response is scored. Each costs one reading of its prompt and version."""


@dataclass(frozen=True)
class Answers:
    """What came back. `skipped` are (example id, why): no version is judged by an example that one of them could not be asked."""

    asked: tuple[Asked, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0

    @property
    def served(self) -> tuple[Asked, ...]:
        """Answers of the serving path."""
        return tuple(each for each in self.asked if each.way == "served")

    @property
    def tuned(self) -> tuple[Asked, ...]:
        """Answers of the candidate without passages."""
        return tuple(each for each in self.asked if each.way == "tuned")


def choose(examples: Sequence[Example], count: int, seed: int = 13) -> tuple[Example, ...]:
    """At most `count` of the examples, in their order: the same ones whenever the same examples are there, whatever else is."""
    ranked = sorted(examples, key=lambda example: hashlib.sha256(f"{seed} {example.id}".encode()).digest())
    kept = {example.id for example in ranked[: max(count, 0)]}
    return tuple(example for example in examples if example.id in kept)


async def ask_held_out(
    examples: Sequence[Example],
    versions: Sequence[Version],
    settings: AskingSettings = AskingSettings(),
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Answers:
    """Every example, answered by every version. `on_progress` is told examples done and in all.

    Raises `AskingStopped`, `WrongAdapter`, and the generator's errors when they last; an example the generator refuses as invalid
    (too long for the model, say) is skipped.
    """
    began = time.perf_counter()
    asking = AskingOne(versions, should_stop)
    alone = _cost_examples(examples, settings.cost_questions)
    alone_ids = {example.id for example in alone}
    scored_ids = {example.id for example in examples[: settings.scored_examples]}
    asked: list[Asked] = []
    skipped: list[tuple[str, str]] = []
    done = 0

    async def one(turn: int, example: Example, by_itself: bool) -> None:
        nonlocal done
        try:
            asked.extend(await asking.example(example, turn, alone=by_itself, scored=example.id in scored_ids))
        except InvalidArgument as error:
            skipped.append((example.id, error.message))
        done += 1
        on_progress(done, len(examples))

    for turn, example in enumerate(alone):
        await one(turn, example, True)
    await _side_by_side(
        [
            (lambda turn=turn, example=example: one(turn, example, False))  # type: ignore[misc]
            for turn, example in enumerate(each for each in examples if each.id not in alone_ids)
        ],
        settings.at_once,
    )
    return Answers(tuple(asked), tuple(skipped), time.perf_counter() - began)


def _cost_examples(examples: Sequence[Example], count: int) -> list[Example]:
    """The first questions that have an answer; those with a corpus before those without, which cost no retrieval."""
    questions = [example for example in examples if example.is_question and example.answerable]
    return sorted(questions, key=lambda example: not example.corpus)[: max(count, 0)]


async def _side_by_side(calls: Sequence[Callable[[], Awaitable[None]]], at_once: int) -> None:
    waiting = list(reversed(calls))

    async def work() -> None:
        while waiting:
            await waiting.pop()()

    tasks = [asyncio.ensure_future(work()) for _ in range(max(1, min(at_once, len(calls))))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

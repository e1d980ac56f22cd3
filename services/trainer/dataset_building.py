"""Puts a dataset together: sources -> examples -> those whose documents are there -> no repeats -> split -> warnings and fingerprint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from services.trainer.dataset_checks import warnings_for
from services.trainer.distilling import Progress, distil
from services.trainer.domain import CorpusSource, Dataset, Example, FeedbackSource, NothingToTrainOn, Source, Split
from services.trainer.examples import fingerprint
from services.trainer.feedback_examples import from_feedback
from services.trainer.near_duplicates import deduplicate
from services.trainer.patience import patiently
from services.trainer.ports import Generator, Retriever, Teacher
from services.trainer.splitting import HELD_OUT, TRAINING, VALIDATION, split_examples

_NAMES_AT_ONCE = 500


@dataclass(frozen=True)
class BuiltDataset:
    """Examples with their sides, and what is to be recorded of them."""

    examples: tuple[Example, ...]
    training_count: int
    validation_count: int
    held_out_count: int
    duplicate_count: int
    corner_case_count: int
    dropped_count: int
    warnings: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class _Gathered:
    examples: tuple[Example, ...]
    dropped_count: int = 0
    warnings: tuple[str, ...] = ()


class DatasetBuilding:
    """Builds datasets. `teacher` opens who writes, of a base URL and a model's name; it raises for a URL that is not allowed."""

    def __init__(self, generator: Generator, retriever: Retriever, teacher: Callable[[str, str], Teacher] | None = None) -> None:
        self._generator = generator
        self._retriever = retriever
        self._teacher = teacher

    async def build(self, dataset: Dataset, copies: Callable[[str], Awaitable[list[Example]]], progress: Progress) -> BuiltDataset:
        """The dataset of `dataset.sources`. `copies` reads the examples of another one by its id.

        `progress` is told of items done and of items in all, over the sources begun. Raises `NothingToTrainOn`, and the errors of what it
        calls.
        """
        gathered: list[_Gathered] = []
        counted = _Counted(progress)
        for source in dataset.sources:
            gathered.append(await self._gather(source, copies, counted.told))
            counted.next_source()
        built = await self.arrange([example for each in gathered for example in each.examples], dataset.split)
        return replace(
            built,
            dropped_count=built.dropped_count + sum(each.dropped_count for each in gathered),
            warnings=(*(warning for each in gathered for warning in each.warnings), *built.warnings),
        )

    async def arrange(self, examples: Sequence[Example], split: Split) -> BuiltDataset:
        """The dataset of examples that are there, such as those of a file. Raises `NothingToTrainOn`, and the retriever's errors."""
        there = await with_existing_chunks(examples, self._retriever)
        if not there:
            raise NothingToTrainOn(
                "No example is left: the documents all of them rest on are gone." if examples else "The sources hold no example."
            )
        # Comparing and splitting take seconds for large sets.
        return await asyncio.to_thread(_put_together, there, len(examples) - len(there), split)

    async def permitted(self, examples: Sequence[Example]) -> list[Example]:
        """Those of the examples that rest on nothing the current caller may not read. Raises the retriever's errors."""
        return await with_existing_chunks(examples, self._retriever)

    async def _gather(self, source: Source, copies: Callable[[str], Awaitable[list[Example]]], progress: Progress) -> _Gathered:
        if isinstance(source, CorpusSource):
            assert self._teacher is not None, "only where datasets are built is there a teacher"
            teacher = self._teacher(source.teacher_url, source.teacher_model)
            try:
                found = await distil(source, self._generator, self._retriever, teacher, progress)
            finally:
                await teacher.close()
            listed = ", ".join(f"{reason} {count}" for reason, count in sorted(found.reasons.items(), key=lambda pair: -pair[1]))
            warning = (
                f"Of {source.max_examples} examples wanted from {source.corpus} {len(found.examples)} could be written; refused: {listed}."
            )
            return _Gathered(found.examples, warnings=(warning,) if len(found.examples) < source.max_examples else ())
        if isinstance(source, FeedbackSource):
            given = await from_feedback(self._generator.feedback(source.since), self._retriever)
            count = len(given.examples) + given.dropped_count + given.useless_count
            progress(count, count)
            return _Gathered(given.examples, given.dropped_count)
        copied = await copies(source.dataset_id)
        progress(len(copied), len(copied))
        return _Gathered(tuple(copied))


class _Counted:
    """Adds the counts of sources up."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._before = self._total = 0

    def told(self, done: int, total: int) -> None:
        """The counts of the source at hand."""
        self._total = total
        self._progress(self._before + done, self._before + total)

    def next_source(self) -> None:
        """The source at hand is done."""
        self._before += self._total
        self._total = 0


async def with_existing_chunks(examples: Sequence[Example], retriever: Retriever) -> list[Example]:
    """Those of the examples whose chunks are all there: what was deleted, or may no longer be read, teaches nothing."""
    names = sorted({name for example in examples for name in rests_on(example)})
    there: set[str] = set()
    for start in range(0, len(names), _NAMES_AT_ONCE):
        part = names[start : start + _NAMES_AT_ONCE]
        there |= (await patiently(lambda wanted=part: retriever.existing(wanted))).keys()  # type: ignore[misc]
    return [example for example in examples if rests_on(example) <= there]


def rests_on(example: Example) -> frozenset[str]:
    """Names of the chunks an example holds text of, or was made from."""
    return frozenset((*example.chunks, *(passage.name for passage in example.passages if passage.name)))


def _put_together(examples: Sequence[Example], dropped_count: int, split: Split) -> BuiltDataset:
    distinct = deduplicate(examples)
    sided = _with_own_ids(split_examples(distinct.examples, distinct.groups, split))
    counts = {side: sum(example.split == side for example in sided) for side in (TRAINING, VALIDATION, HELD_OUT)}
    return BuiltDataset(
        examples=tuple(sided),
        training_count=counts[TRAINING],
        validation_count=counts[VALIDATION],
        held_out_count=counts[HELD_OUT],
        duplicate_count=distinct.duplicate_count,
        corner_case_count=sum(example.corner_case for example in sided),
        dropped_count=dropped_count,
        warnings=tuple(warnings_for(sided)),
        fingerprint=fingerprint(sided),
    )


def _with_own_ids(examples: Sequence[Example]) -> list[Example]:
    """The examples; one that has the id of an earlier one, from another source, gets a number behind it."""
    seen: dict[str, int] = {}
    named: list[Example] = []
    for example in examples:
        count = seen[example.id] = seen.get(example.id, 0) + 1
        named.append(example if count == 1 else replace(example, id=f"{example.id}-{count}"))
    return named

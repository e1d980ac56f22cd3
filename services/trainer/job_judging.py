"""Judges what a training made, through the serving path, and says what it found: verdict, comparisons, cause, costs, report."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fsspec.core import url_to_fs

from services.trainer.asked import Asked
from services.trainer.asking import Answers, AskingSettings, ask_held_out, choose
from services.trainer.asking_one import Version, versions
from services.trainer.canary import canary_shift
from services.trainer.costing import Prices, cost, measure_ways
from services.trainer.diagnosing import Diagnosis, diagnose
from services.trainer.domain import Dataset, Example, Job, MetricComparison, NothingToTrainOn, TrainingUsage, WayCost
from services.trainer.evidence import Evidence
from services.trainer.gate import Decision, decide
from services.trainer.gate_metrics import Compared, compare_versions
from services.trainer.job_data import JobData
from services.trainer.plan import Outcome, Plan
from services.trainer.ports import Generator, Retriever
from services.trainer.report_input import DatasetFacts, Report, ReportInput, Trial
from services.trainer.reporting import write_report
from services.trainer.settings import TrainerSettings
from services.trainer.transformers_generator import TransformersGenerator

BASE = "base"
_LIBRARIES = ("torch", "transformers", "peft", "ray")
DIVERGED = (
    "The training got away: its loss was no number or far above where it began, so there is nothing to judge. It was not asked anything."
)


@dataclass(frozen=True)
class Work:
    """A job with what it works on. `fingerprint` is that of the base model."""

    job: Job
    dataset: Dataset
    examples: tuple[Example, ...]
    data: JobData
    fingerprint: str


@dataclass(frozen=True)
class Candidate:
    """What is judged: a version of an adapter on the shelf, or a whole model."""

    outcome: Outcome
    plan: Plan
    adapter: str = ""
    model_uri: str = ""


@dataclass(frozen=True)
class Judgement:
    """The verdict with all that led to it."""

    decision: Decision
    diagnosis: Diagnosis | None
    canary: float | None
    serving: str
    examples: tuple[Example, ...] = ()
    answers: Answers = field(default_factory=lambda: Answers(()))
    compared: tuple[Compared, ...] = ()
    corner: tuple[MetricComparison, ...] = ()
    ways: tuple[WayCost, ...] = ()


class JobJudging:
    """Judges the candidates of one job."""

    def __init__(self, settings: TrainerSettings, generator: Generator, retriever: Retriever) -> None:
        self._settings = settings
        self._generator = generator
        self._retriever = retriever

    async def judge(
        self,
        work: Work,
        candidate: Candidate,
        serving: str,
        *,
        on_progress: Callable[[int, int], None],
        should_stop: Callable[[], bool],
    ) -> Judgement:
        """Asks the held-out examples of base, `serving` and candidate. Raises `AskingStopped`, `NothingToTrainOn`."""
        settings = work.job.spec.gate
        chosen = await self._held_out(work.examples, settings.max_examples)
        if not chosen:
            raise NothingToTrainOn("No example is held out, so the gate has nothing to judge by. Hold some back, or set `held_out_share`.")
        if candidate.outcome.diverged:
            decision = Decision(False, settings.metric, (DIVERGED,), (), ("canary",))
            unasked = Judgement(decision, None, None, serving, chosen)
            return replace(unasked, diagnosis=_diagnosis(work, candidate, unasked))
        writer = await self._writer(candidate)
        asked_of = versions(self._generator, candidate.adapter or BASE, serving)
        if writer is not self._generator:
            asked_of = (*asked_of[:-1], Version("candidate", BASE, writer))
        canary = await canary_shift(self._generator, writer, candidate.adapter or BASE, chosen)
        gate = self._settings.gate
        # A whole model writes one text at a time on this machine; without an engine its seconds say nothing about costs.
        asking = AskingSettings(
            at_once=gate.questions_at_once,
            cost_questions=gate.cost_questions if writer is self._generator else 0,
            scored_examples=gate.scored_examples,
        )
        answers = await ask_held_out(chosen, asked_of, asking, on_progress=on_progress, should_stop=should_stop)
        compared = await asyncio.to_thread(compare_versions, chosen, answers.served)
        asked_ids = {each.example_id for each in answers.served}
        # A whole model writes here, one text at a time: its seconds say nothing about how it would be served.
        unguarded = set() if writer is self._generator else {"latency_seconds"}
        asked_examples = [each for each in chosen if each.id in asked_ids]
        decision = decide(compared, settings, canary, examples=asked_examples, unguarded=unguarded)
        corner_cases = [each for each in chosen if each.corner_case]
        judgement = Judgement(
            decision=decision,
            diagnosis=None,
            canary=canary,
            serving=serving,
            examples=chosen,
            answers=answers,
            compared=compared,
            corner=tuple(each.comparison for each in compare_versions(corner_cases, answers.served)) if corner_cases else (),
            ways=measure_ways(answers.asked),
        )
        return judgement if decision.accepted else replace(judgement, diagnosis=_diagnosis(work, candidate, judgement))

    async def _held_out(self, examples: Sequence[Example], at_most: int) -> tuple[Example, ...]:
        """The held-out examples whose documents are still there; a fixed random choice of them."""
        held_out = [each for each in examples if each.split == "held_out"]
        there = await self._retriever.existing([name for each in held_out for name in each.chunks])
        held_out = [each for each in held_out if all(name in there for name in each.chunks)]
        return choose(held_out, at_most)

    async def _writer(self, candidate: Candidate) -> Generator:
        if candidate.adapter:
            return self._generator

        def load() -> Generator:
            # The weights are read while the folder is there, and kept.
            with tempfile.TemporaryDirectory(prefix="corella-model-") as folder:
                storage, root = url_to_fs(candidate.outcome.result_url)
                for file in storage.ls(root, detail=False):
                    storage.get_file(str(file), str(Path(folder) / str(file).rpartition("/")[2]))
                return TransformersGenerator(Path(folder), self._generator, self._retriever)

        return await asyncio.to_thread(load)

    def report(self, work: Work, candidate: Candidate, judgement: Judgement, usage: TrainingUsage, trials: Sequence[Trial]) -> Report:
        """The report. Blocking."""
        job, dataset = work.job, work.dataset
        costs = None
        if judgement.ways:
            costs = cost(judgement.ways, usage, Prices.of(self._settings.prices, os.cpu_count() or 1, usage.worker_count), 1000)
        compression = job.spec.compression
        compressed = ""
        if compression.quantize_bits:
            compressed = f"rounded to {compression.quantize_bits} bits"
        elif compression.prune_share:
            compressed = f"pruned by {compression.prune_share:.0%}"
        return write_report(
            ReportInput(
                job_name=f"jobs/{job.id}",
                method=job.spec.method,
                dataset=DatasetFacts(
                    f"datasets/{dataset.id}", dataset.display_name, dataset.fingerprint, dataset.training_count, dataset.validation_count,
                    dataset.held_out_count, dataset.corner_case_count, dataset.duplicate_count, dataset.dropped_count, dataset.warnings,
                ),
                outcome=candidate.outcome,
                settings=candidate.plan.settings,
                display_name=job.spec.display_name,
                adapter=candidate.adapter,
                model_uri=candidate.model_uri,
                base_model=self._settings.base_model_folder.name,
                serving=judgement.serving,
                decision=judgement.decision,
                diagnosis=judgement.diagnosis,
                canary_shift=judgement.canary,
                corner_comparisons=judgement.corner,
                examples=judgement.examples,
                asked=judgement.answers.served,
                skipped=judgement.answers.skipped,
                cost=costs,
                usage=usage,
                compression=compressed,
                trials=tuple(trials),
                notes=tuple(preparation_notes(work.data)),
                versions={name: importlib.metadata.version(name) for name in _LIBRARIES if importlib.util.find_spec(name)},
            )
        )  # fmt: skip


def preparation_notes(data: JobData) -> list[str]:
    """What the preparation of the data did that a reader of the report should know."""
    notes = []
    if data.gone_count:
        notes.append(f"{_examples(data.gone_count)} left out, because a document they rest on is gone.")
    if data.unsupported_count and data.kept_unsupported:
        notes.append(
            f"In {data.unsupported_count} of {data.answerable_count} examples nothing in the passages supports the answer; as they are "
            "more than half, they were trained on as they are."
        )
    elif data.unsupported_count:
        notes.append(f"{_examples(data.unsupported_count)} left out, because nothing in their passages supports the answer.")
    if data.missed_count:
        one = data.missed_count == 1
        where = "one example" if one else f"{data.missed_count} examples"
        notes.append(f'In {where} the search did not find the source; {"it teaches" if one else "they teach"} "I do not know.".')
    if data.too_long_count:
        notes.append(f"{_examples(data.too_long_count)} left out, being longer than the model's context.")
    return notes


def _examples(count: int) -> str:
    return "One example was" if count == 1 else f"{count} examples were"


def with_usage(usage: TrainingUsage, **more: float) -> TrainingUsage:
    """`usage` and what was used besides."""
    return replace(usage, **{name: getattr(usage, name) + value for name, value in more.items()})


def _diagnosis(work: Work, candidate: Candidate, judgement: Judgement) -> Diagnosis:
    data = work.data
    return diagnose(
        Evidence(
            outcome=candidate.outcome,
            settings=candidate.plan.settings,
            decision=judgement.decision,
            compared=judgement.compared,
            canary_shift=judgement.canary,
            held_out_count=len(judgement.examples),
            training_example_count=data.training_count,
            unsupported_share=data.unsupported_count / max(data.answerable_count, 1),
            kept_unsupported_count=data.unsupported_count if data.kept_unsupported else 0,
            leak_count=data.leak_count,
            refused_share=_refused_share(judgement.answers.served, judgement.examples),
        )
    )


def _refused_share(asked: Sequence[Asked], examples: Sequence[Example]) -> float:
    answerable = {each.id for each in examples if each.is_question and each.answerable}
    refused = [each.refused for each in asked if each.version == "candidate" and each.example_id in answerable]
    return sum(refused) / len(refused) if refused else 0.0

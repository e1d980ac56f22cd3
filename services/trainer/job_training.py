"""Trains what a job asks for: resolves its plan, runs it on Ray, tells how it is getting on, and searches for something better."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, replace

from services.chassis.errors import CorellaError, InvalidArgument
from services.trainer.diagnosing import Direction
from services.trainer.domain import Job, JobState, Method
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.job_data import JobData
from services.trainer.job_judging import Candidate
from services.trainer.job_keeping import makes_adapter
from services.trainer.job_reporter import JobReporter
from services.trainer.plan import Outcome, Plan
from services.trainer.record_fields import dump_whole, load_whole
from services.trainer.report_input import Trial
from services.trainer.settings import TrainerSettings
from services.trainer.training_defaults import Machine, SampleCounts, resolve
from services.trainer.training_events import Resumed, Said, Stepped, Stopped, TrainingEvent, Waiting

_SPEED_STEPS = 10
_BETTER = 0.99
"""A trial is worth a second training when its validation loss is 1 % lower: less is within what another seed does."""


class JobTraining:
    """The trainings of one job."""

    def __init__(self, settings: TrainerSettings, shelf: FsspecShelf, reporter: JobReporter) -> None:
        self._settings = settings
        self._shelf = shelf
        self._reporter = reporter
        self._times: deque[tuple[int, float]] = deque(maxlen=_SPEED_STEPS)

    def plan(self, job: Job, data: JobData, rank_limit: int) -> Plan:
        """The job's plan with nothing left open. Raises `InvalidArgument` for a rank that generators could not serve."""
        spec = job.spec
        given = spec.hyperparameters
        rank = given.lora_rank
        if rank is not None and rank_limit and rank > rank_limit and makes_adapter(spec):
            raise InvalidArgument.of(
                [("job.hyperparameters.lora_rank", f"must be at most {rank_limit}: the generator serves no higher rank")]
            )
        resolved = resolve(
            given,
            spec.method,
            SampleCounts(data.training_count, data.training_tokens),
            Machine(max_rank=rank_limit or 16),
            new_model=not makes_adapter(spec) and spec.method is Method.DISTILLATION,
        )
        for name, value in asdict(resolved.settings).items():
            self._reporter.say(f"{name} = {value} ({resolved.sources[name]})")
        return Plan(
            job_id=job.id,
            method=spec.method,
            base_folder=str(self._settings.base_model_folder.absolute()),
            data_url=data.url,
            output_url=self._shelf.job_url(job.id, f"training-1-{data.revision}"),
            settings=resolved.settings,
            teacher_folder=spec.distillation.teacher,
            architecture=spec.architecture,
            distillation=spec.distillation,
            compression=spec.compression,
            merge=spec.merge,
        )

    async def train(self, plan: Plan) -> Outcome:
        """Runs a plan; what an earlier attempt finished is not done again. Raises `TrainingFailed`, `Stopped`."""
        path = plan.output_url.removeprefix(f"{self._shelf.url}/") + "/outcome.json"
        kept = await self._shelf.read(path)
        if kept is not None:
            return load_whole(Outcome, kept.decode())
        self._reporter.show(JobState.RUNNING, "Starting the workers.", phase="starting")
        outcome = await asyncio.to_thread(self._train, plan)
        self._reporter.say(
            f"Trained on {outcome.tokens:,} tokens in {outcome.worker_seconds:.0f} worker-seconds; validation loss "
            f"{outcome.initial_validation_loss:.3f} before, {outcome.final_validation_loss:.3f} after."
        )
        if math.isfinite(outcome.final_validation_loss + outcome.final_training_loss + outcome.shuffled_validation_loss):
            await self._shelf.write(path, dump_whole(outcome).encode())
        return outcome

    async def search(self, job: Job, plan: Plan, rejected: Candidate, direction: Direction) -> tuple[Plan | None, list[Trial]]:
        """A plan that promises more than the rejected one, if the budget finds any; and all that was tried, best first."""
        budget = job.spec.search
        assert budget is not None
        self._reporter.show(
            JobState.RUNNING, f"Rejected; searching for better settings, {budget.trials} trainings at most.", phase="searching",
            total_count=budget.trials,
        )  # fmt: skip
        try:
            trials = await asyncio.to_thread(self._search, job, plan, direction)
        except Stopped:
            raise
        except CorellaError as error:
            self._reporter.say(f"The search ended without a result: {error.message}")
            return None, []
        shown = [Trial(_varied(plan, each.settings), each.validation_loss, index == 0) for index, each in enumerate(trials)]
        before = rejected.outcome.final_validation_loss
        best = next((each for each in trials if not each.diverged and math.isfinite(each.validation_loss)), None)
        if best is None or (math.isfinite(before) and best.validation_loss > before * _BETTER):
            self._reporter.say("No trial promises more than what was rejected.")
            return None, [replace(each, chosen=False) for each in shown]
        self._reporter.say(
            f"Trying again with {_in_words(_varied(plan, best.settings))}: validation loss {best.validation_loss:.3f} in the search."
        )
        again = plan.with_settings(**asdict(best.settings))
        return Plan(**{**vars(again), "output_url": plan.output_url.replace("/training-1-", "/training-2-")}), shown

    def _train(self, plan: Plan) -> Outcome:
        # Imported here: Ray takes seconds, which a driver whose training is done need not spend.
        from services.trainer.ray_cluster import train_on_ray

        return train_on_ray(plan, self._settings.ray, self._hear, lambda: self._reporter.should_stop, self._settings.telemetry)

    def _search(self, job: Job, plan: Plan, direction: Direction) -> list:  # type: ignore[type-arg]
        from services.trainer.ray_search import search

        assert job.spec.search is not None
        return search(
            plan, job.spec.search, self._settings.ray, self._hear_search, lambda: self._reporter.should_stop,
            direction=direction, telemetry=self._settings.telemetry,
        )  # fmt: skip

    def _hear(self, event: TrainingEvent) -> None:
        match event:
            case Stepped():
                now = time.monotonic()
                self._times.append((event.step.step, now))
                first, began = self._times[0]
                done = event.step.step - first
                left = (event.total_steps - event.step.step) * (now - began) / done if done else None
                self._reporter.step(event.step, event.total_steps, left)
                if event.step.step == 1 or len(self._times) == 1:
                    self._reporter.show(JobState.RUNNING, "Training.")
            case Waiting():
                self._reporter.show(JobState.WAITING_FOR_RESOURCES, event.text)
            case Resumed():
                self._times.clear()
                self._reporter.say(f"Goes on from the checkpoint after step {event.step}.")
            case Said():
                self._reporter.say(event.text)

    def _hear_search(self, event: TrainingEvent) -> None:
        if isinstance(event, Said):
            self._reporter.say(event.text)
        self._reporter.show(phase="searching")


def _in_words(values: Mapping[str, float | str]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else format(value, 'g')}" for name, value in values.items()
    )


def _varied(plan: Plan, tried: object) -> dict[str, float | str]:
    before, after = asdict(plan.settings), asdict(tried)  # type: ignore[call-overload]
    names = ("learning_rate", "lora_rank", "epochs", "learning_rate_schedule")
    return {name: after[name] for name in names if name in after and (name in names[:3] or after[name] != before[name])}

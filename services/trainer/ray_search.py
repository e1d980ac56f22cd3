"""Searches hyperparameters with Ray Tune: many short trainings side by side, the poor ones stopped early. The only file that imports
`ray.tune`."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from fsspec.core import url_to_fs
from ray import tune
from ray.exceptions import RayError
from ray.tune.schedulers import ASHAScheduler

from services.chassis.settings import TelemetrySettings
from services.trainer.domain import Architecture, Method, SearchBudget, Step, TrainingFailed
from services.trainer.plan import Plan
from services.trainer.ray_cluster import absolute
from services.trainer.ray_connection import connected, wait_for_room
from services.trainer.ray_mailbox import Postman, open_mailbox
from services.trainer.ray_telemetry import handed_over, worker_span
from services.trainer.search_space import Direction, Trial, best_first, candidates
from services.trainer.settings import RaySettings
from services.trainer.training_events import Said, Stepped, Stopped, TrainingEvent

_MOST_AT_ONCE = 8
"""Each trial has a model of its own in memory."""
_POLL_SECONDS = 0.5


def search(
    plan: Plan,
    budget: SearchBudget,
    settings: RaySettings,
    on_event: Callable[[TrainingEvent], None],
    should_stop: Callable[[], bool],
    *,
    direction: Direction = "any",
    telemetry: TelemetrySettings | None = None,
) -> list[Trial]:
    """Tries settings near those of `plan` within a budget of trainings and seconds, and returns what was tried, best first. Blocking.

    Trials are compared by validation loss after a quarter, a half and all of their steps; the worse half is stopped each time (ASHA, Li et
    al., 2020). When the time is up those that run count with the last loss they had. Nothing of a trial is kept but its numbers.
    Raises `Stopped`, and `TrainingFailed` as `train_on_ray` does, or when no trial got as far as a validation loss.
    """
    began = time.monotonic()
    plan = absolute(plan.with_settings(worker_count=1))
    tried = candidates(plan.settings, budget.trials, direction, with_rank=_has_adapter(plan))
    at_once = min(budget.trials, _MOST_AT_ONCE)
    with tempfile.TemporaryDirectory() as storage:
        stop_file = Path(storage) / "stop"
        os.environ.update({"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"})
        try:
            with connected(settings, 1, use_gpu=plan.settings.use_gpu) as whole:
                at_once = min(at_once, whole.threads) if not plan.settings.use_gpu else at_once
                share = replace(whole, resources={**whole.resources, "CPU": whole.threads // at_once}, threads=whole.threads // at_once)
                wait_for_room(share, 1, min(settings.wait_seconds, budget.seconds), on_event, should_stop)
                mailbox = open_mailbox()
                tuner = tune.Tuner(
                    tune.with_resources(_try, share.resources),
                    param_space={
                        "number": tune.grid_search(list(range(len(tried)))),
                        "plans": [replace(plan, settings=each, output_url=f"{plan.output_url}/search").to_json() for each in tried],
                        "mailbox": mailbox,
                        "threads": share.threads,
                        "telemetry": handed_over(telemetry),
                    },
                    tune_config=tune.TuneConfig(
                        metric="validation_loss",
                        mode="min",
                        scheduler=ASHAScheduler(time_attr="percent", max_t=100, grace_period=25, reduction_factor=2),
                        max_concurrent_trials=at_once,
                        reuse_actors=True,
                        time_budget_s=max(1.0, budget.seconds - (time.monotonic() - began)),
                    ),
                    run_config=tune.RunConfig(name="search", storage_path=storage, verbose=0, stop=_StopFile(str(stop_file))),
                )
                heard = _follow(tuner, mailbox, stop_file, on_event, should_stop)
        finally:
            _remove(f"{plan.output_url}/search")
    trials = [_trial(tried[number], steps) for number, steps in sorted(heard.items())]
    if not any(math.isfinite(trial.validation_loss) for trial in trials):
        raise TrainingFailed(f"No trial of the search got as far as a validation loss within {budget.seconds:g} seconds.")
    return best_first(trials)


def _follow(
    tuner: tune.Tuner, mailbox: Any, stop_file: Path, on_event: Callable[[TrainingEvent], None], should_stop: Callable[[], bool]
) -> dict[int, list[Step]]:
    """Steps of every trial that was begun, by its number."""
    errors: list[BaseException] = []

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit, name="ray-tune", daemon=True)
    thread.start()
    heard: dict[int, list[Step]] = {}
    stop = False
    while True:
        alive = thread.is_alive()
        if not stop and should_stop():
            stop = True
            stop_file.touch()
        try:
            letters = ray.get(mailbox.take.remote(stop), timeout=30)
        except RayError:
            letters = []
        for number, event in letters:
            if isinstance(event, Stepped):
                heard.setdefault(number, []).append(event.step)
                if event.step.validation_loss is not None:
                    share = event.step.step / event.total_steps
                    on_event(Said(f"Trial {number + 1}: validation loss {event.step.validation_loss:.4f} after {share:.0%} of its steps."))
            elif isinstance(event, Said) and event.text.startswith("Trial"):
                on_event(event)
        if not alive:
            break
        thread.join(_POLL_SECONDS)
    if stop:
        raise Stopped("stopped during the search")
    if errors:
        raise TrainingFailed("The search could not be run on Ray; the log has the reason.") from errors[0]
    return heard


def _try(config: dict[str, Any]) -> None:
    """One trial, in a process of its own."""
    # Imported here: the driver has no use for transformers, which takes seconds to import.
    from services.trainer.recipe import train
    from services.trainer.world import World

    number = config["number"]
    plan = Plan.from_json(config["plans"][number])
    plan = replace(plan, output_url=f"{plan.output_url}/{number}", merge=False)
    postman = Postman(config["mailbox"])

    def hear(event: TrainingEvent) -> None:
        postman.tell((number, event))
        if isinstance(event, Stepped) and event.step.validation_loss is not None:
            percent = round(100 * event.step.step / event.total_steps)
            tune.report({"validation_loss": event.step.validation_loss, "percent": percent})

    values = plan.settings
    hear(Said(
        f"Trial {number + 1}: learning rate {values.learning_rate:g}, {values.epochs:g} epochs, rank {values.lora_rank}, "
        f"{values.learning_rate_schedule}."
    ))  # fmt: skip
    # No checkpoints: a trial that dies is lost, which the search survives.
    with worker_span(config["telemetry"], "train trial", {"corella.training.trial": number + 1}):
        try:
            train(plan.with_settings(checkpoint_steps=2**31), World(threads=config["threads"]), hear, postman.should_stop)
        except Stopped:
            return


class _StopFile(tune.Stopper):
    """Ends all trials when a file appears. A file, because Ray Tune writes its stopper to disk."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def stop_all(self) -> bool:
        """Whether it is there."""
        return os.path.exists(self._path)


def _trial(settings: Any, steps: list[Step]) -> Trial:
    validated = [step.validation_loss for step in steps if step.validation_loss is not None]
    diverged = bool(validated) and not math.isfinite(validated[-1])
    first = next((step.training_loss for step in steps), 0.0)
    diverged = diverged or (bool(steps) and steps[-1].training_loss > 2.5 * first)
    return Trial(settings, validated[-1] if validated and not diverged else math.inf, diverged, tuple(steps))


def _has_adapter(plan: Plan) -> bool:
    return plan.method in {Method.LORA, Method.REPAIR} or (plan.method is Method.DISTILLATION and plan.architecture == Architecture())


def _remove(url: str) -> None:
    storage, root = url_to_fs(url)
    if storage.exists(root):
        storage.rm(root, recursive=True)

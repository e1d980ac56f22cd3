"""Runs a training on Ray Train: one worker or many, on CPUs (gloo) or GPUs (nccl). The only file that imports `ray.train`.

    driver     connects, waits for room, starts the workers, hands on what is heard of them     train_on_ray
    worker     runs the recipe; the first of them tells and writes                              _work

A worker that dies takes its group with it; Ray starts the group again and the recipe goes on from the last checkpoint. A driver that dies
is begun again by whoever keeps the job; it goes on from the same place.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train import TrainingFailedError as RayTrainingFailed
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from services.chassis.settings import TelemetrySettings
from services.chassis.steps import mark_failed
from services.trainer.domain import TrainingFailed
from services.trainer.plan import Outcome, Plan
from services.trainer.ray_connection import Share, connected, wait_for_room
from services.trainer.ray_mailbox import Postman, open_mailbox
from services.trainer.ray_telemetry import handed_over, worker_span
from services.trainer.settings import RaySettings
from services.trainer.training_events import Said, Stopped, TrainingEvent

_POLL_SECONDS = 0.2


def train_on_ray(
    plan: Plan,
    settings: RaySettings,
    on_event: Callable[[TrainingEvent], None],
    should_stop: Callable[[], bool],
    telemetry: TelemetrySettings | None = None,
) -> Outcome:
    """Carries out a plan, from where it was left if it was begun before. Blocking; both functions are called in this thread.

    With `telemetry` the workers' spans are children of the current one.
    Raises `Stopped` when `should_stop` said so (the checkpoint is kept), and `TrainingFailed` when the cluster has no room in time, cannot
    be reached, or when more workers died than `settings.worker_failures`.
    """
    plan = absolute(plan)
    workers = plan.settings.worker_count
    with connected(settings, workers, use_gpu=plan.settings.use_gpu) as share, tempfile.TemporaryDirectory() as storage:
        wait_for_room(share, workers, settings.wait_seconds, on_event, should_stop)
        mailbox = open_mailbox()
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "plan": plan.to_json(),
                "mailbox": mailbox,
                "threads": share.threads,
                "telemetry": handed_over(telemetry),
            },
            torch_config=TorchConfig(backend="nccl" if plan.settings.use_gpu else "gloo", timeout_s=600),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=plan.settings.use_gpu, resources_per_worker=share.resources),
            run_config=RunConfig(
                name="training", storage_path=storage, failure_config=FailureConfig(max_failures=settings.worker_failures)
            ),
        )
        return _follow(trainer, mailbox, share, on_event, should_stop)


@dataclass(frozen=True)
class _Ended:
    """The last letter of a training that came to an end by itself."""

    outcome: Outcome | None = None
    stopped: str = ""
    failed: str = ""


def _follow(
    trainer: TorchTrainer, mailbox: Any, share: Share, on_event: Callable[[TrainingEvent], None], should_stop: Callable[[], bool]
) -> Outcome:
    errors: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    ended: _Ended | None = None
    stop = False
    while True:
        alive = thread.is_alive()
        stop = stop or should_stop()
        try:
            letters = ray.get(mailbox.take.remote(stop), timeout=30)
        except RayError:
            letters = []
        for letter in letters:
            if isinstance(letter, _Ended):
                ended = letter
            else:
                on_event(letter)
        if not alive:
            break
        thread.join(_POLL_SECONDS)
    if ended is None:
        error = errors[0] if errors else None
        on_event(Said(f"Ray: {error or 'the last word of the workers was lost'}"))
        if "OutOfMemoryError" in str(error):
            raise TrainingFailed(
                "The machine had no memory left, so training was ended there. What else runs on it counts too; fewer workers need less."
            ) from error
        if isinstance(error, RayTrainingFailed | RayError):
            raise TrainingFailed("The training was given up after too many of its workers had failed; the log has the reason.") from error
        raise TrainingFailed("The training could not be run on Ray; the log has the reason.") from error
    if ended.failed:
        raise TrainingFailed(ended.failed)
    if ended.outcome is None:
        raise Stopped(ended.stopped)
    return ended.outcome


def _work(config: dict[str, Any]) -> None:
    """One worker of the group, in a process of its own."""
    # Imported here: the driver has no use for transformers, which takes seconds to import.
    from services.trainer.recipe import train
    from services.trainer.world import World

    plan, context = Plan.from_json(config["plan"]), get_context()
    postman = Postman(config["mailbox"])
    world = World(context.get_world_rank(), context.get_world_size(), str(get_device()), config["threads"])
    with worker_span(config["telemetry"], "train worker", {"corella.worker.rank": world.rank, "corella.worker.count": world.size}) as span:
        try:
            outcome = train(plan, world, postman.tell, postman.should_stop)
        except Stopped as stopped:
            ended = _Ended(stopped=str(stopped))
        except TrainingFailed as error:
            # It would fail again: nothing for Ray to repeat.
            ended = _Ended(failed=str(error))
            mark_failed(span, error)
        else:
            ended = _Ended(outcome=outcome)
            span.set_attributes({"corella.training.tokens": outcome.tokens, "corella.training.steps": len(outcome.steps)})
    if world.first:
        postman.hand_over(ended)


def absolute(plan: Plan) -> Plan:
    """Workers run in a folder of their own, so paths must not depend on it."""

    def whole(place: str) -> str:
        return place if not place or "://" in place else os.path.abspath(place)

    return replace(
        plan,
        base_folder=whole(plan.base_folder),
        teacher_folder=whole(plan.teacher_folder),
        data_url=whole(plan.data_url),
        output_url=whole(plan.output_url),
    )

"""A Ray cluster for the time of one training: one of our own on this machine, or the deployment's."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import placement_group, remove_placement_group

from services.trainer.domain import TrainingFailed
from services.trainer.leftovers import folder_of_this_process, reap, watch
from services.trainer.settings import RaySettings
from services.trainer.training_events import Stopped, TrainingEvent, Waiting

_ROOT = Path(__file__).resolve().parents[2]
_ASK_EVERY = 5.0
ENVIRONMENT = {
    # A thread that waits for the others must sleep, not spin: beside a generator that serves on the same cores spinning made a step thirty
    # times slower (decision 0012).
    "OMP_WAIT_POLICY": "passive",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class Share:
    """What one worker takes, in Ray's terms, and its threads."""

    resources: dict[str, float]
    threads: int


@contextmanager
def connected(settings: RaySettings, workers: int, *, use_gpu: bool) -> Iterator[Share]:
    """Ray, up for as long as the context lasts, and what each of `workers` may take of it.

    Must be left in the thread that entered it: the kernel counts the death of that thread as the death of the driver.
    Raises `TrainingFailed` when the cluster cannot be reached.
    """
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    variables = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))}
    # Ray would rather connect to what this names than start a cluster.
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if settings.address:
        quiet["runtime_env"] = {"env_vars": variables}
    else:
        # Inherited rather than handed over: workers that Ray starts in advance can then be used. And without the helpers of Ray Train that
        # are of no use on one machine; each is a process that takes seconds to start.
        os.environ.update(variables | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_TRAIN_METRICS_ENABLED": "0"})
    watchdog = None
    try:
        try:
            if settings.address:
                ray.init(settings.address, namespace="corella", **quiet)
            else:
                reap()
                folder = folder_of_this_process()
                watchdog = watch(folder)
                cpus = settings.local_cpus or os.cpu_count() or 1
                ray.init("local", num_cpus=max(cpus, workers), include_dashboard=False, _temp_dir=str(folder), **quiet)
        except (RayError, ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"at `{settings.address}`" if settings.address else "on this machine"
            raise TrainingFailed(f"The Ray cluster {where} cannot be reached.") from error
        yield _share(settings, workers, use_gpu=use_gpu)
    finally:
        ray.shutdown()
        if watchdog is not None:
            watchdog.communicate()


def _share(settings: RaySettings, workers: int, *, use_gpu: bool) -> Share:
    if settings.address:
        largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        nodes = max(1, sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0.0) > 0))
        threads = max(1, int(largest // -(-workers // nodes)))
    else:
        threads = max(1, (settings.local_cpus or os.cpu_count() or 1) // workers)
    return Share({"CPU": float(threads), **({"GPU": 1.0} if use_gpu else {})}, threads)


def wait_for_room(
    share: Share, workers: int, wait_seconds: float, on_event: Callable[[TrainingEvent], None], should_stop: Callable[[], bool]
) -> None:
    """Returns when the cluster has room for the workers. Tells why it waits. Raises `TrainingFailed` after `wait_seconds`, or `Stopped`.

    Asks for the room and gives it back, which also tells an autoscaler that it is wanted.
    """
    group = placement_group([share.resources] * workers, strategy="PACK")
    deadline, said = time.monotonic() + wait_seconds, 0.0
    try:
        while True:
            with suppress(GetTimeoutError):
                ray.get(group.ready(), timeout=0.5)
                return
            if should_stop():
                raise Stopped("stopped while it waited for room in the cluster")
            wanted = f"{workers} worker{'s' if workers > 1 else ''} with {_amounts(share.resources)} each"
            free, all_there = ray.available_resources(), ray.cluster_resources()
            has = ", ".join(f"{free.get(name, 0.0):g} of {all_there.get(name, 0.0):g} {name}s are free" for name in share.resources)
            if time.monotonic() > deadline:
                raise TrainingFailed(f"The cluster had no room for {wanted} within {wait_seconds:g} seconds: {has}.")
            if time.monotonic() - said > _ASK_EVERY:
                said = time.monotonic()
                on_event(Waiting(f"The cluster has no room yet for {wanted}: {has}."))
    finally:
        remove_placement_group(group)


def _amounts(resources: dict[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}{'s' if amount != 1 else ''}" for name, amount in resources.items())

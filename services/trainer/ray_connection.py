"""A Ray cluster for the time of one training: one of our own on this machine, or the deployment's.

    /tmp/corella-ray-{pid}-{start}/   everything Ray writes for a local cluster; named after the process that started it, so that whoever
                                      comes next can tell whether it is still wanted

Ray's own processes are told by the kernel when the driver dies, and its workers notice when theirs are gone. What is left over in spite of
that, and the folder, is removed at the next start.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import placement_group, remove_placement_group

from services.trainer.domain import TrainingFailed
from services.trainer.settings import RaySettings
from services.trainer.training_events import Stopped, TrainingEvent, Waiting

_FOLDERS = Path("/tmp")  # noqa: S108 - Unix sockets below it may have 107 characters, so it must be short
_PREFIX = "corella-ray-"
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
    quiet: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "runtime_env": {"env_vars": {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))}},
    }
    # Without a new name for every local cluster Ray would connect to whatever it finds running.
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not settings.address:
        # Helpers of Ray Train that are of no use on one machine; each is a process that takes seconds to start.
        os.environ.update({"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_TRAIN_METRICS_ENABLED": "0"})
    folder: Path | None = None
    try:
        if settings.address:
            ray.init(settings.address, namespace="corella", **quiet)
        else:
            reap()
            folder = _FOLDERS / f"{_PREFIX}{os.getpid()}-{int(psutil.Process().create_time())}"
            cpus = settings.local_cpus or os.cpu_count() or 1
            ray.init("local", num_cpus=max(cpus, workers), include_dashboard=False, _temp_dir=str(folder), **quiet)
    except (RayError, ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise TrainingFailed(f"The Ray cluster {settings.address or 'on this machine'} cannot be reached: {error}.") from error
    try:
        yield _share(settings, workers, use_gpu=use_gpu)
    finally:
        ray.shutdown()
        if folder is not None:
            _end(folder)


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


def reap() -> None:
    """Ends what is left of local clusters whose driver is gone, and removes their folders."""
    for folder in _FOLDERS.glob(f"{_PREFIX}*-*"):
        pid, _, start = folder.name.removeprefix(_PREFIX).partition("-")
        if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid() and not _lives(pid, start):
            _end(folder)


def _lives(pid: str, start: str) -> bool:
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(start)
    except (psutil.Error, ValueError):
        return False


def _end(folder: Path) -> None:
    """Kills the processes that were started for a cluster, and removes its folder."""
    for process in psutil.process_iter(["pid", "cmdline", "uids"]):
        line = process.info["cmdline"] or []
        ours = process.info["uids"] is not None and process.info["uids"].real == os.getuid()
        if ours and process.pid != os.getpid() and any(f"{folder}/" in word or word.endswith(str(folder)) for word in line):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _amounts(resources: dict[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}{'s' if amount != 1 else ''}" for name, amount in resources.items())

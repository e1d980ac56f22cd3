"""The trainer's worker: `python -m services.trainer.worker`, configured by `CORELLA_TRAINER_…` like the trainer.

A Celery worker. Each of its tasks takes one piece of work under a lease and runs a driver for it, a process of its own: what breaks a
driver (too much memory, a crash in a library, kill -9) costs that process alone, and the work goes on from its last checkpoint. A worker
that is killed takes its drivers with it; its leases end, and another worker goes on.

    parent   Celery in threads, leases, the watch for what waits
    driver   one job or one dataset: `services.trainer.driver`
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from celery import Celery
from celery.signals import worker_ready, worker_shutting_down
from opentelemetry.trace import SpanKind, StatusCode

from services.chassis.channel import files_refused
from services.chassis.errors import CorellaError
from services.chassis.message_spans import processing
from services.chassis.steps import kept_context, step
from services.chassis.telemetry import attached, carrier, get_logger, setup_telemetry
from services.trainer.celery_app import BUILD_DATASET, CHECK_SCHEDULES, QUEUE, RUN_JOB, CeleryQueue, make_celery
from services.trainer.domain import DatasetState
from services.trainer.exit_status import INTERRUPTED
from services.trainer.redis_records import DATASETS, JOBS, RedisRecords, fresh_id, open_redis
from services.trainer.scheduling import Scheduling
from services.trainer.settings import TrainerSettings

log = get_logger(__name__)
T = TypeVar("T")

SERVICE = "trainer-worker"
_LIFE_SECONDS = 10.0
_WATCH_SECONDS = 2.0
_STOP_SECONDS = 15.0
"""How long a driver may take to stop by itself: less than the supervisor of this process waits."""


class Drivers:
    """Runs drivers and keeps their leases."""

    def __init__(self, settings: TrainerSettings) -> None:
        self._settings = settings
        self.stopping = threading.Event()

    def run_one(self, lane: str) -> bool:
        """Takes one piece of work and sees it through; tells whether there was any."""
        running = self._settings.running
        most = running.max_running_jobs if lane == JOBS else running.max_running_builds
        token = fresh_id()
        work_id = self._call(lambda records: records.take(lane, most, running.lease_seconds, token, running.max_losses))
        if work_id is None:
            return False
        log.info("work_taken", lane=lane, id=work_id)
        status = self._drive(lane, work_id, token)
        if status == 0:
            return True
        log.warning("driver_ended", lane=lane, id=work_id, status=status)
        if status != INTERRUPTED:
            self._call(lambda records: records.lose(lane, work_id, token))
        return not self.stopping.is_set()

    def _drive(self, lane: str, work_id: str, token: str) -> int:
        """Runs a driver in the trace of whoever asked for the work, and returns its exit status."""
        try:
            asked = kept_context(self._call(lambda records: records.traceparent(lane, work_id)))
        except CorellaError:
            asked = kept_context("")  # Redis is away for the moment: the work matters more than where its trace goes on
        noun = lane.removesuffix("s")
        with step(f"drive {noun}", {f"corella.{noun}.name": f"{lane}/{work_id}"}, kind=SpanKind.CONSUMER, context=asked) as span:
            process = subprocess.Popen(  # noqa: S603 our own module
                [sys.executable, "-m", "services.trainer.driver", lane, work_id],
                env={**os.environ, "CORELLA_TRAINER_LEASE_TOKEN": token, **_trace_environment()},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            # Signs of life, over hours, are no part of the trace.
            with attached({}):
                status = self._wait(process, lane, work_id, token)
            _end_group(process.pid)
            span.set_attribute("process.exit.code", status)
            if status not in {0, INTERRUPTED}:
                span.set_status(StatusCode.ERROR, "driver died")
        return status

    def _wait(self, process: subprocess.Popen[bytes], lane: str, work_id: str, token: str) -> int:
        """Exit status of the driver; ends it when the lease is lost, when this worker stops, and when it hangs."""
        running = self._settings.running
        held_until = time.monotonic() + running.lease_seconds
        while True:
            try:
                return process.wait(running.lease_seconds / 5)
            except subprocess.TimeoutExpired:
                pass
            try:
                held = self._call(lambda records: records.renew(lane, work_id, token, running.lease_seconds))
                held_until = time.monotonic() + running.lease_seconds if held else 0.0
                if not held and self._has_ended(lane, work_id):
                    # It gave its lease back itself. What it still has to close, such as a Ray cluster, takes seconds.
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(_STOP_SECONDS)
            except CorellaError:
                pass  # Redis is away for the moment; the lease may outlast that
            if time.monotonic() > held_until or self._hangs(lane, work_id):
                log.warning("driver_killed", lane=lane, id=work_id)
                _end_group(process.pid)
                return process.wait()
            if self.stopping.is_set():
                process.terminate()
                try:
                    return process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    _end_group(process.pid)
                    return process.wait()

    def _has_ended(self, lane: str, work_id: str) -> bool:
        """Whether the work is done, well or badly, so that nobody else will go on with it."""
        if lane == JOBS:
            return self._call(lambda records: records.job(work_id)).state.ended
        return self._call(lambda records: records.dataset(work_id)).state is not DatasetState.BUILDING

    def _hangs(self, lane: str, work_id: str) -> bool:
        if lane != JOBS:
            return False
        try:
            job = self._call(lambda records: records.job(work_id))
        except CorellaError:
            return False
        return time.time() - (job.alive_time or time.time()) > self._settings.running.hang_seconds

    def _call(self, work: Callable[[RedisRecords], Awaitable[T]]) -> T:
        """Calls the records with a client of its own: calls come from many threads, each with an event loop for the moment."""

        async def call() -> T:
            redis = open_redis(self._settings.redis_url.get_secret_value())
            try:
                return await work(RedisRecords(redis, stall_seconds=self._settings.running.stall_seconds))
            finally:
                await redis.aclose()

        return asyncio.run(call())


def make_worker(settings: TrainerSettings) -> Celery:
    """The Celery application with its tasks and what its process does at its start and end."""
    redis_url = settings.redis_url.get_secret_value()
    app = make_celery(redis_url)
    drivers = Drivers(settings)

    @app.task(name=RUN_JOB, bind=True)
    def run_job(task: Any) -> None:
        _work(task, lambda: drivers.run_one(JOBS))

    @app.task(name=BUILD_DATASET, bind=True)
    def build_dataset(task: Any) -> None:
        _work(task, lambda: drivers.run_one(DATASETS))

    @app.task(name=CHECK_SCHEDULES, bind=True)
    def check_schedules(task: Any) -> None:
        def check() -> bool:
            asyncio.run(Scheduling.check_once(settings))
            return False

        _work(task, check)

    @worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        drivers.stopping.set()

    @worker_ready.connect(weak=False)
    def watch(**_: Any) -> None:
        threading.Thread(target=lambda: asyncio.run(_watch(settings, drivers)), name="watch", daemon=True).start()

    return app


def _work(task: Any, work: Callable[[], bool]) -> None:
    """Works until there is none left. The call's own trace holds only that it was heard: a job has that of whoever asked for it."""
    with processing(QUEUE, task.name, getattr(task.request, "headers", None)):
        try:
            while work():
                pass
        except CorellaError as error:
            # Redis is away. The watch calls again when it is back.
            log.warning("work_interrupted", reason=error.reason)


async def _watch(settings: TrainerSettings, drivers: Drivers) -> None:
    """Says that this worker lives, and calls for what waits: also what a killed worker has left."""
    redis_url = settings.redis_url.get_secret_value()
    records = RedisRecords(open_redis(redis_url))
    queue = CeleryQueue(make_celery(redis_url))
    name = f"worker:{socket.gethostname()}:{os.getpid()}"
    while not drivers.stopping.is_set():
        try:
            await records.show_life(name, _LIFE_SECONDS)
            for lane, task in ((JOBS, RUN_JOB), (DATASETS, BUILD_DATASET)):
                if await records.waiting(lane):
                    await queue.wake(task)
        except CorellaError as error:
            log.warning("watch_interrupted", reason=error.reason)
        await asyncio.sleep(_WATCH_SECONDS)


def _trace_environment() -> dict[str, str]:
    """The trace context, for a process to be started (OpenTelemetry's names for it in an environment)."""
    return {key.upper(): value for key, value in carrier().items() if key in {"traceparent", "tracestate"}}


def _end_group(process_group: int) -> None:
    """Ends a driver with everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(process_group, signal.SIGKILL)


def main() -> int:
    """Works until told to stop. Returns the exit status."""
    settings = TrainerSettings()
    shutdown = setup_telemetry(SERVICE, settings.telemetry)
    try:
        if files_refused((settings.generator, settings.retriever)):
            return 1
        running = settings.running
        make_worker(settings).worker_main(
            [
                "--quiet", "worker", "--pool=threads", f"--concurrency={running.max_running_jobs + running.max_running_builds + 1}",
                f"--queues={QUEUE}", f"--loglevel={settings.telemetry.log_level.upper()}", "--without-gossip", "--without-mingle",
                "--without-heartbeat", f"--hostname=trainer-{os.getpid()}@%h",
            ]
        )  # fmt: skip
    finally:
        shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Tells the records how a job is getting on, a few times a second at most, and hears from them whether it is to stop.

A driver has much to say (every optimiser step) and little time; what it says is collected here and written by one task. When the lease is
lost the job belongs to another driver: from then on nothing is written, and the work is to stop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

from services.chassis.errors import CorellaError
from services.chassis.telemetry import attached, get_logger
from services.trainer.domain import JobState, Progress, Step, TrainingUsage
from services.trainer.redis_records import JOBS, RedisRecords

log = get_logger(__name__)
_WRITE_SECONDS = 0.5


class JobReporter:
    """Speaks for one job. `say`, `step` and `show` may be called from any thread."""

    def __init__(self, records: RedisRecords, job_id: str, token: str) -> None:
        self._records = records
        self._job_id = job_id
        self._token = token
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._lines: list[str] = []
        self._changed: dict[str, Any] = {}
        self._alive = time.time()
        self.progress = Progress()
        self.cancelled = False
        self.lost = False
        self.interrupted = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def should_stop(self) -> bool:
        """Whether the work is to stop, for whichever reason."""
        return self.cancelled or self.lost or self.interrupted

    def start(self) -> None:
        """Begins to write."""
        # It writes and looks twice a second for as long as the job takes: no part of the job's trace.
        with attached({}):
            self._writer = asyncio.create_task(self._write_on())

    async def close(self) -> None:
        """Writes what is left."""
        if self._writer is not None:
            self._writer.cancel()
        await self._write()

    def say(self, text: str) -> None:
        """A line for the job's log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with self._lock:
            self._lines += [f"{stamp} {line}" for line in text.splitlines() if line.strip()]
            self._alive = time.time()

    def show(self, state: JobState | None = None, message: str | None = None, usage: TrainingUsage | None = None, **progress: Any) -> None:
        """Where the job stands. A new phase forgets the counts of the one before."""
        with self._lock:
            if progress.get("phase", self.progress.phase) != self.progress.phase:
                self.progress = replace(self.progress, done_count=0, total_count=0, seconds_left=None)
            self.progress = replace(self.progress, **progress)
            self._changed["progress"] = self.progress
            if state is not None:
                self._changed["state"] = state
            if message is not None:
                self._changed["message"] = message
            if usage is not None:
                self._changed["usage"] = usage
            self._alive = time.time()

    def step(self, step: Step, total_steps: int, seconds_left: float | None) -> None:
        """An optimiser step was done."""
        with self._lock:
            self._steps.append(step)
        losses: dict[str, Any] = {} if step.validation_loss is None else {"validation_loss": step.validation_loss}
        self.show(
            phase="training", step=step.step, total_steps=total_steps, training_loss=step.training_loss,
            tokens_per_second=step.tokens_per_second, seconds_left=seconds_left, **losses,
        )  # fmt: skip

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self._write()
            try:
                self.cancelled = self.cancelled or (await self._records.job(self._job_id)).cancel_requested
            except CorellaError as error:
                log.warning("job_not_read", job=self._job_id, reason=error.reason)

    async def _write(self) -> None:
        with self._lock:
            steps, lines, changed, alive = self._steps, self._lines, self._changed, self._alive
            self._steps, self._lines, self._changed = [], [], {}
        if self.lost:
            return
        try:
            if not await self._records.update(JOBS, self._job_id, self._token, alive_time=alive, **changed):
                self.lost = True
                return
            await self._records.add_steps(self._job_id, steps)
            await self._records.add_log(self._job_id, lines)
        except CorellaError as error:
            log.warning("job_not_written", job=self._job_id, reason=error.reason)
            with self._lock:
                self._steps, self._lines = [*steps, *self._steps], [*lines, *self._lines]
                self._changed = {**changed, **self._changed}

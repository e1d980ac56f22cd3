"""Jobs of callers: queued, looked at, watched, cancelled; their logs and reports."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

from services.chassis import identity
from services.chassis.errors import InvalidArgument, PermissionDenied
from services.chassis.roles import Role, holds
from services.chassis.steps import current_traceparent
from services.chassis.telemetry import attached, current_trace_id, get_logger
from services.trainer.celery_app import RUN_JOB, CeleryQueue
from services.trainer.dataset_keeping import DatasetKeeping
from services.trainer.domain import Job, JobNotFound, JobSpec, JobState, Method, ReportNotReady, Step
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.owning import of_caller
from services.trainer.redis_records import RedisRecords, fresh_id

log = get_logger(__name__)
_POLL_SECONDS = 0.5
_SIGN_OF_LIFE_SECONDS = 10.0
_LOG_PAGE = 1000
MAX_STEPS_AT_ONCE = 1000


class JobKeeping:
    """Jobs as callers see them."""

    def __init__(self, records: RedisRecords, shelf: FsspecShelf, datasets: DatasetKeeping, queue: CeleryQueue, max_queued: int) -> None:
        self._records = records
        self._shelf = shelf
        self._datasets = datasets
        self._queue = queue
        self._max_queued = max_queued

    async def create(self, spec: JobSpec, request_id: str) -> Job:
        """Queues a job. Raises `DatasetNotFound`, `DatasetNotReady`, `QueueFull`, and as `require_promoting`."""
        require_promoting(spec)
        dataset = await self._datasets.ready(spec.dataset_id)
        if dataset.split.folds and spec.fold >= dataset.split.folds:
            raise InvalidArgument.of([("job.fold", f"must be below {dataset.split.folds}: the dataset has so many folds")])
        if spec.fold and not dataset.split.folds:
            raise InvalidArgument.of([("job.fold", "must be 0: the dataset has no folds")])
        job = Job(
            fresh_id(), spec, JobState.QUEUED, time.time(), trace_id=current_trace_id(), creator=identity.current(),
            traceparent=current_traceparent(),
        )  # fmt: skip
        content = hashlib.sha256(repr(spec).encode()).hexdigest()
        job = await self._records.create_job(job, request_id, content, self._max_queued)
        await self._queue.wake(RUN_JOB)
        return job

    async def get(self, job_id: str) -> Job:
        """Raises `JobNotFound`, also for one of another tenant."""
        found = await self._records.job(job_id)
        if not of_caller(found.creator.tenant):
            raise JobNotFound(f"jobs/{job_id}")
        return found

    async def page(self, size: int, after: str) -> tuple[list[Job], str]:
        """A page of the tenant's, newest first, and the position after it."""
        return await self._records.page_jobs(size, after, identity.current().tenant)

    async def cancel(self, job_id: str) -> Job:
        """Raises `JobNotFound`."""
        await self.get(job_id)
        return await self._records.cancel_job(job_id)

    async def watch(self, job_id: str, after_step: int) -> AsyncIterator[tuple[Job, list[Step]]]:
        """The job and its new steps, whenever something has changed, until it has ended. Raises `JobNotFound`."""
        before: Job | None = None
        said_at = 0.0
        while True:
            # A watch may last for hours, and its looks are no part of its trace.
            with attached({}):
                job = await self.get(job_id)
                steps = await self._records.steps(job_id, after_step) if job.progress.step != after_step else []
            for start in range(0, max(len(steps), 1), MAX_STEPS_AT_ONCE):
                batch = steps[start : start + MAX_STEPS_AT_ONCE]
                # Now and then also without news, so that a client can tell silence from a broken connection.
                if batch or job != before or time.monotonic() - said_at > _SIGN_OF_LIFE_SECONDS:
                    yield job, batch
                    said_at = time.monotonic()
            if steps:
                after_step = steps[-1].step
            before = job
            if job.state.ended:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def log_lines(self, job_id: str, skip: int) -> tuple[list[str], int]:
        """Lines of the log and what to skip to go on. Raises `JobNotFound`."""
        await self.get(job_id)
        return await self._records.log_lines(job_id, skip, _LOG_PAGE)

    async def report(self, job_id: str) -> tuple[str, list[tuple[str, bytes]]]:
        """The report and its pictures by name. Raises `JobNotFound`, `ReportNotReady`, `PermissionDenied` (REPORT_OF_ANOTHER)."""
        job = await self.get(job_id)
        caller = identity.current()
        if not caller.reads_everything and (caller.user, caller.name) != (job.creator.user, job.creator.name):
            # It quotes answers, made of what its creator may read.
            raise PermissionDenied(f"The report of `jobs/{job_id}` is for who asked for the job.", reason="REPORT_OF_ANOTHER")
        markdown = await self._shelf.read(f"jobs/{job_id}/report/report.md")
        if markdown is None:
            state = job.state.value.replace("_", " ")
            raise ReportNotReady(f"`jobs/{job_id}` has no report: it is {state}." + (f" {job.message}" if job.message else ""))
        names = [name for name in await self._shelf.names(f"jobs/{job_id}/report") if name.endswith(".png")]
        pictures = [(name, await self._shelf.read(f"jobs/{job_id}/report/{name}") or b"") for name in names]
        return markdown.decode(), pictures


def require_promoting(spec: JobSpec) -> None:
    """Raises `PermissionDenied` (ROLE_MISSING) where the job would let its adapter serve by itself and the caller may not decide that.

    Which adapter serves is one choice for the whole deployment, all tenants included.
    """
    if makes_adapter(spec) and not spec.hold and not holds(identity.current().roles, Role.ADMIN):
        raise PermissionDenied(
            "An accepted adapter would serve everyone, which asks for the role `admin`; set `hold` to leave the promotion to one.",
            reason="ROLE_MISSING",
            role=Role.ADMIN,
        )


def makes_adapter(spec: JobSpec) -> bool:
    """Whether the job's result is a LoRA; else it is a whole model."""
    from_base = spec.architecture.layer_count == 0 and spec.architecture.hidden_size == 0
    return spec.method is Method.LORA or (spec.method is Method.DISTILLATION and from_base)

"""When a schedule is due, and what then happens: a dataset is built, and a job is queued on it.

A schedule is judged under a lock, and what it starts has ids that follow from the schedule and the number of its run: looking twice, from
two beats or after a crash half-way, starts nothing twice.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from celery.schedules import ParseException, crontab

from services.chassis.channel import Remote
from services.chassis.errors import CorellaError, InvalidArgument
from services.chassis.identity import DEFAULT_TENANT, acting_for
from services.chassis.steps import current_traceparent, step
from services.chassis.telemetry import current_trace_id, get_logger
from services.trainer.celery_app import BUILD_DATASET, RUN_JOB, CeleryQueue, make_celery
from services.trainer.domain import Dataset, DatasetState, FeedbackSource, Job, JobSpec, JobState, Schedule
from services.trainer.grpc_generator import GrpcGenerator
from services.trainer.ports import Generator
from services.trainer.redis_records import RedisRecords, open_redis
from services.trainer.settings import TrainerSettings

log = get_logger(__name__)
_LOCK_SECONDS = 120.0


def next_time(cron: str, after: float) -> float:
    """The first time a calendar is due after a moment, both seconds since 1970; the calendar's fields are UTC. Raises `InvalidArgument`."""
    moment = datetime.fromtimestamp(after, UTC)
    try:
        minute, hour, day, month, weekday = cron.split()
        wait = crontab(minute, hour, weekday, day, month, nowfun=lambda: moment).remaining_estimate(moment)
    except (ParseException, ValueError, TypeError, IndexError) as error:
        raise InvalidArgument.of([("trigger.cron", "must be the five fields of cron, such as `0 3 * * 0`")]) from error
    return float(after + wait.total_seconds())


def is_due(schedule: Schedule, new_examples: int, now: float) -> bool:
    """Whether a schedule is to queue a job now."""
    trigger = schedule.trigger
    if schedule.done:
        return False
    if not trigger.min_new_examples and not trigger.cron:
        return trigger.once
    enough = bool(trigger.min_new_examples) and new_examples >= trigger.min_new_examples
    by_calendar = bool(trigger.cron) and schedule.next_run_time is not None and now >= schedule.next_run_time
    return enough or by_calendar


async def count_new_examples(generator: Generator, since: float) -> int:
    """Feedback that teaches something: a corrected text, or a thumb up for an answer that was one."""
    count = 0
    async for record in generator.feedback(since):
        count += bool(record.corrected_text.strip()) or (record.rating == "up" and not record.refused)
    return count


def _first_feedback(schedule: Schedule) -> float:
    """From when on feedback is new to a schedule that never ran: what was given before it was made has taught nothing yet either."""
    return min((source.since for source in schedule.sources if isinstance(source, FeedbackSource)), default=0.0)


class Scheduling:
    """Looks after schedules."""

    def __init__(self, records: RedisRecords, generator: Generator, wake: CeleryQueue, max_queued: int) -> None:
        self._records = records
        self._generator = generator
        self._wake = wake
        self._max_queued = max_queued

    @classmethod
    async def check_once(cls, settings: TrainerSettings) -> None:
        """Looks at all schedules once, with connections of its own."""
        redis_url = settings.redis_url.get_secret_value()
        redis = open_redis(redis_url)
        remote = Remote("generator", settings.generator)
        try:
            queue = CeleryQueue(make_celery(redis_url))
            await cls(RedisRecords(redis), GrpcGenerator(remote), queue, settings.limits.max_queued_jobs).check()
        finally:
            await remote.close()
            await redis.aclose()

    async def check(self, clock: Callable[[], float] = time.time) -> None:
        """Starts what is due. One schedule's trouble does not keep the others waiting."""
        for known in await self._records.schedules():
            async with self._records.lock(f"schedule:{known.creator.tenant}/{known.id}", _LOCK_SECONDS) as held:
                if not held:
                    continue
                try:
                    with acting_for(known.creator):
                        await self._look_at(await self._records.schedule(known.id, known.creator.tenant), clock())
                except CorellaError as error:
                    log.warning("schedule_not_checked", schedule=known.id, reason=error.reason, detail=error.message)

    async def _look_at(self, schedule: Schedule, now: float) -> None:
        if schedule.done:
            return
        since = schedule.last_run_time or _first_feedback(schedule)
        wanted = schedule.trigger.min_new_examples > 0
        new_examples = await count_new_examples(self._generator, since) if wanted else 0
        if not is_due(schedule, new_examples, now):
            if new_examples != schedule.new_example_count:
                await self._records.put_schedule(replace(schedule, new_example_count=new_examples))
            return
        # A trace of its own, in which the dataset is built and the job is done.
        with step("run schedule", {"corella.schedule": schedule.id, "corella.schedule.run": schedule.run_count + 1}):
            job = await self._start(schedule, now)
        cron = schedule.trigger.cron
        await self._records.put_schedule(
            replace(
                schedule,
                last_run_time=now,
                last_job_id=job.id,
                next_run_time=next_time(cron, now) if cron else None,
                new_example_count=0,
                run_count=schedule.run_count + 1,
                done=schedule.trigger.once,
            )
        )
        log.info("schedule_run", schedule=schedule.id, job=job.id, new_examples=new_examples)

    async def _start(self, schedule: Schedule, now: float) -> Job:
        # The same for whoever starts this run, also after a crash half-way.
        tenant = "" if schedule.creator.tenant == DEFAULT_TENANT else f"{schedule.creator.tenant}/"
        run = hashlib.sha256(f"{tenant}{schedule.id}/{schedule.create_time}/{schedule.run_count}".encode()).hexdigest()[:16]
        dataset = Dataset(
            id=run, display_name=f"{schedule.id}, run {schedule.run_count + 1}", state=DatasetState.BUILDING, create_time=now,
            split=schedule.split, sources=tuple(schedule.sources) or (FeedbackSource(),),
            creator=schedule.creator, traceparent=current_traceparent(),
        )  # fmt: skip
        content = f"schedule {schedule.id} run {schedule.run_count}"
        await self._records.create_dataset(dataset, f"schedule-{run}", content)
        await self._wake.wake(BUILD_DATASET)
        spec: JobSpec = replace(schedule.spec, dataset_id=run)
        job = Job(
            run, spec, JobState.QUEUED, now, schedule_id=schedule.id, trace_id=current_trace_id(), creator=schedule.creator,
            traceparent=current_traceparent(),
        )  # fmt: skip
        job = await self._records.create_job(job, f"schedule-{run}", content, self._max_queued)
        await self._wake.wake(RUN_JOB)
        return job

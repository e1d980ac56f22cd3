"""Datasets, jobs, evaluations, adapter versions and schedules in Redis, and the two queues of what is to be done.

Only whoever holds the lease of a job or a dataset may change it; a lease ends by itself when its holder dies, and the work is then handed
out again. Progress is derived where it can be: the place in the queue, and whether a job is stalled.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.chassis.identity import DEFAULT_TENANT
from services.chassis.redis_spans import TracedRedis, name_scripts
from services.trainer import redis_scripts as scripts
from services.trainer.domain import (
    AdapterNotFound,
    AdapterVersion,
    Dataset,
    DatasetInUse,
    DatasetNotFound,
    DatasetState,
    Evaluation,
    EvaluationNotFound,
    Failure,
    Job,
    JobNotFound,
    JobState,
    QueueFull,
    RecordsUnavailable,
    RequestIdReused,
    Schedule,
    ScheduleExists,
    ScheduleNotFound,
    Step,
)
from services.trainer.record_fields import dump_fields, dump_record, dump_whole, load_fields, load_record, load_whole

PREFIX = "{corella-trainer}:"
JOBS, DATASETS = "jobs", "datasets"
_NOUNS: dict[str, tuple[str, type]] = {JOBS: ("job", Job), DATASETS: ("dataset", Dataset)}
_MAX_STEPS = 50_000
T = TypeVar("T")


def open_redis(url: str) -> Redis:
    """A client. Nothing is connected yet."""
    return TracedRedis.from_url(
        url, decode_responses=True, socket_connect_timeout=2, socket_timeout=5, health_check_interval=10, retry=Retry(NoBackoff(), 0)
    )


def fresh_id() -> str:
    """An id nobody has."""
    return uuid.uuid4().hex[:16]


class RedisRecords:
    """The records. Every method raises `RecordsUnavailable` when Redis cannot be reached."""

    def __init__(
        self, redis: Redis, *, stall_seconds: float = 120.0, max_log_lines: int = 5000, keep_seconds: float = 365 * 86_400
    ) -> None:
        self._redis: Any = redis
        self._stall_seconds = stall_seconds
        self._max_log_lines = max_log_lines
        self._keep_seconds = keep_seconds
        self._create = redis.register_script(scripts.CREATE)
        self._take = redis.register_script(scripts.TAKE)
        self._renew = redis.register_script(scripts.RENEW)
        self._update = redis.register_script(scripts.UPDATE)
        self._leave = redis.register_script(scripts.LEAVE)
        self._cancel = redis.register_script(scripts.CANCEL)
        self._delete = redis.register_script(scripts.DELETE)
        self._unlock = redis.register_script(scripts.UNLOCK)
        name_scripts({
            "CREATE": self._create, "TAKE": self._take, "RENEW": self._renew, "UPDATE": self._update, "LEAVE": self._leave,
            "CANCEL": self._cancel, "DELETE": self._delete, "UNLOCK": self._unlock,
        })  # fmt: skip

    # Datasets

    async def create_dataset(self, dataset: Dataset, request_id: str, content: str) -> Dataset:
        """Keeps a dataset; one that is BUILDING waits to be built. A repeat under the same request id returns the first."""
        lane = DATASETS if dataset.state is DatasetState.BUILDING else ""
        key = _request(dataset.creator.tenant, "dataset", request_id)
        made = await self._record("dataset", dataset.id, dump_record(dataset), lane=lane, limit=-1, request=key, content=content)
        return dataset if made == dataset.id else await self.dataset(made)

    async def dataset(self, dataset_id: str) -> Dataset:
        """Raises `DatasetNotFound`."""
        stored = await self._run(self._redis.hgetall(f"{PREFIX}dataset:{dataset_id}"))
        if not stored:
            raise DatasetNotFound(f"datasets/{dataset_id}")
        return load_record(Dataset, stored)

    async def page_datasets(self, size: int, after: str, tenant: str | None = None) -> tuple[list[Dataset], str]:
        """A page of a tenant's, or of all, newest first, and the position after it (empty: the last page)."""
        return await self._page(
            "datasets", self._stored("dataset", Dataset), lambda each: each.creator.tenant, tenant, size=size, after=after
        )

    async def delete_dataset(self, dataset_id: str) -> bool:
        """Whether there was one. Raises `DatasetInUse` while a job that has not ended uses it."""
        for waiting in await self._unended_jobs():
            if waiting.spec.dataset_id == dataset_id:
                raise DatasetInUse(f"The job `jobs/{waiting.id}` uses the dataset.", job=f"jobs/{waiting.id}")
        return bool(await self._script(self._delete, "dataset", DATASETS, dataset_id))

    # Jobs

    async def create_job(self, job: Job, request_id: str, content: str, max_queued: int) -> Job:
        """Queues a job. A repeat under the same request id returns the first. Raises `QueueFull`, `RequestIdReused`."""
        key = _request(job.creator.tenant, "job", request_id)
        made = await self._record("job", job.id, dump_record(job), lane=JOBS, limit=max_queued, request=key, content=content)
        return await self.job(made)

    async def job(self, job_id: str) -> Job:
        """Raises `JobNotFound`."""
        stored = await self._run(self._redis.hgetall(f"{PREFIX}job:{job_id}"))
        if not stored:
            raise JobNotFound(f"jobs/{job_id}")
        return await self._seen(load_record(Job, stored))

    async def page_jobs(self, size: int, after: str, tenant: str | None = None) -> tuple[list[Job], str]:
        """A page of a tenant's, or of all, newest first, and the position after it."""
        found, position = await self._page(
            "jobs", self._stored("job", Job), lambda each: each.creator.tenant, tenant, size=size, after=after
        )
        return [await self._seen(each) for each in found], position

    async def cancel_job(self, job_id: str) -> Job:
        """Ends one that waits; asks one that runs to stop; changes nothing at one that has ended. Raises `JobNotFound`."""
        values = dump_fields(Job, {"state": JobState.CANCELLED, "end_time": time.time(), "message": "Cancelled before it began."})
        if await self._script(self._cancel, "job", JOBS, job_id, *values) == -1:
            raise JobNotFound(f"jobs/{job_id}")
        return await self.job(job_id)

    async def steps(self, job_id: str, after: int = 0) -> list[Step]:
        """The steps of a job after one, in order."""
        texts = await self._run(self._redis.lrange(f"{PREFIX}job:{job_id}:steps", 0, -1))
        return [step for step in (load_whole(Step, text) for text in texts) if step.step > after]

    async def log_lines(self, job_id: str, skip: int, count: int) -> tuple[list[str], int]:
        """Lines of a job's log and what to skip to go on. Lines dropped from the front count as skipped."""
        key = f"{PREFIX}job:{job_id}:log"
        dropped = int(await self._run(self._redis.get(f"{key}:dropped")) or 0)
        first = max(skip - dropped, 0)
        lines = await self._run(self._redis.lrange(key, first, first + count - 1))
        return list(lines), max(skip, dropped) + len(lines)

    async def _seen(self, job: Job) -> Job:
        """The job as it really stands."""
        if job.state is JobState.QUEUED:
            rank = await self._run(self._redis.zrank(f"{PREFIX}queue:{JOBS}", job.id))
            return replace(job, queue_position=rank or 0)
        running = job.state in {JobState.RUNNING, JobState.EVALUATING, JobState.WAITING_FOR_RESOURCES}
        if running and time.time() - (job.alive_time or job.start_time or job.create_time) > self._stall_seconds:
            silence = time.time() - (job.alive_time or job.start_time or job.create_time)
            note = f"No sign of life for {silence:.0f} s; it goes on from its last checkpoint when a worker takes it up."
            return replace(job, state=JobState.STALLED, message=note)
        return job

    async def _unended_jobs(self) -> list[Job]:
        waiting = await self._run(self._redis.zrange(f"{PREFIX}queue:{JOBS}", 0, -1))
        active = await self._run(self._redis.smembers(f"{PREFIX}active:{JOBS}"))
        jobs = []
        for job_id in [*waiting, *active]:
            stored = await self._run(self._redis.hgetall(f"{PREFIX}job:{job_id}"))
            if stored:
                jobs.append(load_record(Job, stored))
        return jobs

    # Work

    async def traceparent(self, lane: str, work_id: str) -> str:
        """The trace that asked for a job or a dataset, in W3C's form; empty where it is not known."""
        noun, kind = _NOUNS[lane]
        stored = await self._run(self._redis.hget(f"{PREFIX}{noun}:{work_id}", "traceparent"))
        return str(load_fields(kind, {"traceparent": stored})["traceparent"]) if stored else ""

    async def waiting(self, lane: str) -> int:
        """How many wait in a lane, those included whose worker died."""
        queued = await self._run(self._redis.zcard(f"{PREFIX}queue:{lane}"))
        active = await self._run(self._redis.smembers(f"{PREFIX}active:{lane}"))
        lost = [each for each in active if not await self._run(self._redis.exists(f"{PREFIX}lease:{lane}:{each}"))]
        return int(queued) + len(lost)

    async def take(self, lane: str, most: int, lease_seconds: float, token: str, max_losses: int) -> str | None:
        """The id of the next piece of work, now leased under `token`; None when there is none or enough is under way.

        What has lost its worker too often has failed; what has lost it otherwise is handed out again, first.
        """
        noun, kind = _NOUNS[lane]
        now = time.time()
        failed: dict[str, Any]
        taken: dict[str, Any]
        reason = f"The process that worked on it died {max_losses} times; the log tells how far it came."
        failure = Failure(9, "TRAINING_FAILED", reason)
        if kind is Job:
            failed = {"state": JobState.FAILED, "error": failure, "end_time": now, "message": reason}
            taken = {"state": JobState.RUNNING, "alive_time": now}
        else:
            failed = {"state": DatasetState.FAILED, "error": failure}
            taken = {}
        lost, begun = dump_fields(kind, failed), dump_fields(kind, taken)
        milliseconds = round(lease_seconds * 1000)
        found = await self._script(self._take, noun, lane, most, milliseconds, token, max_losses, len(lost), *lost, *begun)
        return str(found) if found else None

    async def renew(self, lane: str, work_id: str, token: str, lease_seconds: float) -> bool:
        """Whether the lease is still held, from now on for the full time."""
        return bool(await self._script(self._renew, lane, work_id, token, round(lease_seconds * 1000)))

    async def update(self, lane: str, work_id: str, token: str, **values: Any) -> bool:
        """Changes fields of what is leased; tells whether it still is."""
        noun, kind = _NOUNS[lane]
        return bool(await self._script(self._update, noun, lane, work_id, token, *dump_fields(kind, values)))

    async def finish(self, lane: str, work_id: str, token: str, **values: Any) -> bool:
        """Gives the lease back, the work being done. Tells whether it was still held."""
        return await self._leave_as("done", lane, work_id, token, values)

    async def hand_back(self, lane: str, work_id: str, token: str, **values: Any) -> bool:
        """Gives the lease back for another to go on, without counting a loss. Tells whether it was still held."""
        return await self._leave_as("again", lane, work_id, token, values)

    async def lose(self, lane: str, work_id: str, token: str) -> bool:
        """Gives the lease back because the work's process died; counts as a loss. Tells whether it was still held."""
        return await self._leave_as("lost", lane, work_id, token, {})

    async def _leave_as(self, how: str, lane: str, work_id: str, token: str, values: Mapping[str, Any]) -> bool:
        noun, kind = _NOUNS[lane]
        return bool(await self._script(self._leave, noun, lane, work_id, token, how, *dump_fields(kind, values)))

    async def add_steps(self, job_id: str, steps: Sequence[Step]) -> None:
        """Keeps steps. A step that is there already, and what came after it, is replaced: a resumed training repeats some."""
        if not steps:
            return
        key = f"{PREFIX}job:{job_id}:steps"
        last = await self._run(self._redis.lindex(key, -1))
        if last and load_whole(Step, last).step >= steps[0].step:
            kept = [dump_whole(step) for step in await self.steps(job_id) if step.step < steps[0].step]
            await self._run(self._redis.delete(key))
            if kept:
                await self._run(self._redis.rpush(key, *kept))
        await self._run(self._redis.rpush(key, *[dump_whole(step) for step in steps]))
        await self._run(self._redis.ltrim(key, -_MAX_STEPS, -1))

    async def forget_steps(self, job_id: str) -> None:
        """Before another training of the same job."""
        await self._run(self._redis.delete(f"{PREFIX}job:{job_id}:steps"))

    async def add_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Keeps lines, at most so many as the settings say."""
        if not lines:
            return
        key = f"{PREFIX}job:{job_id}:log"
        length = await self._run(self._redis.rpush(key, *lines))
        if length > self._max_log_lines:
            await self._run(self._redis.ltrim(key, -self._max_log_lines, -1))
            await self._run(self._redis.incrby(f"{key}:dropped", length - self._max_log_lines))

    # Evaluations

    async def put_evaluation(self, evaluation: Evaluation) -> None:
        """Keeps it, in place of an earlier one of the same id."""
        await self._run(self._redis.set(f"{PREFIX}evaluation:{evaluation.id}", dump_whole(evaluation), ex=round(self._keep_seconds)))
        await self._run(self._redis.zadd(f"{PREFIX}evaluations", {evaluation.id: round(evaluation.create_time * 1000)}))

    async def evaluation(self, evaluation_id: str) -> Evaluation:
        """Raises `EvaluationNotFound`."""
        text = await self._run(self._redis.get(f"{PREFIX}evaluation:{evaluation_id}"))
        if text is None:
            raise EvaluationNotFound(f"evaluations/{evaluation_id}")
        return load_whole(Evaluation, text)

    async def page_evaluations(self, size: int, after: str, tenant: str | None = None) -> tuple[list[Evaluation], str]:
        """A page of a tenant's, or of all, newest first, and the position after it."""

        async def load(evaluation_id: str) -> Evaluation | None:
            text = await self._run(self._redis.get(f"{PREFIX}evaluation:{evaluation_id}"))
            return load_whole(Evaluation, text) if text else None

        return await self._page("evaluations", load, lambda each: each.tenant, tenant, size=size, after=after)

    # Adapters

    async def put_version(self, version: AdapterVersion) -> None:
        """Keeps what is known of a version."""
        await self._run(self._redis.hset(f"{PREFIX}versions", version.name, dump_whole(version)))

    async def version(self, name: str) -> AdapterVersion:
        """Raises `AdapterNotFound`."""
        text = await self._run(self._redis.hget(f"{PREFIX}versions", name))
        if text is None:
            raise AdapterNotFound(name)
        return load_whole(AdapterVersion, text)

    async def versions(self) -> list[AdapterVersion]:
        """All versions of all adapters, newest first."""
        stored = await self._run(self._redis.hgetall(f"{PREFIX}versions"))
        return sorted((load_whole(AdapterVersion, text) for text in stored.values()), key=lambda each: each.create_time, reverse=True)

    # Schedules

    async def create_schedule(self, schedule: Schedule) -> None:
        """Raises `ScheduleExists`."""
        field = _schedule(schedule.creator.tenant, schedule.id)
        if not await self._run(self._redis.hsetnx(f"{PREFIX}schedules", field, dump_whole(schedule))):
            raise ScheduleExists(f"There is a schedule `schedules/{schedule.id}` already.", schedule=f"schedules/{schedule.id}")

    async def put_schedule(self, schedule: Schedule) -> None:
        """Replaces it, unless it was deleted meanwhile."""
        field = _schedule(schedule.creator.tenant, schedule.id)
        if await self._run(self._redis.hexists(f"{PREFIX}schedules", field)):
            await self._run(self._redis.hset(f"{PREFIX}schedules", field, dump_whole(schedule)))

    async def schedule(self, schedule_id: str, tenant: str = DEFAULT_TENANT) -> Schedule:
        """Raises `ScheduleNotFound`."""
        text = await self._run(self._redis.hget(f"{PREFIX}schedules", _schedule(tenant, schedule_id)))
        if text is None:
            raise ScheduleNotFound(f"schedules/{schedule_id}")
        return load_whole(Schedule, text)

    async def schedules(self, tenant: str | None = None) -> list[Schedule]:
        """A tenant's, or all of them, by id."""
        stored = await self._run(self._redis.hgetall(f"{PREFIX}schedules"))
        found = [load_whole(Schedule, stored[each]) for each in sorted(stored)]
        return [each for each in found if tenant in (None, each.creator.tenant)]

    async def delete_schedule(self, schedule_id: str, tenant: str = DEFAULT_TENANT) -> bool:
        """Whether there was one."""
        return bool(await self._run(self._redis.hdel(f"{PREFIX}schedules", _schedule(tenant, schedule_id))))

    # Locks and signs of life

    @asynccontextmanager
    async def lock(self, name: str, seconds: float = 30.0) -> AsyncIterator[bool]:
        """Tells whether the lock was to be had; holds it until the block is left, at most `seconds`."""
        key, token = f"{PREFIX}lock:{name}", fresh_id()
        held = bool(await self._run(self._redis.set(key, token, nx=True, px=round(seconds * 1000))))
        try:
            yield held
        finally:
            if held:
                await self._run(self._unlock(keys=[key], args=[token]))

    async def show_life(self, what: str, seconds: float) -> None:
        """Says that a process lives, for so long."""
        await self._run(self._redis.set(f"{PREFIX}{what}", "1", px=round(seconds * 1000)))

    async def _record(self, noun: str, new_id: str, values: list[str], *, lane: str, limit: int, request: str, content: str) -> str:
        record = json.dumps([content, new_id])
        answer = await self._script(self._create, noun, new_id, lane, limit, request, record, *values)
        if answer[0] == "full":
            raise QueueFull(f"{limit} jobs wait already; try again later.", retry_after_seconds=60.0, limit=limit)
        if answer[0] == "seen":
            seen_content, seen_id = json.loads(answer[1])
            if seen_content != content:
                raise RequestIdReused(request.partition(":")[2].partition(":")[2])
            return str(seen_id)
        return str(answer[1])

    def _stored(self, noun: str, kind: type[T]) -> Callable[[str], Awaitable[T | None]]:
        """A function that loads records of one kind by id."""

        async def load(record_id: str) -> T | None:
            stored = await self._run(self._redis.hgetall(f"{PREFIX}{noun}:{record_id}"))
            return load_record(kind, stored) if stored else None

        return load

    async def _page(
        self,
        index: str,
        load: Callable[[str], Awaitable[T | None]],
        tenant_of: Callable[[T], str],
        tenant: str | None,
        *,
        size: int,
        after: str,
    ) -> tuple[list[T], str]:
        """A page of what is there, of one tenant or of all, in the index's order from its end, and the position after it."""
        found: list[T] = []
        while True:
            highest = f"({after}" if after else "+inf"
            entries = await self._run(self._redis.zrevrangebyscore(f"{PREFIX}{index}", highest, "-inf", start=0, num=size, withscores=True))
            for each, score in entries:
                after = f"{score:.0f}"
                record = await load(each)
                if record is not None and tenant in (None, tenant_of(record)):
                    found.append(record)
                    if len(found) == size:
                        return found, after
            if len(entries) < size:
                return found, ""

    async def _script(self, script: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return await self._run(cast(Any, script)(keys=[PREFIX], args=[PREFIX, *arguments]))

    async def _run(self, command: Awaitable[T]) -> T:
        try:
            return await command
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            raise RecordsUnavailable("The records of jobs and datasets (Redis) cannot be reached.") from error


def _request(tenant: str, noun: str, request_id: str) -> str:
    """Where it stands what a request id was used for. The default tenant's are those of versions that knew no tenants."""
    if not request_id:
        return ""
    return f"request:{noun}:{request_id}" if tenant == DEFAULT_TENANT else f"request:{noun}@{tenant}:{request_id}"


def _schedule(tenant: str, schedule_id: str) -> str:
    return schedule_id if tenant == DEFAULT_TENANT else f"{tenant}/{schedule_id}"

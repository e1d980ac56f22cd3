"""What the trainer's beat reports, from the records on a real Valkey."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis import Redis as BlockingRedis

from services.trainer.domain import Dataset, DatasetState, Job, JobSpec, JobState, Progress, TrainingUsage
from services.trainer.redis_records import DATASETS, JOBS, RedisRecords, fresh_id, open_redis
from services.trainer.settings import PriceSettings
from services.trainer.standing import MOST_SHOWN, Standing

Shown = dict[tuple[object, ...], float]


class Beat:
    """A beat's view of the records."""

    def __init__(self, url: str) -> None:
        redis = BlockingRedis.from_url(url, decode_responses=True)
        self.standing = Standing(redis, PriceSettings(engine_second=0.002, training_second=0.01), 60, 4)

    def shown(self, name: str) -> Shown:
        """Values by those of their attributes."""
        return {tuple(attributes.values()): value for value, attributes in self.standing.look()[name]}


@pytest.fixture
async def records(trainer_valkey: str) -> AsyncIterator[RedisRecords]:
    redis = open_redis(trainer_valkey)
    await redis.flushdb()
    yield RedisRecords(redis)
    await redis.aclose()


async def queue(records: RedisRecords, **changes: object) -> str:
    job = Job(fresh_id(), JobSpec("d"), JobState.QUEUED, time.time())
    return (await records.create_job(replace(job, **changes), "", "", 99)).id  # type: ignore[arg-type]


async def test_jobs_are_counted_by_state_and_what_has_ended_stays_counted(records: RedisRecords, trainer_valkey: str) -> None:
    beat = Beat(trainer_valkey)
    assert set(beat.shown("corella.jobs").values()) == {0}
    ids = [await queue(records) for _ in range(4)]
    time.sleep(0.02)
    assert beat.shown("corella.jobs")["queued",] == 4
    assert beat.shown("corella.queue.depth") == {("training",): 4, ("datasets",): 0}
    assert 0.02 <= beat.shown("corella.queue.oldest_age")["training",] < 30
    for job_id, state, seconds in zip(ids[:2], (JobState.SUCCEEDED, JobState.REJECTED), (30.0, 12.0), strict=True):
        assert await records.take(JOBS, 9, 60, job_id, 3) == job_id
        usage = TrainingUsage(training_seconds=seconds, worker_count=2)
        await records.finish(JOBS, job_id, job_id, state=state, usage=usage)
    await records.cancel_job(ids[2])
    for _ in range(2):
        assert {state: count for (state,), count in beat.shown("corella.jobs").items() if count} == {
            "queued": 1, "succeeded": 1, "rejected": 1, "cancelled": 1,
        }  # fmt: skip
        assert beat.shown("corella.job.verdicts") == {("accepted",): 1, ("rejected",): 1}
        assert beat.shown("corella.usage.seconds") == {("training",): 42.0}
    # Another beat, or this one started again, comes to the same.
    assert Beat(trainer_valkey).shown("corella.usage.seconds") == {("training",): 42.0}
    assert beat.shown("corella.price") == {("engine_second",): 0.002, ("retrieval_second",): 1.0, ("training_second",): 0.01}


async def test_running_jobs_are_shown_by_slot_and_never_more_than_a_few(records: RedisRecords, trainer_valkey: str) -> None:
    beat = Beat(trainer_valkey)
    ids = [await queue(records) for _ in range(MOST_SHOWN + 2)]
    for number, job_id in enumerate(ids):
        assert await records.take(JOBS, 99, 60, job_id, 3) == job_id
        progress = Progress("training", number, 100, 2.0, 1.5 if number == 1 else None, 300.0)
        await records.update(JOBS, job_id, job_id, progress=progress)
    assert beat.shown("corella.job.step") == {(slot,): slot for slot in range(MOST_SHOWN)}
    assert beat.shown("corella.job.steps")[3,] == 100
    losses = beat.shown("corella.job.loss")
    assert (losses[1, "training"], losses[1, "validation"]) == (2.0, 1.5)
    assert (0, "training") not in losses, "before its first step a job has none"
    assert beat.shown("corella.job.tokens_per_second")[2,] == 300.0
    await records.finish(JOBS, ids[2], ids[2], state=JobState.FAILED)
    assert beat.shown("corella.job.step") == {(slot,): slot for slot in range(MOST_SHOWN)} | {(2,): MOST_SHOWN}
    assert beat.shown("corella.jobs")["running",] == MOST_SHOWN + 1


async def test_a_job_without_a_sign_of_life_is_stalled_and_datasets_wait_too(records: RedisRecords, trainer_valkey: str) -> None:
    job_id = await queue(records)
    await records.take(JOBS, 1, 60, "t", 3)
    await records.update(JOBS, job_id, "t", alive_time=time.time() - 61)
    await records.create_dataset(Dataset(fresh_id(), "d", DatasetState.BUILDING, time.time()), "", "")
    beat = Beat(trainer_valkey)
    assert {state: count for (state,), count in beat.shown("corella.jobs").items() if count} == {"stalled": 1}
    assert beat.shown("corella.queue.depth") == {("training",): 0, ("datasets",): 1}
    assert await records.traceparent(DATASETS, "nothing") == ""

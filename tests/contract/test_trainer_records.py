"""Records, queues, leases and what serves, on a real Valkey and a real folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.chassis.identity import LOCAL, acting_for
from services.trainer.domain import (
    AdapterNotAccepted,
    AdapterVersion,
    Dataset,
    DatasetInUse,
    DatasetNotFound,
    DatasetState,
    Job,
    JobNotFound,
    JobSpec,
    JobState,
    NothingToRollBack,
    Progress,
    QueueFull,
    RecordsUnavailable,
    RequestIdReused,
    Schedule,
    ScheduleExists,
    Step,
    Trigger,
)
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.promoting import Promoting
from services.trainer.redis_records import DATASETS, JOBS, RedisRecords, fresh_id, open_redis


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    with acting_for(LOCAL):
        yield


@pytest.fixture
async def records(trainer_valkey: str) -> AsyncIterator[RedisRecords]:
    redis = open_redis(trainer_valkey)
    await redis.flushdb()
    yield RedisRecords(redis, stall_seconds=0.5, max_log_lines=10)
    await redis.aclose()


def job(dataset_id: str = "d" * 16) -> Job:
    return Job(fresh_id(), JobSpec(dataset_id), JobState.QUEUED, time.time())


async def take(records: RedisRecords, token: str = "worker", lease: float = 5.0, most: int = 1, losses: int = 3) -> str | None:
    return await records.take(JOBS, most, lease, token, losses)


async def test_a_repeat_under_the_same_request_id_makes_no_second_job(records: RedisRecords) -> None:
    first = await records.create_job(job(), "once", "content", 5)
    again = await records.create_job(job(), "once", "content", 5)
    assert again.id == first.id
    with pytest.raises(RequestIdReused):
        await records.create_job(job(), "once", "other content", 5)
    found, position = await records.page_jobs(10, "")
    assert [each.id for each in found] == [first.id]
    assert position == ""


async def test_a_full_queue_refuses_and_stores_nothing(records: RedisRecords) -> None:
    await records.create_job(job(), "", "", 1)
    with pytest.raises(QueueFull):
        await records.create_job(job(), "", "", 1)
    assert len((await records.page_jobs(10, ""))[0]) == 1


async def test_jobs_are_taken_in_their_order_and_know_their_place(records: RedisRecords) -> None:
    jobs = [await records.create_job(job(), "", "", 9) for _ in range(3)]
    assert [(await records.job(each.id)).queue_position for each in jobs] == [0, 1, 2]
    assert await take(records) == jobs[0].id
    assert await take(records) is None, "one runs at a time"
    assert [(await records.job(each.id)).queue_position for each in jobs[1:]] == [0, 1]
    assert (await records.job(jobs[0].id)).state is JobState.RUNNING


async def test_pages_hold_every_job_once_newest_first(records: RedisRecords) -> None:
    made = [(await records.create_job(job(), "", "", 9)).id for _ in range(5)]
    seen: list[str] = []
    position = ""
    while True:
        found, position = await records.page_jobs(2, position)
        seen += [each.id for each in found]
        if not position:
            break
    assert seen == made[::-1]


async def test_a_job_whose_worker_died_is_taken_again_and_three_losses_are_the_end(records: RedisRecords) -> None:
    made = await records.create_job(job(), "", "", 9)
    for attempt in range(1, 4):
        assert await take(records, f"worker-{attempt}", lease=0.05) == made.id
        assert (await records.job(made.id)).attempt_count == attempt
        assert not await records.renew(JOBS, made.id, "somebody else", 5)
        await asyncio.sleep(0.1)
    assert await take(records) is None
    ended = await records.job(made.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.reason == "TRAINING_FAILED"
    assert "3 times" in ended.error.message


async def test_work_handed_back_in_order_counts_no_loss(records: RedisRecords) -> None:
    made = await records.create_job(job(), "", "", 9)
    for attempt in range(1, 6):
        assert await take(records, f"worker-{attempt}") == made.id
        assert await records.hand_back(JOBS, made.id, f"worker-{attempt}", state=JobState.QUEUED)
    assert (await records.job(made.id)).state is JobState.QUEUED


async def test_a_lease_that_ran_out_unnoticed_goes_on(records: RedisRecords) -> None:
    made = await records.create_job(job(), "", "", 5)
    await take(records, "first", lease=0.05)
    await asyncio.sleep(0.1)
    assert await records.renew(JOBS, made.id, "first", 5.0)
    assert await take(records, "second") is None
    assert await records.renew(JOBS, made.id, "first", 0.05)
    await asyncio.sleep(0.1)
    assert await take(records, "second", lease=0.05) == made.id
    assert not await records.renew(JOBS, made.id, "first", 5.0)
    await asyncio.sleep(0.1)
    assert not await records.renew(JOBS, made.id, "first", 5.0)
    assert (await records.job(made.id)).attempt_count == 2


async def test_whoever_lost_the_lease_writes_nothing_any_more(records: RedisRecords) -> None:
    made = await records.create_job(job(), "", "", 9)
    await take(records, "first", lease=0.05)
    await asyncio.sleep(0.1)
    assert await take(records, "second") == made.id
    assert not await records.update(JOBS, made.id, "first", message="late")
    assert not await records.finish(JOBS, made.id, "first", state=JobState.SUCCEEDED)
    assert await records.update(JOBS, made.id, "second", message="mine", progress=Progress(phase="training", step=3))
    now = await records.job(made.id)
    assert (now.message, now.progress.step, now.state) == ("mine", 3, JobState.RUNNING)


async def test_a_silent_job_is_stalled_until_it_shows_life(records: RedisRecords) -> None:
    made = await records.create_job(job(), "", "", 9)
    await take(records)
    await asyncio.sleep(0.6)
    assert (await records.job(made.id)).state is JobState.STALLED
    await records.update(JOBS, made.id, "worker", alive_time=time.time())
    assert (await records.job(made.id)).state is JobState.RUNNING


async def test_cancelling_ends_what_waits_and_asks_what_runs(records: RedisRecords) -> None:
    running, waiting = [await records.create_job(job(), "", "", 9) for _ in range(2)]
    await take(records)
    assert (await records.cancel_job(waiting.id)).state is JobState.CANCELLED
    asked = await records.cancel_job(running.id)
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    await records.finish(JOBS, running.id, "worker", state=JobState.CANCELLED)
    assert (await records.cancel_job(running.id)).state is JobState.CANCELLED
    with pytest.raises(JobNotFound):
        await records.cancel_job("f" * 16)


async def test_a_resumed_training_replaces_the_steps_it_repeats(records: RedisRecords) -> None:
    made = await records.create_job(job(), "", "", 9)
    await records.add_steps(made.id, [Step(number, 2.0, 1e-3, 100, 1) for number in range(1, 6)])
    await records.add_steps(made.id, [Step(number, 1.0, 1e-3, 100, 1) for number in range(4, 8)])
    steps = await records.steps(made.id)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [step.training_loss for step in steps] == [2, 2, 2, 1, 1, 1, 1]
    assert [step.step for step in await records.steps(made.id, after=5)] == [6, 7]


async def test_a_log_keeps_its_last_lines_and_positions_stay_true(records: RedisRecords) -> None:
    await records.add_log("j", [f"line {number}" for number in range(8)])
    lines, position = await records.log_lines("j", 0, 5)
    assert (lines[0], position) == ("line 0", 5)
    await records.add_log("j", [f"line {number}" for number in range(8, 20)])
    lines, position = await records.log_lines("j", position, 100)
    assert (lines[0], lines[-1], position) == ("line 10", "line 19", 20)


async def test_a_dataset_in_use_cannot_be_deleted(records: RedisRecords) -> None:
    dataset = await records.create_dataset(Dataset(fresh_id(), "mine", DatasetState.READY, time.time()), "", "")
    made = await records.create_job(job(dataset.id), "", "", 9)
    with pytest.raises(DatasetInUse):
        await records.delete_dataset(dataset.id)
    await records.cancel_job(made.id)
    assert await records.delete_dataset(dataset.id)
    with pytest.raises(DatasetNotFound):
        await records.dataset(dataset.id)


async def test_datasets_to_be_built_wait_in_a_lane_of_their_own(records: RedisRecords) -> None:
    await records.create_dataset(Dataset(fresh_id(), "ready", DatasetState.READY, time.time()), "", "")
    building = await records.create_dataset(Dataset(fresh_id(), "building", DatasetState.BUILDING, time.time()), "", "")
    assert await records.waiting(DATASETS) == 1
    assert await take(records) is None
    assert await records.take(DATASETS, 1, 5, "worker", 3) == building.id
    assert await records.finish(DATASETS, building.id, "worker", state=DatasetState.READY, training_count=7)
    assert (await records.dataset(building.id)).training_count == 7


async def test_schedules_have_names_of_their_own(records: RedisRecords) -> None:
    schedule = Schedule("weekly", Trigger(cron="0 3 * * 0"), (), JobSpec(""), time.time())
    await records.create_schedule(schedule)
    with pytest.raises(ScheduleExists):
        await records.create_schedule(schedule)
    await records.put_schedule(replace(schedule, run_count=1))
    assert [each.run_count for each in await records.schedules()] == [1]
    assert await records.delete_schedule("weekly")
    await records.put_schedule(replace(schedule, run_count=2))
    assert await records.schedules() == [], "a deleted schedule does not come back"


async def test_records_that_cannot_be_reached_say_so() -> None:
    records = RedisRecords(open_redis("redis://127.0.0.1:1/0"))
    with pytest.raises(RecordsUnavailable):
        await records.job("a" * 16)


async def version(records: RedisRecords, name: str, accepted: bool = True) -> str:
    full = f"adapters/default/versions/{name}"
    await records.put_version(AdapterVersion(full, f"digest-{name}", accepted, "j", time.time(), 16, "f", 1))
    return full


async def test_promotion_and_the_way_back_are_one_object_that_remembers(records: RedisRecords, tmp_path: Path) -> None:
    shelf = FsspecShelf(str(tmp_path / "shelf"))
    promoting = Promoting(shelf, records)
    with pytest.raises(NothingToRollBack):
        await promoting.roll_back("r0")
    one, two = await version(records, "1"), await version(records, "2")
    await promoting.promote(one)
    await promoting.promote(two)
    assert (await promoting.promote(two)).serving
    serving = await shelf.serving()
    assert (serving.adapter, serving.digest, serving.generation) == (two, "digest-2", 2)
    back = await promoting.roll_back("r1")
    assert back is not None
    assert back.name == one
    again = await promoting.roll_back("r1")
    assert again is not None
    assert again.name == one, "a repeat of the same request rolls back once"
    assert await promoting.roll_back("r2") is None, "before the first version the base model served"
    assert (await shelf.serving()).adapter == ""
    assert (await shelf.serving()).generation == 4
    with pytest.raises(AdapterNotAccepted):
        await promoting.promote(await version(records, "3", accepted=False))


async def test_promotions_at_the_same_time_come_one_after_the_other(records: RedisRecords, tmp_path: Path) -> None:
    shelf = FsspecShelf(str(tmp_path / "shelf"))
    names = [await version(records, str(number)) for number in range(6)]
    await asyncio.gather(*(Promoting(shelf, records).promote(name, f"r-{name}") for name in names))
    serving = await shelf.serving()
    assert serving.generation == 6
    assert {serving.adapter, *(each.adapter for each in serving.history)} == {*names, ""}

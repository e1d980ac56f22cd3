"""Schedules on a real Valkey: what is due is started once, however many look."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry.trace import format_span_id, format_trace_id

sys.path.insert(0, str(Path(__file__).parents[1]))

from span_recording import recorded_spans

from services.chassis.errors import InvalidArgument, Unavailable
from services.trainer.domain import Dataset, FeedbackSource, JobSpec, JobState, Schedule, Trigger
from services.trainer.ports import FeedbackRecord
from services.trainer.redis_records import RedisRecords, open_redis
from services.trainer.scheduling import Scheduling, count_new_examples, next_time

BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class Feedback:
    """A generator that has heard some feedback."""

    def __init__(self, *records: FeedbackRecord) -> None:
        self.records = records

    async def feedback(self, since: float = 0.0) -> AsyncIterator[FeedbackRecord]:
        for record in self.records:
            if record.time >= since:
                yield record


class Away(Feedback):
    """A generator that cannot be reached."""

    async def feedback(self, since: float = 0.0) -> AsyncIterator[FeedbackRecord]:
        raise Unavailable("The generator cannot be reached.")
        yield self.records[0]


class Wake:
    """Hears who is woken."""

    def __init__(self) -> None:
        self.called: list[str] = []

    async def wake(self, task: str) -> None:
        self.called.append(task)


def feedback(at: float, rating: str = "up", corrected: str = "", refused: bool = False) -> FeedbackRecord:
    return FeedbackRecord("a", rating, corrected, at, "q", "text", refused, (), "corpora/c", "", "")


@pytest.fixture
async def records(trainer_valkey: str) -> AsyncIterator[RedisRecords]:
    redis = open_redis(trainer_valkey)
    await redis.flushdb()
    yield RedisRecords(redis)
    await redis.aclose()


def schedule(trigger: Trigger, name: str = "weekly") -> Schedule:
    due = next_time(trigger.cron, BEGIN) if trigger.cron else None
    return Schedule(name, trigger, (FeedbackSource(),), JobSpec("", adapter_id="support"), BEGIN, next_run_time=due)


async def check(records: RedisRecords, generator: Feedback, now: float) -> Wake:
    wake = Wake()
    await Scheduling(records, generator, wake, 20).check(lambda: now)  # type: ignore[arg-type]
    return wake


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * 0", "2026-01-04 03:00"),
        ("*/5 * * * *", "2026-01-01 00:05"),
        ("30 2 1 * *", "2026-01-01 02:30"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
    ],
)
def test_a_calendar_is_read_as_cron_reads_it(cron: str, expected: str) -> None:
    assert datetime.fromtimestamp(next_time(cron, BEGIN), UTC).strftime("%Y-%m-%d %H:%M") == expected


@pytest.mark.parametrize("cron", ["", "1 2 3", "99 * * * *", "a b c d e", "* * * * * *"])
def test_what_is_no_calendar_is_refused(cron: str) -> None:
    with pytest.raises(InvalidArgument):
        next_time(cron, BEGIN)


async def test_only_feedback_that_teaches_counts() -> None:
    heard = Feedback(
        feedback(5, "down"), feedback(5, "up"), feedback(5, "down", corrected="Better."), feedback(5, "up", refused=True), feedback(1, "up")
    )
    assert await count_new_examples(heard, 2.0) == 2  # type: ignore[arg-type]


async def test_enough_new_examples_start_a_run_and_the_count_begins_anew(records: RedisRecords) -> None:
    await records.create_schedule(schedule(Trigger(min_new_examples=3)))
    some = [feedback(BEGIN + 1), feedback(BEGIN + 2)]
    assert (await check(records, Feedback(*some), BEGIN + 10)).called == []
    assert (await records.schedule("weekly")).new_example_count == 2
    with recorded_spans() as spans:
        woken = await check(records, Feedback(*some, feedback(BEGIN + 15)), BEGIN + 20)
    assert woken.called == ["corella.trainer.build_dataset", "corella.trainer.run_job"]
    after = await records.schedule("weekly")
    assert (after.run_count, after.new_example_count, after.last_run_time) == (1, 0, BEGIN + 20)
    job = await records.job(after.last_job_id)
    assert (job.state, job.spec.adapter_id, job.schedule_id) == (JobState.QUEUED, "support", "weekly")
    dataset = await records.dataset(job.spec.dataset_id)
    assert isinstance(dataset, Dataset)
    # Both are done in the trace of this run.
    assert job.traceparent == dataset.traceparent == await records.traceparent("jobs", job.id)
    run = spans.one("run schedule")
    assert run.parent is None
    assert job.traceparent.split("-")[1:3] == [format_trace_id(run.context.trace_id), format_span_id(run.context.span_id)]
    assert job.trace_id == format_trace_id(run.context.trace_id)
    assert (await check(records, Feedback(*some), BEGIN + 30)).called == []


async def test_a_calendar_starts_a_run_at_its_time_and_waits_for_the_next(records: RedisRecords) -> None:
    await records.create_schedule(schedule(Trigger(cron="0 3 * * *")))
    due = next_time("0 3 * * *", BEGIN)
    assert (await check(records, Feedback(), due - 1)).called == []
    assert len((await check(records, Feedback(), due + 5)).called) == 2
    assert (await check(records, Feedback(), due + 60)).called == []
    assert (await records.schedule("weekly")).next_run_time == pytest.approx(due + 86_400)


async def test_once_is_once(records: RedisRecords) -> None:
    await records.create_schedule(schedule(Trigger(once=True)))
    for later in range(3):
        await check(records, Feedback(), BEGIN + 10 + later)
    assert (await records.schedule("weekly")).run_count == 1
    assert len((await records.page_jobs(10, ""))[0]) == 1


async def test_many_beats_at_once_train_once(records: RedisRecords) -> None:
    await records.create_schedule(schedule(Trigger(cron="0 3 * * *")))
    due = next_time("0 3 * * *", BEGIN) + 1
    await asyncio.gather(*(check(records, Feedback(), due) for _ in range(8)))
    assert len((await records.page_jobs(10, ""))[0]) == 1
    assert (await records.schedule("weekly")).run_count == 1


async def test_a_run_that_broke_off_half_way_is_not_started_twice(records: RedisRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    await records.create_schedule(schedule(Trigger(cron="0 3 * * *")))
    due = next_time("0 3 * * *", BEGIN) + 1

    async def dies(_: Schedule) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(records, "put_schedule", dies)
        with pytest.raises(KeyboardInterrupt):
            await check(records, Feedback(), due)
    assert len((await records.page_jobs(10, ""))[0]) == 1
    await check(records, Feedback(), due + 30)
    assert len((await records.page_jobs(10, ""))[0]) == 1
    assert (await records.schedule("weekly")).run_count == 1


async def test_one_schedule_in_trouble_does_not_hold_up_the_others(records: RedisRecords) -> None:
    await records.create_schedule(schedule(Trigger(min_new_examples=3), "a-counts"))
    await records.create_schedule(schedule(Trigger(cron="0 3 * * *"), "b-calendar"))
    await check(records, Away(), time.time())
    assert [each.run_count for each in await records.schedules()] == [0, 1]

"""Whose datasets, jobs, schedules and versions are, and for whom the work on them is done; on a real Valkey and a real shelf."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.chassis import identity
from services.chassis.errors import PermissionDenied
from services.chassis.identity import LOCAL, Caller, acting_for
from services.trainer.dataset_building import DatasetBuilding
from services.trainer.dataset_keeping import DatasetKeeping
from services.trainer.dataset_run import DatasetRun
from services.trainer.domain import (
    SOMEBODY,
    AdapterNotFound,
    AdapterVersion,
    Compression,
    CorpusSource,
    Dataset,
    DatasetCopy,
    DatasetNotFound,
    DatasetState,
    Evaluation,
    Example,
    FeedbackSource,
    Job,
    JobNotFound,
    JobSpec,
    JobState,
    Method,
    Passage,
    ReportNotReady,
    RequestIdReused,
    Schedule,
    ScheduleNotFound,
    Split,
    Trigger,
)
from services.trainer.examples import to_lines
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.job_keeping import JobKeeping, require_promoting
from services.trainer.promoting import Promoting
from services.trainer.record_fields import dump_record, dump_whole, load_record, load_whole
from services.trainer.redis_records import DATASETS, RedisRecords, fresh_id, open_redis
from services.trainer.scheduling import Scheduling
from services.trainer.settings import LimitSettings, TrainerSettings

ANN = Caller("ann", "acme", "ann", frozenset({"hr", "eng"}), frozenset({"trainer"}))
BOB = Caller("bob", "acme", "bob", frozenset({"eng"}), frozenset({"trainer"}))
EVE = Caller("eve", "other", "eve", roles=frozenset({"admin"}))


class Documents:
    """A retriever that lets each caller read some chunks, and notes who asks."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.hidden: dict[str, set[str]] = {}

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        caller = identity.current()
        self.callers.append(caller)
        return {name: Passage("text", name=name) for name in names if name not in self.hidden.get(caller.user, ())}


class Wake:
    """Wakes nobody."""

    async def wake(self, _task: str) -> None:
        return


class Shop:
    """The use cases with all they stand on."""

    def __init__(self, records: RedisRecords, folder: Path, url: str) -> None:
        self.records = records
        self.shelf = FsspecShelf(str(folder / "shelf"))
        self.documents = Documents()
        building = DatasetBuilding(None, self.documents)  # type: ignore[arg-type]
        self.datasets = DatasetKeeping(records, self.shelf, building, Wake(), LimitSettings())  # type: ignore[arg-type]
        self.jobs = JobKeeping(records, self.shelf, self.datasets, Wake(), 9)  # type: ignore[arg-type]
        self.settings = TrainerSettings(redis_url=url, shelf_url=str(folder / "shelf"))

    async def dataset(self, caller: Caller, request_id: str = "") -> Dataset:
        with acting_for(caller):
            return await self.datasets.create("d", Split(), _stream(examples()), request_id)

    async def build(self, dataset: Dataset) -> Dataset:
        await self.records.create_dataset(dataset, "", "")
        assert await self.records.take(DATASETS, 9, 300, "t", 3) == dataset.id
        run = DatasetRun(self.settings, self.records, self.shelf, None, self.documents, dataset_id=dataset.id, token="t")  # type: ignore[arg-type]
        assert await run.run()
        return await self.records.dataset(dataset.id)


def examples() -> list[Example]:
    return [
        Example(
            id=f"e{n}", question=f"What is written about subject number {n * 7919} of {n * 104729}?", answer=f"code {n}",
            passages=(Passage(f"Code {n}.", name=chunk(n)),), chunks=(chunk(n),),
        )
        for n in range(20)
    ]  # fmt: skip


def chunk(number: int) -> str:
    return f"corpora/c/documents/d{number}/chunks/1"


async def _stream(rows: list[Example]) -> AsyncIterator[bytes]:
    yield to_lines(rows)


def built_by(creator: Caller, *sources: Any) -> Dataset:
    return Dataset(fresh_id(), "copy", DatasetState.BUILDING, time.time(), Split(), sources, creator=creator)


@pytest.fixture
async def shop(trainer_valkey: str, tmp_path: Path) -> AsyncIterator[Shop]:
    redis = open_redis(trainer_valkey)
    await redis.flushdb()
    yield Shop(RedisRecords(redis), tmp_path, trainer_valkey)
    await redis.aclose()


async def test_a_dataset_is_there_for_its_tenant_only(shop: Shop) -> None:
    made = await shop.dataset(ANN)
    assert made.creator == ANN
    with acting_for(BOB):
        assert (await shop.datasets.get(made.id)).id == made.id
        assert [each.id for each in (await shop.datasets.page(10, ""))[0]] == [made.id]
    with acting_for(EVE):
        for call in (shop.datasets.get(made.id), shop.datasets.ready(made.id), shop.datasets.examples(made.id, 10, "")):
            with pytest.raises(DatasetNotFound):
                await call
        with pytest.raises(DatasetNotFound):
            await shop.datasets.build("x", (DatasetCopy(made.id),), Split(), "")
        with pytest.raises(DatasetNotFound):
            await shop.jobs.create(JobSpec(made.id), "")
        assert await shop.datasets.page(10, "") == ([], "")
        assert not await shop.datasets.delete(made.id)
    assert await shop.records.dataset(made.id)


async def test_pages_of_a_tenant_are_full_whatever_others_made_between(shop: Shop) -> None:
    mine = []
    for number in range(9):
        dataset = replace(built_by(ANN if number % 3 == 0 else EVE), state=DatasetState.READY)
        await shop.records.create_dataset(dataset, "", "")
        mine += [dataset.id] if number % 3 == 0 else []
    first, position = await shop.records.page_datasets(2, "", "acme")
    second, end = await shop.records.page_datasets(2, position, "acme")
    assert [each.id for each in (*first, *second)] == mine[::-1]
    assert end == ""
    assert len((await shop.records.page_datasets(20, ""))[0]) == 9


async def test_a_request_id_of_one_tenant_says_nothing_to_another(shop: Shop) -> None:
    mine = await shop.dataset(ANN, "once")
    assert (await shop.dataset(ANN, "once")).id == mine.id
    assert (await shop.dataset(EVE, "once")).id != mine.id
    assert (await shop.dataset(LOCAL, "dataset@acme:once")).id != mine.id
    with acting_for(ANN), pytest.raises(RequestIdReused, match="`once`"):
        await shop.datasets.build("x", (FeedbackSource(),), Split(), "once")


async def test_examples_on_what_a_colleague_may_not_read_are_not_shown_to_them(shop: Shop) -> None:
    made = await shop.dataset(ANN)
    shop.documents.hidden["bob"] = {chunk(3), chunk(4)}
    with acting_for(BOB):
        shown, _ = await shop.datasets.examples(made.id, 50, "")
    assert len(shown) == 18
    assert not any('"code 3"' in line or '"code 4"' in line for line in shown)
    with acting_for(ANN):
        assert len((await shop.datasets.examples(made.id, 50, ""))[0]) == 20


async def test_a_dataset_is_built_for_its_creator_and_holds_what_that_caller_may_read(shop: Shop) -> None:
    source = await shop.dataset(ANN)
    shop.documents.hidden["bob"] = {chunk(3)}
    built = await shop.build(built_by(BOB, DatasetCopy(source.id)))
    assert (built.state, built.dropped_count, built.creator) == (DatasetState.READY, 1, BOB)
    assert shop.documents.callers[-1] == BOB
    assert identity.current_or_none() is None


async def test_a_schedules_dataset_cannot_be_made_from_another_tenants(shop: Shop) -> None:
    source = await shop.dataset(ANN)
    built = await shop.build(built_by(EVE, DatasetCopy(source.id)))
    assert built.state is DatasetState.FAILED
    assert built.error is not None
    assert built.error.reason == "DATASET_NOT_FOUND"


async def test_a_job_is_there_for_its_tenant_and_its_report_for_its_creator(shop: Shop) -> None:
    dataset = await shop.dataset(ANN)
    with acting_for(ANN):
        job = await shop.jobs.create(JobSpec(dataset.id, hold=True), "")
        with pytest.raises(ReportNotReady):
            await shop.jobs.report(job.id)
    assert job.creator == ANN
    with acting_for(BOB):
        assert (await shop.jobs.get(job.id)).id == job.id
        with pytest.raises(PermissionDenied) as caught:
            await shop.jobs.report(job.id)
        assert caught.value.reason == "REPORT_OF_ANOTHER"
    with acting_for(EVE):
        for call in (shop.jobs.get(job.id), shop.jobs.cancel(job.id), shop.jobs.log_lines(job.id, 0), shop.jobs.report(job.id)):
            with pytest.raises(JobNotFound):
                await call
        with pytest.raises(JobNotFound):
            await anext(aiter(shop.jobs.watch(job.id, 0)))
        assert await shop.jobs.page(10, "") == ([], "")


@pytest.mark.parametrize(
    ("caller", "spec", "allowed"),
    [
        (ANN, JobSpec("d"), False), (ANN, JobSpec("d", hold=True), True), (EVE, JobSpec("d"), True), (LOCAL, JobSpec("d"), True),
        (ANN, JobSpec("d", method=Method.REPAIR, compression=Compression(quantize_bits=4)), True),
    ],
)  # fmt: skip
def test_what_would_serve_everyone_by_itself_asks_for_an_admin(caller: Caller, spec: JobSpec, allowed: bool) -> None:
    with acting_for(caller):
        if allowed:
            require_promoting(spec)
        else:
            with pytest.raises(PermissionDenied, match="hold"):
                require_promoting(spec)


async def test_another_tenants_version_cannot_be_promoted(shop: Shop) -> None:
    name = "adapters/a/versions/1"
    await shop.records.put_version(AdapterVersion(name, "d", True, "j", time.time(), 16, "", 1, tenant="acme"))
    promoting = Promoting(shop.shelf, shop.records)
    with acting_for(EVE), pytest.raises(AdapterNotFound):
        await promoting.promote(name)
    with acting_for(replace(ANN, roles=frozenset({"admin"}))):
        assert (await promoting.promote(name)).serving


async def test_evaluations_are_listed_by_tenant(shop: Shop) -> None:
    for tenant in ("acme", "other", "acme"):
        await shop.records.put_evaluation(Evaluation(fresh_id(), "j", "", True, (), (), time.time(), tenant=tenant))
    assert len((await shop.records.page_evaluations(10, "", "acme"))[0]) == 2
    assert len((await shop.records.page_evaluations(10, ""))[0]) == 3


async def test_two_tenants_may_have_schedules_of_one_name_and_each_run_is_its_creators(shop: Shop) -> None:
    begin = time.time()
    for creator in (ANN, EVE, LOCAL):
        trigger, sources = Trigger(once=True), (CorpusSource("corpora/c"),)
        await shop.records.create_schedule(Schedule("weekly", trigger, sources, JobSpec("", hold=True), begin, creator=creator))
    assert [each.creator for each in await shop.records.schedules("acme")] == [ANN]
    await Scheduling(shop.records, None, Wake(), 20).check(lambda: begin + 1)  # type: ignore[arg-type]
    jobs = (await shop.records.page_jobs(10, ""))[0]
    assert {job.creator for job in jobs} == {ANN, EVE, LOCAL}
    assert {(await shop.records.dataset(job.spec.dataset_id)).creator for job in jobs} == {ANN, EVE, LOCAL}
    assert await shop.records.delete_schedule("weekly", "acme")
    with pytest.raises(ScheduleNotFound):
        await shop.records.schedule("weekly", "acme")
    assert len(await shop.records.schedules()) == 2


def test_a_creator_comes_back_from_a_record_and_an_old_record_has_one_without_rights() -> None:
    job = Job(fresh_id(), JobSpec("d"), JobState.QUEUED, 1.0, creator=ANN)
    flat = dump_record(job)
    stored = dict(zip(flat[::2], flat[1::2], strict=True))
    assert load_record(Job, stored) == job
    del stored["creator"]
    old = load_record(Job, stored).creator
    assert old == SOMEBODY
    assert not old.reads_everything
    schedule = Schedule("weekly", Trigger(once=True), (), JobSpec("d"), 1.0, creator=ANN)
    assert load_whole(Schedule, dump_whole(schedule)) == schedule

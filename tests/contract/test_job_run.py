"""One job from dataset to verdict, on a real Valkey and a real shelf. Training and the serving path are played: what counts here is what a
job does with what they say, and what it does when it has to begin again."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from span_recording import recorded_spans

from services.chassis.errors import Unavailable
from services.chassis.model_fingerprint import base_fingerprint
from services.chassis.steps import current_traceparent, step
from services.trainer import job_run, job_training
from services.trainer.dataset_building import DatasetBuilding
from services.trainer.dataset_keeping import described, store
from services.trainer.dataset_run import DatasetRun
from services.trainer.domain import (
    Cause,
    Dataset,
    DatasetCopy,
    DatasetState,
    Example,
    Job,
    JobSpec,
    JobState,
    Message,
    Passage,
    Split,
    Step,
)
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.job_run import JobRun
from services.trainer.plan import Outcome, Plan
from services.trainer.ports import AskedAnswer, CitedText, RenderedPrompt, ServedModel, Written
from services.trainer.redis_records import DATASETS, JOBS, RedisRecords, fresh_id, open_redis
from services.trainer.settings import TrainerSettings
from services.trainer.training_events import Stepped, Stopped

BASE = Path(__file__).parents[2] / ".corella/models/SmolLM2-135M-Instruct"


class Serving:
    """A serving path in which the base model says nonsense and a candidate says what it was taught, if it is a good one."""

    def __init__(self) -> None:
        self.good = True
        self.away = 0
        self.fingerprint = base_fingerprint(BASE)

    async def model(self) -> ServedModel:
        if self.away:
            self.away -= 1
            raise Unavailable("The generator cannot be reached.")
        return ServedModel("SmolLM2-135M-Instruct", self.fingerprint, "", 16, 2048)

    async def render_question(self, question: str, passages: Sequence[Passage]) -> RenderedPrompt:
        return RenderedPrompt((Message("user", question),), tuple(range(1, 30)), len(passages), 1.0, 0.0)

    async def render_chat(self, messages: Sequence[Message]) -> RenderedPrompt:
        return RenderedPrompt(tuple(messages), tuple(range(1, 20)))

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        held = any(text.removesuffix(" [1]") in passage.text for passage in passages)
        return (
            CitedText(f"{text.removesuffix(' [1]')} [1]", False, ((1, passages[0].uri, passages[0].name),)) if held else CitedText("", True)
        )

    async def ask(self, question: str, corpus: str, adapter: str = "") -> AskedAnswer:
        raise AssertionError("these examples have passages of their own")

    async def complete(self, messages: Sequence[Message], adapter: str = "", max_tokens: int = 96) -> Written:
        tuned = adapter.startswith("adapters/") and self.good
        text = f"code {messages[-1].text.split()[-1].strip('?')}" if tuned else "Nobody can tell."
        return Written(text, adapter if adapter.startswith("adapters/") else "", 30, 5, 0.01, 0.05)

    async def score(self, messages: Sequence[Message], text: str, adapter: str = "") -> tuple[float, int]:
        return (-1.0 if adapter.startswith("adapters/") else -10.0), 10


class Documents:
    """Chunks that are there until they are taken away."""

    def __init__(self) -> None:
        self.gone: set[str] = set()

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        return {name: Passage("text", name=name) for name in names if name not in self.gone}

    async def search(self, corpus: str, query: str, limit: int) -> tuple[Passage, ...]:
        return ()


def example(number: int, split: str) -> Example:
    name = f"corpora/c/documents/d{number}/chunks/1"
    passage = Passage(f"The device says code {number}.", uri=f"https://x.example/{number}", name=name)
    return Example(
        id=f"e{number}", question=f"What does it say of number {number}?", answer=f"code {number}", passages=(passage,), chunks=(name,),
        split=split,  # type: ignore[arg-type]
    )  # fmt: skip


def outcome(plan: Plan, folder: Path) -> Outcome:
    result = folder / "result"
    result.mkdir(exist_ok=True)
    (result / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 16}')
    save_file({"base_model.model.x.lora_A.weight": np.ones((16, 4), np.float32)}, result / "adapter_model.safetensors")
    steps = tuple(Step(n, 3.0 / n, 1e-3, 100.0, 1.0, 1.0 if n == 4 else None) for n in range(1, 5))
    return Outcome("adapter", result.as_uri(), "", steps, 3.0, 0.5, 0.4, 3.0, False, 1000, 10.0, 8, 2)


class Shop:
    """What a job runs in."""

    def __init__(self, records: RedisRecords, folder: Path, url: str) -> None:
        self.records = records
        self.shelf = FsspecShelf(str(folder / "shelf"))
        self.serving = Serving()
        self.documents = Documents()
        self.trained: list[Plan] = []
        self.settings = TrainerSettings(redis_url=url, shelf_url=str(folder / "shelf"), base_model_folder=BASE)
        self.folder = folder
        self.during = lambda: None

    def train(self, training: Any, plan: Plan) -> Outcome:
        self.trained.append(plan)
        done = outcome(plan, self.folder)
        for each in done.steps:
            training._hear(Stepped(each, len(done.steps)))
            self.during()
            time.sleep(0.3)
            if training._reporter.should_stop:
                raise Stopped
        return done

    async def dataset(self) -> Dataset:
        rows = [example(n, "training") for n in range(8)] + [example(n, "validation") for n in range(8, 10)]
        rows += [example(n, "held_out") for n in range(10, 24)]
        dataset = Dataset(fresh_id(), "devices", DatasetState.READY, time.time(), Split())
        await self.shelf.write(f"datasets/{dataset.id}/examples.jsonl", b"".join(_lines(rows)))
        return await self.records.create_dataset(replace(dataset, training_count=8, validation_count=2, held_out_count=14), "", "")

    async def queue(self, **changes: Any) -> str:
        spec = JobSpec((await self.dataset()).id, **changes)
        job = await self.records.create_job(Job(fresh_id(), spec, JobState.QUEUED, time.time()), "", "", 9)
        return job.id

    async def drive(self, job_id: str, token: str = "t") -> bool:
        assert await self.records.take(JOBS, 1, 300, token, 3) == job_id
        run = JobRun(
            self.settings,
            self.records,
            self.shelf,
            self.serving,
            self.documents,
            job_id=job_id,
            token=token,  # type: ignore[arg-type]
        )
        self.run = run
        return await run.run()


def _lines(rows: Sequence[Example]) -> list[bytes]:
    from services.trainer.examples import to_lines

    return [to_lines(rows)]


@pytest.fixture
async def shop(trainer_valkey: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    redis = open_redis(trainer_valkey)
    await redis.flushdb()
    made = Shop(RedisRecords(redis), tmp_path, trainer_valkey)

    def train(training: job_training.JobTraining, plan: Plan) -> Outcome:
        return made.train(training, plan)

    monkeypatch.setattr(job_training.JobTraining, "_train", train)
    monkeypatch.setattr(job_run, "_RETRY_SECONDS", 0.1)
    yield made
    await redis.aclose()


async def test_a_good_candidate_is_accepted_and_serves(shop: Shop) -> None:
    job_id = await shop.queue()
    assert await shop.drive(job_id)
    job = await shop.records.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.message, (await shop.records.log_lines(job_id, 0, 99))[0])
    assert (await shop.shelf.serving()).adapter == job.adapter
    assert (await shop.records.version(job.adapter)).accepted
    assert [each.step for each in await shop.records.steps(job_id)] == [1, 2, 3, 4]
    judged = await shop.records.evaluation(job.evaluation_id)
    assert judged.accepted
    assert {each.way for each in judged.ways} == {"retrieval", "tuned", "both"}
    assert (await shop.shelf.read(f"jobs/{job_id}/report/report.md") or b"").startswith(b"# Accepted")


async def test_a_job_is_one_trace_and_its_adapter_names_it(shop: Shop) -> None:
    job_id = await shop.queue(adapter_id="support")
    with recorded_spans() as spans, step("job run"):
        run = current_traceparent()
        assert await shop.drive(job_id)
    job = await shop.records.job(job_id)
    assert [spans.parent(spans.one(name)) for name in ("prepare", "train", "publish", "judge")] == ["job run"] * 4
    attributes = spans.one("job run").attributes or {}
    assert (attributes["corella.job.name"], attributes["corella.job.state"]) == (f"jobs/{job_id}", "succeeded")
    assert attributes["corella.adapter.name"] == (spans.one("publish").attributes or {})["corella.adapter.name"] == job.adapter
    assert (spans.one("judge").attributes or {})["corella.job.verdict"] == "accepted"
    assert job.adapter.startswith("adapters/support/versions/")
    _, _, _, version = job.adapter.split("/")
    assert json.loads(await shop.shelf.read(f"adapters/support/{version}/manifest.json") or b"")["annotations"]["traceparent"] == run
    # The job says twice a second that it lives; that is no part of its trace.
    assert len([span for span in spans.all if span.name == "EVALSHA"]) < 12
    assert "What does it say" not in spans.everything()


async def test_a_bad_one_is_rejected_with_a_cause_and_nothing_serves(shop: Shop) -> None:
    shop.serving.good = False
    job_id = await shop.queue()
    assert await shop.drive(job_id)
    job = await shop.records.job(job_id)
    assert job.state is JobState.REJECTED
    assert isinstance((await shop.records.evaluation(job_id)).cause, Cause)
    assert (await shop.shelf.serving()).adapter == ""
    assert not (await shop.records.version(job.adapter)).accepted


async def test_one_that_is_held_waits_to_be_promoted(shop: Shop) -> None:
    job_id = await shop.queue(hold=True)
    await shop.drive(job_id)
    job = await shop.records.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert (await shop.records.version(job.adapter)).accepted
    assert (await shop.shelf.serving()).adapter == ""


async def test_a_driver_that_dies_after_the_verdict_is_followed_by_one_that_only_carries_it_out(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged again the candidate would have to beat itself, because it serves by then."""
    job_id = await shop.queue()

    async def dies(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shop.records, "finish", dies)
        with pytest.raises(KeyboardInterrupt):
            await shop.drive(job_id, "first")
    assert (await shop.shelf.serving()).adapter
    generation = (await shop.shelf.serving()).generation
    await shop.records.lose(JOBS, job_id, "first")
    assert await shop.drive(job_id, "second")
    assert (await shop.records.job(job_id)).state is JobState.SUCCEEDED
    assert (await shop.shelf.serving()).generation == generation
    assert len(shop.trained) == 1


async def test_an_interrupted_job_is_handed_on_with_its_data_unless_a_document_is_gone_by_then(shop: Shop) -> None:
    job_id = await shop.queue()

    def interrupt() -> None:
        shop.run.interrupt()

    shop.during = interrupt
    assert not await shop.drive(job_id, "first")
    assert (await shop.records.job(job_id)).state is JobState.QUEUED
    assert not await shop.drive(job_id, "second")
    assert shop.trained[0].data_url == shop.trained[1].data_url, "a resumed training sees the same"
    shop.documents.gone.add("corpora/c/documents/d3/chunks/1")
    shop.during = lambda: None
    assert await shop.drive(job_id, "third")
    assert shop.trained[2].data_url != shop.trained[0].data_url
    assert shop.trained[2].output_url != shop.trained[0].output_url, "no checkpoint remembers the deleted document"
    log = "\n".join((await shop.records.log_lines(job_id, 0, 999))[0])
    assert "7 examples to train on" in log


async def test_a_cancelled_job_ends(shop: Shop) -> None:
    job_id = await shop.queue()
    cancelled = asyncio.create_task(_cancel_soon(shop, job_id))
    assert await shop.drive(job_id)
    await cancelled
    assert (await shop.records.job(job_id)).state is JobState.CANCELLED
    assert (await shop.shelf.serving()).adapter == ""


async def _cancel_soon(shop: Shop, job_id: str) -> None:
    while not shop.trained:
        await asyncio.sleep(0.05)
    await shop.records.cancel_job(job_id)


async def test_a_generator_that_is_away_is_waited_for(shop: Shop) -> None:
    shop.serving.away = 2
    job_id = await shop.queue()
    assert await shop.drive(job_id)
    assert (await shop.records.job(job_id)).state is JobState.SUCCEEDED
    assert "Waits: The generator cannot be reached." in "\n".join((await shop.records.log_lines(job_id, 0, 99))[0])


async def test_another_base_model_is_not_trained_for(shop: Shop) -> None:
    shop.serving.fingerprint = "f" * 64
    job_id = await shop.queue()
    assert await shop.drive(job_id)
    job = await shop.records.job(job_id)
    assert (job.state, job.error.reason if job.error else "") == (JobState.FAILED, "BASE_MODEL_DIFFERS")
    assert shop.trained == []


async def test_a_dataset_is_built_from_another_and_what_is_gone_is_left_out(shop: Shop) -> None:
    first = await shop.dataset()
    shop.documents.gone.add("corpora/c/documents/d2/chunks/1")
    wanted = Dataset(fresh_id(), "copy", DatasetState.BUILDING, time.time(), Split(), (DatasetCopy(first.id),))
    await shop.records.create_dataset(wanted, "", "")
    assert await shop.records.take(DATASETS, 1, 300, "t", 3) == wanted.id
    run = DatasetRun(
        shop.settings,
        shop.records,
        shop.shelf,
        shop.serving,
        shop.documents,
        dataset_id=wanted.id,
        token="t",  # type: ignore[arg-type]
    )
    assert await run.run()
    built = await shop.records.dataset(wanted.id)
    assert (built.state, built.dropped_count) == (DatasetState.READY, 1)
    assert built.training_count + built.validation_count + built.held_out_count == 23


async def test_what_was_stored_is_what_is_described(shop: Shop) -> None:
    rows = [example(number, "") for number in range(20)]
    dataset = Dataset(fresh_id(), "d", DatasetState.READY, time.time())
    built = await DatasetBuilding(shop.serving, shop.documents).arrange(rows, Split())  # type: ignore[arg-type]
    await store(shop.shelf, dataset.id, built)
    assert described(dataset, built).total_count == 20

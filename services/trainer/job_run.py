"""One job from its dataset to a verdict, resumable at every point.

    wait        until its dataset is built
    prepare     examples to token ids, as they are served
    train       on Ray, from the last checkpoint if there is one
    publish     the candidate to the shelf, where generators can load it beside what serves
    judge       through the serving path
    accept      and let it serve; or reject, name the cause, and search for something better within the budget
    report

Whatever was done before a driver died is found again: data and checkpoints on the shelf, a published version under its fixed name.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from services.chassis.errors import CorellaError, Unavailable
from services.chassis.identity import acting_for
from services.chassis.model_fingerprint import base_fingerprint
from services.chassis.steps import current_traceparent, step
from services.chassis.telemetry import attached, current_trace_id, get_logger
from services.trainer.asking_one import AskingStopped
from services.trainer.dataset_keeping import load
from services.trainer.domain import (
    AdapterVersion,
    BaseModelDiffers,
    Dataset,
    DatasetNotReady,
    DatasetState,
    Failure,
    Job,
    JobState,
    TrainingUsage,
)
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.hf_response_tokenizer import HfResponseTokenizer
from services.trainer.job_concluding import JobConcluding
from services.trainer.job_data import JobDataPreparation
from services.trainer.job_judging import Candidate, JobJudging, Judgement, Work, with_usage
from services.trainer.job_keeping import makes_adapter
from services.trainer.job_reporter import JobReporter
from services.trainer.job_training import JobTraining
from services.trainer.plan import Plan
from services.trainer.ports import Generator, Retriever
from services.trainer.redis_records import JOBS, RedisRecords
from services.trainer.report_input import Trial
from services.trainer.settings import TrainerSettings
from services.trainer.training_events import Stopped

log = get_logger(__name__)
T = TypeVar("T")
_RETRY_SECONDS = 10.0


class JobRun:
    """One job."""

    def __init__(
        self,
        settings: TrainerSettings,
        records: RedisRecords,
        shelf: FsspecShelf,
        generator: Generator,
        retriever: Retriever,
        *,
        job_id: str,
        token: str,
    ) -> None:
        self._settings = settings
        self._records = records
        self._shelf = shelf
        self._generator = generator
        self._retriever = retriever
        self._id = job_id
        self._token = token
        self._reporter = JobReporter(records, job_id, token)
        self._usage = TrainingUsage()
        self._judging = JobJudging(settings, generator, retriever)
        self._span: trace.Span = trace.INVALID_SPAN
        self._traceparent = ""

    def interrupt(self) -> None:
        """Leaves the job to another driver, at the next safe place."""
        self._reporter.interrupted = True

    async def run(self) -> bool:
        """Does the job; False when it was left to another driver."""
        job = await self._records.job(self._id)
        self._reporter.progress = job.progress
        self._usage = job.usage
        self._reporter.start()
        self._span, self._traceparent = trace.get_current_span(), current_traceparent()
        span = self._span
        span.set_attribute("corella.job.name", f"jobs/{job.id}")
        span.set_attribute("corella.job.method", job.spec.method.value)
        self._reporter.say(f"Attempt {job.attempt_count} begins.")
        try:
            if job.start_time is None:
                await self._records.update(JOBS, self._id, self._token, start_time=time.time(), trace_id=job.trace_id or current_trace_id())
            # Whatever is searched, asked and looked up for it, is for whoever asked for the job.
            with acting_for(job.creator):
                await self._whole(job)
        except (Stopped, AskingStopped):
            await self._reporter.close()
            if self._reporter.cancelled:
                return await self._end(JobState.CANCELLED, "Cancelled; the last checkpoint is kept.")
            if not self._reporter.lost:
                await self._records.hand_back(
                    JOBS,
                    self._id,
                    self._token,
                    state=JobState.QUEUED,
                    message="Interrupted by a shutdown; goes on from its last checkpoint.",
                )
            return False
        except CorellaError as error:
            self._reporter.say(f"Failed: {error.message}")
            await self._reporter.close()
            return await self._end(JobState.FAILED, error.message, error=Failure(error.code.value[0], error.reason, error.message))
        except Exception as error:
            # A fault in this program: what it was goes to the log, with the trace; the caller gets its name.
            log.exception("job_broke", job=self._id)
            self._reporter.say(traceback.format_exc(limit=-3))
            await self._reporter.close()
            message = f"The job met a fault in the trainer ({type(error).__name__}); its log and trace {current_trace_id()} tell where."
            return await self._end(JobState.FAILED, message, error=Failure(13, "INTERNAL", message))
        return True

    async def _whole(self, job: Job) -> None:
        concluding = JobConcluding(self._records, self._shelf, self._reporter)
        if (concluded := await self._patiently(lambda: concluding.again(job))) is not None:
            state, message, values = concluded
            await self._reporter.close()
            await self._end(state, message, **values)
            return
        self._reporter.show(JobState.RUNNING, "Waits for its dataset.", phase="preparing")
        dataset = await self._patiently(lambda: self._dataset(job))
        examples = await load(self._shelf, dataset.id)
        context_tokens, rank_limit, fingerprint = await self._patiently(self._base_model)
        self._reporter.show(message="Preparing the examples: rendering them as they are served.", phase="preparing")
        began = time.perf_counter()
        tokenizer = await asyncio.to_thread(HfResponseTokenizer, self._settings.base_model_folder)
        preparation = JobDataPreparation(self._shelf, self._generator, self._retriever, tokenizer, context_tokens)
        with step("prepare", {"corella.examples": len(examples)}):
            data, reused = await self._patiently(lambda: preparation.prepare(self._id, job.spec, examples, self._counted("preparing")))
        self._usage = with_usage(self._usage, preparation_seconds=0 if reused else time.perf_counter() - began)
        self._reporter.show(usage=self._usage)
        self._reporter.say(
            f"{data.training_count} examples to train on ({data.training_tokens:,} tokens), {data.validation_count} to validate on."
        )
        training = JobTraining(self._settings, self._shelf, self._reporter)
        plan = training.plan(job, data, rank_limit)
        work = Work(job, dataset, tuple(examples), data, fingerprint)
        candidate, judgement = await self._try(work, training, plan, 1)
        trials: list[Trial] = []
        if not judgement.decision.accepted and job.spec.search is not None and judgement.diagnosis is not None:
            with step("search settings", {"corella.training.trials": job.spec.search.trials}):
                better, trials = await training.search(job, plan, candidate, judgement.diagnosis.direction)
            if better is not None:
                await self._records.forget_steps(self._id)
                candidate, judgement = await self._try(work, training, better, 2)
        report = await asyncio.to_thread(lambda: self._judging.report(work, candidate, judgement, self._usage, trials))
        state, message, values = await self._patiently(lambda: concluding.conclude(work, candidate, judgement, self._usage, report))
        await self._reporter.close()
        await self._end(state, message, **values)

    async def _dataset(self, job: Job) -> Dataset:
        while True:
            # Looks while it waits are no part of the trace.
            with attached({}):
                dataset = await self._records.dataset(job.spec.dataset_id)
            if dataset.state is DatasetState.READY:
                return dataset
            if dataset.state is DatasetState.FAILED:
                why = dataset.error.message if dataset.error else "it could not be built"
                raise DatasetNotReady(f"`datasets/{dataset.id}`: {why}")
            self._check_stop()
            self._reporter.show(message=f"Waits for `datasets/{dataset.id}` to be built: {dataset.done_count} of {dataset.total_count}.")
            await asyncio.sleep(1)

    async def _base_model(self) -> tuple[int, int, str]:
        """Context, highest rank and fingerprint of the served model. Raises `BaseModelDiffers`."""
        self._check_stop()
        served = await self._generator.model()
        here = await asyncio.to_thread(base_fingerprint, self._settings.base_model_folder)
        if served.fingerprint and served.fingerprint != here:
            raise BaseModelDiffers(
                f"The generator serves {served.display_name}, whose configuration or tokenizer differs from those of "
                f"{self._settings.base_model_folder.name}, which is trained here."
            )
        return served.context_tokens, served.max_adapter_rank, here

    async def _try(self, work: Work, training: JobTraining, plan: Plan, number: int) -> tuple[Candidate, Judgement]:
        """Trains once and judges what came of it."""
        with step("train", {"corella.training.number": number, "corella.training.workers": plan.settings.worker_count}) as span:
            outcome = await training.train(plan)
            span.set_attributes({"corella.training.tokens": outcome.tokens, "corella.training.steps": len(outcome.steps)})
        self._usage = replace(
            self._usage, training_seconds=outcome.worker_seconds, tokens=outcome.tokens, worker_count=plan.settings.worker_count
        )
        candidate = Candidate(outcome, plan)
        if not outcome.diverged:
            with step("publish") as span:
                candidate = await self._publish(work, candidate, number)
                if candidate.adapter:
                    span.set_attribute("corella.adapter.name", candidate.adapter)
                    self._span.set_attribute("corella.adapter.name", candidate.adapter)
            await self._records.update(JOBS, self._id, self._token, adapter=candidate.adapter, model_uri=candidate.model_uri)
        self._reporter.show(
            JobState.EVALUATING, "Asking the held-out examples through the serving path.", usage=self._usage, phase="evaluating"
        )
        serving = (await self._shelf.serving()).adapter
        began = time.perf_counter()
        with step("judge", {"corella.adapter.name": candidate.adapter} if candidate.adapter else {}) as span:
            judgement = await self._patiently(
                lambda: self._judging.judge(
                    work, candidate, serving, on_progress=self._counted("evaluating"), should_stop=lambda: self._reporter.should_stop
                )
            )
            span.set_attribute("corella.job.verdict", "accepted" if judgement.decision.accepted else "rejected")
        self._usage = with_usage(self._usage, evaluation_seconds=time.perf_counter() - began)
        self._reporter.show(usage=self._usage)
        for reason in judgement.decision.reasons:
            self._reporter.say(reason)
        return candidate, judgement

    async def _publish(self, work: Work, candidate: Candidate, number: int) -> Candidate:
        job = work.job
        if not makes_adapter(job.spec):
            return replace(candidate, model_uri=candidate.outcome.result_url)
        # The same for every attempt of a job, so that one that was published before a crash is found again.
        made = time.strftime("%Y%m%d-%H%M%S", time.gmtime(job.create_time))
        version = f"{made}-{job.id[:6]}" + (f"-{number}" if number > 1 else "")
        name = f"adapters/{job.spec.adapter_id}/versions/{version}"
        rank = candidate.plan.settings.lora_rank
        annotations = {
            "name": name,
            "job": f"jobs/{job.id}",
            "rank": str(rank),
            "base_fingerprint": work.fingerprint,
            "create_time": f"{job.create_time:.3f}",
        }
        if self._traceparent:
            # Answers that the adapter writes link to this run.
            annotations["traceparent"] = self._traceparent
        manifest = await self._shelf.publish_adapter(job.spec.adapter_id, version, candidate.outcome.result_url, annotations)
        await self._records.put_version(
            AdapterVersion(
                name, manifest.digest, False, job.id, time.time(), rank, work.fingerprint, manifest.size, tenant=job.creator.tenant
            )
        )
        self._reporter.say(f"Published {name}, {manifest.size:,} bytes, not serving.")
        return replace(candidate, adapter=name, model_uri=candidate.outcome.merged_url)

    async def _end(self, state: JobState, message: str, **values: object) -> bool:
        self._span.set_attribute("corella.job.state", state.value)
        if state is JobState.FAILED:
            self._span.set_status(StatusCode.ERROR, state.value)
        await self._records.finish(JOBS, self._id, self._token, state=state, message=message, end_time=time.time(), **values)
        return True

    def _counted(self, phase: str) -> Callable[[int, int], None]:
        return lambda done, total: self._reporter.show(phase=phase, done_count=done, total_count=total)

    def _check_stop(self) -> None:
        if self._reporter.should_stop:
            raise Stopped

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result, however often something is away meanwhile; a job that waits says so."""
        while True:
            self._check_stop()
            try:
                return await work()
            except Unavailable as error:
                self._reporter.show(message=f"Waits: {error.message} Tries again every {_RETRY_SECONDS:.0f} s.")
                self._reporter.say(f"Waits: {error.message}")
                await asyncio.sleep(_RETRY_SECONDS)

"""What follows from a verdict: the report and the evaluation are kept, and a candidate that was accepted serves."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from services.trainer.domain import Evaluation, EvaluationNotFound, Job, JobState, TrainingUsage
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.job_judging import Candidate, Judgement, Work
from services.trainer.job_reporter import JobReporter
from services.trainer.promoting import Promoting
from services.trainer.redis_records import RedisRecords
from services.trainer.report_input import Report


class JobConcluding:
    """Concludes jobs. Doing it twice gives what doing it once gives."""

    def __init__(self, records: RedisRecords, shelf: FsspecShelf, reporter: JobReporter) -> None:
        self._records = records
        self._shelf = shelf
        self._reporter = reporter

    async def conclude(
        self, work: Work, candidate: Candidate, judgement: Judgement, usage: TrainingUsage, report: Report
    ) -> tuple[JobState, str, dict[str, Any]]:
        """Keeps everything and promotes what is to serve. The job's last state, a sentence, and what else is recorded of it."""
        job_id = work.job.id
        for name, picture in report.pictures.items():
            await self._shelf.write(f"jobs/{job_id}/report/{name}", picture)
        await self._shelf.write(f"jobs/{job_id}/report/report.md", report.markdown.encode())
        await self._records.put_evaluation(_evaluation(work.job, candidate, judgement, usage))
        values = {"adapter": candidate.adapter, "evaluation_id": job_id, "model_uri": candidate.model_uri, "usage": usage}
        if not judgement.decision.accepted:
            cause = judgement.diagnosis.cause.value.replace("_", " ") if judgement.diagnosis else "no better answers"
            message = f"Rejected, most likely because of {cause}. {judgement.decision.reasons[0]}"
            self._reporter.say(message)
            return JobState.REJECTED, message, values
        message = await self._accept(work.job, candidate.adapter, candidate.model_uri)
        self._reporter.say(message)
        return JobState.SUCCEEDED, message, values

    async def again(self, job: Job) -> tuple[JobState, str, dict[str, Any]] | None:
        """The conclusion of a job that was judged before its process died: the candidate may serve by now, and is not judged anew."""
        try:
            known = await self._records.evaluation(job.id)
        except EvaluationNotFound:
            return None
        values = {"adapter": known.adapter, "evaluation_id": job.id, "model_uri": job.model_uri, "usage": known.usage}
        if not known.accepted:
            return JobState.REJECTED, f"Rejected. {known.reasons[0]}", values
        return JobState.SUCCEEDED, await self._accept(job, known.adapter, job.model_uri), values

    async def _accept(self, job: Job, adapter: str, model_uri: str) -> str:
        if not adapter:
            return f"Accepted: a generator can serve the model at {model_uri} as its base model."
        version = await self._records.version(adapter)
        await self._records.put_version(replace(version, accepted=True))
        if job.spec.hold:
            return f"Accepted and held: `{adapter}` can be promoted."
        self._reporter.show(message="Accepted; generators are following.", phase="promoting")
        # The request id makes the promotion once-only, should this process die right after it.
        await Promoting(self._shelf, self._records).promote(adapter, f"job-{job.id}")
        return f"Accepted: `{adapter}` serves."


def _evaluation(job: Job, candidate: Candidate, judgement: Judgement, usage: TrainingUsage) -> Evaluation:
    decision, diagnosis = judgement.decision, judgement.diagnosis
    found = (*diagnosis.evidence, diagnosis.advice) if diagnosis else ()
    return Evaluation(
        id=job.id,
        job_id=job.id,
        adapter=candidate.adapter,
        accepted=decision.accepted,
        reasons=(*decision.reasons, *found),
        metrics=decision.comparisons,
        create_time=time.time(),
        metric=decision.metric,
        cause=diagnosis.cause if diagnosis else None,
        example_count=len(judgement.examples),
        canary_shift=judgement.canary or 0.0,
        serving=judgement.serving,
        corner_case_metrics=judgement.corner,
        ways=judgement.ways,
        usage=usage,
        tenant=job.creator.tenant,
    )

"""The contract's methods: messages in, messages out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from corella.v1 import trainer_pb2 as pb
from corella.v1.trainer_pb2_grpc import TrainerServiceServicer
from services.chassis import identity, page_token
from services.chassis.errors import InvalidArgument
from services.trainer import requests, responses
from services.trainer.cost_keeping import CostKeeping
from services.trainer.dataset_keeping import DatasetKeeping
from services.trainer.domain import DatasetNotFound, EvaluationNotFound, ScheduleNotFound
from services.trainer.fsspec_shelf import FsspecShelf, serving_message
from services.trainer.job_keeping import JobKeeping, require_promoting
from services.trainer.owning import of_caller
from services.trainer.promoting import Promoting
from services.trainer.redis_records import RedisRecords


class TrainerServicer(TrainerServiceServicer):
    """Speaks `corella.v1.TrainerService`."""

    def __init__(
        self,
        *,
        datasets: DatasetKeeping,
        jobs: JobKeeping,
        promoting: Promoting,
        costs: CostKeeping,
        records: RedisRecords,
        shelf: FsspecShelf,
        allowed_teachers: tuple[str, ...],
    ) -> None:
        self._datasets = datasets
        self._jobs = jobs
        self._promoting = promoting
        self._costs = costs
        self._records = records
        self._shelf = shelf
        self._allowed_teachers = allowed_teachers

    # Datasets

    async def CreateDataset(self, request_iterator: Any, context: Any) -> pb.CreateDatasetResponse:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidArgument.of([("part", "the first message must be `start`")])
        name, split = requests.dataset_start(first.start)
        dataset = await self._datasets.create(name, split, _pieces(request_iterator), first.start.request_id)
        return pb.CreateDatasetResponse(dataset=responses.dataset(dataset))

    async def BuildDataset(self, request: pb.BuildDatasetRequest, context: Any) -> pb.BuildDatasetResponse:
        dataset = await self._datasets.build(*requests.build_dataset(request, self._allowed_teachers), request.request_id)
        return pb.BuildDatasetResponse(dataset=responses.dataset(dataset))

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.GetDatasetResponse:
        found = await self._datasets.get(requests.resource_id(request.name, "datasets"))
        return pb.GetDatasetResponse(dataset=responses.dataset(found))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        found, position = await self._datasets.page(*requests.page(request, "datasets"))
        token = page_token.encode(position, "datasets")
        return pb.ListDatasetsResponse(datasets=[responses.dataset(each) for each in found], next_page_token=token)

    async def ListExamples(self, request: pb.ListExamplesRequest, context: Any) -> pb.ListExamplesResponse:
        dataset_id = requests.resource_id(request.parent, "datasets")
        found, position = await self._datasets.examples(dataset_id, *requests.page(request, request.parent))
        return pb.ListExamplesResponse(examples=found, next_page_token=page_token.encode(position, request.parent))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> pb.DeleteDatasetResponse:
        if not await self._datasets.delete(requests.resource_id(request.name, "datasets")) and not request.allow_missing:
            raise DatasetNotFound(request.name)
        return pb.DeleteDatasetResponse()

    # Jobs

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:
        job = await self._jobs.create(requests.job_spec(request.job), requests.request_id(request.request_id))
        return pb.CreateJobResponse(job=responses.job(job))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=responses.job(await self._jobs.get(requests.resource_id(request.name, "jobs"))))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        found, position = await self._jobs.page(*requests.page(request, "jobs"))
        token = page_token.encode(position, "jobs")
        return pb.ListJobsResponse(jobs=[responses.job(each) for each in found], next_page_token=token)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        async for job, steps in self._jobs.watch(requests.resource_id(request.name, "jobs"), request.after_step):
            yield pb.WatchJobResponse(job=responses.job(job), steps=[responses.step(each) for each in steps])

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=responses.job(await self._jobs.cancel(requests.resource_id(request.name, "jobs"))))

    async def GetJobLog(self, request: pb.GetJobLogRequest, context: Any) -> pb.GetJobLogResponse:
        lines, next_skip = await self._jobs.log_lines(requests.resource_id(request.name, "jobs"), max(request.skip, 0))
        return pb.GetJobLogResponse(lines=lines, next_skip=next_skip)

    async def GetJobReport(self, request: pb.GetJobReportRequest, context: Any) -> pb.GetJobReportResponse:
        markdown, pictures = await self._jobs.report(requests.resource_id(request.name, "jobs"))
        shown = [pb.ReportPicture(file_name=name, content=content) for name, content in pictures]
        return pb.GetJobReportResponse(markdown=markdown, pictures=shown)

    # Judgement and serving

    async def GetEvaluation(self, request: pb.GetEvaluationRequest, context: Any) -> pb.GetEvaluationResponse:
        found = await self._records.evaluation(requests.resource_id(request.name, "evaluations"))
        if not of_caller(found.tenant):
            raise EvaluationNotFound(request.name)
        return pb.GetEvaluationResponse(evaluation=responses.evaluation(found))

    async def ListEvaluations(self, request: pb.ListEvaluationsRequest, context: Any) -> pb.ListEvaluationsResponse:
        found, position = await self._records.page_evaluations(*requests.page(request, "evaluations"), identity.current().tenant)
        token = page_token.encode(position, "evaluations")
        return pb.ListEvaluationsResponse(evaluations=[responses.evaluation(each) for each in found], next_page_token=token)

    async def ListAdapters(self, request: pb.ListAdaptersRequest, context: Any) -> pb.ListAdaptersResponse:
        size, after = requests.page(request, "adapters")
        serving = (await self._shelf.serving()).adapter
        by_adapter: dict[str, list[pb.AdapterVersion]] = {}
        for each in filter(lambda version: of_caller(version.tenant), await self._records.versions()):
            name = each.name.partition("/versions/")[0]
            by_adapter.setdefault(name, []).append(responses.version(replace(each, serving=each.name == serving)))
        names, start = sorted(by_adapter), int(after or 0)
        position = str(start + size) if start + size < len(names) else ""
        found = [pb.Adapter(name=name, versions=by_adapter[name]) for name in names[start : start + size]]
        return pb.ListAdaptersResponse(adapters=found, next_page_token=page_token.encode(position, "adapters"))

    async def PromoteAdapter(self, request: pb.PromoteAdapterRequest, context: Any) -> pb.PromoteAdapterResponse:
        version = await self._promoting.promote(requests.version_name(request.name), requests.request_id(request.request_id))
        return pb.PromoteAdapterResponse(version=responses.version(version))

    async def RollBackAdapter(self, request: pb.RollBackAdapterRequest, context: Any) -> pb.RollBackAdapterResponse:
        version = await self._promoting.roll_back(requests.request_id(request.request_id, required=True))
        return pb.RollBackAdapterResponse(version=responses.version(version) if version else None)

    async def GetServing(self, request: pb.GetServingRequest, context: Any) -> pb.GetServingResponse:
        return pb.GetServingResponse(serving=serving_message(await self._shelf.serving()))

    # Schedules and costs

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: Any) -> pb.CreateScheduleResponse:
        schedule = replace(requests.schedule(request.schedule, self._allowed_teachers, time.time()), creator=identity.current())
        require_promoting(schedule.spec)
        await self._records.create_schedule(schedule)
        return pb.CreateScheduleResponse(schedule=responses.schedule(schedule))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Any) -> pb.ListSchedulesResponse:
        size, after = requests.page(request, "schedules")
        found, start = await self._records.schedules(identity.current().tenant), int(after or 0)
        position = str(start + size) if start + size < len(found) else ""
        shown = [responses.schedule(each) for each in found[start : start + size]]
        return pb.ListSchedulesResponse(schedules=shown, next_page_token=page_token.encode(position, "schedules"))

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Any) -> pb.DeleteScheduleResponse:
        schedule_id = requests.resource_id(request.name, "schedules")
        if not await self._records.delete_schedule(schedule_id, identity.current().tenant) and not request.allow_missing:
            raise ScheduleNotFound(request.name)
        return pb.DeleteScheduleResponse()

    async def GetCost(self, request: pb.GetCostRequest, context: Any) -> pb.GetCostResponse:
        return await self._costs.report(request.question_count)


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    async for message in stream:
        if message.WhichOneof("part") != "jsonl":
            raise InvalidArgument.of([("part", "every message after the first must be `jsonl`")])
        yield message.jsonl

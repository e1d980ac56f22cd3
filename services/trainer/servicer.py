"""`TrainerService` on the wire. The lists are empty, because nothing can be created; every other method says that it is not there yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

from corella.v1 import trainer_pb2, trainer_pb2_grpc
from services.chassis import page_token
from services.chassis.errors import Unimplemented


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    """Answers from an empty shelf."""

    async def ListDatasets(self, request: trainer_pb2.ListDatasetsRequest, context: Any) -> trainer_pb2.ListDatasetsResponse:
        """No datasets."""
        _check_page(request, "datasets")
        return trainer_pb2.ListDatasetsResponse()

    async def ListJobs(self, request: trainer_pb2.ListJobsRequest, context: Any) -> trainer_pb2.ListJobsResponse:
        """No jobs."""
        _check_page(request, "jobs")
        return trainer_pb2.ListJobsResponse()

    async def ListEvaluations(self, request: trainer_pb2.ListEvaluationsRequest, context: Any) -> trainer_pb2.ListEvaluationsResponse:
        """No evaluations."""
        _check_page(request, "evaluations")
        return trainer_pb2.ListEvaluationsResponse()

    async def ListAdapters(self, request: trainer_pb2.ListAdaptersRequest, context: Any) -> trainer_pb2.ListAdaptersResponse:
        """No adapters: the base model serves."""
        _check_page(request, "adapters")
        return trainer_pb2.ListAdaptersResponse()

    async def CreateDataset(self, request: Any, context: Any) -> trainer_pb2.CreateDatasetResponse:
        """Not there yet."""
        _not_yet("take datasets")

    async def GetDataset(self, request: Any, context: Any) -> trainer_pb2.GetDatasetResponse:
        """Not there yet."""
        _not_yet("keep datasets")

    async def DeleteDataset(self, request: Any, context: Any) -> trainer_pb2.DeleteDatasetResponse:
        """Not there yet."""
        _not_yet("keep datasets")

    async def CreateJob(self, request: Any, context: Any) -> trainer_pb2.CreateJobResponse:
        """Not there yet."""
        _not_yet("run jobs")

    async def GetJob(self, request: Any, context: Any) -> trainer_pb2.GetJobResponse:
        """Not there yet."""
        _not_yet("run jobs")

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[trainer_pb2.WatchJobResponse]:
        """Not there yet."""
        _not_yet("run jobs")
        yield trainer_pb2.WatchJobResponse()  # makes this a generator, which is what a streaming handler must be

    async def CancelJob(self, request: Any, context: Any) -> trainer_pb2.CancelJobResponse:
        """Not there yet."""
        _not_yet("run jobs")

    async def GetEvaluation(self, request: Any, context: Any) -> trainer_pb2.GetEvaluationResponse:
        """Not there yet."""
        _not_yet("judge adapters")

    async def PromoteAdapter(self, request: Any, context: Any) -> trainer_pb2.PromoteAdapterResponse:
        """Not there yet."""
        _not_yet("keep adapters")

    async def RollBackAdapter(self, request: Any, context: Any) -> trainer_pb2.RollBackAdapterResponse:
        """Not there yet."""
        _not_yet("keep adapters")


def _check_page(request: Any, what: str) -> None:
    # An empty list has one page only, and yet a bad token or size is the caller's mistake, today as later.
    page_token.page_size(request.page_size)
    page_token.decode(request.page_token, what)


def _not_yet(what: str) -> NoReturn:
    raise Unimplemented(f"This version of the trainer does not {what} yet; its lists can be asked for, and are empty.")

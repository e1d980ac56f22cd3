"""The trainer over a real channel: what it has, what it says it has not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from corella.errors import RpcFailure
from corella.v1 import trainer_pb2, trainer_pb2_grpc
from services.chassis.server import Lifecycle, make_server
from services.chassis.settings import ServerSettings
from services.trainer.app import build
from services.trainer.settings import TrainerSettings

SERVICE = "corella.v1.TrainerService"
METHODS = trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"].methods
LISTS = ("ListDatasets", "ListJobs", "ListEvaluations", "ListAdapters")


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a trainer on a free port."""
    settings = TrainerSettings(server=ServerSettings(port=0))
    async with build(settings, Lifecycle()) as servicer:
        server, health, port = make_server(
            settings.server, lambda s: trainer_pb2_grpc.add_TrainerServiceServicer_to_server(servicer, s), SERVICE
        )
        await server.start()
        await health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
            yield opened
        await server.stop(0)


async def failure_of(call: object) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return RpcFailure.from_rpc_error(caught.value)


@pytest.mark.parametrize("method", LISTS)
async def test_lists_are_empty_and_have_no_further_page(channel: grpc.aio.Channel, method: str) -> None:
    call = getattr(trainer_pb2_grpc.TrainerServiceStub(channel), method)
    response = await call(getattr(trainer_pb2, f"{method}Request")(page_size=10))
    assert response == getattr(trainer_pb2, f"{method}Response")()


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize(("fields", "field"), [({"page_token": "made-up"}, "page_token"), ({"page_size": -1}, "page_size")])
async def test_lists_refuse_bad_pages(channel: grpc.aio.Channel, method: str, fields: dict, field: str) -> None:
    call = getattr(trainer_pb2_grpc.TrainerServiceStub(channel), method)
    failure = await failure_of(call(getattr(trainer_pb2, f"{method}Request")(**fields)))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [name for name, _ in failure.violations] == [field]


@pytest.mark.parametrize("method", [m.name for m in METHODS if m.name not in LISTS])
async def test_everything_else_says_that_it_is_not_there_yet(channel: grpc.aio.Channel, method: str) -> None:
    call = getattr(trainer_pb2_grpc.TrainerServiceStub(channel), method)
    request = getattr(trainer_pb2, f"{method}Request")()
    if method == "CreateDataset":
        failure = await failure_of(call(iter([request])))
    elif method == "WatchJob":
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call(request):
                raise AssertionError("a job that does not exist was watched")
        failure = RpcFailure.from_rpc_error(caught.value)
    else:
        failure = await failure_of(call(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
    assert "does not" in failure.message


async def test_health_and_reflection_know_the_trainer(channel: grpc.aio.Channel) -> None:
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    async for answer in stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])):
        assert SERVICE in [service.name for service in answer.list_services_response.service]
        break

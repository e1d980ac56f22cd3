"""The chassis over a real socket: every kind of call, every kind of failure, as a client sees it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from corella.errors import RpcFailure
from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis import deadline
from services.chassis.channel import Remote
from services.chassis.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable, Unimplemented
from services.chassis.server import make_server
from services.chassis.settings import AuthSettings, ClientSettings, ServerSettings
from services.embedder.rules import RULES

FULL_NAME = "corella.v1.EmbedderService"


class Servicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """Does what the first text says."""

    def __init__(self) -> None:
        self.left: float | None = None
        self.cancelled = asyncio.Event()

    async def Embed(self, request, context):
        match list(request.texts):
            case ["invalid"]:
                raise InvalidArgument.of([("texts[0]", "is too long"), ("texts[1]", "is empty")], reason="TEXT_TOO_LONG")
            case ["bug"]:
                raise RuntimeError("a secret of the house")
            case ["slow"]:
                try:
                    await asyncio.sleep(30)
                finally:
                    self.cancelled.set()
            case ["left"]:
                self.left = deadline.remaining(1000)
        return embedder_pb2.EmbedResponse(model_fingerprint="0" * 16)

    async def EmbedStream(self, request_iterator, context):
        async for request in request_iterator:
            if list(request.texts) == ["full"]:
                raise ResourceExhausted("Too much is waiting.", retry_after_seconds=1.5)
            if list(request.texts) == ["bug"]:
                raise RuntimeError("a secret of the house")
            yield embedder_pb2.EmbedStreamResponse(model_fingerprint="1" * 16)


@asynccontextmanager
async def serving(**settings) -> AsyncIterator[tuple[Servicer, Remote, embedder_pb2_grpc.EmbedderServiceStub]]:
    servicer = Servicer()
    server, _health, port = make_server(
        ServerSettings(port=0, **settings), lambda s: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(servicer, s), FULL_NAME, RULES
    )
    await server.start()
    remote = Remote("embedder", ClientSettings(address=f"127.0.0.1:{port}"))
    try:
        yield servicer, remote, embedder_pb2_grpc.EmbedderServiceStub(remote.channel)
    finally:
        await remote.close()
        await server.stop(0)


def request(*texts: str) -> embedder_pb2.EmbedRequest:
    return embedder_pb2.EmbedRequest(texts=texts)


async def test_a_violation_crosses_the_wire_with_reason_and_every_field():
    async with serving() as (_, _remote, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(request("invalid"))
    failure = RpcFailure.from_rpc_error(caught.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "TEXT_TOO_LONG"
    assert failure.violations == (("texts[0]", "is too long"), ("texts[1]", "is empty"))
    assert "texts[0]: is too long" in failure.message


async def test_another_services_error_is_raised_as_the_same_error_here():
    async with serving() as (_, remote, stub):
        with pytest.raises(InvalidArgument) as caught:
            await remote.call(stub.Embed, request("invalid"))
    assert caught.value.reason == "TEXT_TOO_LONG"
    assert len(caught.value.violations) == 2


async def test_an_unexpected_error_is_internal_and_its_text_stays_here():
    async with serving() as (_, _remote, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(request("bug"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()


async def test_a_stream_that_fails_half_way_keeps_its_responses_and_says_when_to_retry():
    async def requests():
        yield embedder_pb2.EmbedStreamRequest(texts=["a"])
        yield embedder_pb2.EmbedStreamRequest(texts=["full"])

    got = []
    async with serving() as (_, remote, stub):
        with pytest.raises(ResourceExhausted) as caught:
            async for response in remote.stream(stub.EmbedStream, requests()):
                got.append(response.model_fingerprint)
    assert got == ["1" * 16]
    assert caught.value.retry_after_seconds == 1.5


async def test_an_unexpected_error_in_a_stream_is_internal_and_its_text_stays_here():
    async def requests():
        yield embedder_pb2.EmbedStreamRequest(texts=["bug"])

    async with serving() as (_, _remote, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _response in stub.EmbedStream(requests()):
                pass
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()


async def test_undecodable_bytes_are_the_callers_fault():
    async with serving() as (_, remote, _stub):
        raw = remote.channel.unary_unary(f"/{FULL_NAME}/Embed")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(b"\xff\xff\xff")
    failure = RpcFailure.from_rpc_error(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_UNDECODABLE")


async def test_undecodable_bytes_in_a_stream_are_the_callers_fault():
    async def requests():
        yield b"\xff\xff\xff"

    async with serving() as (_, remote, _stub):
        raw = remote.channel.stream_stream(f"/{FULL_NAME}/EmbedStream")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _response in raw(requests()):
                pass
    assert RpcFailure.from_rpc_error(caught.value).reason == "REQUEST_UNDECODABLE"


async def test_a_method_left_out_is_unimplemented_by_name():
    async with serving() as (_, remote, stub):
        with pytest.raises(Unimplemented, match="Rerank"):
            await remote.call(stub.Rerank, embedder_pb2.RerankRequest())


async def test_a_call_without_a_deadline_gets_the_servers_maximum():
    async with serving(max_deadline_seconds=0.2) as (servicer, _remote, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(request("slow"))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(servicer.cancelled.wait(), 1)


async def test_what_is_left_of_the_clients_deadline_is_known_inside():
    async with serving(max_deadline_seconds=60) as (servicer, _remote, stub):
        await stub.Embed(request("left"), timeout=5)
    assert servicer.left is not None
    assert 4 < servicer.left < 5.5  # gRPC rounds up


async def test_a_client_that_hangs_up_cancels_the_work():
    async with serving() as (servicer, _remote, stub):
        call = stub.Embed(request("slow"))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.wait_for(servicer.cancelled.wait(), 1)


async def test_an_outgoing_call_is_not_begun_when_no_time_is_left():
    async with serving() as (_, remote, stub):
        deadline.set_remaining(-1)
        with pytest.raises(DeadlineExceeded):
            await remote.call(stub.Embed, request("left"))


async def test_a_service_that_is_not_there_is_named():
    remote = Remote("embedder", ClientSettings(address="127.0.0.1:1"))
    stub = embedder_pb2_grpc.EmbedderServiceStub(remote.channel)
    with pytest.raises(Unavailable, match="The embedder cannot be reached") as caught:
        await remote.call(stub.Embed, request("a"))
    assert caught.value.reason == "EMBEDDER_UNAVAILABLE"
    await remote.close()


async def test_tokens_open_the_service_and_nothing_else_does(tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text("# who may call\nalice:" + hashlib.sha256(b"open sesame").hexdigest() + "\n")
    async with serving(auth=AuthSettings(tokens_file=tokens)) as (_, remote, stub):
        answered = await stub.Embed(request("a"), metadata=[("authorization", "Bearer open sesame")])
        assert answered.model_fingerprint
        for metadata, reason in [
            ([], "TOKEN_MISSING"),
            ([("authorization", "Basic open sesame")], "TOKEN_MISSING"),
            ([("authorization", "Bearer wrong")], "TOKEN_INVALID"),
        ]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Embed(request("a"), metadata=metadata)
            failure = RpcFailure.from_rpc_error(caught.value)
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _response in stub.EmbedStream(iter([embedder_pb2.EmbedStreamRequest(texts=["a"])])):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        # Probes have no token.
        await health_pb2_grpc.HealthStub(remote.channel).Check(health_pb2.HealthCheckRequest())


async def test_reflection_lists_the_service():
    async with serving() as (_, remote, _stub):
        stub = reflection_pb2_grpc.ServerReflectionStub(remote.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        async for answer in stub.ServerReflectionInfo(asked):
            assert FULL_NAME in {service.name for service in answer.list_services_response.service}
            break


async def test_a_message_over_the_limit_is_refused():
    async with serving(max_message_bytes=1024) as (_, _remote, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(request("x" * 5000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

"""The service config over real sockets: calls are spread over replicas, lost ones are made again where they may be, within a budget."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from corella.client import Addresses, Corella
from corella.service_config import ATTEMPTS, BUDGET_REFILL, BUDGET_TOKENS, repeatable_methods, service_config
from corella.v1 import embedder_pb2, embedder_pb2_grpc, generator_pb2, generator_pb2_grpc, retriever_pb2, source_pb2, trainer_pb2
from services.chassis.channel import Remote
from services.chassis.draining import drain
from services.chassis.errors import CorellaError, Unavailable
from services.chassis.server import make_server
from services.chassis.settings import ClientSettings, ServerSettings
from services.embedder.rules import RULES as EMBEDDER_RULES
from services.generator.rules import RULES as GENERATOR_RULES

REQUEST = embedder_pb2.EmbedRequest(texts=["a"])


class Replica(embedder_pb2_grpc.EmbedderServiceServicer, generator_pb2_grpc.GeneratorServiceServicer):
    """One of several servers of a service. Counts calls; while `hold` is set it answers none."""

    def __init__(self, error: CorellaError | None = None) -> None:
        self.calls = 0
        self.peers: list[str] = []
        self.error = error
        self.hold = asyncio.Event()
        self.hold.set()

    async def Embed(self, request: Any, context: Any) -> embedder_pb2.EmbedResponse:
        self.calls += 1
        self.peers.append(context.peer())
        await self.hold.wait()
        if self.error is not None:
            raise self.error
        return embedder_pb2.EmbedResponse()

    async def Ask(self, request: Any, context: Any) -> AsyncIterator[generator_pb2.AskResponse]:
        self.calls += 1
        await self.hold.wait()
        yield generator_pb2.AskResponse()


@asynccontextmanager
async def replicas(count: int, **settings: Any) -> AsyncIterator[tuple[list[Replica], list[grpc.aio.Server], str]]:
    """Servers, and a target that names all of them, as a headless service's name does."""
    made, servers, ports = [Replica() for _ in range(count)], [], []
    for replica in made:

        def add(server: grpc.aio.Server, replica: Replica = replica) -> None:
            embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(replica, server)
            generator_pb2_grpc.add_GeneratorServiceServicer_to_server(replica, server)

        rules = {**EMBEDDER_RULES, **GENERATOR_RULES}
        server, _, port = make_server(ServerSettings(port=0, **settings), add, "corella.v1.EmbedderService", rules)
        await server.start()
        servers.append(server)
        ports.append(port)
    try:
        yield made, servers, "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    finally:
        for server in servers:
            await server.stop(0)


@asynccontextmanager
async def calling(target: str, seconds: float = 10) -> AsyncIterator[tuple[Remote, Any]]:
    remote = Remote("embedder", ClientSettings(address=target, timeout_seconds=seconds))
    try:
        yield remote, embedder_pb2_grpc.EmbedderServiceStub(remote.channel)
    finally:
        await remote.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_what_only_reads_may_be_repeated_and_what_makes_something_may_not():
    known = Counter(method for _, method in repeatable_methods())
    files = (embedder_pb2, generator_pb2, retriever_pb2, source_pb2, trainer_pb2)
    every = [m.name for file in files for service in file.DESCRIPTOR.services_by_name.values() for m in service.methods]
    reads = {name for name in every if name.startswith(("Get", "List", "Watch", "Wait", "BatchGet", "Audit", "Count"))}
    assert len(reads) > 25
    assert reads <= set(known)
    # With a `request_id` of their caller they can be repeated, which a channel does not know; and a text is not written twice unasked.
    once = {name for name in every if name.startswith(("Create", "Ingest", "Import", "Build", "Delete", "Promote", "RollBack", "Reindex"))}
    once = once - {"CreateFeedback"} | {
        "Ask",
        "Complete",
        "Summarize",
        "SyncSource",
        "RetryDocuments",
        "UpdateDocumentAccess",
        "UpdateSource",
    }
    assert len(once) > 18
    assert not once & set(known)


def test_the_config_names_methods_by_the_contracts_and_stays_within_what_grpc_allows():
    config = json.loads(service_config())
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    (methods,) = config["methodConfig"]
    assert {"service": "corella.v1.RetrieverService", "method": "Search"} in methods["name"]
    assert {"service": "corella.v1.GeneratorService", "method": "Ask"} not in methods["name"]
    assert methods["retryPolicy"]["maxAttempts"] <= 5
    assert config["retryThrottling"] == {"maxTokens": BUDGET_TOKENS, "tokenRatio": BUDGET_REFILL}


async def test_calls_are_shared_by_the_replicas_of_a_service():
    async with replicas(2) as (made, _, target), calling(target) as (remote, stub):
        await until_both_are_connected(remote, stub, made)
        before = [each.calls for each in made]
        await asyncio.gather(*(remote.call(stub.Embed, REQUEST) for _ in range(40)))
        assert [each.calls - was for each, was in zip(made, before, strict=True)] == [20, 20]


async def until_both_are_connected(remote: Remote, stub: Any, made: list[Replica]) -> None:
    async with asyncio.timeout(10):
        while not all(each.calls for each in made):
            await remote.call(stub.Embed, REQUEST)


def test_the_public_client_shares_its_calls_too():
    counted = asyncio.run(_ask_from_a_thread())
    assert sum(counted) >= 20
    assert min(counted) >= 5


async def _ask_from_a_thread() -> list[int]:
    async with replicas(2) as (made, _, target):

        def ask() -> None:
            with Corella(Addresses(embedder=target)) as corella:
                for _ in range(20):
                    corella.embedder.Embed(REQUEST, timeout=10)
                while not all(each.calls >= 5 for each in made):
                    corella.embedder.Embed(REQUEST, timeout=10)

        await asyncio.wait_for(asyncio.to_thread(ask), 20)
        return [each.calls for each in made]


async def test_a_replica_that_dies_costs_no_call_that_may_be_repeated():
    async with replicas(2) as (made, servers, target), calling(target) as (remote, stub):
        await until_both_are_connected(remote, stub, made)
        for each in made:
            each.hold.clear()
        under_way = [asyncio.create_task(remote.call(stub.Embed, REQUEST)) for _ in range(40)]
        before = sum(each.calls for each in made)
        await until(lambda: sum(each.calls for each in made) >= before + 40 - 2)
        await servers[0].stop(0)
        for each in made:
            each.hold.set()
        await asyncio.gather(*under_way)
        # Also those that begin while it is gone.
        await asyncio.gather(*(remote.call(stub.Embed, REQUEST) for _ in range(20)))


async def test_a_question_that_may_have_been_read_is_not_asked_twice():
    async with replicas(2) as (made, servers, target), calling(target) as (remote, _):
        stub = generator_pb2_grpc.GeneratorServiceStub(remote.channel)
        for each in made:
            each.hold.clear()
        asking = asyncio.create_task(_read(remote.stream(stub.Ask, generator_pb2.AskRequest(question="How long?"))))
        await until(lambda: sum(each.calls for each in made) == 1)
        await servers[made.index(next(each for each in made if each.calls))].stop(0)
        with pytest.raises(Unavailable):
            await asking
        assert sum(each.calls for each in made) == 1


async def _read(stream: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in stream]


async def test_repeating_ends_when_its_budget_is_used_up():
    """Before a service that is overrun, something in between answers UNAVAILABLE to everything, and does not say what to do then."""
    seen = 0

    async def refuse(_request: bytes, context: grpc.aio.ServicerContext) -> None:
        nonlocal seen
        seen += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("corella.v1.EmbedderService", {"Embed": grpc.unary_unary_rpc_method_handler(refuse)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    callers, calls = 20, 400
    async with calling(f"127.0.0.1:{port}") as (remote, stub):

        async def call() -> None:
            for _ in range(calls // callers):
                with pytest.raises(Unavailable):
                    await remote.call(stub.Embed, REQUEST)

        await asyncio.gather(*(call() for _ in range(callers)))
    await server.stop(0)
    assert calls + 10 < seen <= calls + BUDGET_TOKENS // 2 + callers, f"without a budget it would be {calls * ATTEMPTS}"


async def test_what_a_service_says_in_its_own_words_is_not_asked_again():
    async with replicas(1) as (made, _, target), calling(target) as (remote, stub):
        made[0].error = Unavailable("The model is not there.", reason="MODEL_UNAVAILABLE")
        with pytest.raises(Unavailable) as caught:
            await remote.call(stub.Embed, REQUEST)
        assert (caught.value.reason, caught.value.retry_after_seconds) == ("MODEL_UNAVAILABLE", 2.0)
        assert made[0].calls == 1
        assert ATTEMPTS > 1


async def test_a_replica_that_is_replaced_costs_no_question():
    """Questions are not repeated, so none may be on its way to a server that stops: channels are told before."""
    settings = ServerSettings(port=0, drain_delay_seconds=0.1, drain_seconds=5)
    rules = {**EMBEDDER_RULES, **GENERATOR_RULES}

    async def started(port: int) -> tuple[grpc.aio.Server, Any, int]:
        def add(server: grpc.aio.Server) -> None:
            generator_pb2_grpc.add_GeneratorServiceServicer_to_server(Replica(), server)

        made = make_server(settings.model_copy(update={"port": port}), add, "corella.v1.GeneratorService", rules)
        await made[0].start()
        return made

    here = [await started(0), await started(0)]
    ports = [port for _, _, port in here]
    stopping, answered = asyncio.Event(), 0
    async with calling("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)) as (remote, _):
        stub = generator_pb2_grpc.GeneratorServiceStub(remote.channel)

        async def ask() -> None:
            nonlocal answered
            while not stopping.is_set():
                answered += len(await _read(remote.stream(stub.Ask, generator_pb2.AskRequest(question="How long?"))))

        asking = [asyncio.create_task(ask()) for _ in range(16)]
        for turn in range(6):
            await asyncio.sleep(0.3)
            server, health, port = here[turn % 2]
            await drain(settings, server, health, None, at_once=False)
            here[turn % 2] = await started(port)
        stopping.set()
        await asyncio.gather(*asking)
    for server, _, _ in here:
        await server.stop(0)
    assert answered > 100


async def test_a_connection_ends_with_age_and_the_calls_on_it_do_not():
    async with replicas(1, max_connection_age_seconds=0.3, max_deadline_seconds=10) as (made, _, target), calling(target) as (remote, stub):
        made[0].hold.clear()
        under_way = asyncio.create_task(remote.call(stub.Embed, REQUEST))
        await asyncio.sleep(1.2)
        assert not under_way.done()
        made[0].hold.set()
        await under_way
        await remote.call(stub.Embed, REQUEST)
    assert len(set(made[0].peers)) == 2, "the second call came over a connection of its own"

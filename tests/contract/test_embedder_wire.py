"""The embedder as its clients meet it: a real process with the real model, called over a socket.

Two processes are started for this file (about ten seconds each): one as it comes, one with a reranking model and a short queue.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from corella.errors import RpcFailure
from corella.v1 import embedder_pb2 as pb
from corella.v1.embedder_pb2_grpc import EmbedderServiceStub

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".corella/models/all-MiniLM-L6-v2"
SERVICE = "corella.v1.EmbedderService"
LONG = "warranty " * 400


@contextmanager
def embedder(**settings: object) -> Iterator[str]:
    """A running embedder's address. Ends it by SIGTERM and checks that it ends well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"server__port": port, "compute__threads": 2, "model__folder": MODEL, **settings}
    environment = {**os.environ, **{f"CORELLA_EMBEDDER_{name.upper()}": str(value) for name, value in variables.items()}}
    process = subprocess.Popen([sys.executable, "-m", "services.embedder"], cwd=ROOT, env=environment)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
        yield f"127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with embedder() as running:
        yield running


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, very small cross-encoder whose weights are random, with the default model's tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "tiny-cross-encoder"
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(num_labels=1, max_position_embeddings=64, initializer_range=0.5, **shape))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(MODEL / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def reranking_address(cross_encoder: Path) -> Iterator[str]:
    with embedder(reranker__folder=cross_encoder, batching__queue_tokens=2000) as running:
        yield running


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return EmbedderServiceStub(channel)


@pytest.fixture
async def reranking_stub(reranking_address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(reranking_address) as opened:
        yield EmbedderServiceStub(opened)


async def failure_of(call: Any) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return RpcFailure.from_rpc_error(error.value)


async def test_the_model_describes_itself(stub: Any) -> None:
    model = (await stub.GetModel(pb.GetModelRequest())).model
    assert (model.display_name, model.dimensions, model.max_tokens, model.normalized) == ("all-MiniLM-L6-v2", 384, 256, True)
    assert len(model.fingerprint) == 16
    assert set(model.fingerprint) <= set("0123456789abcdef")
    assert model.reranker_display_name == ""


async def test_vectors_are_those_of_sentence_transformers(stub: Any) -> None:
    from sentence_transformers import SentenceTransformer

    pages = [page.read_text() for page in sorted((ROOT / "samples/pages/products").glob("*.md"))]
    texts = ["Is it waterproof?", *(page[start : start + 600] for page in pages for start in range(0, len(page) - 600, 600)), LONG]
    response = await stub.Embed(pb.EmbedRequest(texts=texts, truncation=pb.TRUNCATION_TRUNCATE))
    ours = np.array([embedding.values for embedding in response.embeddings])
    theirs = SentenceTransformer(str(MODEL), device="cpu").encode(texts)
    cosines = (ours * theirs).sum(1)
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.998


async def test_texts_that_are_too_long_are_each_named_and_cut_only_on_request(stub: Any) -> None:
    failure = await failure_of(stub.Embed(pb.EmbedRequest(texts=[LONG, "short", LONG + "and more"])))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG")
    assert [field for field, _ in failure.violations] == ["texts[0]", "texts[2]"]
    response = await stub.Embed(pb.EmbedRequest(texts=[LONG, "short"], truncation=pb.TRUNCATION_TRUNCATE))
    assert [(one.token_count, one.truncated) for one in response.embeddings] == [(256, True), (3, False)]


async def test_every_violation_of_a_request_is_listed(stub: Any) -> None:
    request = pb.EmbedRequest(texts=["fine", "", " \n"], input_type=9, truncation=7)  # type: ignore[arg-type]
    failure = await failure_of(stub.Embed(request))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _ in failure.violations] == ["texts[1]", "texts[2]", "input_type", "truncation"]


@pytest.mark.parametrize("count", [0, 2049])
async def test_a_call_takes_1_to_2048_texts(stub: Any, count: int) -> None:
    failure = await failure_of(stub.Embed(pb.EmbedRequest(texts=["a"] * count)))
    assert [field for field, _ in failure.violations] == ["texts"]


async def test_tokens_are_counted_without_special_ones(stub: Any) -> None:
    response = await stub.CountTokens(pb.CountTokensRequest(texts=["warranty", "", LONG]))
    embedded = await stub.Embed(pb.EmbedRequest(texts=["warranty"]))
    assert list(response.counts) == [embedded.embeddings[0].token_count - 2, 0, 800]
    assert response.model_fingerprint == embedded.model_fingerprint
    assert (await failure_of(stub.CountTokens(pb.CountTokensRequest()))).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_answers_each_request_in_order_without_waiting_for_the_next(stub: Any) -> None:
    single = await stub.Embed(pb.EmbedRequest(texts=["alpha", "beta", "gamma"]))
    call = stub.EmbedStream()
    for texts in (["alpha"], ["beta", "gamma"]):
        await call.write(pb.EmbedStreamRequest(texts=texts))
        response = await call.read()
        expected = (
            [one.values for one in single.embeddings][: len(texts)] if texts == ["alpha"] else [one.values for one in single.embeddings][1:]
        )
        assert np.allclose([one.values for one in response.embeddings], expected, atol=0.02)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_the_first_error_ends_a_stream(stub: Any) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield pb.EmbedStreamRequest(texts=["fine"])
        yield pb.EmbedStreamRequest(texts=["fine", LONG])
        yield pb.EmbedStreamRequest(texts=["never reached"])

    received = []

    async def read() -> None:
        async for response in stub.EmbedStream(requests()):
            received.append(len(response.embeddings))

    failure = await failure_of(read())
    assert (failure.reason, received) == ("TEXT_TOO_LONG", [1])
    assert [field for field, _ in failure.violations] == ["texts[1]"]


async def test_without_a_reranking_model_rerank_says_so(stub: Any) -> None:
    failure = await failure_of(stub.Rerank(pb.RerankRequest(query="q", texts=["a"])))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RERANKER_NOT_CONFIGURED")


async def test_bytes_that_are_no_request_are_the_callers_fault(channel: grpc.aio.Channel) -> None:
    for method in ("Embed", "Rerank", "CountTokens", "GetModel"):
        failure = await failure_of(channel.unary_unary(f"/{SERVICE}/{method}")(b"\xff\xff\xff"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_UNDECODABLE")


async def test_a_deadline_ends_a_long_call_and_its_texts_leave_the_queue(stub: Any) -> None:
    failure = await failure_of(stub.Embed(pb.EmbedRequest(texts=["word " * 200] * 500), timeout=1.0))
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    started = time.perf_counter()
    await asyncio.gather(*(stub.Embed(pb.EmbedRequest(texts=["still quick"])) for _ in range(5)))
    # What was left of the long call would take far longer, on two cores about eight seconds.
    assert time.perf_counter() - started < 4


async def test_a_query_does_not_wait_for_a_long_call(stub: Any) -> None:
    long = asyncio.ensure_future(stub.Embed(pb.EmbedRequest(texts=["word " * 200] * 200)))
    await asyncio.sleep(0.5)
    await stub.Embed(pb.EmbedRequest(texts=["which one?"], input_type=pb.INPUT_TYPE_QUERY))
    assert not long.done()
    long.cancel()


async def test_health_and_reflection_answer(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await listing.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in (await listing.read()).list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    listing.cancel()


async def test_a_full_queue_refuses_calls_and_slows_streams(reranking_stub: Any) -> None:
    texts = ["word " * 100] * 19
    calls = [asyncio.ensure_future(reranking_stub.Embed(pb.EmbedRequest(texts=texts))) for _ in range(12)]
    # One refusal says that another call holds the queue; a stream that came first would see all twelve refused.
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)

    async def requests() -> AsyncIterator[Any]:
        for _ in range(6):
            yield pb.EmbedStreamRequest(texts=texts[:5])

    streamed = [len(response.embeddings) async for response in reranking_stub.EmbedStream(requests())]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [RpcFailure.from_rpc_error(outcome) for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert streamed == [5] * 6
    assert 0 < len(refused) < len(calls)
    assert {(one.code, one.reason) for one in refused} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")}
    assert all(one.retry_after_seconds for one in refused)


async def test_reranking_is_the_cross_encoders(reranking_stub: Any, cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder

    query, texts = (
        "how long is the warranty",
        ["Thirty-six months.", "Blue, green, or red as you like.", "It depends on the region.", "No."],
    )
    response = await reranking_stub.Rerank(pb.RerankRequest(query=query, texts=texts))
    theirs = CrossEncoder(str(cross_encoder), device="cpu").predict([(query, one) for one in texts])
    ours = {result.index: result.score for result in response.results}
    assert np.allclose([ours[index] for index in range(4)], theirs, atol=0.03)
    assert [result.score for result in response.results] == sorted(ours.values(), reverse=True)
    assert np.ptp(theirs) > 0.1, "the scores are too alike for this test to say anything"
    best = await reranking_stub.Rerank(pb.RerankRequest(query=query, texts=texts, limit=2))
    assert [result.index for result in best.results] == [result.index for result in response.results[:2]]
    assert best.model_fingerprint == response.model_fingerprint
    assert (await reranking_stub.GetModel(pb.GetModelRequest())).model.reranker_display_name == "tiny-cross-encoder"


async def test_what_reranking_cannot_take_is_named(reranking_stub: Any) -> None:
    failure = await failure_of(reranking_stub.Rerank(pb.RerankRequest(query=" ", texts=["a", ""], limit=-1)))
    assert {field for field, _ in failure.violations} == {"query", "texts[1]", "limit"}
    failure = await failure_of(reranking_stub.Rerank(pb.RerankRequest(query="q", texts=["a", LONG])))
    assert (failure.reason, [field for field, _ in failure.violations]) == ("TEXT_TOO_LONG", ["texts[1]"])
    failure = await failure_of(reranking_stub.Rerank(pb.RerankRequest(query=LONG, texts=["a"], truncation=pb.TRUNCATION_TRUNCATE)))
    assert (failure.reason, [field for field, _ in failure.violations]) == ("TEXT_TOO_LONG", ["query"])
    cut = await reranking_stub.Rerank(pb.RerankRequest(query="q", texts=["a", LONG], truncation=pb.TRUNCATION_TRUNCATE))
    assert {result.index: result.truncated for result in cut.results} == {0: False, 1: True}

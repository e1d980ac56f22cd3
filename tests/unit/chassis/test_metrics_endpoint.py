"""The Prometheus endpoint as a scraper sees it, of one process and of a parent with forked children."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, Counter, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_metrics
from prometheus_client.registry import Collector

from services.chassis import metrics_endpoint
from services.chassis.metrics_children import ChildrenMetrics
from services.chassis.metrics_endpoint import ProcessRegistry, serve_metrics
from services.chassis.metrics_prometheus import PrometheusCollector, PrometheusReader, prometheus_unit
from services.chassis.sampling import KeptExemplars, RecordingSampler
from services.chassis.settings import TelemetrySettings

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def scrape(port: int, accept: str = OPEN_METRICS) -> str:
    """As Prometheus does it."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(asked, timeout=5) as response:
        return response.read().decode()


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in open_metrics(text)}


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Measuring:
    """A meter and a tracer with a Prometheus reader."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.reader = PrometheusReader()
        kept = KeptExemplars(lambda span: span.get_span_context().trace_flags.sampled)
        self.meter = MeterProvider(metric_readers=[self.reader], exemplar_filter=kept, shutdown_on_exit=False).get_meter("test")
        self.tracer = TracerProvider(sampler=RecordingSampler(ratio), shutdown_on_exit=False).get_tracer("test")

    def collectors(self) -> list[Collector]:
        return [PrometheusCollector(self.reader), ProcessCollector(registry=None)]


@contextmanager
def serving(collectors: list[Collector]) -> Iterator[int]:
    port = find_free_port()
    end = serve_metrics(TelemetrySettings(metrics_port=port), collectors)
    try:
        yield port
    finally:
        end()


def test_names_units_and_values_are_as_opentelemetry_writes_them_for_prometheus():
    here = Measuring()
    here.meter.create_histogram("rpc.server.call.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]).record(
        0.5, {"rpc.method": "a/B", "rpc.response.status_code": "OK"}
    )
    here.meter.create_counter("corella.usage.seconds", unit="s").add(2.5, {"corella.component": "engine"})
    here.meter.create_counter("corella.answers", unit="{answer}").add(3)
    here.meter.create_up_down_counter("corella.open", unit="By").add(-4)
    here.meter.create_gauge("corella.full", unit="1").set(0.25)
    here.meter.create_histogram("corella.search.top_score", unit="1", explicit_bucket_boundaries_advisory=[0.5]).record(0.7)
    with serving(here.collectors()) as port:
        found = families(scrape(port))
        plain = {sample.name: sample.value for family in text_metrics(scrape(port, "text/plain")) for sample in family.samples}
    buckets = {s.labels["le"]: s.value for s in found["rpc_server_call_duration_seconds"].samples if s.name.endswith("_bucket")}
    assert buckets == {"0.1": 0, "1.0": 1, "+Inf": 1}
    assert found["rpc_server_call_duration_seconds"].samples[0].labels["rpc_method"] == "a/B"
    assert plain["rpc_server_call_duration_seconds_sum"] == 0.5
    assert plain["corella_usage_seconds_total"] == 2.5
    assert plain["corella_answers_total"] == 3
    assert plain["corella_open_bytes"] == -4
    assert plain["corella_full_ratio"] == 0.25
    assert plain["corella_search_top_score_count"] == 1
    assert plain["process_resident_memory_bytes"] > 0
    assert "service_name" in found["target"].samples[0].labels


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        ("s", "seconds"),
        ("By", "bytes"),
        ("{token}", ""),
        ("1", ""),
        ("{token}/s", "per_second"),
        ("By/s", "bytes_per_second"),
        ("%", "percent"),
        ("", ""),
    ],
)
def test_units(unit, written):
    assert prometheus_unit(unit) == written


def test_a_bucket_has_the_last_kept_trace_that_fell_into_it_as_its_exemplar():
    here, never = Measuring(ratio=1.0), Measuring(ratio=0.0)
    duration = here.meter.create_histogram("duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    with here.tracer.start_as_current_span("a") as span:
        duration.record(0.1)
    with never.tracer.start_as_current_span("not sampled"):
        duration.record(0.5)
    with serving(here.collectors()) as port:
        for _ in range(2):  # a second scraper gets it too
            found = {s.labels["le"]: s.exemplar for s in families(scrape(port))["duration_seconds"].samples if "le" in s.labels}
            assert found["0.1"].labels == {
                "trace_id": trace.format_trace_id(span.get_span_context().trace_id),
                "span_id": trace.format_span_id(span.get_span_context().span_id),
            }
            assert found["0.1"].value == 0.1
            assert abs(float(found["0.1"].timestamp) - time.time()) < 60
            assert (found["1.0"], found["+Inf"]) == (None, None)
        assert "trace_id" not in scrape(port, "text/plain")


def test_it_answers_while_the_main_thread_computes():
    here = Measuring()
    answers: list[str] = []
    with serving(here.collectors()) as port:
        threading.Thread(target=lambda: answers.append(scrape(port)), daemon=True).start()
        ends_at = time.monotonic() + 10
        while not answers and time.monotonic() < ends_at:
            sum(math.sqrt(number) for number in range(10_000))
    assert "process_cpu_seconds_total" in answers[0]


def test_a_scraper_that_does_not_read_does_not_keep_the_process_from_ending():
    with serving(Measuring().collectors()) as port:
        idle = socket.create_connection(("127.0.0.1", port))
        began = time.monotonic()
    assert time.monotonic() - began < 2
    idle.close()


def test_a_collector_that_fails_is_an_error_for_the_scraper_and_for_nobody_else():
    class Failing(Collector):
        def collect(self):
            raise RuntimeError

    with serving([Failing()]) as port:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            scrape(port)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=5)


def test_a_taken_port_is_an_error_in_the_log_and_served_as_soon_as_it_is_free(monkeypatch, caplog):
    monkeypatch.setattr(metrics_endpoint, "_BIND_AGAIN_SECONDS", 0.05)
    told = []
    monkeypatch.setattr(metrics_endpoint.log, "error", lambda event, **_: told.append(event))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        end = serve_metrics(TelemetrySettings(metrics_port=port), Measuring().collectors())
        assert told[0] == "metrics_port_taken"
    try:
        assert eventually(lambda: "process_cpu" in scrape(port))
    finally:
        end()
    with pytest.raises(OSError):
        scrape(port)


def test_what_libraries_count_is_shown_where_it_is_asked_for():
    counter = Counter("library:things", "Things of a library.", registry=REGISTRY)
    try:
        counter.inc()
        with serving([PrometheusCollector(Measuring().reader), ProcessRegistry()]) as port:
            found, plain = families(scrape(port)), scrape(port, "text/plain")
        # Prometheus 2 asks so, and gets names with colons all the same.
        assert found["library:things"].samples[0].value == 1
        assert "library:things_total 1.0" in plain
        assert "process_resident_memory_bytes" in found
    finally:
        REGISTRY.unregister(counter)


def child(children: ChildrenMetrics, count: int, told: Any) -> None:
    """A forked child: counts, gauges and measures, then waits for the end."""
    here = Measuring()
    end = children.report(here.collectors())
    here.meter.create_counter("corella.ingest.documents").add(count, {"outcome": "active"})
    here.meter.create_gauge("corella.busy").set(count)
    with here.tracer.start_as_current_span("document"):
        here.meter.create_histogram("corella.ingest.document.duration", unit="s").record(0.2)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    told.put(os.getpid())
    while not stop:
        time.sleep(0.01)
    here.meter.create_counter("corella.last.words").add(1)
    end()


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        try:
            if condition():
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def test_the_parent_shows_its_childrens_metrics_by_slot_and_a_successor_takes_the_slot():
    fork = multiprocessing.get_context("fork")
    told = fork.SimpleQueue()
    port = find_free_port()
    children = ChildrenMetrics(TelemetrySettings(metrics_port=port), write_every_seconds=0.3)
    folder = children._folder
    assert folder is not None
    assert folder.stat().st_mode & 0o077 == 0

    def start(count: int) -> Any:
        process = fork.Process(target=child, args=(children, count, told))
        process.start()
        told.get()
        return process

    def values(name: str) -> dict[str, float]:
        text = scrape(port)
        found = [sample for family in open_metrics(text) for sample in family.samples if sample.name == name]
        return {sample.labels.get("corella_child", ""): sample.value for sample in found}

    processes = [start(3), start(5)]
    try:
        children.serve()
        assert eventually(lambda: sorted(values("corella_ingest_documents_total").values()) == [3, 5])
        assert set(values("corella_ingest_documents_total")) == {"0", "1"}
        assert eventually(lambda: set(values("process_resident_memory_bytes")) == {"", "0", "1"})
        assert eventually(lambda: set(values("corella_busy")) == {"0", "1"})
        assert any(sample.exemplar for sample in families(scrape(port))["corella_ingest_document_duration_seconds"].samples)
        first, second = (values("corella_ingest_documents_total")[slot] for slot in ("0", "1"))

        processes[0].terminate()
        processes[0].join(10)
        assert values("corella_last_words_total")["0" if first == 3 else "1"] == 1
        # It is over: what it counted stays, what it gauged goes.
        assert eventually(lambda: len(values("corella_busy")) == 1)
        assert sorted(values("corella_ingest_documents_total").values()) == [3, 5]

        os.kill(processes[1].pid, signal.SIGKILL)
        processes[1].join(10)
        processes += [start(7), start(11)]
        assert eventually(lambda: sorted(values("corella_ingest_documents_total").values()) == [7, 11])
        assert set(values("corella_ingest_documents_total")) == {"0", "1"}
        assert {first, second} == {3, 5}
    finally:
        for process in processes:
            process.kill()
            process.join()
        children.close()
    assert not folder.exists()


def test_without_a_port_children_report_to_nobody():
    children = ChildrenMetrics(TelemetrySettings())
    children.serve()
    children.report(Measuring().collectors())()
    children.close()
    assert children._folder is None


def test_a_parent_that_ends_leaves_no_folder_though_a_child_ended_before(tmp_path):
    program = """
import os
from services.chassis.metrics_children import ChildrenMetrics
from services.chassis.settings import TelemetrySettings
children = ChildrenMetrics(TelemetrySettings(metrics_port=1))
if not os.fork():
    children.report([])()
    raise SystemExit
os.wait()
print(*os.listdir(children._folder))
"""
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, check=True)
    assert set(done.stdout.decode().split()) == {"0.json", "0.lock"}
    assert list(tmp_path.iterdir()) == []

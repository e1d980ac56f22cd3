"""What telemetry costs: the same calls to services that have it and to services that do not: `python -m bench.telemetry` (15 minutes).

On one machine: Valkey and Milvus Lite; three embedders and three retrievers, of which one pair has neither spans nor metrics at all
(`OTEL_SDK_DISABLED`), one samples a tenth of its traces, as the chart sets it, and one samples all; an OTLP receiver; and this process,
which calls. The pairs take turns, in an order that changes, and ratios are taken within a round, so that a machine that is slow for a
while is slow for all. Those with telemetry also have their Prometheus endpoint scraped in each turn. Beside the throughput stands the
processor time that the services took for a call, which other processes disturb less. Before it, in this process alone, what a span and a
measurement cost.

Writes `bench/results/telemetry.md` and `.json`. Exit status 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from bench.retriever_stack import SAMPLE_PAGES, RetrieverStack, free_ports, running
from corella.local.stack import common_environment
from corella.v1 import embedder_pb2, retriever_pb2
from corella.v1.embedder_pb2_grpc import EmbedderServiceStub
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.98
"""Least share of the throughput without telemetry, at the sampling that the chart sets."""
DEFAULT = "a tenth sampled"
CORPUS = "pages"
_TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
_METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"


@dataclass(frozen=True)
class Load:
    """Calls of one kind."""

    name: str
    callers: int
    calls: int
    """In one turn."""


EMBED = Load("Embed, one short query a call", 8, 800)
SEARCH = Load("Search, hybrid", 4, 160)
LOADS = {"embed": (EMBED,), "search": (SEARCH,), "both": (EMBED, SEARCH)}


@dataclass
class Pair:
    """An embedder and a retriever of one way, and what each turn of theirs took."""

    name: str
    ratio: float | None
    """Share of traces sampled; None: there is no telemetry."""
    embedder: str = ""
    retriever: str = ""
    metrics: list[int] = field(default_factory=list)
    processes: list[psutil.Process] = field(default_factory=list)
    per_second: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


# The receiver ------------------------------------------------------------------------------------------------------------------------


def receive(port: int) -> None:
    """A process of its own: takes every export, keeps those of traces, and says at its end how many spans they were."""
    taken: list[bytes] = []

    def traces(request: bytes, _context: Any) -> bytes:
        taken.append(request)
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    for service, method in ((_TRACES, traces), (_METRICS, lambda _request, _context: b"")):
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    sys.stdin.read()
    server.stop(1).wait()
    # Not decoded before: a collector has a machine of its own.
    exports = [trace_service_pb2.ExportTraceServiceRequest.FromString(one) for one in taken]
    print(sum(len(scope.spans) for one in exports for group in one.resource_spans for scope in group.scope_spans))


# The services ------------------------------------------------------------------------------------------------------------------------


@contextmanager
def pairs(stack: RetrieverStack, receiver_port: int, folder: Path, loads: Sequence[Load]) -> Iterator[list[Pair]]:
    """The three pairs, beside a stack that has the stores; ended whatever happens. Without searches they have no retrievers."""
    made = [Pair("off", None), Pair(DEFAULT, 0.1), Pair("all sampled", 1.0)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, pair in enumerate(made):
            embedder_port, retriever_port, *metrics = free_ports(4)
            pair.embedder, pair.retriever = f"127.0.0.1:{embedder_port}", f"127.0.0.1:{retriever_port}"
            services = (("embedder", embedder_port), ("retriever", retriever_port))[: 2 if SEARCH in loads else 1]
            pair.metrics = metrics[: len(services)] if pair.ratio is not None else []
            addresses = {"CORELLA_RETRIEVER_EMBEDDER__ADDRESS": pair.embedder}
            for place, (name, port) in enumerate(services):
                prefix = f"CORELLA_{name.upper()}_"
                telemetry = {
                    f"{prefix}TELEMETRY__OTLP_ENDPOINT": "" if pair.ratio is None else f"http://127.0.0.1:{receiver_port}",
                    f"{prefix}TELEMETRY__SAMPLE_RATIO": str(pair.ratio or 1.0),
                    f"{prefix}TELEMETRY__METRICS_PORT": str(pair.metrics[place] if pair.metrics else 0),
                    f"{prefix}SERVER__PORT": str(port),
                    "OTEL_SDK_DISABLED": str(pair.ratio is None).lower(),
                }
                environment = {**os.environ, **common_environment(), **stack.environment(name), **addresses, **telemetry}
                with (folder / f"{name}-{number}.log").open("wb") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-m", f"services.{name}"], cwd=ROOT, env=environment, stdout=log, stderr=log
                    )
                started.append(process)
                pair.processes.append(psutil.Process(process.pid))
                with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                    grpc.channel_ready_future(channel).result(timeout=180)
        yield made
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)


async def turn(pair: Pair, load: Load, queries: Sequence[str]) -> None:
    """Some seconds of a load on one pair, and a scrape of its endpoints."""
    async with (
        grpc.aio.insecure_channel(pair.embedder) as embedder,
        grpc.aio.insecure_channel(pair.retriever or pair.embedder) as retriever,
    ):
        embed, search = EmbedderServiceStub(embedder).Embed, RetrieverServiceStub(retriever).Search
        left = iter(range(load.calls))

        async def caller() -> None:
            for number in left:
                query = queries[number % len(queries)]
                if load is EMBED:
                    await embed(embedder_pb2.EmbedRequest(texts=[query], input_type=embedder_pb2.INPUT_TYPE_QUERY), timeout=60)
                else:
                    await search(retriever_pb2.SearchRequest(corpus=f"corpora/{CORPUS}", query=f"{query} {number}"), timeout=60)

        cpu = sum(sum(process.cpu_times()[:2]) for process in pair.processes)
        began = time.perf_counter()
        scrapes = [asyncio.to_thread(scrape, port) for port in pair.metrics]
        await asyncio.gather(*(caller() for _ in range(load.callers)), *scrapes)
        seconds = time.perf_counter() - began
        # What is still to be exported is the price of this turn, not of another pair's.
        await asyncio.sleep(1.2)
        cpu = sum(sum(process.cpu_times()[:2]) for process in pair.processes) - cpu
    pair.per_second[load.name].append(load.calls / seconds)
    pair.cpu_ms[load.name].append(1e3 * cpu / load.calls)


def scrape(port: int) -> None:
    """As Prometheus does it."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=10) as response:
        response.read()


# In this process alone ---------------------------------------------------------------------------------------------------------------


def in_process() -> dict[str, float]:
    """Microseconds of processor time of a span with two attributes, and of a measurement."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    from services.chassis.metrics_prometheus import PrometheusReader
    from services.chassis.sampling import KeptExemplars, RecordingSampler, TraceKeeper
    from services.chassis.telemetry import SECONDS

    def best(work: Callable[[], None], times: int = 5_000) -> float:
        rounds = []
        for _ in range(9):
            began = time.thread_time()
            for _ in range(times):
                work()
            rounds.append((time.thread_time() - began) / times * 1e6)
        return min(rounds)

    taken: dict[str, float] = {}
    for name, ratio in (("span, sampled", 1.0), ("span, held back", 0.0)):
        provider = TracerProvider(sampler=RecordingSampler(ratio), shutdown_on_exit=False)
        keeper = TraceKeeper(SpanProcessor(), 5.0)
        provider.add_span_processor(keeper)
        tracer = provider.get_tracer("bench")

        def span(tracer: Any = tracer) -> None:
            with tracer.start_as_current_span("work", attributes={"rpc.system.name": "grpc", "rpc.method": "a/B"}):
                pass

        taken[name] = best(span)
        reader = PrometheusReader()
        measures = MeterProvider(metric_readers=[reader], exemplar_filter=KeptExemplars(keeper.keeps), shutdown_on_exit=False)
        duration = measures.get_meter("bench").create_histogram("duration", explicit_bucket_boundaries_advisory=SECONDS)
        with tracer.start_as_current_span("around"):
            taken["measurement, an exemplar" if ratio else "measurement, no exemplar"] = best(
                lambda duration=duration: duration.record(0.02, {"rpc.method": "a/B", "rpc.response.status_code": "OK"})
            )
    return taken


# The result --------------------------------------------------------------------------------------------------------------------------


def measure(rounds: int, loads: Sequence[Load]) -> dict[str, Any]:
    """Everything, as plain numbers."""
    load_before = os.getloadavg()[0]
    single = in_process()
    queries = [json.loads(line)["question"] for line in (ROOT / "samples/questions.jsonl").read_text(encoding="utf-8").splitlines()][:40]
    pick = random.Random(20261126)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        [receiver_port] = free_ports(1)
        command = [sys.executable, "-m", "bench.telemetry", "--receiver", str(receiver_port)]
        receiver = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        opened.callback(receiver.kill)
        if SEARCH in loads:
            stack = opened.enter_context(running(Path(folder)))
            stack.ingest(SAMPLE_PAGES, CORPUS, lambda _: None)
            stack.stop("worker", "retriever", "embedder")
        else:
            stack = RetrieverStack(Path(folder))
        with pairs(stack, receiver_port, Path(folder), loads) as made:
            for pair in made:
                for load in loads:
                    asyncio.run(turn(pair, load, queries))
                pair.per_second.clear()
                pair.cpu_ms.clear()
            for number in range(rounds):
                print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
                for load in loads:
                    for pair in pick.sample(made, len(made)):
                        asyncio.run(turn(pair, load, queries))
            print(file=sys.stderr)
        spans = int(receiver.communicate(timeout=120)[0])
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
        "spans_received": spans,
        "in_process_us": single,
        "pairs": [{"name": pair.name, "per_second": pair.per_second, "cpu_ms": pair.cpu_ms} for pair in made],
    }


def ratios(values: list[float], beside: list[float]) -> tuple[float, float, float]:
    """Median, and quartiles, of the ratios round by round."""
    each = [value / other for value, other in zip(values, beside, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return middle, low, high


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    off, *others = result["pairs"]
    lines = [
        "# What telemetry costs",
        "",
        f"all-MiniLM-L6-v2 · {result['machine']} · {result['date']}.",
        f"{result['rounds']} rounds in which the three take turns; medians, and the quartiles of the rounds' ratios to *off* in brackets.",
        f"An OTLP receiver on this machine took {result['spans_received']:,} spans. Made by `make bench-telemetry`.",
        "",
        "| calls | telemetry | calls per second | ratio | goal |  | CPU of the services, ms per call | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for load in off["per_second"]:
        for pair in (off, *others):
            rate, cpu = pair["per_second"][load], pair["cpu_ms"][load]
            cells = [load, pair["name"], f"{statistics.median(rate):.1f}", "", "", "", f"{statistics.median(cpu):.2f}", ""]
            if pair is not off:
                middle, low, high = ratios(rate, off["per_second"][load])
                of_cpu = ratios(cpu, off["cpu_ms"][load])
                cells[3] = f"{middle:.3f} ({low:.3f}–{high:.3f})"
                cells[7] = f"{of_cpu[0]:.3f} ({of_cpu[1]:.3f}–{of_cpu[2]:.3f})"
                if pair["name"] == DEFAULT:
                    cells[4:6] = f"≥ {GOAL}", "met" if middle >= GOAL else "missed"
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "In one process, the best of nine rounds:", "", "| | µs of CPU |", "| --- | --- |"]
    lines += [f"| {name} | {taken:.1f} |" for name, taken in result["in_process_us"].items()]
    return "\n".join([*lines, ""])


def main() -> int:
    """Measures and writes the results; exit status 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="turns of each")
    parser.add_argument("--loads", choices=sorted(LOADS), default="both", help="what is called")
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="write bench/results/telemetry.*")
    parser.add_argument("--receiver", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receiver:
        receive(arguments.receiver)
        return 0
    # Ending from outside must also end what this starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = measure(arguments.rounds, LOADS[arguments.loads])
    text = table(result)
    if arguments.keep:
        (ROOT / "bench/results/telemetry.md").write_text(text, encoding="utf-8")
        (ROOT / "bench/results/telemetry.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(text)
    return 0 if "missed" not in text else 1


if __name__ == "__main__":
    sys.exit(main())

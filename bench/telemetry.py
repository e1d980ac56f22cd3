"""What telemetry costs: the same calls to services that have it and to services that do not: `python -m bench.telemetry` (half an hour).

On one machine: Valkey and Milvus Lite; the services three times, once with neither spans nor metrics (`OTEL_SDK_DISABLED`), once with a
tenth of the traces sampled, as the chart sets it, once with all; an OTLP receiver; and this process, which calls. The three take turns, in
an order that changes, so that a machine that is slow for a while is slow for all, and every few turns all are started anew, because two
processes started alike differ by a few percent for as long as they live. Prometheus's endpoints are scraped every 15 s of load. Beside the
throughput stands the processor time that the services took for a call. First of all, in this process alone: a span and a measurement.

Writes `bench/results/telemetry.md` and `.json`. Exit status 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.retriever_stack import SAMPLE_PAGES, free_ports, running
from bench.telemetry_loads import CORPUS, LOADS, Load, turn
from bench.telemetry_ways import DEFAULT, receive, started, ways

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.98
"""Least share of the throughput without telemetry, at the sampling that the chart sets."""


def in_process() -> dict[str, float]:
    """Microseconds of processor time of a span with two attributes, and of a measurement."""
    from opentelemetry.metrics import Histogram
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

        def measurement(duration: Histogram = duration) -> None:
            duration.record(0.02, {"rpc.method": "a/B", "rpc.response.status_code": "OK"})

        with tracer.start_as_current_span("around"):
            taken["measurement, an exemplar" if ratio else "measurement, no exemplar"] = best(measurement)
    return taken


def measure(names: Sequence[str], share: float, keep: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Everything, as plain numbers. `share` of the usual starts. `keep` gets what there is after each group of loads."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, {datetime.now(UTC).date().isoformat()}"
    result: dict[str, Any] = {"in_process_us": in_process(), "loads": {}}
    # Loads that need the same services share their starts.
    for services in sorted({LOADS[each].services for each in names}, key=len):
        together = [LOADS[each] for each in names if LOADS[each].services == services]
        made = ways()
        with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
            folder = Path(name)
            [receiver_port] = free_ports(1)
            command = [sys.executable, "-m", "bench.telemetry", "--receiver", str(receiver_port)]
            receiver = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            opened.callback(receiver.kill)
            stack = opened.enter_context(running(folder))
            stack.ingest(SAMPLE_PAGES, CORPUS, lambda _: None)
            stack.stop("worker", "retriever", "embedder")
            starts = max(2, round(share * max(load.starts for load in together)))
            for number in range(starts):
                print(
                    f"\r{'; '.join(load.name for load in together)}: start {number + 1} of {starts} ", end="", file=sys.stderr, flush=True
                )
                with started(made, stack, receiver_port, folder, services):
                    take_turns(made, together, random.Random(number))
            print(file=sys.stderr)
            spans = int(receiver.communicate(timeout=120)[0])
        for load in together:
            result["loads"][load.name] = {
                "machine": machine,
                "calls": load.calls,
                "rounds": load.rounds,
                "spans_received": spans,
                "seconds": {way.name: way.seconds[load.name] for way in made},
                "cpu_seconds": {way.name: way.cpu_seconds[load.name] for way in made},
            }
        keep(result)
    return result


def kept(result: dict[str, Any]) -> dict[str, Any]:
    """Writes the result, with what was measured before of the other loads, and returns both."""
    file = ROOT / "bench/results/telemetry.json"
    before = json.loads(file.read_text(encoding="utf-8"))["loads"] if file.exists() else {}
    found = {**before, **result["loads"]}
    whole = {**result, "loads": {load.name: found[load.name] for load in LOADS.values() if load.name in found}}
    file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(table(whole), encoding="utf-8")
    return whole


def take_turns(made: Sequence[Any], loads: Sequence[Load], pick: random.Random) -> None:
    """Between two starts: a turn to warm up, which does not count, and then some of each load."""
    for load in loads:
        for way in made:
            asyncio.run(turn(way, load))
            way.seconds[load.name].pop()
            way.cpu_seconds[load.name].pop()
        for _ in range(load.rounds):
            for way in pick.sample(made, len(made)):
                asyncio.run(turn(way, load))


def ratio(values: Sequence[float], beside: Sequence[float], rounds: int) -> tuple[float, float]:
    """`beside` by `values`, from start to start, and the half width of its 95 % confidence interval.

    The geometric mean over the starts; the interval is Student's, of the logarithms.
    """
    logs = [
        math.log(sum(beside[start : start + rounds]) / sum(values[start : start + rounds])) for start in range(0, len(values), rounds)
    ]  # fmt: skip
    mean, count = statistics.mean(logs), len(logs)
    half = _student(count - 1) * statistics.stdev(logs) / math.sqrt(count)
    return math.exp(mean), math.exp(mean) * half


def _student(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def verdict(middle: float, half: float) -> str:
    """What an interval says about the goal."""
    if middle - half >= GOAL:
        return "met"
    return "missed" if middle + half < GOAL else "within the noise"


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "# What telemetry costs",
        "",
        f"all-MiniLM-L6-v2, SmolLM2-135M-Instruct · {'; '.join(dict.fromkeys(load['machine'] for load in result['loads'].values()))}.",
        "Throughput with telemetry by throughput without, ± the 95 % confidence interval over the starts of the services.",
        "Made by `make bench-telemetry`, with an OTLP receiver on the same machine.",
        "",
        "| calls | starts | telemetry | calls per second | ratio | goal |  | CPU of the services, ms per call | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, load in result["loads"].items():
        off = load["seconds"]["off"], load["cpu_seconds"]["off"]
        for way, seconds in load["seconds"].items():
            cpu = load["cpu_seconds"][way]
            calls = load["calls"] * len(seconds)
            cells = [
                name,
                str(len(seconds) // load["rounds"]),
                way,
                f"{calls / sum(seconds):.2f}",
                "",
                "",
                "",
                f"{1e3 * sum(cpu) / calls:.2f}",
                "",
            ]
            if way != "off":
                of_time, of_cpu = ratio(seconds, off[0], load["rounds"]), ratio(off[1], cpu, load["rounds"])
                cells[4], cells[8] = (f"{middle:.3f} ± {half:.3f}" for middle, half in (of_time, of_cpu))
                if way == DEFAULT:
                    cells[5:7] = f"≥ {GOAL}", verdict(*of_time)
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "In one process, the best of nine rounds:", "", "| | µs of CPU |", "| --- | --- |"]
    lines += [f"| {name} | {taken:.1f} |" for name, taken in result["in_process_us"].items()]
    return "\n".join([*lines, ""])


def main() -> int:
    """Measures and writes the results; exit status 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", nargs="+", choices=sorted(LOADS), default=list(LOADS), help="what is called")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of starts")
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="write bench/results/telemetry.*")
    parser.add_argument("--receiver", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receiver:
        receive(arguments.receiver)
        return 0
    # Ending from outside must also end what this starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = measure(arguments.loads, arguments.share, kept if arguments.keep else lambda _: None)
    text = table(result)
    print(text)
    return 0 if "missed" not in text else 1


if __name__ == "__main__":
    sys.exit(main())

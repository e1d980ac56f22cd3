"""Every expression of dashboards, alerts and autoscaling, asked of a real Prometheus that scrapes the running stack under load.

What a laptop's processor cannot have data for is named below with the reason; its metrics must still be ones that exist.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "dashboards"))

from expressions import Expression, of_dashboards, of_keda, of_rules, traceql
from prometheus_server import NAMESPACE, Prometheus, declared_metrics, prometheus, tool
from traceql import attributes

ROOT = Path(__file__).parents[2]
# The first test waits for the stack and for two turns of work.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

WITHOUT_DATA = {
    r"generation: (GPU|Tensor cores)": "needs NVIDIA's DCGM exporter",
    r"generation: Adapters refused": "no adapter was refused",
    r"ingestion: Reading processes ended": "a reader that has nothing to complain of lives on",
    r"questions: All services: calls that failed": "no call failed by a service's fault",
    r"training: (Loss|Progress|Tokens per second)": "no job runs",
}
"""Panels, by a pattern of their place."""
SELECTS_NOTHING = {
    r"^corella_generator_adapter_refused_total": "no adapter was refused",
    r"^corella_job_step": "no job runs",
    r"^corella_tls_certificate_expiry_seconds": "the local run uses no certificates",
    r"rpc_response_status_code=~\"INTERNAL": "no call failed by a service's fault",
}
"""Series that alerts ask for, by a pattern."""
FROM_OTHERS = re.compile(r"DCGM_FI_")
"""Metrics that others export."""
EXEMPLARS = (
    "corella_generator_answer_duration_seconds",
    "gen_ai_server_time_to_first_token_seconds",
    "corella_search_duration_seconds",
    "corella_ingest_document_duration_seconds",
    "rpc_server_call_duration_seconds",
)
QUESTION = "What is the mileage rate for a private car?"
NOT_ANSWERED = "What is the capital of Peru?"


@pytest.fixture(scope="module")
def scraped(stack: Any, samples: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen the stack at work. Counters are seen to grow only from their second value on: all is done twice."""
    ports = stack.record().ports
    targets = {name.removesuffix(" metrics"): port for name, port in ports.items() if name.endswith(" metrics")}
    assert len(targets) == 8
    with prometheus(tool("prometheus"), tmp_path_factory.mktemp("prometheus"), targets) as made:
        folder = stack.imports / "seen-by-prometheus"
        folder.mkdir()
        (folder / "note.md").write_text("# Umbrellas\n\nUmbrellas are kept in the cellar of the mill.\n")
        stack.corella("corpora", "create", "umbrellas")
        stack.corella("sources", "create", "directory", "umbrellas", str(folder), "--corpus", "umbrellas")
        for turn in range(2):
            _work(stack, tmp_path_factory.mktemp(f"turn-{turn}"), turn)
            _wait_until_seen(made, turn)
        yield made


def _work(stack: Any, folder: Path, turn: int) -> None:
    """Makes all metrics move that move on a laptop: documents, one of which cannot be read, a sync, an index, questions, searches."""
    (folder / f"lamp-{turn}.md").write_text(f"# Lamp {turn}\n\nThe lamp in yard {turn} is green and burns all night.\n")
    (folder / f"broken-{turn}.pdf").write_bytes(b"%PDF-1.7\nno PDF")
    # In a corpus of its own: other tests count the documents of the common one.
    stack.corella("ingest", str(folder), "--corpus", "umbrellas", ok=None)
    stack.corella("sources", "sync", "umbrellas", "--corpus", "umbrellas", "--full")
    stack.corella("corpora", "reindex", "umbrellas", "--force")
    answer = stack.ask(QUESTION, "--max-tokens", "24")["citations"]["answer"]
    stack.ask(NOT_ANSWERED)
    stack.corella("feedback", "give", answer["name"], "--up")
    for mode in ("keyword", "vector", "hybrid"):
        stack.corella("search", "hotel rate", "--mode", mode)


def _wait_until_seen(made: Prometheus, turn: int) -> None:
    """Until the slowest have reported: forked children write every five seconds, the beats look as often."""
    deadline = time.monotonic() + 60
    wanted = ("sum(corella_ingest_documents_total)", "sum(corella_reindex_documents_total)", "sum(corella_syncs_total)")
    before = [sum(made.query(each)) for each in wanted]
    while time.monotonic() < deadline:
        time.sleep(6)
        now = [sum(made.query(each)) for each in wanted]
        if all(now) and now == before:
            return
        before = now
    raise AssertionError(f"turn {turn}: not all was counted: {dict(zip(wanted, before, strict=True))}")


def _reason(patterns: dict[str, str], text: str) -> str | None:
    return next((reason for pattern, reason in patterns.items() if re.search(pattern, text)), None)


def _is_alert(expression: Expression) -> bool:
    return expression.place.startswith("Corella")


def test_every_expression_has_data(scraped: Prometheus) -> None:
    every = [each for each in (*of_dashboards(), *of_rules(), *of_keda(NAMESPACE)) if not _is_alert(each)]
    empty = [each for each in every if _reason(WITHOUT_DATA, each.place) is None and not scraped.query(each.text)]
    assert [f"{each.place}: {each.text}" for each in empty] == []


def test_alerts_are_silent_and_rest_on_series_that_are_there(scraped: Prometheus) -> None:
    alerts = [each for each in of_rules() if _is_alert(each)]
    recorded = {each.place for each in of_rules()}
    for alert in alerts:
        assert scraped.query(alert.text) == [], f"{alert.place} fires"
        for selector in alert.selectors - recorded:
            if _reason(SELECTS_NOTHING, selector) is None:
                # The one state that a healthy run does not have is reported as 0.
                assert scraped.query(selector), f"{alert.place}: nothing is {selector}"


def test_every_metric_named_exists(scraped: Prometheus) -> None:
    """Also those without data now: they are declared in the code."""
    known = scraped.metrics() | declared_metrics(ROOT / "services") | {each.place for each in of_rules()}
    every = [*of_dashboards(), *of_rules(), *of_keda(NAMESPACE)]
    unknown = {name for each in every for name in each.metrics if name not in known and not FROM_OTHERS.match(name)}
    assert unknown == set()


@pytest.mark.parametrize("histogram", EXEMPLARS)
def test_a_point_of_a_latency_leads_to_a_trace(scraped: Prometheus, stack: Any, histogram: str) -> None:
    traces = {span.trace_id for span in stack.receiver.spans}
    found = {labels["trace_id"] for labels in scraped.exemplars(histogram)}
    assert found & traces, f"{len(found)} exemplars, none of a trace that was sent"


def test_trace_queries_ask_for_attributes_that_spans_carry(scraped: Prometheus, stack: Any) -> None:
    spans = stack.receiver.spans
    seen = {("span", name) for span in spans for name in span.attributes} | {("resource", name) for span in spans for name in span.resource}
    for query in traceql():
        assert attributes(query.text) - seen == set(), query.place

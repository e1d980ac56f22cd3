"""What one question leaves in a trace and in the metrics, and what it must not leave there: its text."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from answering_stage import ASK, PASSAGE, SUPPORTED, Stage, ToldEngine, ToldRetriever
from span_recording import RecordedSpans, recorded_spans

from services.chassis import deadline, telemetry
from services.chassis.errors import NotFound
from services.chassis.identity import LOCAL, acting_for
from services.chassis.telemetry import tracer
from services.generator import answer_metrics, usage_metrics, writing_metrics
from services.generator.domain import Adapter, EngineTimes, EngineUnavailable, Evidence, Usage
from services.generator.events import Delta
from services.generator.usage_metrics import MeasuredUsage

TRAINED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NEW = Adapter("adapters/a/versions/2", "d2", "jobs/7", TRAINED)
MARKER = "Zanzibarium"


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    with acting_for(LOCAL):
        yield


@pytest.fixture
def spans() -> Iterator[RecordedSpans]:
    with recorded_spans() as spans:
        yield spans


class Counted:
    """Stands in for an instrument and keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[float, dict[str, Any]]] = []

    def add(self, amount: float, attributes: Any = None) -> None:
        self.given.append((amount, dict(attributes or {})))

    record = add


async def asked(stage: Stage, ask: Any = ASK) -> None:
    with tracer.start_as_current_span("Ask", kind=SpanKind.SERVER):
        await stage.events(ask)


async def test_every_step_of_a_question_is_a_span_of_its_trace(spans: RecordedSpans) -> None:
    await asked(Stage(), replace(ASK, conversation_id="c1"))
    assert {span.context.trace_id for span in spans.all} == {spans.one("Ask").context.trace_id}
    tree = sorted((spans.parent(span), span.name) for span in spans.all if span.name != "Ask")
    assert tree == [
        ("Ask", "chat told-1"),
        ("Ask", "cite"),
        ("Ask", "compose"),
        ("Ask", "condense conversation"),
        ("Ask", "judge"),
        ("Ask", "recall"),
        ("Ask", "remember"),
        ("Ask", "search"),
        ("condense conversation", "chat told-1"),
    ]


async def test_a_text_is_a_span_by_the_conventions_for_generative_ai(spans: RecordedSpans) -> None:
    await asked(Stage())
    answer, summary = spans.named("chat told-1")
    assert answer.kind is SpanKind.CLIENT
    given = dict(answer.attributes)
    assert given.pop("gen_ai.response.time_to_first_chunk") > 0
    assert given == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "told",
        "gen_ai.request.model": "told-1",
        "gen_ai.response.model": "told-1",
        "gen_ai.output.type": "text",
        "gen_ai.request.max_tokens": ASK.options.max_tokens,
        "gen_ai.request.temperature": ASK.options.temperature,
        "gen_ai.request.top_p": ASK.options.top_p,
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "corella.purpose": "answer",
        "corella.adapter.name": "",
        "corella.adapter.job": "",
    }
    assert summary.attributes["corella.purpose"] == "summary"


async def test_an_engine_that_tells_its_times_shows_queue_prefill_and_decode(spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    queued, now = Counted(), time.time_ns()
    monkeypatch.setattr(writing_metrics, "_queued", queued)
    engine = ToldEngine()
    engine.times = EngineTimes(now, now + 2_000_000_000, now + 3_000_000_000, now + 7_000_000_000)
    await asked(Stage(engine))
    chat = spans.named("chat told-1")[0]
    phases = [span for span in spans.all if span.parent and span.parent.span_id == chat.context.span_id]
    assert [(span.name, (span.start_time - now) / 1e9, (span.end_time - now) / 1e9) for span in phases] == [
        ("queue", 0, 2), ("prefill", 2, 3), ("decode", 3, 7),
    ]  # fmt: skip
    assert [dict(span.attributes) for span in phases] == [{}, {"corella.tokens": 6}, {"corella.tokens": 10}]
    assert queued.given[0] == (2.0, {"corella.purpose": "answer"})


async def test_an_answer_names_its_adapter_and_leads_to_the_run_that_trained_it(spans: RecordedSpans) -> None:
    stage = Stage()
    stage.shelf.wanted = NEW
    await stage.adapting.reconcile()
    await asked(stage)
    for name in ("Ask", "load adapter"):
        span = spans.one(name)
        assert (span.attributes["corella.adapter.name"], span.attributes["corella.adapter.job"]) == (NEW.name, "jobs/7")
        assert [(format_trace_id(each.context.trace_id), dict(each.attributes)) for each in span.links] == [
            (TRAINED.split("-")[1], {"corella.link": "adapter.training"})
        ]
    answer, summary = spans.named("chat told-1")
    assert (len(answer.links), answer.attributes["gen_ai.response.model"]) == (1, NEW.name)
    assert (len(summary.links), summary.attributes["gen_ai.response.model"]) == (0, "told-1")


async def test_an_answer_is_kept_with_the_span_that_feedback_can_lead_to(spans: RecordedSpans) -> None:
    stage = Stage()
    await asked(stage)
    context = spans.one("Ask").context
    assert stage.store.records[0].traceparent.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def marked(engine: ToldEngine | None = None) -> Stage:
    """A stage on which every text holds the marker: the question, the passage, the answer."""
    passage = replace(PASSAGE, title=f"{MARKER} manual", text=f"The {MARKER} has a warranty period of 36 months.")
    return Stage(engine or ToldEngine(f"The {MARKER} has a warranty period of 36 months."), ToldRetriever(passage))


MARKED = replace(ASK, question=f"How long is the warranty period of the {MARKER}?", conversation_id="c1")


@pytest.mark.parametrize("place", ["nowhere", "engine", "retriever", "check"])
async def test_no_text_enters_spans_or_logs_even_when_something_breaks(
    place: str, spans: RecordedSpans, capfd: pytest.CaptureFixture[str]
) -> None:
    stage = marked()
    await asked(stage, MARKED)
    fault = ValueError(f"cannot handle {MARKED.question}")
    if place == "engine":
        stage.engine.failure = fault
    elif place == "retriever":
        stage.retriever.failure = fault
    elif place == "check":
        stage.retriever.check_failure = fault
    # The interceptor takes what a handler raises; its own tests see to its span.
    with recorded_spans() as within:
        try:
            await stage.events(MARKED)
        except ValueError:
            assert place != "nowhere"
    assert spans.all
    assert within.all
    failed = {span.name for span in within.all if span.status.status_code is StatusCode.ERROR}
    assert failed == {"nowhere": set(), "engine": {"chat told-1"}, "retriever": {"search"}, "check": {"recall"}}[place]
    output = capfd.readouterr()
    for told in (spans.everything(), within.everything(), output.out, output.err):
        assert MARKER not in told


async def test_text_enters_spans_where_it_is_switched_on(spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_capture_text", True)
    await asked(marked(), MARKED)
    assert MARKER in spans.one("Ask").attributes["corella.answer.question"]
    assert MARKER in spans.one("Ask").attributes["corella.answer.text"]
    assert MARKER in spans.one("search").attributes["gen_ai.retrieval.query.text"]
    chat = spans.named("chat told-1")[0]
    (said,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert said == {"role": "assistant", "parts": [{"type": "text", "content": f"The {MARKER} has a warranty period of 36 months."}]}
    given = json.loads(chat.attributes["gen_ai.input.messages"])
    assert (given[0]["role"], given[-1]["role"]) == ("system", "user")
    assert MARKER in given[-1]["parts"][0]["content"]


async def test_an_error_of_the_engine_is_told_by_its_kind(spans: RecordedSpans) -> None:
    stage = Stage()
    stage.engine.failure = EngineUnavailable("The engine stopped while it wrote.")
    with pytest.raises(EngineUnavailable):
        await asked(stage)
    chat = spans.one("chat told-1")
    assert (chat.attributes["error.type"], chat.status.status_code) == ("EngineUnavailable", StatusCode.ERROR)
    assert not chat.events


async def test_what_is_the_callers_fault_makes_no_failed_span(spans: RecordedSpans) -> None:
    stage = Stage()
    stage.retriever.failure = NotFound("There is no corpus.", reason="CORPUS_NOT_FOUND")
    with pytest.raises(NotFound):
        await stage.events()
    search = spans.one("search")
    assert (search.attributes["error.type"], search.status.status_code) == ("NotFound", StatusCode.UNSET)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(answer_metrics, "_answers", counted)
    return counted


def outcome(outcome: str, serving: str = "base") -> tuple[float, dict[str, str]]:
    return (1, {"corella.answer.outcome": outcome, "corella.adapter.serving": serving})


async def test_answers_are_counted_by_how_they_ended(answers: Counted) -> None:
    stage = Stage()
    await stage.events()
    stage.retriever.evidence = Evidence(0.01, 0.0, 0)
    stage.retriever.passages = ()
    await stage.events()
    stage.retriever.failure = NotFound("There is no corpus.", reason="CORPUS_NOT_FOUND")
    with pytest.raises(NotFound):
        await stage.events()
    stage.retriever.failure = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        await stage.events()
    assert answers.given == [outcome("answered"), outcome("refused"), outcome("failed")]


async def test_an_asker_who_leaves_is_no_failure_but_a_deadline_that_passed_is(answers: Counted) -> None:
    for left in (60.0, 0.0):
        deadline.set_remaining(left)
        events = Stage().answering.ask(ASK)
        async for event in events:
            if isinstance(event, Delta):
                break
        await events.aclose()
    assert answers.given == [outcome("cancelled"), outcome("failed")]


async def test_an_answer_by_an_adapter_is_counted_as_such(answers: Counted) -> None:
    stage = Stage()
    stage.shelf.wanted = NEW
    await stage.adapting.reconcile()
    await stage.events()
    assert answers.given == [outcome("answered", "adapter")]


async def test_citations_and_the_prefix_cache_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    citations, cache = Counted(), Counted()
    monkeypatch.setattr(answer_metrics, "_citations", citations)
    monkeypatch.setattr(writing_metrics, "_cache", cache)
    await Stage(ToldEngine(f"{SUPPORTED} [1] Bananas are yellow. [1]")).events()
    assert citations.given == [(1, {"result": "kept"}), (1, {"result": "dropped"})]
    prefix = {"corella.cache": "prefix"}
    assert cache.given[:2] == [(4, {**prefix, "corella.cache.result": "hit"}), (6, {**prefix, "corella.cache.result": "miss"})]


def test_usage_is_measured_as_it_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {name: Counted() for name in ("_seconds", "_context", "_output", "_questions")}
    for name, each in counted.items():
        monkeypatch.setattr(usage_metrics, name, each)
    added: list[tuple[str, bool, Usage]] = []

    class Store:
        def add(self, *what: Any) -> None:
            added.append(what)

    usage = Usage(prompt_tokens=7, completion_tokens=3, retrieval_seconds=0.5, generation_seconds=2.0)
    measured = MeasuredUsage(Store())  # type: ignore[arg-type]
    measured.add("answer", False, usage)
    measured.add("summary", False, usage)
    assert added == [("answer", False, usage), ("summary", False, usage)]
    assert [amount for amount, _ in counted["_seconds"].given] == [0.5, 2.0, 0.5, 2.0]
    assert counted["_seconds"].given[1][1] == {"corella.purpose": "answer", "corella.component": "engine"}
    assert [sum(amount for amount, _ in counted[name].given) for name in ("_context", "_output", "_questions")] == [14, 6, 1]

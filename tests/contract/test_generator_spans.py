"""What the real generator tells of a question: one trace with the engine's own times in it, metrics, and nothing of the text."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise

import grpc
import pytest
from generator_process import RunningGenerator
from otlp_receiver import orphans

from corella.tracing.spans import Span
from corella.v1 import generator_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceStub

MARKER = "Zanzibarium"
QUESTION = f"How long is the warranty of the Falcon X200, asks {MARKER}?"


def asked(stub: GeneratorServiceStub, question: str, conversation: str) -> tuple[str, str]:
    """Trace and name of the answer."""
    trace_id = answer = ""
    for event in stub.Ask(pb.AskRequest(question=question, corpus="corpora/manuals", conversation=conversation), timeout=110):
        trace_id = event.started.trace_id or trace_id
        answer = event.started.answer or answer
    return trace_id, answer


@pytest.fixture(scope="module")
def stub(generator: RunningGenerator) -> Iterator[GeneratorServiceStub]:
    with grpc.insecure_channel(generator.address) as channel:
        yield GeneratorServiceStub(channel)


@pytest.fixture(scope="module")
def question(generator: RunningGenerator, stub: GeneratorServiceStub) -> list[Span]:
    """The trace of a question in a conversation, and of its summary."""
    trace_id, _ = asked(stub, QUESTION, "conversations/traced")
    return generator.receiver.settled(trace_id, 30, quiet_seconds=3)


def children(spans: list[Span], parent: str) -> list[str]:
    """Names of the spans below those of a name, in the order of their beginnings."""
    ids = {span.span_id for span in spans if span.name == parent}
    return [span.name for span in sorted(spans, key=lambda span: span.begin_ns) if span.parent_id in ids]


def test_a_question_is_one_trace_from_recall_to_summary(question: list[Span]) -> None:
    assert not orphans(question)
    (root,) = [span for span in question if not span.parent_id]
    assert root.name.endswith("Ask")
    chat = "chat SmolLM2-135M-Instruct"
    # What it cost is written down beside whatever comes next.
    steps = [name for name in children(question, root.name) if name != "MULTI"]
    assert steps == ["recall", "search", "judge", "compose", chat, "cite", "remember", "condense conversation"]
    assert "MULTI" in children(question, "recall")
    assert children(question, "search") == ["corella.v1.RetrieverService/Search"]
    assert {"EVALSHA", "MULTI"} <= set(children(question, "remember"))
    assert children(question, "condense conversation")[0] == chat
    assert "EVALSHA" in children(question, "condense conversation")
    scripts = {span.attributes["db.stored_procedure.name"] for span in question if span.name == "EVALSHA"}
    assert scripts == {"put answer", "append turn", "put summary"}


def test_the_engines_own_times_are_spans_within_the_texts(question: list[Span]) -> None:
    for chat in [span for span in question if span.name.startswith("chat ")]:
        phases = sorted((span for span in question if span.parent_id == chat.span_id), key=lambda span: span.begin_ns)
        assert [span.name for span in phases] == ["queue", "prefill", "decode"]
        assert chat.begin_ns <= phases[0].begin_ns
        assert phases[-1].end_ns <= chat.end_ns
        for before, after in pairwise(phases):
            assert before.end_ns == after.begin_ns
        # What is left beside them is the way to the engine's process and back.
        assert sum(span.duration_ns for span in phases) > 0.5 * chat.duration_ns


def test_feedback_leads_to_its_answer(generator: RunningGenerator, stub: GeneratorServiceStub) -> None:
    trace_id, answer = asked(stub, "How long does charging the battery take?", "")
    stub.CreateFeedback(pb.CreateFeedbackRequest(parent=answer, feedback=pb.Feedback(rating=pb.RATING_UP)), timeout=10)
    spans = generator.receiver.until(lambda spans: any(span.name.endswith("CreateFeedback") for span in spans), 10)
    (feedback,) = [span for span in spans if span.name.endswith("CreateFeedback") and span.attributes["corella.answer.id"] in answer]
    assert [link.trace_id for link in feedback.links] == [trace_id]


def test_no_text_of_a_question_reaches_a_span_or_the_log(generator: RunningGenerator, question: list[Span]) -> None:
    assert question
    assert not [span.name for span in generator.receiver.spans if MARKER in repr(span)]
    assert MARKER not in generator.log.read_text(errors="replace")


def test_every_line_of_the_log_is_one_json_object_also_the_engines(generator: RunningGenerator, question: list[Span]) -> None:
    # What native code writes goes past Python's logging.
    lines = [line for line in generator.log.read_text().splitlines() if not re.search(r"^\[?[IWEF]\d{4} .*\.(cc|cpp):\d+\]", line)]
    told = [json.loads(line) for line in lines]
    assert all({"event", "level", "service", "timestamp"} <= set(line) for line in told)
    assert "engine_ready" in {line["event"] for line in told}


def test_the_endpoint_shows_the_engines_metrics_beside_ours(generator: RunningGenerator, question: list[Span]) -> None:
    assert question
    ends = time.monotonic() + 10
    while True:
        with urllib.request.urlopen(generator.metrics_url, timeout=10) as response:
            text = response.read().decode()
        if "vllm:prompt_tokens_total" in text or time.monotonic() > ends:
            break
    values = dict(re.findall(r"^([a-z_:]+(?:\{[^}]*\})?) ([0-9.e+-]+)$", text, re.MULTILINE))
    named = {name.partition("{")[0] for name in values}
    assert {
        "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
        "corella_generator_answers_total", "corella_generator_citations_total", "corella_generator_answer_duration_seconds_count",
        "corella_generator_queue_duration_seconds_count", "corella_generator_memory_up", "corella_cache_lookups_total",
        "corella_usage_seconds_total", "corella_usage_context_tokens_total", "corella_usage_questions_total",
        "gen_ai_server_time_to_first_token_seconds_count", "gen_ai_client_token_usage_count",
    } <= named  # fmt: skip
    assert values["corella_generator_memory_up"] == "1.0"
    assert 'model_name="SmolLM2-135M-Instruct"' in text
    assert "lora_requests_info" not in text

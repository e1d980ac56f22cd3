"""One question, one document, one training: one trace each, with every hop, as an OTLP receiver of the test's own sees it.

The training's is asserted in `test_tuning_loop.py`, on a job that runs there anyhow.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from otlp_receiver import orphans, path

from corella.tracing.spans import Span

pytestmark = pytest.mark.e2e

QUESTION = "Where are the data of Hollin Desk stored?"
ASK, SEARCH, EMBED, INGEST = (
    f"corella.v1.{method}"
    for method in ("GeneratorService/Ask", "RetrieverService/Search", "EmbedderService/Embed", "RetrieverService/IngestDocuments")
)


@pytest.fixture(scope="module")
def asked(stack: Any, samples: Any) -> tuple[dict[str, Any], list[Span]]:
    """A question of a conversation, so that its answer is remembered: its events and its trace."""
    events = stack.ask(QUESTION, "--conversation", f"traces-{uuid.uuid4().hex}")
    return events, stack.receiver.settled(events["started"]["trace_id"], 60)


def named(spans: Iterable[Span], name: str, *, service: str = "", kind: str = "") -> Span:
    """The first span of that name."""
    found = [span for span in spans if span.name == name and service in {"", span.service} and kind in {"", span.kind}]
    assert found, f"no span {name!r} of {service or 'any service'}: {sorted({(span.service, span.name) for span in spans})}"
    return found[0]


def in_order(whole: list[str], wanted: Iterable[str]) -> bool:
    """Whether these come in this order, with or without others between them."""
    left = iter(whole)
    return all(any(each == one for each in left) for one in wanted)


def test_a_question_is_one_trace_from_the_command_to_the_tokens(asked: tuple[dict[str, Any], list[Span]]) -> None:
    _, spans = asked
    [root] = [span for span in spans if not span.parent_id]
    assert (root.service, root.name) == ("corella-cli", "corella ask")
    assert orphans(spans) == []
    assert {span.service for span in spans} >= {"corella-cli", "corella-generator", "corella-retriever", "corella-embedder"}

    answered = ["cli: corella ask", f"cli: {ASK}", f"generator: {ASK}"]
    searched = [*answered, "generator: search", f"generator: {SEARCH}", f"retriever: {SEARCH}", "retriever: search"]
    embed = named(spans, EMBED, service="corella-embedder", kind="server")
    assert in_order(path(spans, embed), [*searched, "retriever: embed question", f"retriever: {EMBED}", f"embedder: {EMBED}"])
    stores = {(span.service, span.attributes["db.system.name"]): span for span in spans if "db.system.name" in span.attributes}
    assert set(stores) >= {("corella-retriever", "milvus"), ("corella-generator", "redis")}
    milvus = [span for span in spans if span.attributes.get("db.system.name") == "milvus"]
    assert all(in_order(path(spans, span), searched) and span.kind == "client" for span in milvus)
    assert all(span.attributes["db.operation.name"] for span in spans if "db.system.name" in span.attributes)

    [chat] = [span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat" and path(spans, span)[:-1] == answered]
    assert {span.name for span in spans if span.parent_id == chat.span_id} >= {"queue", "prefill", "decode"}
    for step in ("recall", "cite", "remember"):
        assert in_order(path(spans, named(spans, step)), [*answered, f"generator: {step}"])
    # What is remembered is made short by the model.
    condensed = named(spans, "condense conversation")
    assert in_order(path(spans, condensed), answered)
    assert any(span.attributes.get("gen_ai.operation.name") == "chat" and span.parent_id == condensed.span_id for span in spans)


def test_its_attributes_are_those_of_the_conventions(asked: tuple[dict[str, Any], list[Span]]) -> None:
    events, spans = asked
    ask = named(spans, ASK, service="corella-generator", kind="server")
    assert ask.attributes["rpc.system.name"] == "grpc"
    assert ask.attributes["rpc.method"] == ASK
    assert ask.attributes["rpc.response.status_code"] == "OK"
    assert ask.attributes["corella.answer.id"] in events["started"]["answer"]
    chat = next(span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat")
    assert chat.attributes["gen_ai.request.model"]
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    usage = events["completion"]["usage"]
    answering = max((span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat"), key=lambda span: -span.begin_ns)
    assert answering.attributes["gen_ai.usage.output_tokens"] == int(usage["completion_tokens"])


def test_no_text_of_question_documents_or_answer_is_in_any_span(asked: tuple[dict[str, Any], list[Span]]) -> None:
    events, spans = asked
    told = json.dumps([[span.name, span.status, str(span.attributes), str(span.events)] for span in spans])
    texts = [QUESTION, events["citations"]["answer"]["text"]]
    texts += [passage["text"] for passage in events["passages"]["passages"]]
    assert len(texts) > 3
    for text in texts:
        assert text.strip()[:40] not in told


def test_corella_trace_shows_it(stack: Any, asked: tuple[dict[str, Any], list[Span]]) -> None:
    events, spans = asked
    trace_id = events["started"]["trace_id"]
    [told] = stack.json("trace", trace_id)
    assert {span["span_id"] for span in told["spans"]} == {span.span_id for span in spans}
    assert (told["orphans"], told["clock_skew"]) == (0, [])
    shown = stack.corella("trace", trace_id[:16], "--all").stdout
    for each in ("corella ask", SEARCH, "embed question", "prefill", "decode", "cite", "tokens in"):
        assert each in shown
    assert trace_id in [each["trace_id"] for each in stack.json("trace", "--list", "-n", "200")]
    assert stack.json("status")[0]["traces"]["questions"] > 0


def test_a_document_is_one_trace_from_the_command_to_the_store(stack: Any, tmp_path: Path) -> None:
    page = tmp_path / "keeper.md"
    page.write_text("# The keeper of the tower\n\nThe keeper of the Quillon tower is called Ottoline Marsh.\n")
    [told] = stack.json("ingest", str(page), "--corpus", "traced")
    assert told["added"] == 1

    def of_the_page(spans: list[Span]) -> set[str]:
        return {span.trace_id for span in spans if span.attributes.get("corella.document", "").startswith("corpora/traced/")}

    [trace_id] = of_the_page(stack.receiver.until(lambda spans: bool(of_the_page(spans)), 30))
    spans = stack.receiver.settled(trace_id, 60)
    assert orphans(spans) == []
    [root] = [span for span in spans if not span.parent_id]
    assert (root.service, root.name) == ("corella-cli", "corella ingest")
    handed_in = ["cli: corella ingest", f"cli: {INGEST}", f"retriever: {INGEST}"]
    document = named(spans, "ingest document", service="corella-retriever-worker")
    assert in_order(path(spans, document), [*handed_in, "retriever-worker: ingest document"])
    below = [*handed_in, "retriever-worker: ingest document"]
    for step in ("read document", "chunk", "embed", "upsert"):
        assert in_order(path(spans, named(spans, step, service="corella-retriever-worker")), [*below, f"retriever-worker: {step}"])
    embed = named(spans, EMBED, service="corella-embedder", kind="server")
    assert in_order(path(spans, embed), [*below, "retriever-worker: embed", f"retriever-worker: {EMBED}", f"embedder: {EMBED}"])
    upserts = [
        span for span in spans if span.attributes.get("db.system.name") == "milvus" and "upsert" in span.attributes["db.operation.name"]
    ]
    assert any(in_order(path(spans, span), [*below, "retriever-worker: upsert"]) for span in upserts)
    sent = next(span for span in spans if span.kind == "producer")
    assert in_order(path(spans, sent), handed_in)
    assert sent.attributes["messaging.destination.name"]
    assert any(span.kind == "consumer" and span.parent_id == sent.span_id for span in spans)
    told_words = json.dumps([[span.name, str(span.attributes), str(span.events)] for span in spans])
    assert "Ottoline" not in told_words

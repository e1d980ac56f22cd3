"""What embedding leaves in a trace and in the metrics, and what it must not leave there: the texts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import RecordedSpans, recorded_spans

from services.chassis.telemetry import tracer
from services.embedder import batch_metrics
from services.embedder.domain import InputType, ModelCard, TokenizedText
from services.embedder.embedding import Embedder
from services.embedder.reranking import Reranker

CARD = ModelCard("fake-1", "0" * 16, 2, 40, False, "cpu", "float32")
MARKER = "Zanzibarium"


class LengthTokenizer:
    """A text of n characters has n tokens, of which the first is its first character."""

    max_tokens = 40
    failure: Exception | None = None

    def tokenize(self, texts: Sequence[str], *, prompt: str = "") -> list[TokenizedText]:
        if self.failure is not None:
            raise self.failure
        return [TokenizedText([ord(text[0])] * len(text), full_count=len(text)) for text in texts]

    def tokenize_pairs(self, query: str, texts: Sequence[str]) -> list[TokenizedText]:
        return self.tokenize(texts)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


def embedder(batcher: Any, tokenizer: LengthTokenizer | None = None) -> Embedder:
    return Embedder(CARD, {InputType.QUERY: "", InputType.DOCUMENT: ""}, tokenizer or LengthTokenizer(), batcher)  # type: ignore[arg-type]


@pytest.fixture
def spans() -> Iterator[RecordedSpans]:
    with recorded_spans() as spans:
        yield spans


async def test_an_embedding_is_a_span_by_the_conventions_for_generative_ai(batched: Any, spans: RecordedSpans) -> None:
    async with batched.batcher() as batcher:
        with tracer.start_as_current_span("Embed", kind=SpanKind.SERVER):
            await embedder(batcher).embed(["abc", "de"], InputType.QUERY, truncate=False)
    span = spans.one("embeddings fake-1")
    assert spans.parent(span) == "Embed"
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "transformers",
        "gen_ai.request.model": "fake-1",
        "gen_ai.embeddings.dimension.count": 2,
        "gen_ai.usage.input_tokens": 5,
        "corella.embedder.input_type": "query",
        "corella.embedder.texts": 2,
    }
    assert spans.parent(spans.one("queue")) == "embeddings fake-1"


async def test_every_call_of_a_batch_shows_it_in_its_own_trace(batched: Any, spans: RecordedSpans) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher() as batcher:
        calls = [asyncio.create_task(embedder(batcher).embed([letter], InputType.DOCUMENT, truncate=False)) for letter in "abc"]
        await asyncio.sleep(0.05)
        batched.encoder.gate.set()
        await asyncio.gather(*calls)
    computed = spans.named("compute batch")
    assert {span.parent.span_id for span in computed} == {span.context.span_id for span in spans.named("embeddings fake-1")}
    assert [span.attributes["corella.embedder.batch.texts"] for span in computed] == [3, 3, 3]
    assert max(span.end_time - span.start_time for span in computed) > 0.04e9


async def test_a_call_in_several_batches_waits_once(batched: Any, spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Recorded:
        def record(self, seconds: float, attributes: Any, context: Any) -> None:
            assert attributes == {"corella.embedder.model": "fake"}
            waited.append(seconds)

    monkeypatch.setattr(batch_metrics, "_queue_seconds", Recorded())
    batched.encoder.gate.clear()
    async with batched.batcher(batch_tokens=10) as batcher:
        first = asyncio.create_task(embedder(batcher).embed(["a" * 10] * 3, InputType.DOCUMENT, truncate=False))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(embedder(batcher).embed(["b" * 10], InputType.QUERY, truncate=False))
        await asyncio.sleep(0.05)
        batched.encoder.gate.set()
        await asyncio.gather(first, second)
    assert len(spans.named("compute batch")) == 4
    assert len(waited) == len(spans.named("queue")) == 2
    assert waited[1] > 0.04


async def test_reranking_is_a_span_of_its_own_kind(batched: Any, spans: RecordedSpans) -> None:
    async with batched.batcher() as batcher:
        await Reranker(CARD, LengthTokenizer(), batcher).rerank("which", ["abc", "de"], 0, truncate=False)
    span = spans.one("rerank fake-1")
    assert (span.attributes["gen_ai.operation.name"], span.attributes["corella.embedder.texts"]) == ("rerank", 2)


@pytest.mark.parametrize("broken", [False, True])
async def test_no_text_enters_spans_or_logs_even_when_something_breaks(
    batched: Any, spans: RecordedSpans, capfd: pytest.CaptureFixture[str], broken: bool
) -> None:
    tokenizer = LengthTokenizer()
    if broken:
        tokenizer.failure = ValueError(f"cannot take {MARKER}")
    async with batched.batcher() as batcher:
        try:
            await embedder(batcher, tokenizer).embed([MARKER], InputType.QUERY, truncate=False)
        except ValueError:
            assert broken
    span = spans.one("embeddings fake-1")
    assert (span.status.status_code is StatusCode.ERROR) is broken
    output = capfd.readouterr()
    for told in (spans.everything(), output.out, output.err):
        assert MARKER not in told

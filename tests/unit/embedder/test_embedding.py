"""Embedding a stream of requests: order, reading ahead, and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from services.chassis.errors import InvalidArgument
from services.embedder.domain import InputType, ModelCard, TextTooLong, TokenizedText
from services.embedder.embedding import READ_AHEAD, Embedder

CARD = ModelCard("fake", "0" * 16, 2, 10, False, "cpu", "float32")
DOCUMENT = InputType.DOCUMENT


class LengthTokenizer:
    """A text of n characters has n tokens; the first tells it apart."""

    max_tokens = 10

    def tokenize(self, texts: Sequence[str], *, prompt: str = "") -> list[TokenizedText]:
        return [TokenizedText([ord((prompt + text)[0])] * min(len(prompt + text), 10), full_count=len(prompt + text)) for text in texts]


def embedder(batcher: Any) -> Embedder:
    return Embedder(CARD, {InputType.QUERY: "q", InputType.DOCUMENT: ""}, LengthTokenizer(), batcher)  # type: ignore[arg-type]


async def test_every_text_that_is_too_long_is_named(batched: Any) -> None:
    async with batched.batcher() as batcher:
        with pytest.raises(TextTooLong) as error:
            await embedder(batcher).embed(["a" * 11, "b", "c" * 30], DOCUMENT, truncate=False)
    assert [field for field, _ in error.value.violations] == ["texts[0]", "texts[2]"]
    assert "30 tokens" in error.value.violations[1][1]
    assert error.value.reason == "TEXT_TOO_LONG"
    assert not batched.encoder.batches


async def test_truncation_on_request_is_said(batched: Any) -> None:
    async with batched.batcher() as batcher:
        embeddings = await embedder(batcher).embed(["a" * 11, "b"], DOCUMENT, truncate=True)
    assert [(one.token_count, one.truncated) for one in embeddings] == [(10, True), (1, False)]


async def test_a_query_gets_the_models_instruction(batched: Any) -> None:
    async with batched.batcher() as batcher:
        (embedding,) = await embedder(batcher).embed(["b"], InputType.QUERY, truncate=False)
    assert embedding.values.tolist() == [ord("q"), 2]


async def test_a_stream_answers_in_order_and_reads_little_ahead(batched: Any) -> None:
    read = 0

    async def requests() -> AsyncIterator[Any]:
        nonlocal read
        for letter in "abcdefgh":
            read += 1
            yield [letter], DOCUMENT, False

    async with batched.batcher() as batcher:
        answers, ahead = [], []
        async for (embedding,) in embedder(batcher).embed_stream(requests()):
            await asyncio.sleep(0.005)
            answers.append(chr(int(embedding.values[0])))
            ahead.append(read - len(answers))
    assert "".join(answers) == "abcdefgh"
    assert max(ahead) < READ_AHEAD


async def test_a_client_that_waits_for_each_answer_gets_it(batched: Any) -> None:
    answered = asyncio.Event()
    answered.set()

    async def requests() -> AsyncIterator[Any]:
        for letter in "abc":
            await answered.wait()
            answered.clear()
            yield [letter], DOCUMENT, False

    async with batched.batcher() as batcher, asyncio.timeout(5):
        count = 0
        async for _ in embedder(batcher).embed_stream(requests()):
            count += 1
            answered.set()
    assert count == 3


async def test_an_error_ends_the_stream_after_the_answers_before_it(batched: Any) -> None:
    async def too_long() -> AsyncIterator[Any]:
        yield ["a"], DOCUMENT, False
        yield ["b" * 11], DOCUMENT, False
        yield ["c"], DOCUMENT, False

    async def malformed() -> AsyncIterator[Any]:
        yield ["a"], DOCUMENT, False
        raise InvalidArgument.of([("texts", "must hold 1 to 2048 texts, not 0")])

    async with batched.batcher() as batcher:
        for requests in (too_long(), malformed()):
            answers = []
            with pytest.raises(InvalidArgument):
                async for answer in embedder(batcher).embed_stream(requests):
                    answers.append(answer)
            assert len(answers) == 1


async def test_a_stream_that_is_left_leaves_no_work_behind(batched: Any) -> None:
    async def requests() -> AsyncIterator[Any]:
        while True:
            yield ["a"] * 50, DOCUMENT, False

    async with batched.batcher(batch_tokens=5) as batcher:
        stream = embedder(batcher).embed_stream(requests())
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0.02)
        computed = len(batched.encoder.batches)
        await asyncio.sleep(0.05)
    assert len(batched.encoder.batches) == computed
